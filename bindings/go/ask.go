package hither

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"net"
	"net/netip"
	"time"
)

// ErrUnanswered is the error if neither the table nor the daemon has an answer: ask the system's resolver.
var ErrUnanswered = errors.New("hither: neither the table nor the daemon has an answer")

const (
	replyWaitMax = 1500 * time.Millisecond
	hangPauseMs  = 10_000
	threadDied   = 1 << 30
)

// DaemonAddress is the address at which the daemon answers DNS queries.
func (t *Table) DaemonAddress() (netip.AddrPort, bool) {
	f := t.current.Load()
	if f == nil {
		return netip.AddrPort{}, false
	}
	word := f.word(wordDNS)
	var octets [16]byte
	binary.LittleEndian.PutUint64(octets[:], f.word(wordDNS+1))
	binary.LittleEndian.PutUint64(octets[8:], f.word(wordDNS+2))
	switch word >> 16 {
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{octets[0], octets[1], octets[2], octets[3]}), uint16(word)), true
	case 6:
		return netip.AddrPortFrom(netip.AddrFrom16(octets), uint16(word)), true
	}
	return netip.AddrPort{}, false
}

// Resolve gives an entry for a name: that of the table if it is fresh, else that which the daemon publishes when
// it is asked, else a stale one (its TTL is 0; use it for 30 seconds at most). The error is ErrUnanswered if there is
// none, ErrName, or that of the context.
func (t *Table) Resolve(ctx context.Context, name string, families Families, e *Entry) error {
	return t.resolve(ctx, name, families, e, true)
}

// resolve is Resolve; if the daemon does not answer, stale entries are used only if they may be.
func (t *Table) resolve(ctx context.Context, name string, families Families, e *Entry, mayBeStale bool) error {
	parsed, err := ParseName(name)
	if err != nil {
		return err
	}
	answer := t.Lookup(parsed, families, e)
	if answer == Fresh {
		return nil
	}
	if answer == NoTable || answer == OtherNetwork {
		return ErrUnanswered
	}
	hasAsked := t.ask(ctx, parsed, families)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	answer = t.Lookup(parsed, families, e)
	// What has expired after the daemon has answered is what it answered with: stale data, or a TTL of 0.
	if answer == Fresh || answer == Stale && (mayBeStale || hasAsked) || hasAsked && answer == Incomplete && e.hasAll(families) {
		return nil
	}
	return ErrUnanswered
}

// hasAll says whether the entry has every family that is wanted, expired or not.
func (e *Entry) hasAll(families Families) bool {
	return Families(e.shape.families)&families == families
}

// ask asks the daemon for a name and says whether it has answered. It is not asked if the kernel saw it end, nor
// for a while after it did not reply.
func (t *Table) ask(ctx context.Context, name Name, families Families) bool {
	f := t.current.Load()
	server, ok := t.DaemonAddress()
	now := t.clock.nowMs()
	if !ok || f == nil || f.word(wordAlive)&threadDied != 0 || now < t.silent.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, replyWaitMax)
	defer cancel()
	err := exchange(ctx, server, name, families)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && t.clock.nowMs()-now >= 1000 {
		t.silent.Store(t.clock.nowMs() + hangPauseMs)
	}
	return err == nil
}

// exchange sends a query for each family and waits for the replies. The addresses are then in the table.
func exchange(ctx context.Context, server netip.AddrPort, name Name, families Families) error {
	socket, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err != nil {
		return err
	}
	defer socket.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ctx.Done():
			_ = socket.SetDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	// The id need not be secret: a forged reply only makes us read the table.
	id, waiting := uint16(rand.Uint32())&^1, 0
	for n, rtype := range [2]byte{1, 28} {
		if families>>n&1 == 0 {
			continue
		}
		query := make([]byte, 12, 12+name.length+4)
		binary.BigEndian.PutUint16(query, id|uint16(n))
		query[2], query[5] = 1, 1
		query = append(append(query, name.wire()...), 0, rtype, 0, 1)
		if _, err := socket.Write(query); err != nil {
			return err
		}
		waiting |= 1 << n
	}
	reply := make([]byte, 12)
	for waiting != 0 {
		got, err := socket.Read(reply)
		if err != nil {
			return err
		}
		own := binary.BigEndian.Uint16(reply)
		if got < len(reply) || own&^1 != id || reply[2]&0x80 == 0 {
			continue
		}
		if rcode := reply[3] & 15; rcode != 0 && rcode != 3 {
			return ErrUnanswered
		}
		waiting &^= 1 << (own & 1)
	}
	return nil
}

// Changes is the number of changes of the table so far, for Wait.
func (t *Table) Changes() uint64 {
	if f := t.current.Load(); f != nil {
		return f.word(wordChanges)
	}
	return 0
}

// Wait waits until the table has seen more changes than seen, and gives their number. Another number, even a lower
// one, means that the table has changed or was replaced: look up the names that matter. The context ends the wait
// within a second.
func (t *Table) Wait(ctx context.Context, seen uint64) (uint64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return seen, err
		}
		f := t.current.Load()
		if f == nil || f.isReplaced() || t.hasSuccessor(t.clock.nowMs()) {
			if t.reopen() {
				return t.Changes(), nil
			}
		}
		if f == nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if changes := f.word(wordChanges); changes != seen {
			return changes, nil
		}
		timeout := time.Second
		if end, ok := ctx.Deadline(); ok && time.Until(end) < timeout {
			timeout = time.Until(end)
		}
		if timeout > 0 {
			f.waitForChange(seen, timeout)
		}
	}
}

// Resolver is a resolver of the standard library that asks the daemon, at the address in the table, in place of
// the servers in resolv.conf; these are asked if there is no table.
func (t *Table) Resolver() *net.Resolver {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		t.hasSuccessor(t.clock.nowMs())
		if t.current.Load() == nil {
			t.reopen()
		}
		if server, ok := t.DaemonAddress(); ok {
			address = server.String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &net.Resolver{PreferGo: true, Dial: dial}
}
