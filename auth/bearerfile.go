package auth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// maxBearerFile bounds a file of tokens, in bytes.
const maxBearerFile = 16 << 20

// settled is how old a file's time must be, when it is read, for an unchanged
// time to mean unchanged contents: file systems tell time coarsely.
const settled = 2 * time.Second

// fileStamp tells one state of a file from another.
type fileStamp struct {
	info   os.FileInfo // nil before the first read
	readAt time.Time
}

// same reports whether info is the state that was read.
func (s fileStamp) same(info os.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.info.Size() == info.Size() && s.info.ModTime().Equal(info.ModTime())
}

// certain reports whether a later write would have shown in the file's time.
func (s fileStamp) certain() bool { return s.info.ModTime().Add(settled).Before(s.readAt) }

// pollFile reads the file again when it has changed, at most once in each poll
// interval. One request pays for the look; the others go on with what is known.
func (b *Bearer) pollFile() {
	now := time.Since(b.started)
	due := b.nextPoll.Load()
	if int64(now) < due || !b.nextPoll.CompareAndSwap(due, int64(now+b.opts.Poll)) {
		return
	}
	b.reload.Lock()
	defer b.reload.Unlock()
	info, err := os.Stat(b.opts.File)
	if err == nil && b.read.same(info) && b.read.certain() {
		return
	}
	changed := err != nil || !b.read.same(info)
	if err := b.load(); err != nil {
		if fault := err.Error(); fault != b.lastFault {
			b.lastFault = fault
			b.opts.Logger.Warn("bearer tokens not reloaded, the former ones stay valid", slog.String("error", fault))
		}
		return
	}
	if changed || b.lastFault != "" {
		b.opts.Logger.Info("bearer tokens reloaded", slog.String("file", b.opts.File), slog.Int("tokens", len(*b.table.Load())))
	}
	b.lastFault = ""
}

// Reload reads the file of tokens now, whether or not it has changed. On an
// error the tokens read before stay valid. Without a file it does nothing.
func (b *Bearer) Reload() error {
	if b.opts.File == "" {
		return nil
	}
	b.reload.Lock()
	defer b.reload.Unlock()
	return b.load()
}

// load replaces the table by the static tokens and those of the file.
func (b *Bearer) load() error {
	stamp, tokens, err := readBearerFile(b.opts.File)
	if err != nil {
		return fmt.Errorf("auth: bearer: %w", err)
	}
	entries := slices.Clip(b.static)
	for _, t := range tokens {
		e, err := entryOf(t.BearerToken)
		if err != nil {
			return fmt.Errorf("auth: bearer: %s:%d: %w", b.opts.File, t.line, err)
		}
		entries = append(entries, e)
	}
	if err := checkDistinct(entries); err != nil {
		return fmt.Errorf("auth: bearer: %s: %w", b.opts.File, err)
	}
	if mode := stamp.info.Mode().Perm(); mode&0o004 != 0 && runtime.GOOS != "windows" && !b.read.same(stamp.info) {
		b.opts.Logger.Warn("every user of this machine can read the bearer tokens",
			slog.String("file", b.opts.File), slog.String("mode", mode.String()))
	}
	b.read = stamp
	b.table.Store(&entries)
	return nil
}

// lineToken is a token and where it stands.
type lineToken struct {
	BearerToken
	line int
}

// readBearerFile reads a file of tokens, and what tells its state.
func readBearerFile(name string) (fileStamp, []lineToken, error) {
	// Opening anything but a regular file could block.
	if info, err := os.Stat(name); err != nil {
		return fileStamp{}, nil, fmt.Errorf("tokens: %w", err)
	} else if !info.Mode().IsRegular() {
		return fileStamp{}, nil, fmt.Errorf("tokens: %s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return fileStamp{}, nil, fmt.Errorf("tokens: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	stamp := fileStamp{readAt: time.Now()}
	if stamp.info, err = f.Stat(); err != nil {
		return fileStamp{}, nil, fmt.Errorf("tokens: %w", err)
	}
	if stamp.info.Size() > maxBearerFile {
		return fileStamp{}, nil, fmt.Errorf("tokens: %s is larger than %d bytes", name, maxBearerFile)
	}
	tokens, err := parseBearerFile(io.LimitReader(f, maxBearerFile))
	if err != nil {
		return fileStamp{}, nil, fmt.Errorf("tokens: %s: %w", name, err)
	}
	return stamp, tokens, nil
}

// parseBearerFile reads `token principal [domain]` lines. Its errors name lines
// and never repeat them.
func parseBearerFile(r io.Reader) ([]lineToken, error) {
	var tokens []lineToken
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 && len(fields) != 3 {
			return nil, fmt.Errorf("line %d has %d fields and should have `token principal [domain]`", n, len(fields))
		}
		t := lineToken{BearerToken{Token: fields[0], Principal: fields[1]}, n}
		if len(fields) == 3 {
			t.Domain = fields[2]
		}
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, errors.New("it holds no token")
	}
	return tokens, nil
}
