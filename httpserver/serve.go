package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ServeOptions are the limits of the connections of a [Server], and how it
// ends. The zero value works; where it says so, a negative value turns a limit
// off.
type ServeOptions struct {
	// ReadHeaderTimeout is how long a request's header may take, and a TLS
	// handshake. 10 s when 0.
	ReadHeaderTimeout time.Duration
	// ProgressTimeout is how long a body may stand still half-way, in either
	// direction. A body that moves may take as long as it likes, and so may a
	// handler. 30 s when 0; negative turns it off.
	ProgressTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request: it
	// has to be longer than a load balancer in front keeps connections for.
	// 120 s when 0; negative turns it off.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's header. 64 KiB when 0.
	MaxHeaderBytes int
	// MaxConns is how many connections are open at once; further ones wait to
	// be accepted. 16,384 when 0; negative turns it off.
	MaxConns int
	// NoH2C refuses HTTP/2 without TLS. Clients and gateways that know of it
	// beforehand use it; everybody else speaks HTTP/1.1.
	NoH2C bool
	// TLS makes the server speak TLS, with HTTP/2 and HTTP/1.1.
	TLS *TLSOptions
	// TLSConfig makes it speak TLS with certificates that are no files:
	// spiffe.ServerTLS returns one. It is copied; it goes without TLS.
	TLSConfig *tls.Config
	// DrainDelay is how long a shutdown goes on taking requests after it
	// refuses new sessions: time for load balancers to notice, and for open
	// sessions to be finished. None when 0.
	DrainDelay time.Duration
	// SessionGrace is the time that closing the states of sticky sessions has,
	// even when the shutdown's own is over. 2 s when 0.
	SessionGrace time.Duration
	// Refused, unless nil, is told of requests that no handler sees: ReportRefused
	// of the vgirpc.Server. Those are requests over connections that have outlived
	// their client's certificate, and, over HTTP/1.1 without TLS, those whose header
	// is too large.
	Refused func(ctx context.Context, refused *vgirpc.Refused)
	// Logger receives what operators should see. slog.Default when nil.
	Logger *slog.Logger
}

// Defaults of ServeOptions.
const (
	defaultReadHeaderTimeout = 10 * time.Second
	defaultProgressTimeout   = 30 * time.Second
	defaultIdleTimeout       = 120 * time.Second
	defaultMaxHeaderBytes    = 64 << 10
	defaultMaxConns          = 16384
	defaultSessionGrace      = 2 * time.Second
)

// validate reports an option that makes no sense, by name.
func (o *ServeOptions) validate() error {
	switch {
	case o.ReadHeaderTimeout < 0:
		return fmt.Errorf("ReadHeaderTimeout %v: want a positive time", o.ReadHeaderTimeout)
	case o.MaxHeaderBytes < 0:
		return fmt.Errorf("MaxHeaderBytes %d: want a positive number", o.MaxHeaderBytes)
	case o.DrainDelay < 0:
		return fmt.Errorf("DrainDelay %v: want no negative time", o.DrainDelay)
	case o.SessionGrace < 0:
		return fmt.Errorf("SessionGrace %v: want a positive time", o.SessionGrace)
	case o.TLS != nil && o.TLSConfig != nil:
		return errors.New("TLS and TLSConfig exclude each other: leave one of them out")
	case o.TLSConfig != nil && !hasCertificate(o.TLSConfig):
		return errors.New("TLSConfig: want one with a certificate")
	}
	return nil
}

// fill sets the defaults. What is off afterwards is 0.
func (o *ServeOptions) fill() {
	o.ReadHeaderTimeout = limit(o.ReadHeaderTimeout, defaultReadHeaderTimeout)
	o.ProgressTimeout = limit(o.ProgressTimeout, defaultProgressTimeout)
	o.IdleTimeout = limit(o.IdleTimeout, defaultIdleTimeout)
	o.MaxHeaderBytes = limit(o.MaxHeaderBytes, defaultMaxHeaderBytes)
	o.MaxConns = limit(o.MaxConns, defaultMaxConns)
	o.SessionGrace = limit(o.SessionGrace, defaultSessionGrace)
	if o.Logger == nil {
		o.Logger = slog.Default() //nolint:forbidigo // what the option defaults to
	}
}

// limit is def for a zero value and 0 for a negative one.
func limit[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// Server serves an http.Handler, normally a [Handler], over HTTP/1.1 and
// HTTP/2, with limits that let no stalling client hold it up, and ends without
// cutting calls off. A Server serves once.
type Server struct {
	opts     ServeOptions
	handler  http.Handler
	http     *http.Server
	inFlight inFlight

	shutdownOnce sync.Once
	shutdownDone chan struct{} // closed when the shutdown is over
	shutdownErr  error
	closeOnce    sync.Once
}

// drainer is what a [Handler] can beside answering: a handler around it has to
// show it too, by embedding it for instance, to be drained.
type drainer interface {
	Drain()
	Shutdown(ctx context.Context) error
}

// NewServer returns a server of h. When h has the methods Drain and Shutdown of
// [Handler], they are called at the end. It fails when an option makes no sense,
// or a file that [TLSOptions] names cannot be used.
func NewServer(h http.Handler, opts ServeOptions) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("httpserver: %w", err)
	}
	opts.fill()
	s := &Server{opts: opts, handler: h, shutdownDone: make(chan struct{})}
	s.inFlight.none = make(chan struct{}, 1)
	s.http = &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            opts.ReadHeaderTimeout,
		ReadTimeout:                  opts.ProgressTimeout, // which movingBody renews
		IdleTimeout:                  opts.IdleTimeout,
		MaxHeaderBytes:               opts.MaxHeaderBytes,
		Protocols:                    protocols(opts),
		ErrorLog:                     slog.NewLogLogger(opts.Logger.Handler(), slog.LevelInfo),
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is the handler's as well
	}
	if opts.IdleTimeout == 0 {
		s.http.IdleTimeout = -1 // 0 would be ReadTimeout
	}
	s.http.ConnContext = connContext
	s.http.TLSConfig = opts.TLSConfig.Clone() // nil of nil
	if opts.TLS != nil {
		config, err := newTLSConfig(*opts.TLS, opts.Logger)
		if err != nil {
			return nil, fmt.Errorf("httpserver: %w", err)
		}
		s.http.TLSConfig = config
	}
	return s, nil
}

