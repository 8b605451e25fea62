package observability

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/bucket"
	"github.com/vgirpc/vgirpc-go/internal/network"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// RequestLogOptions configure a [RequestLog]. The zero value works.
type RequestLogOptions struct {
	// ServerID names the process in every record: what Server.ID returns. 12
	// hex digits of the log's own when empty.
	ServerID string
	// ServerVersion is the version of the server's build; left out when empty.
	ServerVersion string
	// AddressRate is how many records each address gets in a second, and how many
	// at once: the others are counted and left out, so that nobody fills a disk.
	// 10 when 0; negative for no limit. The /64 of an IPv6 address is one, and so
	// are all peers without an address.
	AddressRate int
	// Rate is how many records there are in a second altogether, and how many at
	// once. 200 when 0; negative for no limit.
	Rate int
	// File says how [OpenRequestLog] writes the file. Name, ServerID and Logger
	// are the request log's own when empty. Without its Async a connection that
	// was refused waits for the disk, and keeps its place among MaxConns meanwhile.
	File LogFileOptions
	// Logger is told when records cannot be written; slog.Default when nil.
	Logger *slog.Logger
}

// Defaults of [RequestLogOptions].
const (
	DefaultAddressRate = 10
	DefaultRequestRate = 200
	// requestKeys is for how many addresses the log keeps account.
	requestKeys = 8192
)

func (o *RequestLogOptions) complete() {
	if o.ServerID == "" {
		o.ServerID = randomID()
	}
	if o.AddressRate == 0 {
		o.AddressRate = DefaultAddressRate
	}
	if o.Rate == 0 {
		o.Rate = DefaultRequestRate
	}
	if o.Logger == nil {
		o.Logger = slog.Default() //nolint:forbidigo // the option's default
	}
	if o.File.Name == "" {
		o.File.Name = "request log"
	}
	if o.File.ServerID == "" {
		o.File.ServerID = o.ServerID
	}
	if o.File.Logger == nil {
		o.File.Logger = o.Logger
	}
}

// RequestLog is a [vgirpc.RefusalObserver] that writes one JSON line for each
// request that was refused before its handler was asked, and each connection that was not served. It
// is a log of its own: those of [AccessLog] are of calls. It is safe for
// concurrent use.
//
// A record has what [vgirpc.Refused] has, and no more. Those that are too many
// are left out; the next one of anybody says how many as "suppressed_records".
type RequestLog struct {
	opts      RequestLogOptions
	file      *LogFile
	addresses *bucket.Table[netip.Addr] // nil: no limit
	all       *bucket.Table[struct{}]   // nil: no limit
	total     atomic.Int64              // of those left out
}

// NewRequestLog returns a log that writes to w, one call of Write for each record
// and never two at once; of opts.File it takes no notice.
func NewRequestLog(w io.Writer, opts RequestLogOptions) (*RequestLog, error) {
	opts.File = LogFileOptions{}
	opts.complete()
	if err := opts.File.complete(); err != nil {
		return nil, err
	}
	return newRequestLog(opts, func() (*LogFile, error) {
		return newLogFile(&writer{lines{w: w}}, opts.File), nil
	})
}

// OpenRequestLog returns a log that appends to the file at path, as
// [OpenLogFile] opens it. The caller closes the log.
func OpenRequestLog(path string, opts RequestLogOptions) (*RequestLog, error) {
	opts.complete()
	return newRequestLog(opts, func() (*LogFile, error) { return OpenLogFile(path, opts.File) })
}

func newRequestLog(opts RequestLogOptions, open func() (*LogFile, error)) (l *RequestLog, err error) {
	l = &RequestLog{opts: opts}
	if opts.AddressRate > 0 {
		if l.addresses, err = bucket.New[netip.Addr](perSecond(opts.AddressRate), requestKeys); err != nil {
			return nil, fmt.Errorf("request log: AddressRate: %w", err)
		}
	}
	if opts.Rate > 0 {
		if l.all, err = bucket.New[struct{}](perSecond(opts.Rate), 1); err != nil {
			return nil, fmt.Errorf("request log: Rate: %w", err)
		}
	}
	l.file, err = open()
	return l, err
}

func perSecond(n int) bucket.Rate { return bucket.Per(float64(n), time.Second, n) }

