package localstore

import (
	"errors"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errDisk = errors.New("input/output error")

// ill is a directory on a disk that fails. What is nil works.
type ill struct {
	fs.FS

	list func(name string) (most int, err error) // how many entries come, and then what
	stat func(name string) error
}

// ReadDir lists a directory as far as the disk lets it.
func (d ill) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(d.FS, name)
	if err != nil {
		return nil, err
	}
	if d.stat != nil {
		for i, e := range entries {
			entries[i] = illEntry{e, d.stat(path.Join(name, e.Name()))}
		}
	}
	if d.list != nil {
		if most, err := d.list(name); err != nil {
			return entries[:min(most, len(entries))], err
		}
	}
	return entries, nil
}

type illEntry struct {
	fs.DirEntry

	err error
}

// Info fails when the disk does.
func (e illEntry) Info() (fs.FileInfo, error) {
	if e.err != nil {
		return nil, e.err
	}
	return e.DirEntry.Info()
}

// below reports whether a path is below out or is it.
func below(out, name string) bool { return name == out || strings.HasPrefix(name, out+"/") }

func TestASweepThatFailsCountsWhatStays(t *testing.T) {
	// There are two objects of 100 bytes below out and two of 10 below in, all of
	// them too old. Nobody has looked since the store was opened.
	unlisted := func(where string, most int) func(*directory) {
		return func(d *directory) {
			d.tree = ill{FS: d.tree, list: func(name string) (int, error) {
				if name == where || (strings.HasSuffix(where, "/*") && path.Dir(name) == path.Dir(where)) {
					return most, errDisk
				}
				return 0, nil
			}}
		}
	}
	for _, tt := range []struct {
		name string
		harm func(d *directory)
		want count
	}{
		{"a file that cannot be removed", func(d *directory) {
			spared, remove := "", d.remove
			d.remove = func(name string) error {
				if below("out", filepath.ToSlash(name)) && (spared == "" || spared == name) {
					spared = name
					return errDisk
				}
				return remove(name)
			}
		}, count{1, 100}},
		{"no file that can be removed", func(d *directory) { d.remove = func(string) error { return errDisk } }, count{4, 220}},
		{"a directory that cannot be read", unlisted("out", 0), count{2, 200}},
		{"the directory of a day that cannot be read", unlisted("in/*", 0), count{2, 20}},
		{"one that can be read in part", unlisted("in/*", 1), count{2, 20}},
		{"nothing that can be read", unlisted(".", 0), count{4, 220}},
		{"files that cannot be looked at", func(d *directory) {
			d.tree = ill{FS: d.tree, stat: func(name string) error {
				if below("out", name) {
					return errDisk
				}
				return nil
			}}
		}, count{2, 200}},
		{"files that another process has removed", func(d *directory) {
			d.tree = ill{FS: d.tree, stat: func(name string) error {
				if below("out", name) {
					return fs.ErrNotExist
				}
				return nil
			}}
		}, count{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, Options{URL: "file://" + t.TempDir(), MaxBytes: 220, MaxObjects: 10, TTL: time.Minute})
			for range 2 {
				upload(t, s, strings.Repeat("x", 100))
				to, _ := uploadURL(t, s)
				if got := put(s, to, strings.NewReader("0123456789")); got != http.StatusCreated {
					t.Fatalf("status %d", got)
				}
			}
			d, ok := s.shelf.(*directory)
			if !ok {
				t.Fatalf("the shelf is a %T", s.shelf)
			}
			tree, remove := d.tree, d.remove
			tt.harm(d)
			for range 2 { // the second time is as the first
				if err := s.sweep(time.Now().Add(time.Hour)); (err != nil) != (tt.want != count{}) || (err != nil && !errors.Is(err, errDisk)) {
					t.Errorf("sweep: %v", err)
				}
				if left, _ := counted(s); left != tt.want {
					t.Errorf("counted %+v, want %+v", left, tt.want)
				}
			}
			if _, err := s.Upload(t.Context(), make([]byte, 220-tt.want.bytes), ""); err != nil {
				t.Errorf("what is left of the quota: %v", err)
			}
			if _, err := s.Upload(t.Context(), make([]byte, 1), ""); !errors.Is(err, ErrFull) {
				t.Errorf("beyond the quota: %v", err)
			}
			d.tree, d.remove = tree, remove
			if err := s.sweep(time.Now().Add(time.Hour)); err != nil {
				t.Errorf("when the disk is well again: %v", err)
			}
			if left, drafts := counted(s); left != (count{}) || drafts != (count{}) {
				t.Errorf("counted %+v and %+v when everything is gone", left, drafts)
			}
			if diff := cmp.Diff(map[string]count{}, d.known, cmp.AllowUnexported(count{})); diff != "" {
				t.Errorf("known (-want +got):\n%s", diff)
			}
		})
	}
}
