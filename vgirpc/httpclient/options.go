package httpclient

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Bounds of the response limit that a client may ask for, in bytes
// (http-response-budgets.md).
const (
	DefaultMaxResponseBytes = 256 << 20
	MinMaxResponseBytes     = 64 << 10
	MaxMaxResponseBytes     = 1<<53 - 1
)

// Request compression, where Options does not say otherwise.
const (
	defaultLevel         = 1
	defaultCompressAbove = 32 << 10
)

// The content codings of the protocol (WIRE_PROTOCOL section 10).
const (
	codingZstd     = "zstd"
	codingGzip     = "gzip"
	codingIdentity = "identity"
)

// Options configure a [Transport]. The zero value works.
type Options struct {
	// Transport carries the requests. Nil is a pool of kept connections of the
	// Transport's own, by way of the proxy that the environment names. One that
	// is given is not closed by [Transport.Close], and it must not follow
	// redirects, which no http.RoundTripper does.
	Transport http.RoundTripper
	// Wrap puts something around what carries the requests to the server, a
	// Transport that was given or the client's own: oauth.Authorize, for instance,
	// which answers a 401 with another token. It is called once. A [vgirpc.Error]
	// of what it returns reaches the caller as it is.
	Wrap func(next http.RoundTripper) http.RoundTripper
	// TLS is used for https by the Transport's own connections; nil trusts the
	// system's authorities.
	TLS *tls.Config
	// DialContext makes the Transport's own connections, through a proxy for
	// instance, in place of any that the environment names.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Header is sent with every request, those of discovery too. Headers that
	// the protocol sets cannot be given.
	Header http.Header
	// Authorize adds to the headers of one request before it is sent, a bearer
	// token for instance. Its error fails the call. It may be called at once
	// from many goroutines.
	Authorize func(ctx context.Context, header http.Header) error
	// MaxResponseBytes bounds one response, decompressed. 256 MiB when 0, and at
	// least 64 KiB. A negative value is no limit: then the server is neither
	// asked for its support nor told.
	MaxResponseBytes int64
	// AcceptEncodings are the codings of responses, in order of preference:
	// zstd, gzip, identity. Nil is zstd and gzip, an empty list identity.
	AcceptEncodings []string
	// Compression is the zstd level of request bodies: 1 when 0, none when
	// negative. A server that is known not to have zstd gets none.
	Compression int
	// CompressAbove is the size in bytes above which a body is compressed.
	// 32 KiB when 0.
	CompressAbove int
	// Uploads take what is larger than the server's MaxRequestBytes. Such a
	// request fails when nil.
	Uploads *Uploads
	// Logger is told of retries and of what is ignored, at debug level. Nil is
	// silent.
	Logger *slog.Logger
}

// reserved are the headers that the protocol sets.
var reserved = []string{
	headerContentType, headerContentEncoding, "Content-Length", "Host", "Accept", headerAcceptEncoding,
	headerVGIAcceptEncoding, headerLimit, headerSession, headerSessionAccept,
	"Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer",
}

// withDefaults checks o and fills in what it leaves open.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.MaxResponseBytes == 0:
		o.MaxResponseBytes = DefaultMaxResponseBytes
	case o.MaxResponseBytes > 0 && (o.MaxResponseBytes < MinMaxResponseBytes || o.MaxResponseBytes > MaxMaxResponseBytes):
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: MaxResponseBytes is %d: want %d to %d, 0 or less than 0",
			o.MaxResponseBytes, MinMaxResponseBytes, int64(MaxMaxResponseBytes))
	}
	if o.Transport != nil && (o.TLS != nil || o.DialContext != nil) {
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: TLS and DialContext are for the client's own connections: a given Transport has its own")
	}
	if o.AcceptEncodings == nil {
		o.AcceptEncodings = []string{codingZstd, codingGzip}
	}
	if len(o.AcceptEncodings) == 0 {
		o.AcceptEncodings = []string{codingIdentity}
	}
	for _, c := range o.AcceptEncodings {
		if !slices.Contains([]string{codingZstd, codingGzip, codingIdentity}, c) {
			return o, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: AcceptEncodings has %q: want zstd, gzip or identity", c)
		}
	}
	if o.Compression == 0 {
		o.Compression = defaultLevel
	}
	if o.Compression > 22 {
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: Compression is %d: zstd has levels up to 22", o.Compression)
	}
	if o.CompressAbove == 0 {
		o.CompressAbove = defaultCompressAbove
	}
	if o.Uploads != nil {
		if err := o.Uploads.validate(); err != nil {
			return o, err
		}
	}
	for name := range o.Header {
		if slices.Contains(reserved, textproto.CanonicalMIMEHeaderKey(name)) {
			return o, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: Header has %s, which the protocol sets", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// commonHeader is what every request carries. RPC requests carry their content type
// besides.
func commonHeader(o *Options) http.Header {
	h := make(http.Header, len(o.Header)+5)
	for name, values := range o.Header {
		h[textproto.CanonicalMIMEHeaderKey(name)] = slices.Clone(values)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{"vgirpc-go"}
	}
	accept := []string{strings.Join(o.AcceptEncodings, ", ")}
	h[headerAcceptEncoding] = accept
	h[headerVGIAcceptEncoding] = accept
	if o.MaxResponseBytes > 0 {
		h[headerLimit] = []string{strconv.FormatInt(o.MaxResponseBytes, 10)}
	}
	return h
}

// Names of headers, in the form in which net/http keeps them.
const (
	headerContentType        = "Content-Type"
	headerContentEncoding    = "Content-Encoding"
	headerAcceptEncoding     = "Accept-Encoding"
	headerVGIAcceptEncoding  = "X-Vgi-Accept-Encoding"
	headerVGIContentEncoding = "X-Vgi-Content-Encoding"
	headerRequestID          = "X-Request-Id"
	headerRetryAfter         = "Retry-After"
	headerLimit              = "Vgi-Accept-Max-Response-Bytes"
	headerLimitSupport       = "Vgi-Accept-Max-Response-Bytes-Support"
	headerEncodings          = "Vgi-Supported-Encodings"
	headerAuthReason         = "Vgi-Auth-Reason"
	headerProxyRequired      = "Vgi-Auth-Proxy-Required"
	headerSession            = "Vgi-Session"
	headerSessionAccept      = "Vgi-Session-Accept"
	headerSessionClose       = "Vgi-Session-Close"
	headerEchoPrefix         = "Vgi-Echo-"
)

const contentTypeArrow = "application/vnd.apache.arrow.stream"
