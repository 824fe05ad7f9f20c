//go:build !(linux && (amd64 || arm64 || riscv64 || ppc64le || loong64 || mips64le))

package hither

import "time"

// Programs for other systems build with this package, and find no table there.

func openFile(string) (*file, error)              { return nil, ErrUnsupported }
func mayMap(uint32) bool                          { return false }
func isSecure() bool                              { return true }
func fileIn(string) (fileID, bool)                { return fileID{}, false }
func bootMs() uint64                              { return 0 }
func clockOffsetMs() uint64                       { return 0 }
func networkHere() uint64                         { return 0 }
func (*file) waitForChange(uint64, time.Duration) {}
func sendHint(string, []byte)                     {}

type clock struct{}

func (*clock) nowMs() uint64 { return bootMs() }
