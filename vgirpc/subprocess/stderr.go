package subprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
)

// maxLine is the longest line that is logged in one piece, in bytes.
const maxLine = 4 << 10

// stderr passes on what a worker writes to standard error, and keeps the end.
type stderr struct {
	log  *slog.Logger
	to   io.Writer
	keep int // bytes

	mu   sync.Mutex
	tail []byte
}

// copy passes on lines until r ends.
func (s *stderr) copy(r io.Reader, pid int) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			s.line(line, pid)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// line passes on one line, or a piece of one that is too long.
func (s *stderr) line(line []byte, pid int) {
	s.remember(line)
	if s.to != nil {
		_, _ = s.to.Write(line) // its trouble is not the worker's
	}
	if s.log != nil {
		text := string(bytes.TrimRight(line, "\r\n"))
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "worker stderr", slog.Int("pid", pid), slog.String("line", text))
	}
}

// remember appends to the tail, and cuts it back when it is twice as long as
// needed.
func (s *stderr) remember(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, line...)
	if len(s.tail) >= 2*max(s.keep, 0) {
		s.tail = append(s.tail[:0], s.last()...)
	}
}

// last is the end of the tail: whole lines where one fits, else the end of the
// last one.
func (s *stderr) last() []byte {
	if s.keep <= 0 {
		return nil
	}
	if len(s.tail) <= s.keep {
		return s.tail
	}
	end := s.tail[len(s.tail)-s.keep:]
	if s.tail[len(s.tail)-s.keep-1] == '\n' {
		return end
	}
	if i := bytes.IndexByte(end, '\n'); i >= 0 && i+1 < len(end) {
		return end[i+1:]
	}
	return end
}

// text is what was kept, without the last line break.
func (s *stderr) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.TrimRight(s.last(), "\r\n"))
}
