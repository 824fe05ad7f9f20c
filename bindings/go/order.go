package hither

// The orders over both families: bits 0 to 7 of FAMILIES.
const (
	orderAsIs uint64 = iota
	orderMeasured
	orderV6First
	orderV4First
)

const withholds = 1 << 8

// Ordered are the addresses of the wanted families in the order that the daemon's configuration says for both
// of them (sort.families), best first: by default by measured round-trip time.
func (e *Entry) Ordered(families Families) []Address {
	var all []Address
	var counts [2]int
	for n, family := range [2]Families{A, AAAA} {
		if set, ok := e.Set(family); ok && families&family != 0 {
			counts[n] = set.Len()
			all = append(all, set.Addresses()...)
		}
	}
	order := e.families & 0xff
	if counts[0] == 0 || counts[1] == 0 || order == orderAsIs || order > orderV4First {
		return all
	}
	hasVerified := e.hasVerified(A) || e.hasVerified(AAAA)
	merged := make([]Address, 0, len(all))
	four, six := all[:counts[0]], all[counts[0]:]
	for rank := 0; len(merged) < len(all); rank++ {
		fours, sixes := ofRank(four, rank, order, hasVerified), ofRank(six, rank, order, hasVerified)
		for len(fours) > 0 || len(sixes) > 0 {
			if len(sixes) == 0 || len(fours) > 0 && fours[0].RTT < sixes[0].RTT {
				merged, fours = append(merged, fours[0]), fours[1:]
			} else {
				merged, sixes = append(merged, sixes[0]), sixes[1:]
			}
		}
	}
	return merged
}

// ofRank are the addresses of one family that have a rank, in the order of the record.
func ofRank(all []Address, rank int, order uint64, hasVerified bool) []Address {
	var some []Address
	for n := range all {
		if rankOf(&all[n], order, hasVerified) == rank {
			some = append(some, all[n])
		}
	}
	return some
}

// rankOf is the rank of an address, below 16: those of lower ranks come first.
func rankOf(a *Address, order uint64, hasVerified bool) int {
	rank := 0
	if hasVerified && a.Trust.isBad() {
		rank += 8
	}
	if order != orderMeasured {
		if a.Addr.Is6() != (order == orderV6First) {
			rank++
		}
		return rank
	}
	if !a.Confirmed {
		rank += 4
	}
	return rank + reach(a)
}

func (e *Entry) hasVerified(family Families) bool {
	set, _ := e.Set(family)
	for n := 0; n < set.Len(); n++ {
		if set.Address(n).Trust == TrustVerified {
			return true
		}
	}
	return false
}

// reach is 0 for an address with a time, 1 for an unmeasured one, 2 for an unreachable one.
func reach(a *Address) int {
	switch a.RTT {
	case Unreachable:
		return 2
	case Unmeasured:
		return 1
	}
	return 0
}

// Withheld says whether the daemon withholds a family, A or AAAA, from programs that sort both families by
// themselves (sort.withhold). Programs that use the order of Ordered need not ask.
func (e *Entry) Withheld(family Families) bool {
	other := Both &^ family
	own, ok := e.Set(family)
	others, okOther := e.Set(other)
	isFresh := ok && okOther && own.Len() > 0 && others.Len() > 0 && own.Use() == Usable && others.Use() == Usable
	if e.families&withholds == 0 || !isFresh || e.hasVerified(family) && !e.hasVerified(other) {
		return false
	}
	best, isMeasured := bestTime(own, false)
	bestOther, _ := bestTime(others, true)
	switch {
	case bestOther < 0 || !isMeasured:
		return false
	case best < 0:
		return true
	}
	return best-bestOther > int64(e.families>>32)
}

// bestTime is the best time of all addresses, or of those that count as good, in microseconds: -1 if there is
// none; and whether all were measured.
func bestTime(set Set, isGood bool) (int64, bool) {
	best, isMeasured := int64(-1), true
	for n := 0; n < set.Len(); n++ {
		one := set.Address(n)
		isMeasured = isMeasured && one.RTT != Unmeasured
		micros := one.RTT.Microseconds()
		counts := one.RTT >= 0 && (!isGood || one.Confirmed && !one.Trust.isBad())
		if counts && (best < 0 || micros < best) {
			best = micros
		}
	}
	return best, isMeasured
}
