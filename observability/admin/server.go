package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the listener. Who asks here asks for little, and seldom.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // which profiles prolong
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	maxConns          = 64
)

// Server answers those who run a server. It is an http.Handler, and serves once.
type Server struct {
	opts   Options
	token  [sha256.Size]byte
	cross  *http.CrossOriginProtection
	routes *http.ServeMux
	ready  readiness
	http   *http.Server

	fresh    sync.Map      // connections that have answered no request yet
	first    time.Duration // firstRequest, but for tests
	mu       sync.Mutex
	listener net.Listener // nil before Serve
}

// New returns a server. It fails when an option makes no sense.
func New(opts Options) (*Server, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, token: sha256.Sum256([]byte(opts.Token)),
		cross: http.NewCrossOriginProtection(), routes: http.NewServeMux(),
		ready: readiness{checks: opts.Checks, timeout: opts.CheckTimeout},
		first: firstRequest,
	}
	s.http = &http.Server{
		Handler: s, TLSConfig: opts.TLS.Clone(), // nil stays nil
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:  slog.NewLogLogger(opts.Logger.Handler(), slog.LevelInfo),
		ConnState: s.connState,
	}
	s.route()
	return s, nil
}

func (s *Server) route() {
	s.routes.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	s.routes.HandleFunc("GET /readyz", s.serveReady)
	s.routes.HandleFunc("GET /buildinfo", s.serveBuild)
	s.routes.HandleFunc("GET /debug/pprof/{$}", serveProfiles)
	s.routes.HandleFunc("GET /debug/pprof/{name}", serveProfile)
	s.routes.HandleFunc("GET /debug/pprof/profile", serveCPU)
	s.routes.HandleFunc("GET /debug/pprof/trace", serveTrace)
	if s.opts.Metrics != nil {
		s.routes.Handle("GET /metrics", s.opts.Metrics)
	}
	if s.opts.Config != nil {
		s.routes.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, s.opts.Config())
		})
	}
	if s.opts.Level != nil {
		s.routes.HandleFunc("GET /loglevel", s.serveLevel)
		s.routes.HandleFunc("PUT /loglevel", s.changeLevel)
	}
}

// Serve accepts connections from l, which it closes, until Shutdown is called or
// l is closed, which are no errors. It fails at once when others than this
// machine can reach l and nothing keeps them out.
func (s *Server) Serve(l net.Listener) error {
	if err := s.Allows(l.Addr()); err != nil {
		_ = l.Close()
		return err
	}
	l = netutil.LimitListener(l, maxConns)
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// connState keeps account of the connections that have answered no request yet.
// One whose request was just read is among them: http.Server looks once more
// whether it ends, and drops the request then.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.fresh.Store(c, nil)
	case http.StateActive:
	default:
		s.fresh.Delete(c)
	}
}

const (
	// firstRequest is how long a connection has for its first request, and the
	// answer, when the server ends.
	firstRequest = 250 * time.Millisecond
	// look is how often it is looked for.
	look = 5 * time.Millisecond
)

// Shutdown takes no further connections, and lets requests in progress finish as
// long as ctx does, and then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l != nil {
		_ = l.Close() // it may be closed already
		s.awaitFirst(ctx)
	}
	err := s.http.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) { // of the listener
		return nil
	}
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

// awaitFirst waits for the first answers of the connections that were accepted:
// http.Server does not answer requests that it reads after Shutdown.
func (s *Server) awaitFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.first)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		waiting := false
		s.fresh.Range(func(any, any) bool {
			waiting = true
			return false
		})
		if !waiting {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ErrPublic is why an address is refused.
var ErrPublic = errors.New("admin: others than this machine can reach the address, and nothing keeps them out: " +
	"choose one of 127.0.0.1, give it TLS and a token, or say that the network does (Public)")

// Allows returns nil when the server may be reached at an address, or [ErrPublic].
func (s *Server) Allows(addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || s.opts.Public || s.opts.TLS != nil && s.opts.Token != "" {
		return nil
	}
	return ErrPublic
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := w.Header()
	out.Set("Cache-Control", "no-store")
	out.Set("X-Content-Type-Options", "nosniff")
	out.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	out.Set("Cross-Origin-Resource-Policy", "same-origin")
	switch {
	case !s.knows(r):
		text(w, http.StatusMisdirectedRequest, "this server does not go by that name (Host)")
	case foreign(r) || s.cross.Check(r) != nil:
		text(w, http.StatusForbidden, "another site has caused this request")
	case !s.admits(r):
		out.Set("WWW-Authenticate", "Bearer")
		text(w, http.StatusUnauthorized, "want the token: Authorization: Bearer TOKEN")
	default:
		s.routes.ServeHTTP(w, r)
	}
}

// knows reports whether the server goes by the name of the request. On a Unix
// socket, which no browser reaches, it goes by every name, and a request without
// one is of no browser: probes of gateways leave it out.
func (s *Server) knows(r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	if r.Host == "" {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true // nobody can have a name resolved to it
	}
	return slices.ContainsFunc(s.opts.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// foreign reports whether a page of another site makes the browser ask.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return true
}

// admits reports whether the request has what it needs. Probes need nothing.
func (s *Server) admits(r *http.Request) bool {
	if s.opts.Token == "" || r.URL.Path == "/livez" || r.URL.Path == "/readyz" && !verbose(r) {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], s.token[:]) == 1
}
