package hither

import (
	"encoding/binary"
	"errors"
)

// ErrName is the error for a text that is not a domain name: a label is empty or has over 63 octets, or the
// name has over 255 octets.
var ErrName = errors.New("hither: not a domain name")

const (
	nameMax  = 255
	labelMax = 63
)

// Name is a domain name, ready to be looked up. It can be used any number of times and by several goroutines.
type Name struct {
	words  []uint64 // the octets, padded with zeros to whole words
	octets []byte   // in uncompressed wire form and lower case, padded likewise
	length int
}

// ParseName reads a name in any letter case, with or without a final dot. \DDD and \X are escapes.
func ParseName(text string) (Name, error) {
	wire := make([]byte, 1, 64)
	if text == "." {
		return newName(wire), nil
	}
	start := 0
	for at := 0; at < len(text); at++ {
		octet := text[at]
		if octet == '.' {
			if len(wire) == start+1 {
				return Name{}, ErrName
			}
			start = len(wire)
			wire = append(wire, 0)
			continue
		}
		if octet == '\\' {
			var used int
			if octet, used = escape(text[at+1:]); used == 0 {
				return Name{}, ErrName
			}
			at += used
		}
		if octet >= 'A' && octet <= 'Z' {
			octet += 'a' - 'A'
		}
		wire = append(wire, octet)
		wire[start]++
		if wire[start] > labelMax || len(wire) > nameMax {
			return Name{}, ErrName
		}
	}
	if wire[start] != 0 {
		wire = append(wire, 0)
	} else if start == 0 {
		return Name{}, ErrName
	}
	if len(wire) > nameMax {
		return Name{}, ErrName
	}
	return newName(wire), nil
}

func newName(wire []byte) Name {
	name := Name{length: len(wire)}
	for len(wire)%8 != 0 {
		wire = append(wire, 0)
	}
	name.octets = wire
	for at := 0; at < len(wire); at += 8 {
		name.words = append(name.words, binary.LittleEndian.Uint64(wire[at:]))
	}
	return name
}

// escape reads an escape after its backslash: the octet, and how many octets the text of it has.
func escape(text string) (byte, int) {
	isDigit := func(at int) bool { return at < len(text) && text[at] >= '0' && text[at] <= '9' }
	if !isDigit(0) {
		if text == "" {
			return 0, 0
		}
		return text[0], 1
	}
	if !isDigit(1) || !isDigit(2) {
		return 0, 0
	}
	value := int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	if value > 255 {
		return 0, 0
	}
	return byte(value), 3
}

// wire is the name in uncompressed wire form.
func (n Name) wire() []byte { return n.octets[:n.length] }

// String is the name as text with a final dot, with escapes where they are needed.
func (n Name) String() string { return wireText(n.wire()) }

func wireText(wire []byte) string {
	if len(wire) == 0 {
		return ""
	}
	if wire[0] == 0 {
		return "."
	}
	text := make([]byte, 0, len(wire)+8)
	for len(wire) > 0 && wire[0] != 0 {
		end := 1 + int(wire[0])
		if end > len(wire) {
			return string(text)
		}
		for _, octet := range wire[1:end] {
			text = appendOctet(text, octet)
		}
		text = append(text, '.')
		wire = wire[end:]
	}
	return string(text)
}

func appendOctet(text []byte, octet byte) []byte {
	switch octet {
	case '.', '(', ')', ';', '@', '$', '"', '\\':
		return append(text, '\\', octet)
	}
	if octet > 0x20 && octet < 0x7f {
		return append(text, octet)
	}
	return append(text, '\\', '0'+octet/100, '0'+octet/10%10, '0'+octet%10)
}
