package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Discovery is tried so often, with waits of random length up to a bound that
// doubles.
const (
	probeAttempts = 4
	probeBase     = 500 * time.Millisecond
	probeCap      = 30 * time.Second
	// minCapabilityAge is how long capabilities are believed at least, whatever
	// the server says: less would be a probe for each call.
	minCapabilityAge = time.Minute
)

// Capabilities are what a server says of itself in the headers of every response
// (WIRE_PROTOCOL section 10). Sizes are in bytes, 0 where the server has no
// limit or names none.
type Capabilities struct {
	MaxRequestBytes              int64
	MaxResponseBytes             int64
	MaxExternalizedResponseBytes int64
	MaxUploadBytes               int64
	// ResponseLimit: the server keeps to the client's response limit.
	ResponseLimit bool
	// Externalization: results may come as pointers to external storage.
	Externalization bool
	// UploadURLs: the server hands out URLs to upload large requests to.
	UploadURLs bool
	// Encodings are the content codings that the server produces; zstd where it
	// does not say.
	Encodings []string
	// ProxyProof: requests must come through a proxy that proves itself.
	ProxyProof bool
	// Sticky: methods may open sticky sessions, which live for StickyTTL where
	// the method does not say.
	Sticky    bool
	StickyTTL time.Duration
	// StickyEcho are the headers that the server asks the client to send back
	// throughout a session.
	StickyEcho []string
}

func parseCapabilities(h http.Header) *Capabilities {
	return &Capabilities{
		MaxRequestBytes:              number(h, "Vgi-Max-Request-Bytes"),
		MaxResponseBytes:             number(h, "Vgi-Max-Response-Bytes"),
		MaxExternalizedResponseBytes: number(h, "Vgi-Max-Externalized-Response-Bytes"),
		MaxUploadBytes:               number(h, "Vgi-Max-Upload-Bytes"),
		ResponseLimit:                supportsLimit(h),
		Externalization:              truth(h, "Vgi-Externalization-Enabled"),
		UploadURLs:                   truth(h, "Vgi-Upload-Url-Support"),
		Encodings:                    encodings(h),
		ProxyProof:                   truth(h, "Vgi-Proxy-Proof-Required"),
		Sticky:                       truth(h, "Vgi-Sticky-Enabled"),
		StickyTTL:                    time.Duration(min(number(h, "Vgi-Sticky-Default-Ttl"), 1<<32)) * time.Second,
		StickyEcho:                   list(h, "Vgi-Sticky-Echo-Headers"),
	}
}

// supportsLimit reports whether h has the support header, once and with its one
// value.
func supportsLimit(h http.Header) bool {
	v := h[headerLimitSupport]
	return len(v) == 1 && v[0] == "true"
}

// encodings are the codings that a server produces: an absent header is that of
// a server older than the header, an empty one says none.
func encodings(h http.Header) []string {
	if _, ok := h[headerEncodings]; !ok {
		return []string{codingZstd}
	}
	return list(h, headerEncodings)
}

func truth(h http.Header, name string) bool { return h.Get(name) == "true" }

