package observability

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
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
	// MaxRecordBytes bounds one line, without its newline and the number of
	// lost lines it may carry, because log shippers drop lines that are too long
	// for them. 1 MiB when 0; less turns it off.
	// A record that exceeds it loses its claims first, then everything that is
	// optional, and says so in its field "truncated"; the message of an error
	// is never cut (access-log-spec.md section 5b).
	MaxRecordBytes int
	// RedactClaims returns what may be logged of a caller's claims;
	// [RedactClaims] when nil. When it panics, no claims are logged.
	RedactClaims func(claims map[string]any) map[string]any
	// SampleRate is the fraction of successful calls that are logged, over 0
	// and up to 1; every one when 0, none when less. Calls that fail are always
	// logged. Whether a call is logged depends on its stream's identifier
	// alone, or else on that of the request, so that the records of one stream
	// share its fate. Their field "sample_rate" is the rate: a record stands for
	// 1/rate calls, and one without the field for itself alone
	// (access-log-spec.md section 5bb).
	SampleRate float64
	// TraceOf returns the identifiers of the span that ctx is in, 32 and 16
	// lowercase hex digits, or empty ones. Nil when there are none.
	TraceOf func(ctx context.Context) (trace, span string)
	// File says how [OpenAccessLog] writes the file. Name, ServerID and Logger
	// are the access log's own when empty.
	File LogFileOptions
	// Logger is told when records cannot be written; slog.Default when nil.
	Logger *slog.Logger
}

func (o *AccessLogOptions) complete() {
	if o.ServerID == "" {
		o.ServerID = randomID()
	}
	if o.MaxRecordBytes == 0 {
		o.MaxRecordBytes = DefaultMaxRecordBytes
	}
	if o.RedactClaims == nil {
		o.RedactClaims = RedactClaims
	}
	if o.Logger == nil {
		o.Logger = slog.Default() //nolint:forbidigo // the option's default
	}
	if o.File.Name == "" {
		o.File.Name = "access log"
	}
	if o.File.ServerID == "" {
		o.File.ServerID = o.ServerID
	}
	if o.File.Logger == nil {
		o.File.Logger = o.Logger
	}
}

// DefaultMaxRecordBytes is the size of the longest record unless an option says
// otherwise.
const DefaultMaxRecordBytes = 1 << 20

// AccessLog is a [vgirpc.Observer] that writes one JSON line for each call when
// the call is over. It never fails a call: records that cannot be written are
// counted, and reported in the log and to its logger. It is safe for concurrent
// use.
//
// A record carries neither parameters nor results nor stream states, at any
// level, and no option changes that. It names the protocol that owns the
// method; the methods of the server itself go by the primary. A stream over a
// byte stream is one record; when its caller cancels it, that is a success
// with the field "cancelled".
type AccessLog struct {
	opts    AccessLogOptions
	file    *LogFile
	sample  sampler
	shapes  shapes
	buffers sync.Pool // of *[]byte
}

// NewAccessLog returns an access log that writes to w, one call of Write for
// each record and never two at once; of opts.File it takes no notice. A
// SampleRate that is none logs every call.
func NewAccessLog(w io.Writer, opts AccessLogOptions) *AccessLog {
	opts.File = LogFileOptions{}
	opts.complete()
	_ = opts.File.complete() // without options there is nothing wrong with them
	sample, _ := newSampler(opts.SampleRate)
	return newAccessLog(newLogFile(&writer{lines{w: w}}, opts.File), sample, opts)
}

// OpenAccessLog returns an access log that appends to the file at path, as
// [OpenLogFile] opens it: two processes must not share one (access-log-spec.md
// section 5c). The caller closes the log.
func OpenAccessLog(path string, opts AccessLogOptions) (*AccessLog, error) {
	opts.complete()
	sample, err := newSampler(opts.SampleRate)
	if err != nil {
		return nil, err
	}
	file, err := OpenLogFile(path, opts.File)
	if err != nil {
		return nil, err
	}
	return newAccessLog(file, sample, opts), nil
}

func newAccessLog(file *LogFile, sample sampler, opts AccessLogOptions) *AccessLog {
	return &AccessLog{opts: opts, file: file, sample: sample, buffers: sync.Pool{New: func() any { return new([]byte) }}}
}

// CallStarted does nothing and returns ctx.
func (l *AccessLog) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

// CallEnded writes the call's record.
func (l *AccessLog) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	rate, ok := l.sample.keep(call, end)
	if !ok {
		return
	}
	r := newRecord(call, end, time.Now())
	r.serverID, r.version, r.rate = l.opts.ServerID, l.opts.ServerVersion, rate
	r.shape = l.shapes.of(call.Method(), &r)
	if l.opts.TraceOf != nil {
		r.trace, r.span = l.opts.TraceOf(ctx)
	}
	if len(r.identity.Claims) > 0 {
		r.claims = l.redact(r.identity.Claims)
	}
	buf, _ := l.buffers.Get().(*[]byte)
	*buf = r.appendWithin((*buf)[:0], l.opts.MaxRecordBytes)
	l.file.Append(*buf)
	if cap(*buf) <= keepBytes {
		l.buffers.Put(buf)
	}
}

// keepBytes is the size of the largest buffer that is kept for later records.
const keepBytes = 64 << 10

// Reopen continues in the file that the path stands for now; see
// [LogFile.Reopen].
func (l *AccessLog) Reopen() error { return l.file.Reopen() }

// Dropped is how many records were lost.
func (l *AccessLog) Dropped() int64 { return l.file.Dropped() }

// Close is Shutdown with a limit of 5 seconds.
func (l *AccessLog) Close() error { return l.file.Close() }

// Shutdown writes what waits to be written, until ctx ends, and closes the file
// that [OpenAccessLog] opened; see [LogFile.Shutdown]. Calls that end later are
// not logged.
func (l *AccessLog) Shutdown(ctx context.Context) error { return l.file.Shutdown(ctx) }

// randomID is 12 hex digits.
func randomID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read does not fail
	return hex.EncodeToString(b[:])
}
