//go:build linux && (amd64 || arm64 || riscv64 || ppc64le || loong64 || mips64le)

package hither

import (
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	clockBootTime = 7
	futexWait     = 0
	atSecure      = 23
)

// openFile opens the table in a directory, if it can be trusted and used here.
func openFile(dir string) (*file, error) {
	const flags = syscall.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC | syscall.O_NONBLOCK
	folder, err := syscall.Open(dir, flags|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer syscall.Close(folder)
	descriptor, err := syscall.Openat(folder, "hosts", flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir + "/hosts", Err: err}
	}
	opened := os.NewFile(uintptr(descriptor), dir+"/hosts")
	f, err := openTable(folder, opened)
	if err != nil {
		opened.Close()
		return nil, err
	}
	return f, nil
}

func openTable(folder int, opened *os.File) (*file, error) {
	var around, own syscall.Stat_t
	if err := syscall.Fstat(folder, &around); err != nil {
		return nil, err
	}
	if err := syscall.Fstat(int(opened.Fd()), &own); err != nil {
		return nil, err
	}
	const others = 0o022
	isSafe := (around.Mode&others == 0 || around.Mode&syscall.S_ISVTX != 0) &&
		own.Mode&syscall.S_IFMT == syscall.S_IFREG && own.Mode&others == 0 && (own.Uid == 0 || own.Uid == around.Uid)
	if !isSafe {
		return nil, ErrNotTrusted
	}
	if own.Size < headerWords*8 || own.Size%8 != 0 || own.Blocks*512 < own.Size {
		return nil, ErrNotATable
	}
	f := &file{count: uint64(own.Size) / 8, id: fileID{uint64(own.Dev), own.Ino}}
	if mayMap(own.Uid) {
		mapped, err := syscall.Mmap(int(opened.Fd()), 0, int(own.Size), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return nil, os.NewSyscallError("mmap", err)
		}
		f.words = unsafe.Slice((*uint64)(unsafe.Pointer(&mapped[0])), f.count)
		// A goroutine may still read a table that was replaced, so the collector unmaps it.
		runtime.SetFinalizer(f, func(*file) { _ = syscall.Munmap(mapped) })
		defer opened.Close()
	} else {
		f.pread = func(at uint64, out []uint64) bool { return readWords(opened, at, out) }
	}
	err := f.check(uint64(own.Size))
	return f, err
}

func readWords(opened *os.File, at uint64, out []uint64) bool {
	octets := unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), len(out)*8)
	n, err := syscall.Pread(int(opened.Fd()), octets, int64(at*8))
	runtime.KeepAlive(opened)
	return err == nil && n == len(octets)
}

// mayMap says whether this process may map a file of an owner, who could end it by cutting the file.
func mayMap(owner uint32) bool {
	var real, effective, saved uint32
	_, _, failed := syscall.RawSyscall(syscall.SYS_GETRESUID, uintptr(unsafe.Pointer(&real)),
		uintptr(unsafe.Pointer(&effective)), uintptr(unsafe.Pointer(&saved)))
	isRoot := failed != 0 || real == 0 || effective == 0 || saved == 0
	return owner == 0 || !isRoot && !isSecure()
}

var secure struct {
	once sync.Once
	is   bool
}

// isSecure says whether the process was started with more rights than its caller. What cannot be found out
// counts as such: the file belongs to root then.
func isSecure() bool {
	secure.once.Do(func() {
		vector, err := os.ReadFile("/proc/self/auxv")
		secure.is = err != nil
		for ; len(vector) >= 16; vector = vector[16:] {
			if binary.LittleEndian.Uint64(vector) == atSecure {
				secure.is = binary.LittleEndian.Uint64(vector[8:]) != 0
			}
		}
	})
	return secure.is
}

func fileIn(dir string) (fileID, bool) {
	var found syscall.Stat_t
	err := syscall.Lstat(dir+"/hosts", &found)
	return fileID{uint64(found.Dev), found.Ino}, err == nil
}

func clockMs(which uintptr) uint64 {
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, which, uintptr(unsafe.Pointer(&ts)), 0)
	return uint64(ts.Sec)*1000 + uint64(ts.Nsec)/1e6
}

func bootMs() uint64        { return clockMs(clockBootTime) }
func clockOffsetMs() uint64 { return clockMs(0) - bootMs() }

// networkHere is the number of this thread's network namespace; 0 if it is not known.
func networkHere() uint64 {
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil || !strings.HasPrefix(link, "net:[") || !strings.HasSuffix(link, "]") {
		return 0
	}
	number, err := strconv.ParseUint(link[5:len(link)-1], 10, 32)
	if err != nil {
		return 0
	}
	return number
}

// waitForChange waits until the lower half of CHANGES is another one, at most that long.
func (f *file) waitForChange(next uint64, timeout time.Duration) {
	if f.words == nil {
		time.Sleep(20 * time.Millisecond)
		return
	}
	ts := syscall.NsecToTimespec(int64(timeout))
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&f.words[wordChanges])), futexWait,
		uintptr(uint32(next)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	runtime.KeepAlive(f)
}

func sendHint(path string, datagram []byte) {
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	_ = syscall.Sendto(socket, datagram, 0, &syscall.SockaddrUnix{Name: path})
	_ = syscall.Close(socket)
}

// clock is CLOCK_BOOTTIME without a system call at most reads: Go itself has only the clocks that stand still
// while the host sleeps, or that can be set.
type clock struct{ base atomic.Pointer[clockBase] }

type clockBase struct {
	at     time.Time
	bootMs uint64
}

// nowMs advances the last reading by the monotonic clock, for less than a second, and only while the wall clock
// agrees with it: after a sleep it does not.
func (c *clock) nowMs() uint64 {
	now := time.Now()
	if base := c.base.Load(); base != nil {
		passed := now.Sub(base.at)
		wall := time.Duration(now.UnixNano() - base.at.UnixNano())
		if passed >= 0 && passed < time.Second && wall-passed < time.Millisecond && passed-wall < time.Millisecond {
			return base.bootMs + uint64(passed/time.Millisecond)
		}
	}
	base := &clockBase{at: now, bootMs: bootMs()}
	c.base.Store(base)
	return base.bootMs
}
