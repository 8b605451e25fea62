package external

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// maxWindow is the largest zstd window that a fetched object may ask for, as of
// the reference decoder: a forged frame costs no more than that.
const maxWindow = 128 << 20

// fetch makes one attempt at the object behind a URL, and returns it decoded.
// It goes around http.Client, which follows redirects, keeps cookies, and puts
// whole URLs into its errors.
func (o *Offload) fetch(ctx context.Context, rawURL string, m *intake) ([]byte, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, rejected("it is %s", invalidURL)
	}
	for redirects := 0; ; redirects++ {
		if err := o.policy.check(u); err != nil {
			return nil, err
		}
		resp, err := o.get(ctx, u, nil)
		if err != nil {
			return nil, err
		}
		next, err := redirect(resp, u)
		if err != nil || next == nil {
			if err == nil {
				err = o.readBody(ctx, resp, u, m)
			}
			finish(resp)
			return m.buf, err
		}
		finish(resp)
		if redirects >= o.opts.MaxRedirects {
			return nil, refusef(vgirpc.FailedPrecondition, "redirect limit exceeded (max_redirects=%d) at %s",
				max(o.opts.MaxRedirects, 0), redactURL(u))
		}
		u = next
	}
}

// get requests one URL, with extra headers.
func (o *Offload) get(ctx context.Context, u *url.URL, extra http.Header) (*http.Response, error) {
	req := (&http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept-Encoding": acceptEncoding, "User-Agent": userAgent},
	}).WithContext(ctx)
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	maps.Copy(req.Header, extra)
	resp, err := o.transport.RoundTrip(req)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, errNotPublic):
		return nil, rejected("%s: %v", redactURL(u), errNotPublic)
	}
	return nil, transientf("GET %s: %s", redactURL(u), redactError(err))
}

// Values of request headers. The transport only reads them.
var (
	acceptEncoding = []string{"zstd, gzip"}
	userAgent      = []string{"vgirpc-go"}
)

// finish closes a response. A short rest is read first, so that the connection
// can be used again.
func finish(resp *http.Response) {
	if resp.ContentLength >= 0 && resp.ContentLength <= 4<<10 {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}

// redirect is where a response sends the reader; nil when it is the object.
// Everything else is an error.
func redirect(resp *http.Response, u *url.URL) (*url.URL, error) {
	switch code := resp.StatusCode; code {
	case http.StatusOK:
		return nil, nil //nolint:nilnil // no redirect and no error: this is the object
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		location := resp.Header.Get("Location")
		next, err := u.Parse(location)
		if location == "" || err != nil || next.Host == "" {
			return nil, refusef(vgirpc.FailedPrecondition, "redirect without a valid target at %s", redactURL(u))
		}
		return next, nil
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return nil, transientf("GET %s: status %d", redactURL(u), code)
	default:
		if code >= http.StatusInternalServerError {
			return nil, transientf("GET %s: status %d", redactURL(u), code)
		}
		return nil, refusef(vgirpc.FailedPrecondition, "fetch failed: GET %s: status %d", redactURL(u), code)
	}
}

// readBody reads and decodes an object into m.
func (o *Offload) readBody(ctx context.Context, resp *http.Response, u *url.URL, m *intake) error {
	limit := o.opts.MaxFetchBytes
	if resp.ContentLength > limit {
		return refusef(vgirpc.ResourceExhausted, "fetch refused: Content-Length %d exceeds max_fetch_bytes (%d) at %s",
			resp.ContentLength, limit, redactURL(u))
	}
	body, closeBody := o.ranges(ctx, resp, u, m.budget)
	defer closeBody()
	encoded := &capped{r: body, left: limit}
	decoded, closer, hint, err := decode(encoded, resp, o.opts.MaxDecodedBytes)
	if err == nil {
		err = m.fill(decoded, hint, o.opts.MaxDecodedBytes)
		closer()
	}
	switch {
	case encoded.left < 0:
		return refusef(vgirpc.ResourceExhausted, "fetch exceeded max_fetch_bytes (%d bytes) at %s", limit, redactURL(u))
	case encoded.err != nil: // of the network, whatever the decoder made of it
		return broken(u, encoded.err)
	case errors.Is(err, errTooLong), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return refusef(vgirpc.ResourceExhausted, "decoded body exceeded max_decompressed_bytes (%d) at %s",
			o.opts.MaxDecodedBytes, redactURL(u))
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return refusef(vgirpc.ResourceExhausted, "zstd window of the object at %s exceeds %d bytes", redactURL(u), maxWindow)
	case errors.Is(err, errCoding):
		return refusef(vgirpc.InvalidArgument, "object at %s: %v", redactURL(u), err)
	case err != nil && m.refused == nil:
		return refusef(vgirpc.DataLoss, "object at %s does not decompress: %v", redactURL(u), err)
	}
	return err
}

// broken is an error of reading a body as one of an attempt.
func broken(u *url.URL, err error) error {
	if failure, ok := errors.AsType[*vgirpc.Error](err); ok {
		return failure
	}
	if again, ok := errors.AsType[*transient](err); ok {
		return again
	}
	return transientf("GET %s: %s", redactURL(u), redactError(err))
}

var (
	errCoding  = errors.New("unsupported Content-Encoding")
	errTooLong = errors.New("too long")
)

// decode undoes a response's content coding. hint is the decoded size where it
// is known, or else 0; closer frees what the decoder holds.
func decode(body io.Reader, resp *http.Response, limit int64) (decoded io.Reader, closer func(), hint int64, err error) {
	coding := ""
	for part := range strings.SplitSeq(strings.Join(resp.Header.Values("Content-Encoding"), ","), ",") {
		part, _, _ = strings.Cut(part, ";")
		part = strings.ToLower(strings.TrimSpace(part))
		switch {
		case part == "" || part == "identity" || part == "aws-chunked": // the last one describes an upload
		case coding == "":
			coding = part
		default:
			coding += ", " + part
		}
	}
	nothing := func() {}
	switch coding {
	case "":
		return body, nothing, max(resp.ContentLength, 0), nil
	case string(Zstd):
		d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(uint64(limit)))
		if err != nil {
			return nil, nil, 0, err
		}
		return d, d.Close, 0, nil
	case string(Gzip):
		d, err := gzip.NewReader(body)
		return d, nothing, 0, err
	}
	return nil, nil, 0, fmt.Errorf("%w %.60q: want zstd or gzip", errCoding, coding)
}

// capped reads at most left bytes; left is negative once there were more. It
// keeps an error of its source, which a decoder above may hide.
type capped struct {
	r    io.Reader
	left int64
	err  error
}

// Read fails when the source has more than it may.
func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLong
	}
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
