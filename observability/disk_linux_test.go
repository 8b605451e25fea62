package observability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNamespace tells the test binary that it has been started by inOwnNamespace.
const inNamespace = "VGI_TEST_MAY_MOUNT"

// inOwnNamespace runs a test in another process, which is root in a namespace of its
// own and may mount there. Where a user may not have one, the test is skipped, under
// CI as well: no program that could be installed would help.
func inOwnNamespace(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skip("a disk of the test's own takes root, or the right to have a user namespace: ", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skipf("in a user namespace:\n%s", &out)
	}
}

// mayMount reports whether this process may mount a disk.
func mayMount(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	if err := mount(dir); err != nil {
		return false
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	return true
}

// mount mounts a disk of 64 KiB.
func mount(dir string) error { return syscall.Mount("none", dir, "tmpfs", 0, "size=64k") }

// smallDisk is a directory with such a disk.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := mount(dir); err != nil {
		t.Fatal(err)
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
	if !mayMount(t) {
		if os.Getenv(inNamespace) != "" {
			t.Skip("nothing may be mounted in a user namespace")
		}
		inOwnNamespace(t)
		return
	}
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
