package hither

import (
	"context"
	"errors"
	"math/rand"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestUnitNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := strings.Repeat(label+".", 3) + strings.Repeat("b", 61)
	for text, want := range map[string]string{
		"www.Example.com": "www.example.com.", "www.example.com.": "www.example.com.", ".": ".",
		`a\.b.example`: `a\.b.example.`, `\065.example`: "a.example.", `\000`: `\000.`, "@": `\@.`,
		longest: longest + ".", longest + ".": longest + ".",
	} {
		name, err := ParseName(text)
		if err != nil || name.String() != want {
			t.Errorf("%q: %q, %v", text, name, err)
		}
	}
	for _, text := range []string{"", "..", "a..b", ".a", label + "a", longest + "b", longest + ".b", `\`, `\25`, `\256`, `a\1x2`} {
		if name, err := ParseName(text); !errors.Is(err, ErrName) {
			t.Errorf("%q is a name: %q", text, name)
		}
	}
}

func TestUnitNamesOfTheSystem(t *testing.T) {
	for _, host := range []string{"", ".", "localhost", "a.localhost", "printer.local", "LOCAL", "192.0.2.1", "127.1", "0x7f.0x1",
		"::1", "fe80::1%eth0", "a b.example", "-x.example", "münchen.example", "10", "single"} {
		if mayBeInTable(host) {
			t.Errorf("%q is looked up in the table", host)
		}
	}
	for _, host := range []string{"www.example.com", "www.example.com.", "_x.example", "1.2.3.example"} {
		if !mayBeInTable(host) {
			t.Errorf("%q is not looked up in the table", host)
		}
	}
	hosts := hostsOf("127.0.0.1 localhost # comment.example\n\n#192.0.2.1 off.example\n192.0.2.2\tOne.Example. two.example")
	if len(hosts) != 3 || !hosts["one.example"] || !hosts["two.example"] {
		t.Error(hosts)
	}
	for text, want := range map[string]int{"": 1, "options edns0 ndots:5": 5, "options ndots:x": 1, "options ndots:0": 1,
		"options ndots:2\noptions rotate ndots:3": 3} {
		if got := ndotsOf(text); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestUnitCandidates(t *testing.T) {
	for text, want := range map[string]bool{"0.0.0.0": false, "::": false, "::ffff:0.0.0.0": false, "255.255.255.255": false,
		"224.0.0.1": false, "ff02::1": false, "127.0.0.1": true, "2001:db8::1": true, "fe80::1": true} {
		if isOfAHost(netip.MustParseAddr(text)) != want {
			t.Error(text)
		}
	}
	for rtt, want := range map[time.Duration]time.Duration{Unmeasured: delayDefault, Unreachable: delayDefault, 0: delayMin,
		20 * time.Millisecond: 40 * time.Millisecond, time.Second: delayDefault} {
		if got := delayAfter(rtt); got != want {
			t.Errorf("%v: %v", rtt, got)
		}
	}
}

func TestUnitNoTable(t *testing.T) {
	table, entry := New(t.TempDir()), Entry{}
	if answer := table.LookupText("www.example.com", Both, &entry); answer != NoTable {
		t.Error(answer)
	}
	if err := table.Resolve(context.Background(), "www.example.com", Both, &entry); !errors.Is(err, ErrUnanswered) {
		t.Error(err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a table in an empty directory")
	}
	if _, ok := entry.Set(A); ok || entry.Version() != 0 || len(entry.Ordered(Both)) != 0 {
		t.Error("an empty entry has a set")
	}
}

// Whatever a record has beyond its counts, nothing is read outside of it.
func TestUnitAnyRecord(t *testing.T) {
	numbers := rand.New(rand.NewSource(7))
	for n := 0; n < 20_000; n++ {
		words := make([]uint64, 1+numbers.Intn(80))
		for at := range words {
			words[at] = numbers.Uint64() >> numbers.Intn(64)
		}
		if len(words) < 2 {
			continue
		}
		words[1] = words[1]&^0xffff | uint64(len(words))
		if numbers.Intn(2) == 0 {
			words[1] = words[1]&^0xffffff0000 | uint64(numbers.Intn(12))<<24 | uint64(numbers.Intn(5))<<32 | 9<<16 | 3<<40
		}
		shape, ok := shapeOf(words[1])
		if !ok {
			continue
		}
		entry := Entry{words: words, shape: shape, nowMs: numbers.Uint64(), families: numbers.Uint64()}
		_, _, _ = entry.Name(), entry.Intact(), entry.Ordered(Both)
		for _, family := range [2]Families{A, AAAA} {
			entry.Withheld(family)
			if set, ok := entry.Set(family); ok {
				_, _, _, _ = set.Canonical(), set.Dissenters(), set.TTL(), set.lifetimeS()
			}
		}
	}
}
