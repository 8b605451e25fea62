//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
)

func TestLaunchFindsOrStartsAWorker(t *testing.T) {
	dir := filepath.Dir(socket(t))
	first := vgi(t, "launch", "--state-dir", dir, "--idle-timeout", "10s", "--", os.Args[0])
	if first.status != 0 || !strings.HasPrefix(first.out, "unix:"+dir) {
		t.Fatalf("got %+v", first)
	}
	url := strings.TrimSpace(first.out)
	// While somebody is connected, the worker does not end between two commands.
	c, err := vgirpc.DialUnix(t.Context(), strings.TrimPrefix(url, "unix:"), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if again := vgi(t, "launch", "--state-dir", dir, "--", os.Args[0]); again.out != first.out {
		t.Errorf("another worker: %+v", again)
	}
	if got := vgi(t, "call", url, "add_floats", "a=1", "b=2"); got.out != "3\n" {
		t.Errorf("got %+v", got)
	}
	if got := vgi(t, "launch", "status", "--state-dir", dir); !strings.Contains(got.out, "alive") || !strings.Contains(got.out, url+"  "+os.Args[0]) {
		t.Errorf("got %+v", got)
	}
	var w launch.Worker
	if err := json.Unmarshal([]byte(vgi(t, "launch", "status", "--state-dir", dir, "--json").out), &w); err != nil || !w.Alive || "unix:"+w.Socket != url {
		t.Errorf("%v: %+v", err, w)
	}
	if got := vgi(t, "launch", "gc", "--state-dir", dir); got.status != 0 || got.out != "" {
		t.Errorf("a live worker: %+v", got)
	}
}

func TestLaunchRemovesWhatDeadWorkersLeft(t *testing.T) {
	dir := filepath.Dir(socket(t))
	const key = "0123456789abcdef"
	for _, name := range []string{key + ".meta", key + ".lock"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := vgi(t, "launch", "status", "--state-dir", dir); !strings.Contains(got.out, "dead") {
		t.Errorf("got %+v", got)
	}
	if got := vgi(t, "launch", "gc", "--state-dir", dir); got.out != "removed "+key+"\n" {
		t.Errorf("got %+v", got)
	}
}

func TestLaunchSaysWhatIsWrong(t *testing.T) {
	dir := filepath.Dir(socket(t))
	for _, tt := range []struct {
		name   string
		args   []string
		status int
	}{
		{"no command", []string{"launch"}, exitUsage},
		{"a command that ends", []string{"launch", "--state-dir", dir, "--", "false"}, exitUnreachable},
		{"a command that is not there", []string{"launch", "--state-dir", dir, "--", "/nonexistent/it"}, 73},
		{"arguments of status", []string{"launch", "status", "x"}, exitUsage},
	} {
		if got := vgi(t, tt.args...); got.status != tt.status {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
