package vgirpc

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ClientOptions configure a [Client]. The zero value works.
type ClientOptions struct {
	// OnLog receives the messages that methods send to their caller, on the
	// goroutine of the call: see [LogTo]. Without it they are dropped.
	OnLog func(ctx context.Context, log LogMessage)
	// Limits bound what is read from the server.
	Limits wire.Limits
	// SharedMemory brings the memory through which large batches of a pipe or a
	// Unix socket go, once the server has said that it can use it (WIRE_PROTOCOL
	// section 15): see shm.Client. Without it everything goes through the
	// connection.
	SharedMemory SharedMemoryClient
	// Offload fetches what a pointer in an answer stands for (WIRE_PROTOCOL
	// section 12). Typed calls fail on a pointer when nil; others return it.
	Offload Offload
	// Observers watch every call, in order.
	Observers []ClientObserver
}

// LogMessage is a message from a method to its caller.
type LogMessage struct {
	Level   Level
	Message string
	// Extra is the JSON object of the message's extras, nil without any.
	Extra     json.RawMessage
	ServerID  string
	RequestID string
}

// LogTo is a [ClientOptions.OnLog] that writes messages to a logger, each at its
// level.
func LogTo(l *slog.Logger) func(context.Context, LogMessage) {
	return func(ctx context.Context, m LogMessage) {
		level := m.Level.slog()
		if !l.Enabled(ctx, level) {
			return
		}
		attrs := make([]slog.Attr, 0, 3)
		if m.ServerID != "" {
			attrs = append(attrs, slog.String("server_id", m.ServerID))
		}
		if m.RequestID != "" {
			attrs = append(attrs, slog.String("request_id", m.RequestID))
		}
		if len(m.Extra) > 0 {
			attrs = append(attrs, slog.Any("extra", m.Extra))
		}
		l.LogAttrs(ctx, level, m.Message, attrs...)
	}
}

// slog is the level in the words of package slog, which has no TRACE.
func (l Level) slog() slog.Level {
	switch l {
	case LevelTrace:
		return slog.LevelDebug - 4
	case LevelDebug:
		return slog.LevelDebug
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// Client calls methods over one transport. It may be used from many goroutines:
// a byte stream carries one call at a time, and further ones wait for it. An
// open stream is a call, too: until it is read to its end, cancelled or closed,
// every other call on the client waits.
type Client struct {
	transport Transport
	opts      ClientOptions
	free      sync.Pool // of *callMemory
}

// Transport carries calls to a server. The byte-stream transport of this
// package is behind [NewClient]; other packages bring others.
type Transport interface {
	// Call sends a unary request and returns the result batch, which is valid
	// until release is called. onLog is told of each log batch before it.
	Call(ctx context.Context, req *ClientRequest) (result *wire.Batch, release func(), err error)
	// Open sends the request of a stream call.
	Open(ctx context.Context, req *ClientRequest) (TurnStream, error)
	// Close ends the transport; calls in progress fail.
	Close() error
}

// ClientRequest is one call as a transport sends it. That of a unary call
// belongs to its caller again when Call has returned, that of a stream when the
// stream has ended.
type ClientRequest struct {
	Method *Method
	Batch  wire.Batch // the parameters, with the request's metadata
	OnLog  func(meta wire.Metadata)
	// Files go along with the request, on a transport that is a [FileCarrier];
	// they stay the caller's.
	Files []*os.File
	// Output says whether a stream's batches may be read into memory that is
	// used again.
	Output wire.Lifetime
}

// TurnStream is an open stream as a transport carries it. It is not safe for
// concurrent use.
type TurnStream interface {
	// Header is the stream's header batch, nil when the method has none. It is
	// valid until the first turn.
	Header() *wire.Batch
	// Turn sends an input batch, or a tick, and returns the answer, which is
	// valid until the next use. It returns io.EOF when the server has ended
	// the stream.
	Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error)
	// Cancel tells the server to stop, and closes the stream.
	Cancel(ctx context.Context) error
	// Close ends the stream in good order. Closing again does nothing.
	Close(ctx context.Context) error
}

// HalfStream is a [TurnStream] that can take a turn in halves, so that the
// caller may do something else meanwhile. The halves alternate: the wire is in
// lockstep.
type HalfStream interface {
	TurnStream
	// Send sends an input batch, or a tick.
	Send(ctx context.Context, in *wire.Batch) error
	// Recv returns the answer, as Turn does.
	Recv(ctx context.Context) (*wire.Batch, error)
}

// Misuse of a stream's halves.
var (
	errSentTwice = Errorf(FailedPrecondition, "two inputs were sent without receiving an answer between them: the wire is in lockstep")
	errNotSent   = Errorf(FailedPrecondition, "there is no answer to receive: no input was sent")
)

// NewClientOn returns a client that calls over t.
func NewClientOn(t Transport, opts ClientOptions) *Client {
	if opts.Offload != nil {
		t = resolver{t, opts.Offload}
	}
	if len(opts.Observers) > 0 {
		t = &observed{t, slices.Clone(opts.Observers)}
	}
	return &Client{transport: t, opts: opts}
}

// NewClient returns a client that calls over a byte stream, which it owns. The
// stream has to buffer, as pipes and sockets do: client and server may write at
// the same time. Reads and writes have to end when it is closed.
func NewClient(rw io.ReadWriteCloser, opts ClientOptions) *Client {
	return NewClientOn(NewStreamTransport(rw, opts), opts)
}

// DialUnix connects to a worker's Unix socket.
func DialUnix(ctx context.Context, path string, opts ClientOptions) (*Client, error) {
	return dialNet(ctx, "unix", path, opts)
}

// DialTCP connects to a worker's raw TCP port, "host:port".
func DialTCP(ctx context.Context, address string, opts ClientOptions) (*Client, error) {
	return dialNet(ctx, "tcp", address, opts)
}

func dialNet(ctx context.Context, network, address string, opts ClientOptions) (*Client, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ContextError(ctx)
		}
		return nil, &Error{Code: Unavailable, Type: "ConnectionFailed", Message: err.Error(), Cause: err}
	}
	return NewClient(c, opts), nil
}

