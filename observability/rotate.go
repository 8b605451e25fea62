package observability

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rotating is a sink that is a file at a path. It renames the file when it is
// time to, and notices when somebody else did. It is not safe for concurrent
// use.
type rotating struct {
	path     string
	opts     LogFileOptions
	schedule *schedule
	lines    lines // of file

	file    *os.File // nil while there is none
	info    fs.FileInfo
	regular bool
	size    int64
	began   time.Time // the period that the file belongs to
	ends    time.Time

	checkAt      time.Time // when to see whether the path still is this file
	missingSince time.Time // the path stands for nothing; zero: it does
	failed       bool      // the last write failed: open the file anew
	renameAt     time.Time // not before: a renaming failed
	problem      error     // for trouble
	lastError    error     // why there is no file
}

const (
	// checkInterval is how often the path is looked at, and how often a file is
	// opened anew after a failure.
	checkInterval = time.Second
	// missingTime is how long the path may stand for nothing while the old file
	// still has a name: between two steps of a tool that renames it and makes a
	// new one, and that may fail when one is there already.
	missingTime = 10 * time.Second
	// renameInterval is how often a renaming that failed is tried again.
	renameInterval = 10 * time.Second
)

func openRotating(path string, opts LogFileOptions) (*rotating, error) {
	s, err := newSchedule(opts.When)
	if err != nil {
		return nil, err
	}
	r := &rotating{path: path, opts: opts, schedule: s}
	renames := opts.MaxBytes > 0 || s != nil
	if info, err := os.Lstat(path); err == nil && renames && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link: only what it stands for can be renamed by size or time", path)
	}
	if err := r.open(opts.clock()); err != nil {
		return nil, err
	}
	r.findTorn()
	if !r.regular && renames {
		return nil, errors.Join(fmt.Errorf("%s is no regular file: it cannot be renamed by size or time", path), r.close())
	}
	return r, nil
}

// open makes the file at the path the one that is written to. When it fails,
// the old one stays.
func (r *rotating) open(now time.Time) error {
	file, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	torn := r.lines.torn && os.SameFile(r.info, info)
	if r.file != nil {
		_ = r.file.Close() // every write to it has returned
	}
	r.file, r.info, r.regular, r.size = file, info, info.Mode().IsRegular(), info.Size()
	r.lines = lines{w: file, torn: torn}
	r.checkAt, r.missingSince, r.failed, r.lastError = now.Add(checkInterval), time.Time{}, false, nil
	if r.schedule != nil {
		since := now
		if r.size > 0 {
			since = info.ModTime()
		}
		r.began = r.schedule.begin(since)
		r.ends = r.schedule.next(r.began)
	}
	return nil
}

// tornTime is how long a line may have no end before it counts as torn: another
// process may be writing it.
const tornTime = 10 * time.Millisecond

// findTorn finds out whether the file that was there ends in a torn line.
func (r *rotating) findTorn() {
	if !r.regular || !endsInLine(r.path) {
		return
	}
	time.Sleep(tornTime)
	r.lines.torn = endsInLine(r.path)
}

// endsInLine reports whether a file's last line has no end. One that cannot be
// read is taken for whole.
func endsInLine(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	var last [1]byte
	if _, err := file.Seek(-1, io.SeekEnd); err != nil { // it is empty
		return false
	}
	_, err = file.Read(last[:])
	return err == nil && last[0] != '\n'
}

func (r *rotating) writeLines(p []byte) (int, error) {
	var written int
	for written < len(p) {
		rest := p[written:]
		if err := r.prepare(int64(lineLen(rest))); err != nil {
			return written, err
		}
		n, err := r.lines.write(r.fitting(rest))
		written += n
		r.size += int64(n)
		if err != nil {
			r.failed = true
			r.checkAt = r.opts.clock().Add(checkInterval)
			return written, err
		}
	}
	return written, nil
}

// lineLen is the length of the first line with its end.
func lineLen(p []byte) int {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1
	}
	return len(p)
}

// fitting is the lines for which there is room in the file, and at least one.
func (r *rotating) fitting(p []byte) []byte {
	room := r.opts.MaxBytes - r.size
	if r.opts.MaxBytes == 0 || int64(len(p)) <= room {
		return p
	}
	end := lineLen(p)
	for {
		next := lineLen(p[end:])
		if next == 0 || int64(end+next) > room {
			return p[:end]
		}
		end += next
	}
}

