package external

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Store keeps uploaded objects. Its methods may be called at once.
type Store interface {
	// Upload stores data, a whole Arrow IPC stream that is compressed as
	// contentEncoding says ("", "zstd" or "gzip"), and returns the URL by which
	// the other side can GET it. The response to that GET must carry the same
	// Content-Encoding. data is borrowed until Upload returns, which is soon
	// after ctx has ended.
	Upload(ctx context.Context, data []byte, contentEncoding string) (url string, err error)
}

// UploadURLs vends URLs with which a client uploads what is too large for a
// request (WIRE_PROTOCOL section 10, "Upload URL generation"). Its methods may
// be called at once.
type UploadURLs interface {
	// NewUploadURL makes the URLs of one new object.
	NewUploadURL(ctx context.Context) (UploadURL, error)
	// MaxUploadBytes is the size of the largest object that may be uploaded, 0
	// when there is no limit.
	MaxUploadBytes() int64
}

// UploadURL is where a client may upload one object. Both URLs are usually
// signed, each for its own method: treat them as credentials.
type UploadURL struct {
	Upload   string    // takes a PUT
	Download string    // takes a GET
	Expires  time.Time // of both
}

// Compression is how objects are compressed before they are uploaded.
type Compression string

// The compressions. Objects that are fetched may have any of them.
const (
	None Compression = "none" // also the zero value
	Zstd Compression = "zstd" // at level 3
	Gzip Compression = "gzip" // for readers that have no zstd
)

// Defaults of [Options].
const (
	DefaultThreshold     = 1 << 20
	DefaultMaxFetchBytes = 256 << 20
	DefaultMaxRedirects  = 5
	DefaultAttempts      = 3
	DefaultRetryDelay    = 500 * time.Millisecond
	DefaultTimeout       = 60 * time.Second
	DefaultUploadTimeout = 3 * time.Minute

	DefaultParallelFrom = 64 << 20
	DefaultRangeBytes   = 8 << 20
	DefaultRanges       = 8

	decodedFactor = 16 // MaxDecodedBytes for each MaxFetchBytes
	maxAttempts   = 3  // WIRE_PROTOCOL section 12
	maxRanges     = 64
	mostBytes     = 1 << 60
)

// Options configure an [Offload]. The zero value resolves pointers to public
// https URLs, and uploads nothing.
type Options struct {
	// Store takes what is uploaded; nil leaves every batch where it is. Where a
	// Store's method Origins() []string says that its objects are found may be
	// fetched from, whatever AllowedOrigins are.
	Store Store
	// Threshold is the size in bytes, as [wire.Batch.Bytes] counts it, from
	// which a batch leaves. 1 MiB when 0; 1 is every batch with rows.
	Threshold int64
	// Compression of uploaded objects.
	Compression Compression

	// MaxFetchBytes bounds a fetched object as it is stored. 256 MiB when 0.
	MaxFetchBytes int64
	// MaxDecodedBytes bounds it after decompression. 16 times MaxFetchBytes
	// when 0.
	MaxDecodedBytes int64
	// AllowedOrigins are the only origins that may be fetched from, on every
	// redirect as well. An origin is scheme://host or scheme://host:port;
	// without a port, every port is meant. "https://*.example.com" is every
	// host below, "https://*" every host. An origin that names its host is
	// trusted with whatever address that host has; a pattern, and so the
	// default, reaches public addresses only. {"https://*"} when empty.
	AllowedOrigins []string
	// MaxRedirects bounds the redirects of one fetch. 5 when 0; negative
	// follows none.
	MaxRedirects int
	// Attempts is how often a fetch is tried when storage cannot be reached,
	// fails, or delivers less than it announced. 3 when 0, which is also the
	// most.
	Attempts int
	// RetryDelay lies between two attempts. 0.5 s when 0.
	RetryDelay time.Duration
	// Timeout bounds each attempt, from connecting to the last byte. 60 s when
	// 0.
	Timeout time.Duration
	// UploadTimeout bounds an upload, with all attempts that the Store makes of
	// it. Then the call fails with UNAVAILABLE, however long it may take itself.
	// 3 min when 0, as long as the attempts of a fetch.
	UploadTimeout time.Duration
	// ParallelFrom is the size in bytes, as stored, from which an object is
	// fetched in ranges, several at once, if storage can serve them and can
	// tell that the object stayed the same. 64 MiB when 0; negative never does.
	ParallelFrom int64
	// RangeBytes is the size of a range. 8 MiB when 0.
	RangeBytes int64
	// Ranges is how many are fetched, or wait to be decoded, at once: their
	// memory is counted by Budget, and taken from nowhere if it refuses. 8 when
	// 0.
	Ranges int
	// TLS is for storage with certificates of its own; nil has the system's
	// roots. It is cloned.
	TLS *tls.Config

	// Validation is how thoroughly a fetched batch is checked.
	Validation wire.Validation
	// Budget counts the bytes of fetched batches until they are released; nil
	// is unbounded.
	Budget *wire.Budget
	// Logger is told of uploads, fetches and failed attempts, at DEBUG, with
	// redacted URLs. Nobody is when nil.
	Logger *slog.Logger
	// Observers watch uploads and fetches, in order.
	Observers []Observer
}

