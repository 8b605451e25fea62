package observability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a disk of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no disk of a test's own without the right to mount one: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestARealDiskFillsAndIsEmptied has a real file system refuse a part of a line,
// then whole ones, and take them again.
func TestARealDiskFillsAndIsEmptied(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts LogFileOptions
	}{
		{"one file", LogFileOptions{}},
		{"files of 5,000 bytes", LogFileOptions{MaxBytes: 5000, BackupCount: 1000}},
		{"in the background", LogFileOptions{Async: true}},
		{"files in the background", LogFileOptions{Async: true, MaxBytes: 5000, BackupCount: 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := smallDisk(t)
			filler := filepath.Join(dir, "filler")
			if err := os.WriteFile(filler, make([]byte, 40<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "log")
			f := openFile(t, path, tt.opts)
			const full, after = 3000, 300
			text := strings.Repeat("x", 33)
			add := func(n int) { f.Append(fmt.Appendf(nil, `{"n":%d,"text":"%s"}`, n, text)) }
			for n := range full {
				add(n)
			}
			for tt.opts.Async && f.queue.waiting() > 0 {
				time.Sleep(time.Millisecond)
			}
			if f.Dropped() == 0 {
				t.Fatal("the disk is not full")
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			for n := range after {
				add(full + n)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			names, err := filepath.Glob(path + "*")
			if err != nil {
				t.Fatal(err)
			}
			var whole int
			var announced int64
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(text) {
					var e entry
					if json.Unmarshal(line, &e) == nil {
						whole++
						announced += e.Dropped
					}
				}
			}
			if whole+int(f.Dropped()) != full+after || announced != f.Dropped() {
				t.Errorf("of %d lines %d are there, %d are dropped and %d of these announced", full+after, whole, f.Dropped(), announced)
			}
		})
	}
}
