package hither

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// isWhole says whether every part of an entry is derived from one version, as the writer of tests/bindings.rs
// makes it.
func isWhole(e *Entry) bool {
	version := e.Version()
	for _, family := range [2]Families{A, AAAA} {
		set, ok := e.Set(family)
		if !ok {
			if family == A {
				return false
			}
			continue
		}
		if set.Version != version || set.Round != version || uint64(set.Len()) != 1+version%16 {
			return false
		}
		for n, one := range set.Addresses() {
			octets := one.Addr.AsSlice()
			isRight := binary.BigEndian.Uint32(octets) == uint32(version)*2654435761+uint32(n)
			if family == AAAA {
				isRight = binary.BigEndian.Uint64(octets) == version && binary.BigEndian.Uint64(octets[8:]) == uint64(n)
			}
			if !isRight || one.RTT != time.Duration((version^uint64(n))&0x7fffffff)*time.Microsecond {
				return false
			}
		}
	}
	return true
}

type counts struct{ reads, hits, busy, torn, back, opened uint64 }

func torture(table *Table, names []Name, until time.Time) (c counts) {
	var entry Entry
	last := make([]uint64, len(names))
	file := table.current.Load()
	for time.Now().Before(until) {
		for n, name := range names {
			c.reads++
			switch table.Lookup(name, A, &entry) {
			case Fresh, Stale, Incomplete:
				c.hits++
				if !isWhole(&entry) || !entry.Intact() {
					c.torn++
				}
				if entry.Version() < last[n] {
					c.back++
				}
				last[n] = entry.Version()
			case Busy:
				c.busy++
			}
		}
		if now := table.current.Load(); now != file {
			file = now
			c.opened++
		}
	}
	return c
}

func TestTorture(t *testing.T) {
	seconds, _ := strconv.Atoi(os.Getenv("HITHER_TORTURE_S"))
	if seconds == 0 {
		t.Skip("no writer: tests/bindings.rs runs this test")
	}
	table, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	var names []Name
	for n := 0; n < 64; n++ {
		name, _ := ParseName(fmt.Sprintf("host%d.example.com", n))
		names = append(names, name)
	}
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	var all counts
	var lock sync.Mutex
	var group sync.WaitGroup
	for n := 0; n < 2; n++ {
		group.Add(1)
		go func() {
			defer group.Done()
			c := torture(table, names, until)
			lock.Lock()
			defer lock.Unlock()
			all.reads, all.hits, all.busy = all.reads+c.reads, all.hits+c.hits, all.busy+c.busy
			all.torn, all.back, all.opened = all.torn+c.torn, all.back+c.back, all.opened+c.opened
		}()
	}
	group.Wait()
	fmt.Printf("torture reads %d hits %d busy %d torn %d back %d opened %d\n", all.reads, all.hits, all.busy, all.torn, all.back, all.opened)
	if all.torn != 0 || all.back != 0 || all.hits == 0 {
		t.Error("an entry is a mix of two versions, or a version went back")
	}
}

// The check notices an entry that is a mix of two versions.
func TestUnitTornIsNoticed(t *testing.T) {
	const version = 4
	entry := Entry{words: make([]uint64, 24)}
	entry.shape, _ = shapeOf(24 | 5<<16 | 5<<24 | 1<<40)
	entry.words[0], entry.words[3], entry.words[5] = version<<1, version, version
	multiplier := uint64(2654435761)
	for n := uint64(0); n < 5; n++ {
		var octets [4]byte
		binary.BigEndian.PutUint32(octets[:], uint32(version*multiplier)+uint32(n))
		entry.words[entry.shape.v4+n] = uint64(binary.LittleEndian.Uint32(octets[:])) | (version^n)<<32
	}
	if !isWhole(&entry) {
		t.Fatal("a whole entry counts as torn")
	}
	entry.words[entry.shape.v4+3]++
	if isWhole(&entry) {
		t.Error("a torn entry counts as whole")
	}
}
