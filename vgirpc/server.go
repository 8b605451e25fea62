package vgirpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ServerOptions configure a [Server]. The zero value works.
type ServerOptions struct {
	// ServerID names this process in replies and logs: 12 hex digits made at
	// random when empty.
	ServerID string
	// Version is the build's version, reported by reflection and logs.
	Version string
	// OmitTracebacks keeps stack traces in the process, on every transport
	// (WIRE_PROTOCOL section 8). The type, message, code, kind and details of
	// an error are sent either way.
	OmitTracebacks bool
	// Limits bound what is read from a connection. Its Budget is made with
	// wire.DefaultMaxBytesInFlight when nil.
	Limits wire.Limits
	// Conns are the limits of byte-stream connections.
	Conns ConnOptions
	// Interceptors wrap every handler, the first one outermost.
	Interceptors []Interceptor
	// Observers watch every call, in order.
	Observers []Observer
	// RefusalObservers are told of requests and connections that never became a
	// call, on every transport that knows of some.
	RefusalObservers []RefusalObserver
	// OnServeStart runs once for each transport kind before its first call is
	// served. An error stops that transport from serving; it is tried again
	// at the next attempt.
	OnServeStart func(ctx context.Context, kind TransportKind) error
	// OnConnect runs for each new byte-stream connection. The context it
	// returns, which may carry per-connection state, is the parent of that
	// connection's calls and is cancelled when the connection ends. An error
	// refuses the connection.
	OnConnect func(ctx context.Context, peer *Peer) (context.Context, error)
	// Offload moves large batches out of band. Every batch stays in band when
	// nil, and a pointer that arrives is refused.
	Offload Offload
	// SharedMemory makes what moves large batches of a pipe's or a Unix
	// socket's connection through shared memory, when its client asks for that
	// (WIRE_PROTOCOL sections 11 and 15): see shm.Serve. Nobody is offered any
	// when nil.
	SharedMemory func(*Peer) (SharedMemory, error)
	// Logger receives what operators should see; slog.Default when nil.
	Logger *slog.Logger
}

// Server hosts protocols and dispatches calls to their handlers. Handlers are
// registered with [HandleUnary], [HandleProducer], [HandleExchange] and their
// kin before the server first serves; then the set is sealed.
type Server struct {
	opts    ServerOptions
	log     *slog.Logger
	wireLog *slog.Logger
	schemas *wire.SchemaCache

	bindings map[string]*binding // by protocol name
	order    []*binding          // registration order, reflection last

	transportOptions *Method // the server's own method of that name

	sealOnce sync.Once
	sealErr  error
	sealed   atomic.Bool

	startMu sync.Mutex
	started map[TransportKind]bool
	tracker tracker
}

// binding is one hosted protocol with its handlers.
type binding struct {
	protocol *Protocol
	hash     string
	handlers map[string]*handler
}

// NewServer returns a server that hosts the given protocols, the primary first,
// and vgi_rpc.Reflection.v1. It fails when two protocols share a name or an
// option makes no sense.
func NewServer(opts ServerOptions, protocols ...*Protocol) (*Server, error) {
	if len(protocols) == 0 {
		return nil, errors.New("vgirpc: a server hosts at least one protocol")
	}
	s := &Server{bindings: map[string]*binding{}, schemas: &wire.SchemaCache{}, started: map[TransportKind]bool{}}
	if err := s.setOptions(opts); err != nil {
		return nil, err
	}
	for _, p := range protocols {
		if err := s.host(p); err != nil {
			return nil, err
		}
	}
	s.transportOptions = newMethod[None](protocols[0], wire.MethodTransport, KindUnary, MethodOptions{})
	return s, s.hostReflection()
}

// Configure changes options of a server that has not served yet: whoever runs a
// server that somebody else made adds observers or sets limits in this way.
// change gets the options as they are, with the defaults that [NewServer]
// filled in. An error, after which nothing is changed, names an option that
// makes no sense, or says that the server is sealed. Configure must not run at
// once with another method.
func (s *Server) Configure(change func(*ServerOptions)) error {
	if s.sealed.Load() {
		return errors.New("vgirpc: the server has begun to serve: its options are fixed")
	}
	opts := s.opts
	// What change appends must not reach the slices of NewServer's caller.
	opts.Interceptors, opts.Observers = slices.Clone(opts.Interceptors), slices.Clone(opts.Observers)
	opts.Conns.Admit = slices.Clone(opts.Conns.Admit)
	opts.RefusalObservers = slices.Clone(opts.RefusalObservers)
	change(&opts)
	return s.setOptions(opts)
}

