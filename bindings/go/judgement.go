package hither

// What upstreams and certificates say about a set, since ABI 1.3: zeros where a record ends before.

// Why the upstreams of a set disagree, as bits of Disputes.
const (
	DisputedCertificates uint8 = 1 // groups of upstreams; servers of one group show certificates for other names
	DisputedPrivate      uint8 = 2 // an upstream gave private addresses for the public name
	DisputedDenied       uint8 = 4 // an upstream denied the name or the type, while others gave addresses
)

func tailLen(e *Entry, family uint64) uint64 {
	set, ok := e.Set(Families(family))
	if !ok {
		return 0
	}
	return e.words[set.block+3] & 0xffff
}

// judgement is an octet of what is said about the family.
func (s Set) judgement(at uint64) byte {
	e := s.entry
	word := e.shape.tailsAt + (tailLen(e, 1)+tailLen(e, 2)+7)/8
	if s.family == AAAA && e.shape.families&flagA != 0 {
		at += 2 + e.shape.n4
		if e.octet(word, 1) != 0 {
			at += 3
		}
	}
	return e.octet(word, at)
}

// judgementHead is the number of octets before those about addresses.
func (s Set) judgementHead() uint64 {
	if s.judgement(1) != 0 {
		return 5
	}
	return 2
}

// Answered is how many upstreams had answered when the set was published.
func (s Set) Answered() int { return int(s.judgement(0)) }

// Disputes says why upstreams disagree about the set; 0 if they do not.
func (s Set) Disputes() uint8 { return s.judgement(1) }

// Dissenters are the upstreams that disagree, as bits: one for each of the first 22, and bit 22 for all
// others.
func (s Set) Dissenters() uint32 {
	if s.Disputes() == 0 {
		return 0
	}
	return uint32(s.judgement(2)) | uint32(s.judgement(3))<<8 | uint32(s.judgement(4))<<16
}

// Canonical is the canonical name, with a final dot: that of the first address, or of the denial.
func (s Set) Canonical() string {
	var chain uint32
	if s.count > 0 {
		chain = s.Address(0).chain
	}
	before := uint64(0)
	if s.family == AAAA {
		before = tailLen(s.entry, 1)
	}
	tail := s.entry.octets(s.entry.shape.tailsAt, before, tailLen(s.entry, uint64(s.family)))
	if target := lastTarget(tail, chain); target != nil {
		return wireText(target)
	}
	return s.entry.Name()
}

// lastTarget is the last target in a chain of CNAMEs; nil if it has none.
func lastTarget(tail []byte, chain uint32) []byte {
	take := func(count int) []byte {
		if count > len(tail) {
			tail = nil
			return nil
		}
		taken := tail[:count]
		tail = tail[count:]
		return taken
	}
	octet := func() int {
		if taken := take(1); taken != nil {
			return int(taken[0])
		}
		return 0
	}
	chains := octet()
	for n := 0; n < chains && n <= int(chain); n++ {
		var last []byte
		for links := octet(); links > 0; links-- {
			take(6)
			last = take(octet())
		}
		if n == int(chain) {
			return last
		}
	}
	return nil
}
