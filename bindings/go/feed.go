package hither

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// The feed of changes: hither-table(5), FEED.

const (
	feedChange     = 1
	feedGap        = 2
	feedAccepted   = 3
	feedRefused    = 4
	feedHead       = 24
	feedRecordMax  = feedHead + nameMax
	datagramMax    = 4096
	flagsCoalesced = 1
)

// Change is a change of the address set of a name, or a gap: then the names that have changed meanwhile follow.
type Change struct {
	Cause     string   // "new-set", "withdrawn", "gone", "order", "local", "other", or "gap"
	Name      string   // empty for a gap
	Family    Families // A or AAAA; 0 for a gap
	Version   uint64
	Set       uint64 // the version at which the addresses last changed
	Coalesced bool   // versions were passed over
}

// Feed is a subscription. The daemon keeps the names fresh until it is closed.
type Feed struct {
	connection *net.UnixConn
}

// How long the daemon may take to accept names.
const subscribeTimeout = 5 * time.Second

// Subscribe subscribes to the changes of names. Look them up afterwards: what changes before the daemon has taken
// all of them is not told. A daemon that does not answer is an error after five seconds.
func (t *Table) Subscribe(families Families, names ...string) (*Feed, error) {
	connection, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: t.dir + "/changes", Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	f := &Feed{connection: connection}
	err = connection.SetDeadline(time.Now().Add(subscribeTimeout))
	datagram := []byte{1}
	for n := 0; n <= len(names) && err == nil; n++ {
		var own []byte
		if n < len(names) {
			var name Name
			if name, err = ParseName(names[n]); err != nil {
				break
			}
			own = append([]byte{byte(families)}, name.wire()...)
		}
		if len(datagram) > 1 && (n == len(names) || len(datagram)+len(own) > datagramMax) {
			err = f.subscribe(datagram)
			datagram = []byte{1}
		}
		datagram = append(datagram, own...)
	}
	if err == nil {
		err = connection.SetDeadline(time.Time{})
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return f, nil
}

func (f *Feed) subscribe(datagram []byte) error {
	// After EPIPE the record says why the daemon has refused the connection.
	if _, err := f.connection.Write(datagram); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	for {
		record, err := f.receive()
		switch {
		case err != nil:
			return err
		case record[0] == feedAccepted:
			return nil
		case record[0] == feedRefused:
			return fmt.Errorf("hither: the daemon does not take the names, reason %d", record[1])
		}
	}
}

func (f *Feed) receive() ([]byte, error) {
	record := make([]byte, feedRecordMax)
	count, err := f.connection.Read(record)
	if err == nil && count < feedHead {
		err = errors.New("hither: the daemon has closed the feed")
	}
	return record[:count], err
}

// Next waits for the next change. After an error subscribe again, and look the names up.
func (f *Feed) Next() (Change, error) {
	for {
		record, err := f.receive()
		if err != nil {
			return Change{}, err
		}
		if change, ok := readChange(record); ok {
			return change, nil
		}
	}
}

// Close ends the subscription, and a Next that waits.
func (f *Feed) Close() error { return f.connection.Close() }

func readChange(record []byte) (Change, bool) {
	version, set := binary.LittleEndian.Uint64(record[8:]), binary.LittleEndian.Uint64(record[16:])
	switch record[0] {
	case feedGap:
		return Change{Cause: "gap", Version: version, Coalesced: true}, true
	case feedChange:
		causes := [...]string{1: "new-set", 2: "withdrawn", 3: "gone", 4: "order", 5: "local"}
		cause := "other"
		if int(record[1]) < len(causes) && record[1] > 0 {
			cause = causes[record[1]]
		}
		return Change{cause, wireText(record[feedHead:]), Families(record[2]), version, set, record[3]&flagsCoalesced != 0}, true
	}
	return Change{}, false
}
