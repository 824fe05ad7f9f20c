// Package hither reads the answers of the DNS forwarder hither from shared memory, as hither-table(5) describes
// it. A lookup takes less than a microsecond and, mostly, no system call.
//
// Most programs need one line:
//
//	transport := &http.Transport{DialContext: hither.DialContext}
//
// The table has only names that some program of this host has asked for lately. DialContext asks the daemon for
// others, and leaves to the system's resolver what the daemon does not know.
package hither

import (
	"os"
	"sync/atomic"
)

// RuntimeDir is the directory of the table, unless the environment variable HITHER_RUNTIME_DIR names another
// one and the program is not setuid.
const RuntimeDir = "/run/hither"

// Table is the daemon's table and its successors. Goroutines can share it.
type Table struct {
	dir     string
	current atomic.Pointer[file]
	checked atomic.Uint64 // the second of the last look at the directory
	network network
	clock   clock
	silent  atomic.Uint64 // until then, in milliseconds, the daemon is not asked, since it hangs
	hinted  [16]atomic.Uint64
}

// Open opens the table in a runtime directory; "" stands for the usual one.
func Open(dir string) (*Table, error) {
	t := New(dir)
	f, err := openFile(t.dir)
	if err != nil {
		return nil, err
	}
	if stated := f.word(wordNetwork); stated != 0 && stated != networkHere() {
		return nil, ErrOtherNetwork
	}
	t.current.Store(f)
	return t, nil
}

// New is the table in a runtime directory, which is opened as soon as there is one: until then lookups find
// nothing. "" stands for the usual directory.
func New(dir string) *Table {
	if dir == "" {
		dir = RuntimeDir
		if chosen := os.Getenv("HITHER_RUNTIME_DIR"); chosen != "" && !isSecure() {
			dir = chosen
		}
	}
	return &Table{dir: dir}
}

// Answer is the result of a lookup.
type Answer int

// The results of a lookup. An entry is filled with the first three.
const (
	// Fresh: the entry has every family that is wanted: addresses, or a denial.
	Fresh Answer = iota
	// Stale: as Fresh, but some of it has expired. It may be used if the daemon gives no answer.
	Stale
	// Incomplete: the entry lacks a family that is wanted, or it has expired too long ago.
	Incomplete
	// Missing: the table does not have the name.
	Missing
	// Busy: the entry changed during every try.
	Busy
	// NoTable: there is no table, or it cannot be used.
	NoTable
	// OtherNetwork: this thread is in another network namespace, where other answers hold.
	OtherNetwork
)

func (a Answer) String() string {
	words := [...]string{"fresh", "stale", "incomplete", "missing", "busy", "no table", "other network"}
	if a >= 0 && int(a) < len(words) {
		return words[a]
	}
	return "unknown"
}

// Lookup gives the answer of the table about a name. The daemon is not asked, but is sent a hint, at most once
// for each version, if the entry is about to expire.
func (t *Table) Lookup(name Name, families Families, e *Entry) Answer {
	now := t.clock.nowMs()
	answer := t.lookup(name, families, e, now)
	if answer != Fresh && answer != Busy && t.hasSuccessor(now) && t.reopen() {
		answer = t.lookup(name, families, e, now)
	}
	if answer == Fresh {
		t.hint(name, families, e, now)
	}
	return answer
}

// LookupText is Lookup of a name as text.
func (t *Table) LookupText(name string, families Families, e *Entry) Answer {
	parsed, err := ParseName(name)
	if err != nil {
		return Missing
	}
	return t.Lookup(parsed, families, e)
}

func (t *Table) lookup(name Name, families Families, e *Entry, now uint64) Answer {
	f := t.current.Load()
	if f == nil {
		return NoTable
	}
	result := f.lookup(name, e)
	if result == foundReplaced && t.reopen() {
		f = t.current.Load()
		result = f.lookup(name, e)
	}
	if stated := f.word(wordNetwork); stated != 0 && stated != t.network.ofThread(now) {
		return OtherNetwork
	}
	switch result {
	case foundIt:
		e.nowMs, e.stale, e.families = now, f.word(wordStale), f.word(wordFamilies)
		return e.answer(families)
	case foundNothing:
		return Missing
	}
	return Busy
}

// answer says how far the entry answers a lookup.
func (e *Entry) answer(families Families) Answer {
	isDenied := false
	for _, family := range [2]Families{A, AAAA} {
		set, ok := e.Set(family)
		isDenied = isDenied || ok && set.Denial == NXDomain && set.Use() == Usable
	}
	answer := Fresh
	for _, family := range [2]Families{A, AAAA} {
		if families&family == 0 {
			continue
		}
		set, ok := e.Set(family)
		use := Unusable
		if ok {
			use = set.Use()
		}
		switch {
		case use == Usable || isDenied && set.Len() == 0:
		case use == Unusable:
			answer = Incomplete
		case answer == Fresh:
			answer = Stale
		}
	}
	return answer
}

// hasSuccessor says, at most once a second, whether the directory has another file than the open one, or the
// open one may be mapped by now.
func (t *Table) hasSuccessor(now uint64) bool {
	second := now/1000 + 1
	if t.checked.Swap(second) == second {
		return false
	}
	return t.isOther(t.current.Load())
}

func (t *Table) isOther(f *file) bool {
	id, ok := fileIn(t.dir)
	return ok && (f == nil || id != f.id || f.words == nil && mayMap(1))
}

// reopen opens the table that the directory has now; false if there is none that can be used.
func (t *Table) reopen() bool {
	f, err := openFile(t.dir)
	if err != nil {
		return false
	}
	t.current.Store(f)
	return true
}

// hint tells the daemon that an entry with less than a fifth of its TTL left is in use.
func (t *Table) hint(name Name, families Families, e *Entry, now uint64) {
	var ending Families
	for _, family := range [2]Families{A, AAAA} {
		set, ok := e.Set(family)
		if ok && families&family != 0 && now < set.ExpiresMs && set.ExpiresMs-now < set.lifetimeS()*200 {
			ending |= family
		}
	}
	version := e.Version()
	if ending == 0 || t.hinted[version%uint64(len(t.hinted))].Swap(version) == version {
		return
	}
	sendHint(t.dir+"/hint", append([]byte{1, byte(ending)}, name.wire()...))
}
