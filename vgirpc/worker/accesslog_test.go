package worker_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFlagsOfTheAccessLogThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a negative size", []string{"--access-log-max-bytes", "-1"}, "--access-log-max-bytes -1: want at least 0"},
		{"no backups", []string{"--access-log-backup-count", "0"}, "--access-log-backup-count 0: want at least 1"},
		{"no queue", []string{"--access-log-queue-size", "0"}, "--access-log-queue-size 0: want at least 1"},
		{"records of a negative size", []string{"--access-log-max-record-bytes", "-1"}, "--access-log-max-record-bytes -1"},
		{"a percentage", []string{"--access-log-sample", "50"}, "--access-log-sample 50: want a fraction"},
		{"a rate that is no number", []string{"--access-log-sample", "NaN"}, "--access-log-sample NaN: want a fraction"},
		{"size and time", []string{"--access-log-max-bytes", "1", "--access-log-when", "H"}, "exclude each other"},
		{"a period that is none", []string{"--access-log-when", "noon"}, `"noon": want S, M, H, D`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"--access-log", filepath.Join(t.TempDir(), "log")}, tt.args...)
			refused(t, 2, tt.want, args...)
		})
	}
}

func TestTheAccessLogIsOpenedAnewOnSIGHUP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	p := start(t, "--tcp", "0", "--access-log", path, "--access-log-async", "--exit-timeout", "0")
	c := dial(t, p.Announcement(t))
	mustEcho(t, c)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGHUP)
	p.Says(t, "reloaded")
	mustEcho(t, c)
	_ = c.Close()
	p.Signal(t, syscall.SIGTERM)
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	var records int
	for _, name := range []string{path + ".old", path} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		records += bytes.Count(text, []byte("\n"))
	}
	text, _ := os.ReadFile(path)
	var r map[string]any
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&r); err != nil && err != io.EOF {
		t.Error(err)
	}
	if records != 2 || r["method"] != "echo" {
		t.Errorf("%d records, want 2; the last one %v", records, r)
	}
}
