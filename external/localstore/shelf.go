package localstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A shelf holds objects by key. It neither counts nor guards them: that is the
// Store's. Its methods may be called at once.
type shelf interface {
	// create makes room for one object. Whoever has it commits or aborts. It
	// fails with fs.ErrExist when there is such an object, or somebody else is
	// writing it.
	create(key string) (draft, error)
	// open fails with fs.ErrNotExist when there is no such object.
	open(key string) (content, error)
	// sweep removes objects that are older than a time, and what was never
	// committed, and says what is left, with an error as well: what cannot be
	// removed is left, and where it cannot look there is as much as there was.
	sweep(before time.Time) (left count, err error)
	close() error
}

// A draft is an object that nobody else can see yet.
type draft interface {
	io.Writer
	commit(contentEncoding string) error
	abort()
}

// A content is an object as it is read.
type content struct {
	io.ReadSeekCloser
	size     int64
	encoding string
}

// A count is of objects.
type count struct{ objects, bytes int64 }

func (c count) plus(d count) count { return count{c.objects + d.objects, c.bytes + d.bytes} }

// memory is the shelf of mem://.
type memory struct {
	mu      sync.Mutex
	objects map[string]*memoryObject // nil once it is closed
}

type memoryObject struct {
	shelf     *memory
	key       string
	data      []byte
	encoding  string
	created   time.Time
	committed bool
}

func newMemory() *memory { return &memory{objects: map[string]*memoryObject{}} }

func (m *memory) create(key string) (draft, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		return nil, fs.ErrClosed
	}
	if m.objects[key] != nil {
		return nil, fs.ErrExist
	}
	o := &memoryObject{shelf: m, key: key, created: time.Now()}
	m.objects[key] = o
	return o, nil
}

// Write appends to the object, which is its writer's alone until it is committed.
func (o *memoryObject) Write(p []byte) (int, error) {
	o.data = append(o.data, p...)
	return len(p), nil
}

func (o *memoryObject) commit(contentEncoding string) error {
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	if o.shelf.objects[o.key] != o {
		return fs.ErrNotExist // it was swept: writing it took too long
	}
	o.encoding, o.committed = contentEncoding, true
	return nil
}

func (o *memoryObject) abort() {
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	if o.shelf.objects[o.key] == o {
		delete(o.shelf.objects, o.key)
	}
}

func (m *memory) open(key string) (content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[key]
	if o == nil || !o.committed {
		return content{}, fs.ErrNotExist
	}
	return content{nopCloser{bytes.NewReader(o.data)}, int64(len(o.data)), o.encoding}, nil
}

type nopCloser struct{ io.ReadSeeker }

// Close does nothing.
func (nopCloser) Close() error { return nil }

func (m *memory) sweep(before time.Time) (left count, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, o := range m.objects {
		switch {
		case o.created.Before(before):
			delete(m.objects, key)
		case o.committed: // others are still counted by whoever writes them
			left = left.plus(count{1, int64(len(o.data))})
		}
	}
	return left, nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects = nil
	return nil
}

// directory is the shelf of file://. An object is a file at its key, with the
// suffix of its encoding; a draft has a suffix of its own.
type directory struct {
	root   *os.Root
	tree   fs.FS              // of root
	remove func(string) error // a file below root

	mu    sync.Mutex
	known map[string]count // what is in which directory, as of the last sweep that could look, and committed since
}

// Suffixes of files.
const suffixDraft = ".part"

var suffixes = map[string]string{"": "", "zstd": ".zst", "gzip": ".gz"}

func openDirectory(name string) (*directory, error) {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, fmt.Errorf("localstore: %w", err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("localstore: %w", err)
	}
	return &directory{root: root, tree: root.FS(), remove: root.Remove, known: map[string]count{}}, nil
}

func (d *directory) create(key string) (draft, error) {
	name := filepath.FromSlash(key)
	if err := d.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name+suffixDraft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	draft := &fileDraft{shelf: d, key: key, name: name, File: f}
	// Whoever wrote it before had removed its draft by then.
	if old, err := d.open(key); !errors.Is(err, fs.ErrNotExist) {
		draft.abort()
		if err == nil {
			err = errors.Join(fs.ErrExist, old.Close())
		}
		return nil, err
	}
	return draft, nil
}