// RequestRefused writes the refusal's record.
func (l *RequestLog) RequestRefused(_ context.Context, refused *vgirpc.Refused) {
	if !l.admits(refused) {
		l.total.Add(1)
		l.file.suppress()
		return
	}
	l.file.Append(l.appendRefused(nil, refused, time.Now()))
}

// admits reports whether there is room for a record.
func (l *RequestLog) admits(refused *vgirpc.Refused) bool {
	if l.addresses != nil && l.addresses.Take(sourceOf(refused), 1) > 0 {
		return false
	}
	return l.all == nil || l.all.Take(struct{}{}, 1) == 0
}

// sourceOf is who a record counts for.
func sourceOf(refused *vgirpc.Refused) netip.Addr {
	text := refused.Client
	if text == "" {
		text = refused.Peer
	}
	addr, err := netip.ParseAddr(text)
	if from, errPort := netip.ParseAddrPort(text); errPort == nil {
		addr, err = from.Addr(), nil
	}
	if err != nil {
		return netip.Addr{}
	}
	return network.Of(addr)
}

// appendRefused appends a record as a JSON object.
func (l *RequestLog) appendRefused(dst []byte, r *vgirpc.Refused, at time.Time) []byte {
	dst = appendTime(append(dst, `{"timestamp":"`...), at)
	dst = append(dst, `","level":"INFO","logger":"vgi_rpc.request","message":"`...)
	dst = append(appendEscaped(dst, string(r.Transport)), " refused: "...)
	dst = append(appendEscaped(dst, string(r.Reason)), '"')
	dst = appendText(dst, `,"server_id":`, l.opts.ServerID)
	dst = appendText(dst, `,"transport":`, string(r.Transport))
	dst = appendText(dst, `,"reason":`, string(r.Reason))
	dst = appendText(dst, `,"error_code":`, string(r.Code))
	if r.Status > 0 {
		dst = strconv.AppendInt(append(dst, `,"http_status":`...), int64(r.Status), 10)
	}
	for _, f := range [...]struct{ key, value string }{
		{`,"error_kind":`, r.Kind},
		{`,"http_method":`, r.Verb},
		{`,"http_version":`, r.Version},
		{`,"protocol":`, r.Protocol},
		{`,"method":`, r.Method},
		{`,"request_id":`, r.RequestID},
		{`,"remote_addr":`, r.Peer},
		{`,"client_addr":`, r.Client},
		{`,"principal":`, r.Principal},
		{`,"auth_domain":`, r.Domain},
		{`,"server_version":`, l.opts.ServerVersion},
	} {
		if f.value != "" {
			dst = appendText(dst, f.key, f.value[:min(len(f.value), longestText)])
		}
	}
	if r.UID >= 0 && r.Transport == vgirpc.TransportUnix {
		dst = strconv.AppendInt(append(dst, `,"uid":`...), int64(r.UID), 10)
		dst = strconv.AppendInt(append(dst, `,"pid":`...), int64(r.PID), 10)
	}
	if r.BytesIn > 0 {
		dst = strconv.AppendInt(append(dst, `,"request_bytes":`...), r.BytesIn, 10)
	}
	dst = appendMillis(append(dst, `,"duration_ms":`...), r.Duration)
	return append(dst, '}')
}

// longestText is how much of a text a record has, in bytes.
const longestText = 1024

// Suppressed is how many records were left out because they were too many.
func (l *RequestLog) Suppressed() int64 { return l.total.Load() }

// Dropped is how many records were lost because they could not be written.
func (l *RequestLog) Dropped() int64 { return l.file.Dropped() }

// Reopen continues in the file that the path stands for now; see
// [LogFile.Reopen].
func (l *RequestLog) Reopen() error { return l.file.Reopen() }

// Close is Shutdown with a limit of 5 seconds.
func (l *RequestLog) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return l.Shutdown(ctx)
}

// Shutdown writes what waits to be written, until ctx ends, and closes the file
// that [OpenRequestLog] opened; see [LogFile.Shutdown].
func (l *RequestLog) Shutdown(ctx context.Context) error {
	err := l.file.Shutdown(ctx)
	if n := l.file.suppressed(); n > 0 { // there is no next record to say it
		l.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "request log: the last records were too many, and left out", slog.Int64("suppressed", n))
	}
	return err
}
