package hither

import (
	"encoding/binary"
	"math/bits"
)

// The hash of hither-table(5): rapidhash V3 micro, protected.

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return a ^ low ^ b ^ high
}

func octets8(key []byte, at int) uint64 { return binary.LittleEndian.Uint64(key[at:]) }
func octets4(key []byte, at int) uint64 { return uint64(binary.LittleEndian.Uint32(key[at:])) }

// hash is the hash of a key, with the seed and the seven secrets of a table.
func hash(key []byte, secrets *[8]uint64) uint64 {
	seed, s := secrets[0], secrets[1:]
	var a, b uint64
	n := len(key)
	left := n
	switch {
	case n > 16:
		seed, left = hashLong(key, seed, s)
		a, b = octets8(key, n-16)^uint64(left), octets8(key, n-8)
	case n >= 8:
		seed ^= uint64(n)
		a, b = octets8(key, 0), octets8(key, n-8)
	case n >= 4:
		seed ^= uint64(n)
		a, b = octets4(key, 0), octets4(key, n-4)
	case n > 0:
		a, b = uint64(key[0])<<45|uint64(key[n-1]), uint64(key[n/2])
	}
	a ^= s[1]
	b ^= seed
	high, low := bits.Mul64(a, b)
	return mix(a^low^0xaaaaaaaaaaaaaaaa, b^high^s[1]^uint64(left))
}

// hashLong takes in all octets but the last 16 of a key that has more of them.
func hashLong(key []byte, seed uint64, s []uint64) (uint64, int) {
	at, left := 0, len(key)
	if left > 80 {
		lanes := [5]uint64{seed, seed, seed, seed, seed}
		for ; left > 80; at, left = at+80, left-80 {
			for i := range lanes {
				lanes[i] = mix(octets8(key, at+16*i)^s[i], octets8(key, at+16*i+8)^lanes[i])
			}
		}
		seed = lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4]
	}
	for i, which := range [4]int{2, 2, 1, 1} {
		if left > 16+16*i {
			seed = mix(octets8(key, at+16*i)^s[which], octets8(key, at+16*i+8)^seed)
		}
	}
	return seed, left
}

// sum takes a word into a checksum.
func sum(before, word uint64) uint64 {
	high, low := bits.Mul64(before^word, 0xd6e8feb86659fd93)
	return low ^ high ^ 0x2545f4914f6cdd1d
}

const sumStart = 0x9e3779b97f4a7c15
