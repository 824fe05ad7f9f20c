package hither

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Default is the table of the usual directory, for DialContext.
var Default = New("")

// DialContext connects as Dialer does, with the table of the usual directory. It is for
// http.Transport.DialContext and its like.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&Dialer{}).DialContext(ctx, network, address)
}

// Dialer connects to names over TCP: to their addresses in the order of the table, families in turn, the next
// one beside one that is slow (RFC 8305). All else it leaves to the standard library: other networks, addresses,
// names that neither the table nor the daemon knows, and those that the host answers itself, such as localhost
// and names in /etc/hosts.
type Dialer struct {
	net.Dialer        // timeouts, keep-alives and the rest
	Table      *Table // nil: Default
}

const (
	candidatesMax = 16
	delayDefault  = 250 * time.Millisecond
	delayMin      = 10 * time.Millisecond
)

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to an address, HOST:PORT.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	families, ok := map[string]Families{"tcp": Both, "tcp4": A, "tcp6": AAAA}[network]
	host, port, err := net.SplitHostPort(address)
	if !ok || err != nil || !mayBeInTable(host) {
		return d.Dialer.DialContext(ctx, network, address)
	}
	if d.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, d.Timeout)
		defer cancel()
		ctx = limited
	}
	if !d.Deadline.IsZero() {
		limited, cancel := context.WithDeadline(ctx, d.Deadline)
		defer cancel()
		ctx = limited
	}
	number, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var entry Entry
	table := d.Table
	if table == nil {
		table = Default
	}
	var candidates []Address
	if table.resolve(ctx, host, families, &entry, false) == nil {
		candidates = candidatesOf(&entry, families)
	}
	if len(candidates) > 0 {
		return d.race(ctx, network, strconv.Itoa(number), candidates)
	}
	// After a denial too: other sources of the system may know the name, and its search list may complete it.
	connection, err := d.Dialer.DialContext(ctx, network, address)
	var failed *net.DNSError
	if errors.As(err, &failed) && (failed.IsTemporary || failed.IsTimeout) &&
		table.LookupText(host, families, &entry) == Stale {
		return d.race(ctx, network, strconv.Itoa(number), candidatesOf(&entry, families))
	}
	return connection, err
}

// candidatesOf are the addresses to try: best first, but the families in turn, and last those whose certificates
// are bad while another one is verified, and those that did not answer.
func candidatesOf(e *Entry, families Families) []Address {
	ordered := e.Ordered(families)
	hasVerified := e.hasVerified(A) || e.hasVerified(AAAA)
	var all []Address
	for class := 0; class < 3; class++ {
		var part [2][]Address // the family of the first address, and the other one
		for _, one := range ordered {
			if classOf(&one, hasVerified) != class || !isOfAHost(one.Addr) {
				continue
			}
			which := 0
			if len(part[0]) > 0 && part[0][0].Addr.Is6() != one.Addr.Is6() {
				which = 1
			}
			part[which] = append(part[which], one)
		}
		for n := 0; n < len(part[0]) || n < len(part[1]); n++ {
			for _, family := range part {
				if n < len(family) && len(all) < candidatesMax {
					all = append(all, family[n])
				}
			}
		}
	}
	return all
}

func classOf(a *Address, hasVerified bool) int {
	switch {
	case a.RTT == Unreachable:
		return 2
	case hasVerified && a.Trust.isBad():
		return 1
	}
	return 0
}

func isOfAHost(address netip.Addr) bool {
	address = address.Unmap()
	return !address.IsUnspecified() && !address.IsMulticast() && address != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

type dialed struct {
	connection net.Conn
	err        error
}

// race connects to the candidates: the next one as soon as one has failed, or after twice the round-trip time of
// the one before it. The first connection wins, and all others are closed.
func (d *Dialer) race(ctx context.Context, network, port string, candidates []Address) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	plain := d.Dialer
	plain.FallbackDelay = -1
	results := make(chan dialed, len(candidates))
	var first error
	next, underWay := 0, 0
	begin := time.NewTimer(0)
	defer begin.Stop()
	for next < len(candidates) || underWay > 0 {
		select {
		case <-begin.C:
			if next == len(candidates) {
				continue
			}
			one := candidates[next]
			next++
			underWay++
			go func() {
				connection, err := plain.DialContext(ctx, network, net.JoinHostPort(one.Addr.String(), port))
				results <- dialed{connection, err}
			}()
			begin.Reset(delayAfter(one.RTT))
		case result := <-results:
			underWay--
			if result.err == nil {
				go closeOthers(results, underWay)
				return result.connection, nil
			}
			if first == nil || errors.Is(result.err, context.DeadlineExceeded) {
				first = result.err
			}
			if !begin.Stop() {
				select {
				case <-begin.C:
				default:
				}
			}
			begin.Reset(0)
		}
	}
	return nil, first
}

func closeOthers(results chan dialed, underWay int) {
	for ; underWay > 0; underWay-- {
		if other := <-results; other.err == nil {
			other.connection.Close()
		}
	}
}

func delayAfter(rtt time.Duration) time.Duration {
	switch twice := 2 * rtt; {
	case rtt < 0 || twice > delayDefault:
		return delayDefault
	case twice < delayMin:
		return delayMin
	default:
		return twice
	}
}
