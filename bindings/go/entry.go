package hither

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Families are address families, as bits.
type Families uint8

// The families of a lookup.
const (
	A    Families = 1 // IPv4
	AAAA Families = 2 // IPv6
	Both Families = 3
)

// shape has the positions in a record, from its word 1.
type shape struct {
	words, n4, n6, families  uint64
	key, keyOctets           int
	v4, origins, v6, tailsAt uint64
}

func shapeOf(word uint64) (shape, bool) {
	s := shape{words: word & 0xffff, keyOctets: int(word >> 16 & 0xff), n4: word >> 24 & 0xff,
		n6: word >> 32 & 0xff, families: word >> 40 & 3}
	s.key = int(3 + 4*(s.families&1+s.families>>1))
	s.v4 = uint64(s.key + (s.keyOctets+7)/8)
	s.origins = s.v4 + s.n4
	s.v6 = s.origins + (s.n4+1)/2
	s.tailsAt = s.v6 + 3*s.n6
	return s, s.words <= recordMax && s.tailsAt <= s.words && s.keyOctets != 0 && s.families != 0
}

// Entry is a copy of what the table has for one name, all of one publish. It may be used for any number of
// lookups, one after the other: then these do not allocate.
type Entry struct {
	words    []uint64
	shape    shape
	nowMs    uint64
	stale    uint64
	families uint64
}

func (e *Entry) is(name Name) bool {
	if e.shape.keyOctets != name.length {
		return false
	}
	for n, word := range name.words {
		if e.words[e.shape.key+n] != word {
			return false
		}
	}
	return true
}

// octets are len octets from a word on; fewer where the record ends.
func (e *Entry) octets(word, octet, len uint64) []byte {
	out := make([]byte, 0, len)
	for n := octet; n < octet+len; n++ {
		at := word + n/8
		if at >= uint64(e.shape.words) {
			break
		}
		out = append(out, byte(e.words[at]>>(n%8*8)))
	}
	return out
}

func (e *Entry) octet(word, octet uint64) byte {
	if at := word + octet/8; at < e.shape.words {
		return byte(e.words[at] >> (octet % 8 * 8))
	}
	return 0
}

// Name is the name of the entry in lower case.
func (e *Entry) Name() string {
	return wireText(e.octets(uint64(e.shape.key), 0, uint64(e.shape.keyOctets)))
}

// Version grows with every publish of the name.
func (e *Entry) Version() uint64 {
	if e.shape.words == 0 {
		return 0
	}
	return e.words[0] >> 1
}

// Intact says whether the checksum of the record is right. A lookup need not ask: the way in which records
// are copied guarantees it.
func (e *Entry) Intact() bool {
	check := uint64(sumStart)
	for n := 1; n < int(e.shape.words); n++ {
		if n != 2 {
			check = sum(check, e.words[n])
		}
	}
	return e.shape.words > 2 && check == e.words[2]
}

// Denial is a negative response.
type Denial uint8

// The negative responses.
const (
	Exists   Denial = iota // none
	NoData                 // no addresses of this family
	NXDomain               // the name does not exist
)

// State is how complete a set is.
type State uint8

// The states of a set.
const (
	First    State = iota // an upstream has answered, and others may still answer
	Partial               // the deadline came before all upstreams had answered
	Complete              // every upstream has answered or failed
)

// Use is what may be done with a set.
type Use uint8

// The uses of a set.
const (
	Usable    Use = iota // it has not expired
	StaleOnly            // it has expired, and may be used if the daemon has no better answer
	Unusable             // it is as if the table did not have it
)

// Set is one family of an entry.
type Set struct {
	entry     *Entry
	family    Families
	block     uint64
	count     uint64
	Version   uint64 // grows with every publish
	Set       uint64 // the version at which the addresses last changed
	Round     uint64
	State     State
	Denial    Denial
	Withheld  bool // with NoData: the name has addresses that the daemon does not give out
	Sorted    bool // the addresses are in the order of measured latency
	ExpiresMs uint64
}

