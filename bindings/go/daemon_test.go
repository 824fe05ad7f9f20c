package hither

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Tests beside a daemon, which tests/bindings.rs starts with an upstream that knows these names.

func daemonTable(t *testing.T) (*Table, context.Context) {
	if os.Getenv("HITHER_TEST_PORT") == "" {
		t.Skip("no daemon: tests/bindings.rs runs this test")
	}
	table, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return table, ctx
}

func TestDaemonResolve(t *testing.T) {
	table, ctx := daemonTable(t)
	var entry Entry
	if answer := table.LookupText("never.asked.example", Both, &entry); answer != Missing {
		t.Error(answer)
	}
	for _, name := range []string{"web.example", "WEB.Example."} {
		if err := table.Resolve(ctx, name, Both, &entry); err != nil {
			t.Fatal(err)
		}
	}
	set, ok := entry.Set(A)
	if !ok || set.Len() != 1 || set.TTL() < 500*time.Second || set.TTL() > 600*time.Second || !entry.Intact() {
		t.Errorf("%+v", set)
	}
	if six, ok := entry.Set(AAAA); !ok || six.Address(0).Addr.String() != "2001:db8::7" {
		t.Errorf("%+v", six)
	}
	if err := table.Resolve(ctx, "alias.example", Both, &entry); err != nil {
		t.Fatal(err)
	}
	if set, _ := entry.Set(AAAA); set.Canonical() != "last.example." {
		t.Error(set.Canonical())
	}
	if err := table.Resolve(ctx, "many.example", Both, &entry); err != nil || len(entry.Ordered(Both)) != 40 {
		t.Error(err, entry.Ordered(Both))
	}
	if six, ok := entry.Set(AAAA); !ok || six.Denial != NoData {
		t.Errorf("%+v", six)
	}
	if err := table.Resolve(ctx, "none.example", Both, &entry); err != nil || len(entry.Ordered(Both)) != 0 {
		t.Error(err)
	}
	if set, _ := entry.Set(A); set.Denial != NXDomain {
		t.Errorf("%+v", set)
	}
	if answer := table.LookupText("none.example", A, &entry); answer != Fresh {
		t.Error(answer)
	}
}

func TestDaemonHTTP(t *testing.T) {
	_, _ = daemonTable(t)
	client := http.Client{Transport: &http.Transport{DialContext: DialContext}}
	response, err := client.Get("http://web.example:" + os.Getenv("HITHER_TEST_PORT") + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "hello" {
		t.Errorf("%q", body)
	}
}

func TestDaemonDial(t *testing.T) {
	table, ctx := daemonTable(t)
	port := os.Getenv("HITHER_TEST_PORT")
	dialer := Dialer{Table: table}
	for _, address := range []string{"web.example:" + port, "127.0.0.1:" + port, "localhost:" + port} {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			t.Error(address, err)
			continue
		}
		connection.Close()
	}
	if connection, err := dialer.DialContext(ctx, "tcp6", "v4.example:"+port); err == nil {
		t.Error(connection.RemoteAddr())
	}
	if connection, err := dialer.DialContext(ctx, "tcp", "web.example:1"); err == nil {
		t.Error(connection.RemoteAddr())
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := dialer.DialContext(over, "tcp", "web.example:"+port); err == nil {
		t.Error("a connection after the end of the context")
	}
}

func TestDaemonResolver(t *testing.T) {
	table, ctx := daemonTable(t)
	addresses, err := table.Resolver().LookupNetIP(ctx, "ip4", "v4.example")
	if err != nil || len(addresses) != 1 || addresses[0].Unmap().String() != "198.18.0.4" {
		t.Error(addresses, err)
	}
	var missing *net.DNSError
	if _, err := table.Resolver().LookupHost(ctx, "none.example."); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Error(err)
	}
}

func TestDaemonWait(t *testing.T) {
	table, ctx := daemonTable(t)
	seen := table.Changes()
	changed := make(chan uint64, 1)
	go func() {
		changes, _ := table.Wait(ctx, seen)
		changed <- changes
	}()
	var entry Entry
	if err := table.Resolve(ctx, "new.example", A, &entry); err != nil {
		t.Fatal(err)
	}
	if changes := <-changed; changes == seen {
		t.Error("no change was noticed")
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	for changes, err := table.Changes(), error(nil); err == nil; changes, err = table.Wait(short, changes) {
	}
}

func TestDaemonFeed(t *testing.T) {
	table, _ := daemonTable(t)
	feed, err := table.Subscribe(Both, "feed-go.example", "none.example")
	if err != nil {
		t.Fatal(err)
	}
	for {
		change, err := feed.Next()
		if err != nil {
			t.Fatal(err)
		}
		if change.Name == "feed-go.example." && change.Family == A {
			if change.Cause != "new-set" || change.Version == 0 {
				t.Errorf("%+v", change)
			}
			break
		}
	}
	var entry Entry
	if answer := table.LookupText("feed-go.example", A, &entry); answer != Fresh {
		t.Error(answer)
	}
	if err := feed.Close(); err != nil {
		t.Error(err)
	}
	if _, err := table.Subscribe(Both, "a..b"); !errors.Is(err, ErrName) {
		t.Error(err)
	}
}

// The short TTL of this name is in its last fifth after 0.8 seconds: a hint is sent.
func TestDaemonHint(t *testing.T) {
	table, ctx := daemonTable(t)
	var entry Entry
	if err := table.Resolve(ctx, "short.example", A, &entry); err != nil {
		t.Fatal(err)
	}
	isSent := func() bool {
		for n := range table.hinted {
			if table.hinted[n].Load() != 0 {
				return true
			}
		}
		return false
	}
	for ctx.Err() == nil && !isSent() {
		_ = table.Resolve(ctx, "short.example", A, &entry)
		time.Sleep(10 * time.Millisecond)
	}
	if !isSent() {
		t.Error("no hint was sent")
	}
}

// The daemon is dead, and the addresses have expired.
func TestStale(t *testing.T) {
	if os.Getenv("HITHER_RUNTIME_DIR") == "" {
		t.Skip("no table: tests/bindings.rs runs this test")
	}
	table, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	var entry Entry
	if answer := table.LookupText("short.example", A, &entry); answer != Stale {
		t.Fatal(answer)
	}
	if err := table.Resolve(context.Background(), "short.example", A, &entry); err != nil {
		t.Error(err)
	}
	if set, _ := entry.Set(A); set.Use() != StaleOnly || set.TTL() != 0 || set.Len() != 1 {
		t.Errorf("%+v", set)
	}
	if err := table.resolve(context.Background(), "short.example", A, &entry, false); !errors.Is(err, ErrUnanswered) {
		t.Error(err)
	}
	// A resolver of the system that fails for now: the expired address is tried, where nobody listens.
	fails := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no server")}
	}
	dialer := Dialer{Table: table, Dialer: net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: fails}}}
	if _, err := dialer.Dial("tcp4", "short.example:1"); err == nil || !strings.Contains(err.Error(), "127.0.0.7:1") {
		t.Error(err)
	}
	if err := table.Resolve(context.Background(), "other.example", A, &entry); !errors.Is(err, ErrUnanswered) {
		t.Error(err)
	}
}
