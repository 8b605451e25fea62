//go:build unix

package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Worker is a worker that launchers know of.
type Worker struct {
	Key     string    `json:"key"`
	Command []string  `json:"command"` // nil when it is not known
	Dir     string    `json:"dir"`     // its working directory; "" when it is not known
	Socket  string    `json:"socket"`
	Started time.Time `json:"started,omitzero"` // zero when it is not known
	Alive   bool      `json:"alive"`            // somebody listens on the socket
}

// Status lists the workers of a state directory, by key; dir "" is [StateDir].
// It takes no locks: a worker that is being started is not alive yet. A worker
// whose description cannot be read is listed without it.
func Status(ctx context.Context, dir string) ([]Worker, error) {
	dir, err := checkedDir(dir)
	if err != nil || dir == "" {
		return nil, err
	}
	keys, err := keysIn(dir)
	if err != nil {
		return nil, err
	}
	var workers []Worker
	for _, key := range keys {
		w := Worker{Key: key, Socket: socketOf(dir, key)}
		if text, err := os.ReadFile(metaOf(dir, key)); err == nil {
			w.describe(text)
		}
		if w.Alive, err = alive(ctx, w.Socket); ctx.Err() != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// describe takes from a meta file what makes sense.
func (w *Worker) describe(text []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return
	}
	// A field of another type stays empty.
	var started float64
	_ = json.Unmarshal(fields["cmd"], &w.Command)
	_ = json.Unmarshal(fields["cwd"], &w.Dir)
	if json.Unmarshal(fields["started_at"], &started) == nil && started > 0 && started < math.MaxInt32*1000 {
		whole, part := math.Modf(started)
		w.Started = time.Unix(int64(whole), int64(part*1e9))
	}
}

// writeMeta writes what is known of the worker that is being started, as every
// launcher does.
func (l *Launcher) writeMeta() error {
	b := appendStrings([]byte(`{"cmd":`), l.opts.Command)
	b = appendString(append(b, `,"cwd":`...), l.workDir)
	b = appendString(append(b, `,"socket":`...), l.socket)
	now := time.Now()
	b = fmt.Appendf(b, `,"started_at":%d.%06d,"launcher_pid":%d}`, now.Unix(), now.Nanosecond()/1000, os.Getpid())
	var text bytes.Buffer
	if err := json.Indent(&text, b, "", "  "); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	path := metaOf(l.dir, l.key)
	if err := os.WriteFile(path+".new", text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil { // so that nobody sees a part of it
		return fmt.Errorf("launch: %w", err)
	}
	return nil
}

// Collected is what [GC] has done, by key.
type Collected struct {
	Removed []string `json:"removed"` // what dead workers had left
	Busy    []string `json:"busy"`    // left alone: somebody is starting the worker, or clearing up after it
}

// GC removes what dead workers have left in a state directory; dir "" is
// [StateDir]. It leaves alone whatever has a live worker, is locked, or is not
// what a launcher makes. An error does not keep it from the rest.
func GC(ctx context.Context, dir string) (Collected, error) {
	dir, err := checkedDir(dir)
	if err != nil || dir == "" {
		return Collected{}, err
	}
	return collect(ctx, dir, math.MaxInt, "")
}

// collectLimit is how many workers are looked at on the side of a start.
const collectLimit = 16

// collect is GC of at most so many workers, but not of one of them.
func collect(ctx context.Context, dir string, limit int, except string) (Collected, error) {
	var c Collected
	keys, err := keysIn(dir)
	if err != nil {
		return c, err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == except })
	var errs []error
	for _, key := range keys[:min(limit, len(keys))] {
		if ctx.Err() != nil {
			return c, errors.Join(append(errs, context.Cause(ctx))...)
		}
		if err := c.one(ctx, dir, key); err != nil {
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

// one removes the files of a worker that is dead.
func (c *Collected) one(ctx context.Context, dir, key string) error {
	lock, err := tryLock(lockOf(dir, key))
	if err != nil {
		return err
	}
	if lock == nil {
		c.Busy = append(c.Busy, key)
		return nil
	}
	defer func() { _ = lock.Close() }()
	socket := socketOf(dir, key)
	if live, err := alive(ctx, socket); err != nil || live {
		return err
	}
	if err := removeSocket(socket); err != nil {
		return err
	}
	// The lock goes last, while it is held: whoever waits for it notices.
	for _, path := range []string{metaOf(dir, key), lockOf(dir, key)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("launch: %w", err)
		}
	}
	c.Removed = append(c.Removed, key)
	return nil
}

// checkedDir is dir, or the default one, in a state to be trusted; "" when there
// is none.
func checkedDir(dir string) (string, error) {
	if dir == "" {
		return StateDir()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	if err = checkGiven(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return dir, err
}

// keysIn lists the workers of a state directory by their descriptions.
func keysIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	var keys []string
	for _, e := range entries { // by name
		if key, ok := strings.CutSuffix(e.Name(), metaSuffix); ok && isKey(key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