func protocols(opts ServeOptions) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true) // over TLS
	p.SetUnencryptedHTTP2(!opts.NoH2C)
	return p
}

// Serve accepts connections from l until Shutdown is called, ctx ends or l is
// closed. The first two are no errors: after Shutdown it waits until that is
// done; when ctx ends, it closes all connections, and waits for their handlers,
// whose contexts have ended, and for sessions to be closed. The contexts of
// requests are children of ctx. Serve closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	cut := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer cut()
	l = newGuardedListener(l, &s.opts)
	err := s.serve(l)
	if !errors.Is(err, http.ErrServerClosed) {
		_ = s.http.Close()
		s.inFlight.wait()
		return errors.Join(fmt.Errorf("httpserver: %w", err), s.closeSessions(ctx))
	}
	_ = l.Close()
	select {
	case <-ctx.Done():
		s.inFlight.wait()
		return s.closeSessions(ctx)
	case <-s.shutdownDone:
		s.inFlight.wait()
		return nil // Shutdown has told what there is to tell
	}
}

func (s *Server) serve(l net.Listener) error {
	if s.http.TLSConfig != nil {
		return s.http.ServeTLS(l, "", "")
	}
	return s.http.Serve(l)
}

// Shutdown ends the server in good order: no session is opened any more,
// requests are taken for another DrainDelay, then the listener and idle
// connections are closed, calls in flight finish, and last the states of
// sessions are closed. When ctx ends first, the connections left are closed,
// which ends the contexts of their calls, sessions are closed within
// SessionGrace, and ctx's error is returned. Further calls wait for the first
// one and return the same, or cut it off when their own ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	first := false
	s.shutdownOnce.Do(func() { first = true })
	if first {
		s.shutdownErr = s.shutdown(ctx)
		close(s.shutdownDone)
		return s.shutdownErr
	}
	select {
	case <-s.shutdownDone:
		return s.shutdownErr
	case <-ctx.Done():
		_ = s.http.Close()
		<-s.shutdownDone
		return ctx.Err()
	}
}

func (s *Server) shutdown(ctx context.Context) error {
	if d, ok := s.handler.(drainer); ok {
		d.Drain()
	}
	if s.opts.DrainDelay > 0 {
		select {
		case <-time.After(s.opts.DrainDelay):
		case <-ctx.Done():
		}
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return errors.Join(err, s.closeSessions(ctx))
}

// closeSessions lets the handler close the states of its sessions, once.
func (s *Server) closeSessions(ctx context.Context) (err error) {
	s.closeOnce.Do(func() {
		d, ok := s.handler.(drainer)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.SessionGrace)
		defer cancel()
		err = d.Shutdown(ctx)
	})
	return err
}

// ServeHTTP answers one request, and sees to it that its bodies move. It is
// exported for [http.Server] alone.
//
// A connection does not outlive its client's certificate: in the last minute each
// answer ends the connection, so that clients come back with another certificate,
// and afterwards requests are refused (401).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.inFlight.enter()
	defer s.inFlight.leave()
	if r.TLS != nil && certificateEnds(w, r) {
		s.opts.reportCertificate(r)
		return
	}
	timeout := s.opts.ProgressTimeout
	if timeout == 0 {
		s.handler.ServeHTTP(w, r)
		return
	}
	if r.ContentLength != 0 {
		r.Body = &movingBody{ReadCloser: r.Body, w: w, timeout: timeout}
	}
	if r.ProtoMajor > 1 {
		moving := &movingWriter{ResponseWriter: w, timeout: timeout}
		s.handler.ServeHTTP(moving, r)
		moving.arm() // for what net/http still holds
		return
	}
	if r.ContentLength == 0 {
		liftReadDeadline(w)
	}
	s.handler.ServeHTTP(w, r) // guardedConn watches what is written
}

// inFlight counts requests, for a server that closes to wait for them.
type inFlight struct {
	n       atomic.Int64
	closing atomic.Bool
	none    chan struct{} // one place
}

func (f *inFlight) enter() { f.n.Add(1) }

func (f *inFlight) leave() {
	if f.n.Add(-1) == 0 && f.closing.Load() {
		select {
		case f.none <- struct{}{}:
		default:
		}
	}
}

// wait returns when nothing is in flight. Nothing may be coming in any more.
func (f *inFlight) wait() {
	f.closing.Store(true)
	for f.n.Load() > 0 {
		<-f.none
	}
}
