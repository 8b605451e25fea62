package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// contentTypeArrow is that of every request and answer (WIRE_PROTOCOL section 10).
const contentTypeArrow = "application/vnd.apache.arrow.stream"

// maxProbeBytes bounds what is read of an answer to a probe.
const maxProbeBytes = 1 << 20

// httpProbe sends requests that the client transport would not show: what came
// back besides the answer is what they are for.
type httpProbe struct {
	base   *url.URL
	header http.Header
	rt     *http.Transport
	login  http.RoundTripper // rt with the token of the login that is stored
}

// newHTTPProbe makes a probe whose calls go through wrap, nil for none, as those of
// the client transport do.
func newHTTPProbe(c *connection, target string, wrap func(http.RoundTripper) http.RoundTripper) (*httpProbe, error) {
	base, err := url.Parse(target)
	if err != nil || base.Host == "" {
		return nil, usagef("the URL cannot be parsed")
	}
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	rt := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableCompression: true,
		ResponseHeaderTimeout: c.connectTimeout, TLSHandshakeTimeout: c.connectTimeout, IdleConnTimeout: time.Minute,
	}
	if c.proxy != "" {
		proxy, err := url.Parse(c.proxy)
		if err != nil {
			return nil, usagef("--proxy cannot be parsed")
		}
		rt.Proxy = http.ProxyURL(proxy)
	}
	if base.Scheme == "https" {
		if rt.TLSClientConfig, err = c.tls(); err != nil {
			return nil, err
		}
	}
	p := &httpProbe{base: base, header: header, rt: rt, login: rt}
	if wrap != nil {
		p.login = wrap(rt)
	}
	return p, nil
}

func (p *httpProbe) close() { p.rt.CloseIdleConnections() }

// answer is what a request brought.
type answer struct {
	proto  string
	status int
	header http.Header
	tls    *tls.ConnectionState
	body   []byte
	// authorized says that the request had an Authorization header.
	authorized bool
}

// do sends a request by way of rt, and reads the answer's body. Redirects are not
// followed.
func (p *httpProbe) do(ctx context.Context, rt http.RoundTripper, method, path string, body []byte, header http.Header) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range []http.Header{p.header, header} {
		maps.Copy(req.Header, h)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // what was read is what counts
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBytes))
	authorized := resp.Request != nil && resp.Request.Header.Get("Authorization") != ""
	return &answer{resp.Proto, resp.StatusCode, resp.Header, resp.TLS, data, authorized}, err
}

// allCodings are the content codings that clients take.
const allCodings = "zstd, gzip"

// asking is what clients say of the answer that they want.
func asking(codings string) http.Header {
	return http.Header{
		"Vgi-Accept-Max-Response-Bytes": {"268435456"}, "Accept-Encoding": {codings}, "X-Vgi-Accept-Encoding": {codings},
	}
}

// health asks for the headers of the health route by way of rt.
func (p *httpProbe) health(ctx context.Context, rt http.RoundTripper) (*answer, error) {
	return p.do(ctx, rt, http.MethodHead, "health", nil, asking(allCodings))
}

// call sends a request stream of one batch.
func (p *httpProbe) call(ctx context.Context, path string, ask *wire.Batch, codings string) (*answer, error) {
	var body bytes.Buffer
	w := wire.NewWriter(&body)
	if err := errors.Join(w.Open(ask.Schema), w.Batch(ask), w.Close(), w.Flush()); err != nil {
		return nil, err
	}
	header := asking(codings)
	header["Content-Type"], header["Accept"] = []string{contentTypeArrow}, []string{contentTypeArrow}
	return p.do(ctx, p.login, http.MethodPost, path, body.Bytes(), header)
}

// probeError is an answer that is not the one that was asked for.
type probeError struct {
	status int
	media  string // the answer's Content-Type
}

// Error implements error.
func (e *probeError) Error() string { return fmt.Sprintf("HTTP %d, %q", e.status, e.media) }

// transportOptions asks for the transport's options. An answer that has none is a
// *probeError.
func (p *httpProbe) transportOptions(ctx context.Context) (wire.Metadata, error) {
	ask := vgirpc.CapabilityRequest()
	got, err := p.call(ctx, wire.MethodTransport, &ask, "identity")
	if err != nil {
		return nil, err
	}
	if media := got.header.Get("Content-Type"); got.status != http.StatusOK || media != contentTypeArrow {
		return nil, &probeError{got.status, media}
	}
	r := wire.NewReader(bytes.NewReader(got.body), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		return nil, err
	}
	b, err := r.Next()
	if err != nil {
		return nil, err
	}
	return b.Meta, nil
}