func (o Options) withDefaults() Options {
	pick := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	pick(&o.Threshold, DefaultThreshold)
	pick(&o.MaxFetchBytes, DefaultMaxFetchBytes)
	pick(&o.MaxDecodedBytes, decodedFactor*min(o.MaxFetchBytes, mostBytes/decodedFactor))
	pick(&o.ParallelFrom, DefaultParallelFrom)
	pick(&o.RangeBytes, DefaultRangeBytes)
	pick((*int64)(&o.RetryDelay), int64(DefaultRetryDelay))
	pick((*int64)(&o.Timeout), int64(DefaultTimeout))
	pick((*int64)(&o.UploadTimeout), int64(DefaultUploadTimeout))
	if o.MaxRedirects == 0 {
		o.MaxRedirects = DefaultMaxRedirects
	}
	if o.Ranges == 0 {
		o.Ranges = DefaultRanges
	}
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
	if o.Compression == "" {
		o.Compression = None
	}
	if len(o.AllowedOrigins) == 0 {
		o.AllowedOrigins = []string{"https://*"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate reports an option that makes no sense, by name. Defaults are in
// place.
func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Threshold", o.Threshold},
		{"MaxFetchBytes", o.MaxFetchBytes},
		{"MaxDecodedBytes", o.MaxDecodedBytes},
		{"RangeBytes", o.RangeBytes},
		{"Ranges", int64(o.Ranges)},
		{"RetryDelay", int64(o.RetryDelay)},
		{"Timeout", int64(o.Timeout)},
		{"UploadTimeout", int64(o.UploadTimeout)},
	} {
		if f.value < 0 || f.value > mostBytes {
			return fmt.Errorf("external: option %s is %d: want 0 for the default, or 1 to %d", f.name, f.value, int64(mostBytes))
		}
	}
	if o.Ranges > maxRanges {
		return fmt.Errorf("external: option Ranges is %d: want 1 to %d, or 0 for the default", o.Ranges, maxRanges)
	}
	if o.Attempts < 1 || o.Attempts > maxAttempts {
		return fmt.Errorf("external: option Attempts is %d: want 1 to %d, or 0 for the default", o.Attempts, maxAttempts)
	}
	switch o.Compression {
	case None, Zstd, Gzip:
		return nil
	}
	return fmt.Errorf("external: option Compression is %q: want none, zstd or gzip", o.Compression)
}

// Offload places batches in storage and resolves pointers to them. It is safe
// for concurrent use, and implements [vgirpc.Offload].
type Offload struct {
	opts      Options
	policy    *policy
	transport http.RoundTripper
	schemas   wire.SchemaCache
	objects   spares        // memory of whole objects
	chunks    spares        // and of ranges
	zstd      *zstd.Encoder // nil unless objects are compressed with it
	observers []Observer
}

var _ vgirpc.Offload = (*Offload)(nil)

// New returns an Offload. It fails when an option makes no sense.
func New(opts Options) (*Offload, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	allowed := opts.AllowedOrigins
	if s, ok := opts.Store.(interface{ Origins() []string }); ok {
		allowed = slices.Concat(allowed, s.Origins())
	}
	policy, err := newPolicy(allowed)
	if err != nil {
		return nil, err
	}
	o := &Offload{opts: opts, policy: policy, observers: slices.Clone(opts.Observers)}
	o.transport = &http.Transport{
		DialContext:         policy.dial,
		TLSClientConfig:     opts.TLS.Clone(), // nil stays nil
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // the decoded size is for this package to bound
		MaxIdleConnsPerHost: max(16, opts.Ranges),
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	if opts.Compression == Zstd {
		if o.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault)); err != nil {
			return nil, fmt.Errorf("external: %w", err)
		}
	}
	return o, nil
}

// Uploads is the store as a place where clients may put what is too large to send,
// nil when it hands out none.
func (o *Offload) Uploads() UploadURLs {
	uploads, _ := o.opts.Store.(UploadURLs)
	return uploads
}

// Close closes the connections that are not in use. Fetches under way go on.
func (o *Offload) Close() error {
	if t, ok := o.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

var (
	errNoStore  = errors.New("external: no storage is configured")
	errPanicked = errors.New("external: the store panicked")
)
