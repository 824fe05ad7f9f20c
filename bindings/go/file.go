package hither

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"sync/atomic"
)

// Words of the header, see hither-table(5).
const (
	wordABI         = 1
	wordEndian      = 2
	wordFeatures    = 3
	wordFile        = 5
	wordGeneration  = 6
	wordChecksum    = 7
	wordMask        = 10
	wordIndex       = 11
	wordData        = 12
	wordLines       = 13
	wordState       = 16
	wordFlushed     = 17
	wordNetwork     = 18
	wordFamilies    = 19
	wordStale       = 20
	wordChanges     = 32
	wordAlive       = 41
	wordDNS         = 44
	wordClockOffset = 47
	wordHash        = 48

	headerWords = 512
	recordMax   = 2048
	stateOver   = 2
	abiMajor    = 1
	clockMaxMs  = 2000
)

// The reasons why a table cannot be used. Errors of Open wrap them or errors of the system.
var (
	ErrNotTrusted   = errors.New("hither: others than root and the owner of the directory could have written the table")
	ErrNotATable    = errors.New("hither: the file is not a table of this version")
	ErrOtherClock   = errors.New("hither: the table is from another time namespace, or from before the host was started")
	ErrOtherNetwork = errors.New("hither: this thread is in another network namespace than the answers of the table")
	ErrUnsupported  = errors.New("hither: tables can only be read on 64-bit Linux")
)

// file is one table, mapped or not.
type file struct {
	words   []uint64 // nil: the words are read by pread
	count   uint64   // of the words
	pread   func(at uint64, out []uint64) bool
	head    [64]uint64
	secrets [8]uint64
	id      fileID
	release func()
}

type fileID struct{ device, inode uint64 }

// word loads a word: 0 if the file was truncated. Loads of sync/atomic are not reordered with later ones.
func (f *file) word(at uint64) uint64 {
	if at < uint64(len(f.words)) {
		return atomic.LoadUint64(&f.words[at])
	}
	var out [1]uint64
	f.load(at, out[:])
	return out[0]
}

// load copies words; false if the file does not have them. Each is loaded whole and after all loads before
// this call; they have no order among each other.
func (f *file) load(at uint64, out []uint64) bool {
	if at > f.count || uint64(len(out)) > f.count-at {
		return false
	}
	if f.words == nil {
		fence()
		ok := f.pread(at, out)
		fence()
		return ok
	}
	from := f.words[at : at+uint64(len(out))]
	for n := range out {
		out[n] = atomic.LoadUint64(&from[n])
	}
	return true
}

var fenced uint64

// fence orders the loads of system calls before it and after it: the first operation releases, the second
// one acquires.
func fence() {
	atomic.AddUint64(&fenced, 1)
	atomic.AddUint64(&fenced, 1)
}

// check reads the header of a file that has just been opened.
func (f *file) check(octets uint64) error {
	if bits.UintSize != 64 {
		return ErrUnsupported
	}
	if !f.load(0, f.head[:1]) || !f.load(0, f.head[:]) {
		return ErrNotATable
	}
	h := &f.head
	var magic [8]byte
	binary.LittleEndian.PutUint64(magic[:], h[0])
	check := uint64(sumStart)
	for n := 0; n < 16; n++ {
		if n != wordChecksum {
			check = sum(check, h[n])
		}
	}
	for n := range f.secrets {
		f.secrets[n] = h[wordHash+n]
		check = sum(check, h[wordHash+n])
	}
	isTable := bytes.Equal(magic[:], []byte("HITHER\x01\n")) && h[wordABI]>>32 == abiMajor &&
		h[wordEndian] == 0x0102030405060708 && h[wordFeatures] == 0 && check == h[wordChecksum]
	mask := h[wordMask]
	buckets := (h[wordData] - h[wordIndex]) / 8
	isWhole := h[wordFile] == octets && mask&(mask+1) == 0 && h[wordIndex] >= headerWords &&
		h[wordIndex] <= f.count && h[wordData] >= h[wordIndex] && h[wordData] <= f.count && mask < buckets &&
		h[wordLines] <= (f.count-h[wordData])/8
	if !isTable || !isWhole {
		return ErrNotATable
	}
	if apart := int64(clockOffsetMs() - h[wordClockOffset]); apart < -clockMaxMs || apart > clockMaxMs {
		return ErrOtherClock
	}
	return nil
}

func (f *file) isReplaced() bool { return f.word(wordState) == stateOver }

type found int

const (
	foundIt found = iota
	foundNothing
	foundBusy
	foundReplaced
)

const (
	triesMax       = 64
	triesUnmapped  = 16
	tagShift       = 48
	flagA, flagAll = 1, 3
)

// lookup copies the record of a key into e.
func (f *file) lookup(name Name, e *Entry) found {
	key := hash(name.wire(), &f.secrets)
	mask := f.head[wordMask]
	buckets := [2]uint64{key & mask, key >> 24 & mask}
	if buckets[0] == buckets[1] && mask != 0 {
		buckets[1] ^= 1
	}
	tries := triesMax
	if f.words == nil {
		tries = triesUnmapped
	}
	for n := 0; n < tries; n++ {
		if f.isReplaced() {
			return foundReplaced
		}
		if result := f.attempt(name, key>>tagShift, &buckets, e); result != foundBusy {
			return result
		}
	}
	return foundBusy
}

func (f *file) attempt(name Name, tag uint64, buckets *[2]uint64, e *Entry) found {
	for _, bucket := range buckets {
		var copied [8]uint64
		first := f.head[wordIndex] + 8*bucket
		var slots []uint64
		if f.words != nil {
			slots = f.words[first : first+8]
		} else if f.load(first, copied[:]) {
			slots = copied[:]
		}
		for n := range slots {
			word := atomic.LoadUint64(&slots[n])
			if word == 0 || word>>tagShift != tag {
				continue
			}
			if !f.copy(uint64(uint32(word)), int64(word>>32&0xffff), e) {
				return foundBusy
			}
			if e.is(name) {
				if e.words[0]>>1 < f.word(wordFlushed) {
					return foundNothing
				}
				return foundIt
			}
			if f.word(first+uint64(n)) != word {
				return foundBusy
			}
		}
	}
	return foundNothing
}

// copy copies the record at a line, all of one version; false if it is being written or is not a record with
// that nonce.
func (f *file) copy(line uint64, nonce int64, e *Entry) bool {
	lines := f.head[wordLines]
	if line == 0 || line >= lines {
		return false
	}
	at := f.head[wordData] + 8*line
	mark := f.word(at)
	if mark&1 != 0 || nonce >= 0 && int64(mark>>1&0xffff) != nonce {
		return false
	}
	second := f.word(at + 1)
	shape, ok := shapeOf(second)
	if !ok || shape.words > 8*(lines-line) {
		return false
	}
	if uint64(cap(e.words)) < shape.words {
		e.words = make([]uint64, shape.words, (shape.words+63)&^63)
	}
	e.words = e.words[:shape.words]
	e.shape = shape
	e.words[0] = mark
	if !f.load(at+1, e.words[1:]) || e.words[1] != second {
		return false
	}
	return f.word(at) == mark
}