// fileDraft is a file that is being written.
type fileDraft struct {
	*os.File
	shelf *directory
	key   string
	name  string // the key's, of a file
	bytes int64
}

// Write writes to the file, and counts.
func (f *fileDraft) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.bytes += int64(n)
	return n, err
}

func (f *fileDraft) commit(contentEncoding string) error {
	suffix, ok := suffixes[contentEncoding]
	err := f.Close()
	if err == nil && !ok {
		err = fmt.Errorf("localstore: no suffix for the encoding %q", contentEncoding)
	}
	if err != nil {
		return err
	}
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	if err = f.shelf.root.Rename(f.name+suffixDraft, f.name+suffix); err == nil {
		day := path.Dir(f.key)
		f.shelf.known[day] = f.shelf.known[day].plus(count{1, f.bytes})
	}
	return err
}

func (f *fileDraft) abort() {
	_ = f.Close()
	_ = f.shelf.root.Remove(f.name + suffixDraft)
}

func (d *directory) open(key string) (content, error) {
	name := filepath.FromSlash(key)
	for encoding, suffix := range suffixes {
		f, err := d.root.Open(name + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return content{}, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fs.ErrNotExist
		}
		if err != nil {
			_ = f.Close()
			return content{}, err
		}
		return content{f, info.Size(), encoding}, nil
	}
	return content{}, fs.ErrNotExist
}

// sweep looks at files that this package could have written, and at no others.
func (d *directory) sweep(before time.Time) (left count, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := walk{directory: d, before: before, found: map[string]count{}}
	err = fs.WalkDir(d.tree, ".", w.visit)
	for name, known := range d.known {
		if w.missed(name) {
			found := w.found[name]
			w.found[name] = count{max(known.objects, found.objects), max(known.bytes, found.bytes)}
		}
	}
	d.known = w.found
	for _, c := range d.known {
		left = left.plus(c)
	}
	d.prune(before)
	return left, errors.Join(err, w.failed)
}

// A walk is a sweep through a directory.
type walk struct {
	*directory
	before time.Time
	found  map[string]count // by directory: what stays
	unread []string         // directories of which something could not be seen
	failed error            // the last one
}

// visit is for [fs.WalkDir]. Whatever goes wrong, the rest is swept all the same.
func (w *walk) visit(name string, entry fs.DirEntry, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process was faster
		return nil
	case err != nil:
		w.unread, w.failed = append(w.unread, name), err
		return nil //nolint:nilerr // it is kept
	case entry.IsDir():
		if name != "." && !ourDirectory(name) {
			return fs.SkipDir
		}
		return nil
	case !ourFile(name):
		return nil
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		w.unread, w.failed = append(w.unread, path.Dir(name)), err
		return nil //nolint:nilerr // it is kept
	}
	switch {
	case info.ModTime().Before(w.before):
		err := w.remove(filepath.FromSlash(name))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		w.failed = err
	case path.Ext(name) == suffixDraft: // whoever writes it counts it
		return nil
	}
	day := path.Dir(name)
	w.found[day] = w.found[day].plus(count{1, info.Size()})
	return nil
}

// missed reports whether something of a directory could not be seen.
func (w *walk) missed(name string) bool {
	return slices.ContainsFunc(w.unread, func(above string) bool {
		return above == "." || name == above || strings.HasPrefix(name, above+"/")
	})
}

// prune removes the directories of days that are over, if they are empty.
func (d *directory) prune(before time.Time) {
	today := before.UTC().Format(time.DateOnly)
	for _, kind := range []string{"in", "out"} {
		days, err := fs.ReadDir(d.root.FS(), kind)
		if err != nil {
			continue
		}
		for _, day := range days {
			if name := kind + "/" + day.Name(); day.Name() < today && ourDirectory(name) {
				_ = d.root.Remove(filepath.FromSlash(name)) // which a directory with files refuses
			}
		}
	}
}

func (d *directory) close() error { return d.root.Close() }

// ourDirectory reports whether a path below the root is one of this package.
func ourDirectory(name string) bool {
	kind, day, below := strings.Cut(name, "/")
	if kind != "in" && kind != "out" {
		return false
	}
	if !below {
		return true
	}
	_, err := time.Parse(time.DateOnly, day)
	return err == nil
}