// Set is the set of one family, A or AAAA; false if the table does not have it. It is valid until the next
// lookup with the entry.
func (e *Entry) Set(family Families) (Set, bool) {
	if e.shape.words == 0 || uint64(family)&e.shape.families == 0 || family == Both {
		return Set{}, false
	}
	block, count := uint64(3), e.shape.n4
	if family == AAAA {
		block, count = 3+4*(e.shape.families&1), e.shape.n6
	}
	first := e.words[block]
	const version = 1<<53 - 1
	return Set{
		entry: e, family: family, block: block, count: count,
		Version: first & version, Set: e.words[block+1] & version, Round: e.words[block+2],
		State: State(first >> 53 & 3), Denial: Denial(first >> 55 & 3), Sorted: first>>57&1 != 0,
		Withheld: first>>58&1 != 0, ExpiresMs: e.words[block+3] >> 16,
	}, true
}

// TTL is what was left of the TTL at the lookup, in whole seconds: 0 if it had expired.
func (s Set) TTL() time.Duration {
	if s.entry == nil || s.ExpiresMs <= s.entry.nowMs {
		return 0
	}
	return time.Duration((s.ExpiresMs-s.entry.nowMs)/1000) * time.Second
}

// lifetimeS is the TTL at the publication, in seconds.
func (s Set) lifetimeS() uint64 {
	value := s.entry.words[s.block+1] >> 53
	if value < 64 {
		return value
	}
	return (64 + value&63) << (value>>6 - 1)
}

// Use says what may be done with the set at the time of the lookup.
func (s Set) Use() Use {
	now, stale := s.entry.nowMs, s.entry.stale
	switch {
	case now < s.ExpiresMs:
		return Usable
	case stale == 0:
		return StaleOnly
	case s.Denial == Exists && now-s.ExpiresMs < stale-1:
		return StaleOnly
	}
	return Unusable
}

// Len is the number of addresses.
func (s Set) Len() int { return int(s.count) }

// Trust is the verdict on the certificate that the server at an address shows for the name.
type Trust uint8

// The verdicts.
const (
	TrustUnknown Trust = iota
	TrustVerified
	TrustOtherName
	TrustExpired
	TrustNotYet
	TrustUntrusted
	TrustNoTLS
)

func (t Trust) String() string {
	words := [...]string{"unknown", "verified", "other_name", "expired", "not_yet", "untrusted", "no_tls"}
	if int(t) < len(words) {
		return words[t]
	}
	return words[0]
}

func (t Trust) isBad() bool { return t == TrustOtherName || t == TrustUntrusted }

// Round-trip times of addresses without one.
const (
	Unreachable time.Duration = -1
	Unmeasured  time.Duration = -2
)

// Address is one address of a set.
type Address struct {
	Addr      netip.Addr
	RTT       time.Duration // or Unreachable, or Unmeasured
	Upstreams uint32        // a bit for each of the first 22 upstreams that gave it, and bit 22 for all others
	Sources   int           // how many upstreams gave it
	Trust     Trust
	Confirmed bool // by the first answer, a second upstream, or a verified certificate
	chain     uint32
}

// Address is the address at an index below Len.
func (s Set) Address(index int) Address {
	e, n := s.entry, uint64(index)
	var address Address
	var rtt, origin uint32
	if s.family == A {
		word := e.words[e.shape.v4+n]
		var octets [4]byte
		binary.LittleEndian.PutUint32(octets[:], uint32(word))
		address.Addr = netip.AddrFrom4(octets)
		rtt, origin = uint32(word>>32), uint32(e.words[e.shape.origins+n/2]>>(n%2*32))
	} else {
		words := e.words[e.shape.v6+3*n:]
		var octets [16]byte
		binary.LittleEndian.PutUint64(octets[:], words[0])
		binary.LittleEndian.PutUint64(octets[8:], words[1])
		address.Addr = netip.AddrFrom16(octets)
		rtt, origin = uint32(words[2]), uint32(words[2]>>32)
	}
	switch rtt {
	case 0xffffffff:
		address.RTT = Unreachable
	case 0xfffffffe:
		address.RTT = Unmeasured
	default:
		address.RTT = time.Duration(rtt) * time.Microsecond
	}
	judged := s.judgement(s.judgementHead() + n)
	if address.Trust = Trust(judged & 7); address.Trust > TrustNoTLS {
		address.Trust = TrustUnknown
	}
	address.Sources = int(judged >> 3)
	address.chain = origin & 0xff
	address.Upstreams = origin >> 8 & (1<<23 - 1)
	address.Confirmed = origin>>31 != 0 || address.Trust == TrustVerified
	return address
}

// Addresses are the addresses in their order, best first.
func (s Set) Addresses() []Address {
	all := make([]Address, s.Len())
	for n := range all {
		all[n] = s.Address(n)
	}
	return all
}