// number is a header's value, or 0 where it has none that makes sense.
func number(h http.Header, name string) int64 {
	n, err := strconv.ParseInt(h.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func list(h http.Header, name string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.Join(h[name], ","), ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// known are capabilities with the time until which they are believed; the zero
// time is for good.
type known struct {
	*Capabilities
	until time.Time
}

// flight is a discovery that several calls wait for.
type flight struct {
	done   chan struct{}
	caps   *Capabilities
	err    error
	leader context.Context //nolint:containedctx // of the call that went ahead: its end is not the others' failure
}

// Capabilities returns what the server says of itself, asking it when that is
// not known, or was known for longer than the server allows. Calls at once share
// one request.
func (t *Transport) Capabilities(ctx context.Context) (*Capabilities, error) {
	if k := t.known.Load(); k != nil && (k.until.IsZero() || time.Now().Before(k.until)) {
		return k.Capabilities, nil
	}
	for {
		t.mu.Lock()
		f := t.flight
		if f == nil {
			f = &flight{done: make(chan struct{}), leader: ctx}
			t.flight = f
			t.mu.Unlock()
			t.lead(f)
			return f.caps, f.err
		}
		t.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, vgirpc.ContextError(ctx)
		}
		if f.err == nil || f.leader.Err() == nil {
			return f.caps, f.err
		}
	}
}

// lead makes the discovery that others wait for. They are told when a function
// of the caller's panics in it.
func (t *Transport) lead(f *flight) {
	f.err = vgirpc.Errorf(vgirpc.Internal, "the discovery of the server's capabilities ended in a panic: Authorize or Transport of the options")
	defer func() {
		t.mu.Lock()
		t.flight = nil
		t.mu.Unlock()
		close(f.done)
	}()
	f.caps, f.err = t.discover(f.leader)
}

// discover asks the server what it can do, several times where the answer is
// one that passes.
func (t *Transport) discover(ctx context.Context) (*Capabilities, error) {
	for attempt := 0; ; attempt++ {
		caps, wait, err := t.probe(ctx)
		if err == nil {
			return caps, nil
		}
		if stale := t.known.Load(); stale != nil && vgirpc.CodeOf(err) == vgirpc.Unavailable {
			// What it was able to do a while ago will do for this call, which
			// goes to the same server and will tell.
			t.known.CompareAndSwap(stale, &known{stale.Capabilities, time.Now().Add(minCapabilityAge)})
			return stale.Capabilities, nil
		}
		if wait < 0 || attempt+1 == probeAttempts {
			return nil, err
		}
		wait = max(min(rand.N(probeBase<<attempt), probeCap), min(wait, probeCap)) //nolint:gosec // jitter is no secret
		t.opts.Logger.DebugContext(ctx, "discovery failed, waiting to try again", "error", err, "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, vgirpc.ContextError(ctx)
		}
	}
}

// probe asks once. A failure that may pass comes with the time that the server
// asks to wait, another with a negative one.
func (t *Transport) probe(ctx context.Context) (*Capabilities, time.Duration, error) {
	req := t.health.WithContext(ctx)
	if t.opts.Authorize != nil {
		req.Header = req.Header.Clone()
		if err := t.opts.Authorize(ctx, req.Header); err != nil {
			return nil, -1, authorizeError(err)
		}
	}
	resp, err := t.rt.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, -1, vgirpc.ContextError(ctx)
		}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return nil, -1, t.lost(err) // it is as little trusted the next time
		}
		return nil, 0, t.lost(err)
	}
	defer func() { _ = resp.Body.Close() }() // a HEAD has no body
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		after, _ := retryAfter(resp.Header, time.Now())
		return nil, after, statusError(resp, "discovery of capabilities", time.Now())
	case http.StatusUnauthorized:
		return nil, -1, unauthorized(resp, nil)
	}
	if resp.StatusCode/100 != 2 {
		return nil, -1, statusError(resp, "discovery of capabilities", time.Now())
	}
	caps := parseCapabilities(resp.Header)
	if t.limit >= 0 && !caps.ResponseLimit {
		return nil, -1, &vgirpc.Error{
			Code: vgirpc.FailedPrecondition, Type: "ProtocolError",
			Message: "the server does not say, or does not say once, that it supports VGI-Accept-Max-Response-Bytes: " +
				"a gateway may drop its headers; a negative MaxResponseBytes does without a limit",
			Cause: ErrNoResponseLimit,
		}
	}
	t.known.Store(&known{caps, t.believeUntil(resp.Header)})
	return caps, 0, nil
}

// believeUntil is the end of the age that a response allows; for good where it
// allows none.
func (t *Transport) believeUntil(h http.Header) time.Time {
	for _, directive := range list(h, "Cache-Control") {
		value, ok := strings.CutPrefix(strings.ToLower(directive), "max-age=")
		if !ok {
			continue
		}
		if s, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return time.Now().Add(max(time.Duration(s)*time.Second, minCapabilityAge))
		}
	}
	return time.Time{}
}

// learn takes the capabilities of an ordinary response, where none are known:
// without a limit nobody asks for them.
func (t *Transport) learn(h http.Header) {
	if _, ok := h[headerEncodings]; ok && t.known.Load() == nil {
		t.known.CompareAndSwap(nil, &known{Capabilities: parseCapabilities(h)})
	}
}

// decodesZstd reports whether request bodies may be compressed. A server of
// which nothing is known gets plain ones.
func (t *Transport) decodesZstd() bool {
	k := t.known.Load()
	return k != nil && slices.Contains(k.Encodings, codingZstd)
}

// refusedZstd is told of a 415 on a compressed body, and reports whether the
// codings of the server do not have ours, so that the body may go out plain.
func (t *Transport) refusedZstd(ctx context.Context, h http.Header) bool {
	caps := &Capabilities{Encodings: encodings(h)}
	if _, ok := h[headerEncodings]; !ok {
		var err error
		if caps, _, err = t.probe(ctx); err != nil {
			return false
		}
	}
	if slices.Contains(caps.Encodings, codingZstd) {
		return false
	}
	if old := t.known.Load(); old != nil {
		fresh := *old.Capabilities
		fresh.Encodings = caps.Encodings
		t.known.CompareAndSwap(old, &known{&fresh, old.until})
	}
	return true
}