// prepare sees to it that there is a file for a line of n bytes.
func (r *rotating) prepare(n int64) error {
	now := r.opts.clock()
	if r.file == nil || !now.Before(r.checkAt) {
		r.check(now)
	}
	if r.file == nil {
		return r.lastError
	}
	due := r.schedule != nil && !now.Before(r.ends) && r.size > 0 ||
		r.opts.MaxBytes > 0 && r.size > 0 && r.size+n > r.opts.MaxBytes
	if due && !now.Before(r.renameAt) {
		if err := r.rename(now); err != nil {
			r.problem, r.renameAt = fmt.Errorf("beginning a new file: %w", err), now.Add(renameInterval)
		}
	}
	return nil
}

// check opens the path anew when it no longer is the file that is written to,
// or when writing failed. A file without any name is given up: what is written
// to it is lost.
func (r *rotating) check(now time.Time) {
	if now.Before(r.checkAt) {
		return
	}
	r.checkAt = now.Add(checkInterval)
	if r.file != nil && !r.regular && !r.failed {
		return
	}
	info, err := os.Stat(r.path)
	switch {
	case r.file == nil || r.failed:
	case err == nil && os.SameFile(info, r.info):
		r.missingSince = time.Time{}
		r.size = info.Size() // another process may append, or have truncated it
		return
	case errors.Is(err, fs.ErrNotExist) && hasName(r.file):
		if r.missingSince.IsZero() {
			r.missingSince = now
		}
		if now.Sub(r.missingSince) < missingTime {
			return
		}
	}
	err = r.open(now)
	if err == nil || r.file == nil {
		r.lastError = err
		return
	}
	if r.regular && !hasName(r.file) {
		_ = r.file.Close()
		r.file, r.lastError = nil, err
	}
}

// rename gives the file the name of a backup and begins a new one. The old one
// is closed when the new one is there: no line is without a file in between.
func (r *rotating) rename(now time.Time) error {
	unlock, ok := lockDirectory(filepath.Dir(r.path))
	if !ok {
		return nil // another process renames: see again at the next line
	}
	defer unlock()
	switch info, err := os.Stat(r.path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil || !os.SameFile(info, r.info):
		return r.open(now) // somebody else was faster
	case r.opts.MaxBytes > 0 && info.Size() < r.size:
		r.size = info.Size() // somebody else has truncated it
		return nil
	}
	move := r.moveByNumber
	if r.schedule != nil {
		move = r.moveByTime
	}
	if err := move(); err != nil {
		return err
	}
	return r.open(now)
}

// moveByNumber renames PATH to PATH.1, PATH.1 to PATH.2 and so on.
func (r *rotating) moveByNumber() error {
	name := func(i int) string {
		if i == 0 {
			return r.path
		}
		return r.path + "." + strconv.Itoa(i)
	}
	last := 0 // what is behind a gap need not move
	for last < r.opts.BackupCount {
		if _, err := os.Lstat(name(last + 1)); err != nil {
			break
		}
		last++
	}
	for i := min(last, r.opts.BackupCount-1); i >= 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil {
			return err
		}
	}
	return nil
}

// moveByTime renames PATH to PATH and the time its period began, with a number
// when that name is taken, and removes the oldest backups.
func (r *rotating) moveByTime() error {
	base := r.path + "." + r.began.Format(r.schedule.suffix)
	name := base
	for i := 1; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		name = base + "." + strconv.Itoa(i)
	}
	if err := os.Rename(r.path, name); err != nil {
		return err
	}
	return r.removeOldest()
}

// backup is a file that moveByTime renamed.
type backup struct {
	name   string
	began  time.Time
	number int
}

func (r *rotating) removeOldest() error {
	dir, base := filepath.Split(r.path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return err
	}
	var backups []backup
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base+".")
		stamp, number, _ := strings.Cut(rest, ".")
		began, err := time.Parse(r.schedule.suffix, stamp)
		n, notNumber := strconv.Atoi(cmp.Or(number, "0"))
		if ok && err == nil && notNumber == nil {
			backups = append(backups, backup{filepath.Join(dir, e.Name()), began, n})
		}
	}
	slices.SortFunc(backups, func(a, b backup) int { return cmp.Or(a.began.Compare(b.began), a.number-b.number) })
	for len(backups) > r.opts.BackupCount {
		if err := os.Remove(backups[0].name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		backups = backups[1:]
	}
	return nil
}

func (r *rotating) reopen() error { return r.open(r.opts.clock()) }

func (r *rotating) trouble() error {
	err := r.problem
	r.problem = nil
	return err
}

func (r *rotating) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
