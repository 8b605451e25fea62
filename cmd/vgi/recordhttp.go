package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// recordedHTTP is a reverse proxy in front of an HTTP server.
type recordedHTTP struct {
	a      *app
	listen string // host:port
	target *url.URL
	tls    *tls.Config
}

func (r *recordedHTTP) transport() string { return "http" }

func (a *app) newRecordedHTTP(listen, target string) (*recordedHTTP, error) {
	from, err := url.Parse(listen)
	if err != nil || from.Host == "" || strings.Trim(from.Path, "/") != "" {
		return nil, usagef("%q: want http://HOST:PORT to listen on", listen)
	}
	to, err := url.Parse(target)
	if err != nil || to.Host == "" || !isHTTP(target) || to.RawQuery != "" || to.User != nil {
		return nil, usagef("%q: want the http:// or https:// URL of a server", target)
	}
	r := &recordedHTTP{a: a, listen: from.Host, target: to}
	if to.Scheme == "https" {
		if r.tls, err = a.conn.tls(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// listenHTTP listens on a TCP address for HTTP, and announces the port as a worker
// does.
func (a *app) listenHTTP(ctx context.Context, place string) (net.Listener, error) {
	l, err := vgirpc.ListenTCP(ctx, place)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	fmt.Fprintln(a.out, "PORT:"+port)
	return l, nil
}

// run serves until ctx ends, which is no error.
func (r *recordedHTTP) run(ctx context.Context, w *recording.Writer) error {
	l, err := r.a.listenHTTP(ctx, r.listen)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	transport := &http.Transport{
		DisableCompression: true, // what the server sends is what the client gets
		TLSClientConfig:    r.tls, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
	defer transport.CloseIdleConnections()
	quiet := log.New(io.Discard, "", 0)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(r.target) },
		Transport:     &tapped{transport, w, strings.TrimSuffix(r.target.EscapedPath(), "/")},
		FlushInterval: -1,
		ErrorLog:      quiet,
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			fmt.Fprintln(r.a.err, "vgi record:", clean(err.Error()))
			rw.WriteHeader(http.StatusBadGateway)
		},
	}
	return serveHTTP(ctx, l, fullDuplex(proxy))
}

// fullDuplex lets a proxy read a request's body on when the answer has begun.
// Otherwise the server closes that body then, and a proxy that has still to see its
// end takes this for an error and cuts the answer off.
func fullDuplex(proxy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 needs none
		proxy.ServeHTTP(w, req)
	})
}

// serveHTTP serves until ctx ends, which is no error, and waits for requests that
// are under way.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(within) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// tapped records the requests of a transport, and their responses.
type tapped struct {
	next http.RoundTripper
	w    *recording.Writer
	// prefix is the server's own, which the client does not know of.
	prefix string
}

// RoundTrip implements [http.RoundTripper].
func (t *tapped) RoundTrip(req *http.Request) (*http.Response, error) {
	conn := t.w.Open()
	conn.Head(recording.Client, head(req.Header,
		wire.Pair{Key: recording.MetaMethod, Value: req.Method},
		wire.Pair{Key: recording.MetaPath, Value: strings.TrimPrefix(req.URL.RequestURI(), t.prefix)}))
	if req.Body != nil && req.Body != http.NoBody {
		out := *req
		out.Body = newTappedBody(req.Body, bodyTap(conn, recording.Client, req.Header), nil)
		req = &out
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		conn.Fail(err)
		conn.Close()
		return nil, err
	}
	conn.Head(recording.Server, head(resp.Header, wire.Pair{Key: recording.MetaStatus, Value: strconv.Itoa(resp.StatusCode)}))
	resp.Body = newTappedBody(resp.Body, bodyTap(conn, recording.Server, resp.Header), conn.Close)
	return resp, nil
}

func bodyTap(conn *recording.Conn, from recording.Side, h http.Header) *recording.Tap {
	return conn.BodyTap(from, mediaType(h) == contentTypeArrow, h.Get("Content-Encoding"))
}

func mediaType(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// credentials are headers that no recording holds.
func credentials() []string {
	return []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Forwarded-Client-Cert"}
}

// head is the head of a message as it is recorded, in the order of names.
func head(h http.Header, first ...wire.Pair) wire.Metadata {
	meta := slices.Clone(wire.Metadata(first))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if slices.Contains(credentials(), name) {
				value = "[credential]"
			}
			meta = append(meta, wire.Pair{Key: name, Value: value})
		}
	}
	return meta
}

// tappedBody is a body that is recorded while it is read.
type tappedBody struct {
	io.ReadCloser
	closed func() // nil when nobody asks

	mu    sync.Mutex // a body is closed while it is read
	tap   *recording.Tap
	ended bool
}

func newTappedBody(body io.ReadCloser, tap *recording.Tap, closed func()) io.ReadCloser {
	return &tappedBody{ReadCloser: body, tap: tap, closed: closed}
}

// Read reads.
func (b *tappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return n, err
	}
	_, _ = b.tap.Write(p[:max(n, 0)]) // a tap never fails
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Close closes.
func (b *tappedBody) Close() error {
	err := b.ReadCloser.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(nil)
	return err
}

func (b *tappedBody) end(err error) {
	if b.ended {
		return
	}
	b.ended = true
	b.tap.End(err)
	if b.closed != nil {
		b.closed()
	}
}
