package observability

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// AccessLogOptions configure an [AccessLog]. The zero value works.
type AccessLogOptions struct {
	// ServerID names the process in every record: what Server.ID returns. 12
	// hex digits of the log's own when empty.
	ServerID string
	// ServerVersion is the version of the server's build; left out when empty.
	ServerVersion string
	// MaxRecordBytes bounds one line without its newline, because log shippers
	// drop lines that are too long for them. 1 MiB when 0; less turns it off.
	// A record that exceeds it loses its claims first, then everything that is
	// optional, and says so in its field "truncated"; the message of an error
	// is never cut (access-log-spec.md section 5b).
	MaxRecordBytes int
	// RedactClaims returns what may be logged of a caller's claims;
	// [RedactClaims] when nil. When it panics, no claims are logged.
	RedactClaims func(claims map[string]any) map[string]any
	// Logger is told when records cannot be written; slog.Default when nil.
	Logger *slog.Logger
}

// DefaultMaxRecordBytes is the size of the longest record unless an option says
// otherwise.
const DefaultMaxRecordBytes = 1 << 20

// AccessLog is a [vgirpc.Observer] that writes one JSON line for each call when
// the call is over, with one Write, so that nothing waits in a buffer. It
// never fails a call: records that cannot be written are counted and reported
// to its logger. It is safe for concurrent use.
//
// A record carries neither parameters nor results nor stream states, at any
// level, and no option changes that. It names the protocol that owns the
// method; the methods of the server itself go by the primary. A stream over a
// byte stream is one record; when its caller cancels it, that is a success
// with the field "cancelled".
type AccessLog struct {
	opts    AccessLogOptions
	buffers sync.Pool // of *[]byte

	mu     sync.Mutex
	w      io.Writer
	file   *os.File // to be closed; nil when the writer is the caller's
	closed bool
	torn   bool  // the last line is incomplete
	lost   int64 // records since the last one that was written
}

// NewAccessLog returns an access log that writes to w, one call of Write for
// each record and never two at once.
func NewAccessLog(w io.Writer, opts AccessLogOptions) *AccessLog {
	if opts.ServerID == "" {
		opts.ServerID = randomID()
	}
	if opts.MaxRecordBytes == 0 {
		opts.MaxRecordBytes = DefaultMaxRecordBytes
	}
	if opts.RedactClaims == nil {
		opts.RedactClaims = RedactClaims
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default() //nolint:forbidigo // the option's default
	}
	return &AccessLog{opts: opts, w: w, buffers: sync.Pool{New: func() any { return new([]byte) }}}
}

// OpenAccessLog returns an access log that appends to the file at path, which
// is made with mode 0600 when it is not there. In path, {pid} stands for this
// process and {server_id} for the server: two processes must not share a file
// (access-log-spec.md section 5c). The caller closes the log.
func OpenAccessLog(path string, opts AccessLogOptions) (*AccessLog, error) {
	l := NewAccessLog(nil, opts)
	path, err := expandPath(path, l.opts.ServerID)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l.w, l.file = f, f
	return l, nil
}

// expandPath puts this process and its server into a path.
func expandPath(path, serverID string) (string, error) {
	const id = "{server_id}"
	if strings.Contains(path, id) && strings.ContainsAny(serverID, `/\`+"\x00") {
		return "", fmt.Errorf("access log: %q in a path, but the server's identifier %q is no file name", id, serverID)
	}
	return strings.NewReplacer("{pid}", strconv.Itoa(os.Getpid()), id, serverID).Replace(path), nil
}

// CallStarted does nothing and returns ctx.
func (l *AccessLog) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

// CallEnded writes the call's record.
func (l *AccessLog) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	r := newRecord(call, end, time.Now())
	l.write(ctx, &r)
}

// keepBytes is the size of the largest buffer that is kept for later records.
const keepBytes = 64 << 10

func (l *AccessLog) write(ctx context.Context, r *record) {
	r.serverID, r.version = l.opts.ServerID, l.opts.ServerVersion
	if len(r.identity.Claims) > 0 {
		r.claims = l.redact(r.identity.Claims)
	}
	buf, _ := l.buffers.Get().(*[]byte)
	*buf = append(r.appendWithin((*buf)[:0], l.opts.MaxRecordBytes), '\n')
	l.put(ctx, *buf)
	if cap(*buf) <= keepBytes {
		l.buffers.Put(buf)
	}
}

// put writes one line and keeps account of those that are lost. A line that
// was written in part is closed off before the next one.
func (l *AccessLog) put(ctx context.Context, line []byte) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.w.Write(line)
	lost := l.lost
	if err != nil {
		l.lost++
		l.torn = l.torn && n == 0 || n > 0 && n < len(line)
	} else {
		l.lost, l.torn = 0, false
	}
	l.mu.Unlock()
	switch { // outside the lock: the logger may be slow
	case err != nil && lost == 0:
		l.opts.Logger.LogAttrs(ctx, slog.LevelError, "access log: record lost", slog.Any("error", err))
	case err == nil && lost > 0:
		l.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "access log: writing again", slog.Int64("lost", lost))
	}
}

// Close closes the file that [OpenAccessLog] opened. Calls that end later are
// not logged. Closing again does nothing.
func (l *AccessLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	return nil
}

// randomID is 12 hex digits.
func randomID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read does not fail
	return hex.EncodeToString(b[:])
}
