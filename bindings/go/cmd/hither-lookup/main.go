// hither-lookup prints what the table has for names, as JSON: a line for each family, and one with the answer and
// the order over both families. Without arguments it reads names from standard input, a name a line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"hither.example/hither"
)

type address struct {
	Address   string `json:"address"`
	RTT       *int64 `json:"rtt_us"`
	Reachable *bool  `json:"reachable"`
	Trust     string `json:"trust"`
	Sources   int    `json:"sources"`
}

type line struct {
	Name       string    `json:"name"`
	Type       string    `json:"type"`
	Version    uint64    `json:"version"`
	SetVersion uint64    `json:"set_version"`
	Round      uint64    `json:"round"`
	State      string    `json:"state"`
	Sorted     bool      `json:"sorted"`
	Stale      bool      `json:"stale"`
	Negative   *string   `json:"negative"`
	TTL        int64     `json:"ttl"`
	Canonical  string    `json:"canonical"`
	Answered   int       `json:"answered"`
	Disputed   bool      `json:"disputed"`
	Disputes   []string  `json:"disputes"`
	Dissenters []int     `json:"dissenters"`
	Addresses  []address `json:"addresses"`
}

type summary struct {
	Asked    string    `json:"asked"`
	Answers  [3]string `json:"answers"` // of A, AAAA and both
	Order    []string  `json:"order"`
	Withheld []string  `json:"withheld"`
}

func shown(set hither.Set, name, rtype string) line {
	out := line{Name: name, Type: rtype, Version: set.Version, SetVersion: set.Set, Round: set.Round,
		State: [...]string{"first", "partial", "complete", "complete"}[set.State], Sorted: set.Sorted,
		Stale: set.Use() == hither.StaleOnly, TTL: int64(set.TTL().Seconds()), Canonical: set.Canonical(),
		Answered: set.Answered(), Disputed: set.Disputes() != 0,
		Disputes: []string{}, Dissenters: []int{}, Addresses: []address{}}
	if set.Denial != hither.Exists {
		word := [...]string{"", "nodata", "nxdomain", ""}[set.Denial]
		out.Negative = &word
	}
	for n, word := range [...]string{"certificates", "private", "denied"} {
		if set.Disputes()>>n&1 != 0 {
			out.Disputes = append(out.Disputes, word)
		}
	}
	for n := 0; n < 24; n++ {
		if set.Dissenters()>>n&1 != 0 {
			out.Dissenters = append(out.Dissenters, n+1)
		}
	}
	for _, one := range set.Addresses() {
		own := address{Address: one.Addr.String(), Trust: one.Trust.String(), Sources: one.Sources}
		isReachable := one.RTT >= 0
		if isReachable {
			micros := one.RTT.Microseconds()
			own.RTT = &micros
		}
		if one.RTT != hither.Unmeasured {
			own.Reachable = &isReachable
		}
		out.Addresses = append(out.Addresses, own)
	}
	return out
}

func show(table *hither.Table, text string, out *json.Encoder) {
	var entry hither.Entry
	name, err := hither.ParseName(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, text+":", err)
		return
	}
	about := summary{Asked: text, Order: []string{}, Withheld: []string{}}
	for n, families := range [...]hither.Families{hither.A, hither.AAAA, hither.Both} {
		about.Answers[n] = table.Lookup(name, families, &entry).String()
	}
	if entry.Version() != 0 && about.Answers[2] != "missing" {
		for n, family := range [...]hither.Families{hither.A, hither.AAAA} {
			rtype := [...]string{"A", "AAAA"}[n]
			if set, ok := entry.Set(family); ok && set.Use() != hither.Unusable {
				_ = out.Encode(shown(set, entry.Name(), rtype))
			}
			if entry.Withheld(family) {
				about.Withheld = append(about.Withheld, rtype)
			}
		}
		for _, one := range entry.Ordered(hither.Both) {
			about.Order = append(about.Order, one.Addr.String())
		}
	}
	_ = out.Encode(about)
}

func main() {
	table, err := hither.Open("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buffered := bufio.NewWriter(os.Stdout)
	defer buffered.Flush()
	out := json.NewEncoder(buffered)
	out.SetEscapeHTML(false)
	for _, name := range os.Args[1:] {
		show(table, name, out)
	}
	if len(os.Args) == 1 {
		names := bufio.NewScanner(os.Stdin)
		for names.Scan() {
			show(table, names.Text(), out)
		}
	}
}