// setOptions makes opts, with their defaults filled in, the server's options.
func (s *Server) setOptions(opts ServerOptions) error {
	if err := opts.Limits.Validate(); err != nil {
		return fmt.Errorf("vgirpc: %w", err)
	}
	if err := opts.Conns.validate(); err != nil {
		return fmt.Errorf("vgirpc: %w", err)
	}
	if opts.ServerID == "" {
		opts.ServerID = randomHex(6)
	}
	if opts.Limits.Budget == nil {
		opts.Limits.Budget = wire.NewBudget(0)
	}
	s.opts, s.log = opts, opts.Logger
	if s.log == nil {
		s.log = slog.Default() //nolint:forbidigo // what the option defaults to
	}
	s.wireLog = s.log.WithGroup("vgi_rpc.wire")
	return nil
}

func (s *Server) host(p *Protocol) error {
	if s.bindings[p.name] != nil {
		return fmt.Errorf("vgirpc: protocol %s is hosted twice", p.name)
	}
	b := &binding{protocol: p, handlers: map[string]*handler{}}
	s.bindings[p.name] = b
	s.order = append(s.order, b)
	return nil
}

// handle registers a handler. It panics when the method's protocol is not
// hosted, when it has a handler already, and after the server has served.
func (s *Server) handle(h *handler) {
	m := h.method
	b := s.bindings[m.protocol.name]
	switch {
	case s.sealed.Load():
		panic(fmt.Sprintf("vgirpc: handler of %s registered after the server began to serve", m)) //nolint:forbidigo // registration
	case b == nil || b.protocol != m.protocol:
		panic(fmt.Sprintf("vgirpc: handler of %s: the server does not host that protocol: pass it to NewServer", m)) //nolint:forbidigo // registration
	case b.handlers[m.name] != nil:
		panic(fmt.Sprintf("vgirpc: %s has two handlers", m)) //nolint:forbidigo // registration
	}
	b.handlers[m.name] = h
}

// Seal fixes what the server hosts, no later than when it first serves, and
// reports methods without a handler: a protocol is hosted whole or not at all
// (WIRE_PROTOCOL section 3.1). Transports call it; calling it again is cheap.
func (s *Server) Seal() error {
	s.sealOnce.Do(func() {
		s.sealed.Store(true)
		var missing []string
		for _, b := range s.order {
			hash, err := b.protocol.Hash()
			if err != nil {
				s.sealErr = err
				return
			}
			b.hash = hash
			for _, m := range b.protocol.Methods() {
				if b.handlers[m.name] == nil {
					missing = append(missing, m.String())
				}
				s.schemas.Add(m.params.Schema())
			}
		}
		if len(missing) > 0 {
			s.sealErr = fmt.Errorf("vgirpc: no handler for %s", strings.Join(missing, ", "))
		}
	})
	return s.sealErr
}

// ID is the server's identifier, the same for the life of the process.
func (s *Server) ID() string { return s.opts.ServerID }

// Version is the build's version, as reflection reports it; "" when not given.
func (s *Server) Version() string { return s.opts.Version }

// Offload is what moves large batches out of band, nil without.
func (s *Server) Offload() Offload { return s.opts.Offload }

// Limits are what bounds what is read from a peer, the shared budget included.
func (s *Server) Limits() wire.Limits { return s.opts.Limits }

// Schemas is the cache of schemas that all connections share. A transport hands
// it to its readers.
func (s *Server) Schemas() *wire.SchemaCache { return s.schemas }

// Logger is where the server and its transports tell operators.
func (s *Server) Logger() *slog.Logger { return s.log }

// Protocols lists what the server hosts, in registration order, with the
// framework's own protocols last.
func (s *Server) Protocols() []*Protocol {
	out := make([]*Protocol, len(s.order))
	for i, b := range s.order {
		out[i] = b.protocol
	}
	return out
}

// Start tells the server that a transport begins to serve: it seals the server
// and runs OnServeStart once for each kind.
func (s *Server) Start(ctx context.Context, kind TransportKind) error {
	if err := s.Seal(); err != nil {
		return err
	}
	s.startMu.Lock()
	defer s.startMu.Unlock()
	if s.started[kind] {
		return nil
	}
	if s.opts.OnServeStart != nil {
		if err := s.opts.OnServeStart(ctx, kind); err != nil {
			return fmt.Errorf("vgirpc: OnServeStart(%s): %w", kind, err)
		}
	}
	s.started[kind] = true
	return nil
}

// randomHex returns n random bytes as hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read does not fail
	return hex.EncodeToString(b)
}