// DialServer connects to a server in this process, over a [NewPair].
func DialServer(ctx context.Context, s *Server, opts ClientOptions) (*Client, error) {
	if err := s.Start(ctx, TransportPipe); err != nil {
		return nil, err
	}
	near, far := NewPair()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServePipe(context.WithoutCancel(ctx), far) // how it ended is the server's to log
	}()
	return NewClient(&servedPair{near, done}, opts), nil
}

// servedPair closes the near end and waits for the serving loop of the far end.
type servedPair struct {
	io.ReadWriteCloser
	done chan struct{}
}

// Close closes the connection and waits for the server to notice.
func (p *servedPair) Close() error {
	err := p.ReadWriteCloser.Close()
	<-p.done
	return err
}

// Close ends the client and its transport.
func (c *Client) Close() error { return c.transport.Close() }

// metadataKey finds the metadata of requests in a context.
type metadataKey struct{}

// WithMetadata returns a context whose calls carry custom metadata on their
// request batch, beside what ctx has: an identifier ([wire.KeyRequestID]), a
// trace context, or what a handler looks for in [Call.Metadata]. What a request
// needs for itself cannot be replaced.
func WithMetadata(ctx context.Context, meta ...wire.Pair) context.Context {
	before, _ := ctx.Value(metadataKey{}).(wire.Metadata)
	return context.WithValue(ctx, metadataKey{}, append(slices.Clip(before), meta...))
}

// stamp adds to a request's metadata what its context says: the caller's own,
// and how much time there is.
func stamp(ctx context.Context, meta wire.Metadata) wire.Metadata {
	if own, ok := ctx.Value(metadataKey{}).(wire.Metadata); ok {
		for _, p := range own {
			if !meta.Has(p.Key) {
				meta = append(meta, p)
			}
		}
	}
	if deadline, ok := ctx.Deadline(); ok && !meta.Has(wire.KeyTimeout) {
		left := max(1, (time.Until(deadline)+time.Millisecond-1)/time.Millisecond)
		meta = append(meta, wire.Pair{Key: wire.KeyTimeout, Value: strconv.FormatInt(int64(left), 10)})
	}
	return meta
}

// memory is the memory of a unary call.
func (c *Client) memory() *callMemory {
	if mem, ok := c.free.Get().(*callMemory); ok {
		return mem
	}
	return new(callMemory)
}

// giveBack keeps the memory of a unary call for the next one, without what it
// refers to.
func (c *Client) giveBack(mem *callMemory) {
	mem.req = ClientRequest{}
	mem.enc.Reset()
	c.free.Put(mem)
}

// request prepares a call of m.
func (c *Client) request(ctx context.Context, m *Method, req *ClientRequest) {
	*req = ClientRequest{Method: m}
	if onLog := c.opts.OnLog; onLog != nil {
		req.OnLog = func(meta wire.Metadata) {
			l := wire.ParseLog(meta)
			msg := LogMessage{
				Level: Level(l.Level), Message: l.Message,
				ServerID: meta.Value(wire.KeyServerID), RequestID: meta.Value(wire.KeyRequestID),
			}
			if l.Extra != "" {
				msg.Extra = json.RawMessage(l.Extra)
			}
			onLog(ctx, msg)
		}
	}
}

// Describe asks the server what it hosts (WIRE_PROTOCOL section 14).
func (c *Client) Describe(ctx context.Context) (ProtocolList, error) {
	return NewReflection().ListProtocols.Call(ctx, c, None{})
}
