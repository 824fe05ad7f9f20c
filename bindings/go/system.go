package hither

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the host answers itself, or in another way: these names are left to the system's resolver.

// mayBeInTable says whether a host is a name that the table may have and that the system does not answer
// otherwise: not an address, localhost or a name of multicast DNS, nor one in /etc/hosts, nor one that is
// completed by the search list first.
func mayBeInTable(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(host); err == nil || name == "" || len(name) > nameMax || name[0] == '-' {
		return false
	}
	for n := 0; n < len(name); n++ {
		c := name[n]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "localhost" || last == "local" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return false
	}
	system.read()
	system.lock.Lock()
	defer system.lock.Unlock()
	return !system.hosts[name] && (host[len(host)-1] == '.' || strings.Count(name, ".") >= system.ndots)
}

var system systemFiles

// systemFiles is what is needed of /etc/hosts and /etc/resolv.conf, which are looked at once in five seconds, as
// Go's own resolver does it.
type systemFiles struct {
	lock    sync.Mutex
	checked time.Time
	known   [2]fileState
	hosts   map[string]bool
	ndots   int
}

type fileState struct {
	size     int64
	modified time.Time
}

const (
	checkAfter   = 5 * time.Second
	systemOctets = 16 << 20
)

func (s *systemFiles) read() {
	s.lock.Lock()
	defer s.lock.Unlock()
	now := time.Now()
	if s.hosts != nil && now.Sub(s.checked) < checkAfter && now.After(s.checked) {
		return
	}
	s.checked = now
	if text, changed := s.changed(0, "/etc/hosts"); changed || s.hosts == nil {
		s.hosts = hostsOf(text)
	}
	if text, changed := s.changed(1, "/etc/resolv.conf"); changed || s.ndots == 0 {
		s.ndots = ndotsOf(text + "\noptions " + os.Getenv("RES_OPTIONS"))
	}
}

// changed gives the content of a file if it has changed; that of a file that cannot be read is empty.
func (s *systemFiles) changed(which int, path string) (string, bool) {
	found, err := os.Stat(path)
	var state fileState
	if err == nil && found.Mode().IsRegular() && found.Size() <= systemOctets {
		state = fileState{found.Size(), found.ModTime()}
	}
	if state == s.known[which] {
		return "", false
	}
	s.known[which] = state
	text, _ := os.ReadFile(path)
	return string(text), true
}

func hostsOf(text string) map[string]bool {
	hosts := map[string]bool{}
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for n, word := range strings.Fields(line) {
			if n > 0 {
				hosts[strings.ToLower(strings.TrimSuffix(word, "."))] = true
			}
		}
	}
	return hosts
}

// ndotsOf is the number of dots from which on a name is looked up as it is: 1, unless an option says otherwise.
func ndotsOf(text string) int {
	ndots := 1
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "options" {
			continue
		}
		for _, option := range fields[1:] {
			if !strings.HasPrefix(option, "ndots:") {
				continue
			}
			if number, err := strconv.Atoi(option[len("ndots:"):]); err == nil && number >= 0 {
				ndots = number
			}
		}
	}
	if ndots == 0 {
		return 1
	}
	return ndots
}
