package vgirpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ClientOptions configure a [Client]. The zero value works.
type ClientOptions struct {
	// OnLog receives the messages that methods send to their caller, on the
	// goroutine of the call. Without it they are dropped.
	OnLog func(ctx context.Context, log LogMessage)
	// Limits bound what is read from the server.
	Limits wire.Limits
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

// Client calls methods over one transport. It may be used from many goroutines:
// a byte stream carries one call at a time, and further ones wait for it. An
// open stream is a call, too: until it is read to its end, cancelled or closed,
// every other call on the client waits.
type Client struct {
	transport Transport
	opts      ClientOptions
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

// ClientRequest is one call as a transport sends it.
type ClientRequest struct {
	Method *Method
	Batch  wire.Batch // the parameters, with the request's metadata
	OnLog  func(meta wire.Metadata)
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

// NewClientOn returns a client that calls over t.
func NewClientOn(t Transport, opts ClientOptions) *Client { return &Client{transport: t, opts: opts} }

// NewClient returns a client that calls over a byte stream. It owns rw.
func NewClient(rw io.ReadWriteCloser, opts ClientOptions) *Client {
	return NewClientOn(newStreamTransport(rw, opts.Limits), opts)
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
		return nil, fmt.Errorf("vgirpc: %w", err)
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

// closeGrace is how long a worker process has to end after its input was
// closed, and again after SIGTERM.
const closeGrace = 10 * time.Second

// StartCommand starts a worker process that serves its standard input and
// output, and returns a client for it. Closing the client closes the worker's
// input and waits for it to end; one that does not is terminated, then killed.
// Standard error goes where cmd says.
func StartCommand(cmd *exec.Cmd, opts ClientOptions) (*Client, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("vgirpc: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("vgirpc: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("vgirpc: worker: %w", err)
	}
	return NewClient(&process{cmd: cmd, in: in, out: out}, opts), nil
}

// process is a worker process as a connection.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
}

// Read reads the worker's output.
func (p *process) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write writes the worker's input.
func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the process, gently first.
func (p *process) Close() error {
	closeErr := p.in.Close()
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	for _, sig := range []os.Signal{terminate, os.Kill} {
		select {
		case err := <-done:
			return errors.Join(closeErr, err)
		case <-time.After(closeGrace):
			_ = p.cmd.Process.Signal(sig) // it may have ended just now
		}
	}
	return errors.Join(closeErr, <-done)
}

// Close ends the client and its transport.
func (c *Client) Close() error { return c.transport.Close() }

// request prepares a call of m with encoded parameters.
func (c *Client) request(ctx context.Context, m *Method) *ClientRequest {
	req := &ClientRequest{Method: m}
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
	return req
}

// Describe asks the server what it hosts (WIRE_PROTOCOL section 14).
func (c *Client) Describe(ctx context.Context) (ProtocolList, error) {
	return NewReflection().ListProtocols.Call(ctx, c, None{})
}
