package pool

import (
	"context"
	"errors"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

var _ vgirpc.FileCarrier = (*Pool)(nil)

// CarriesFiles implements [vgirpc.FileCarrier] as the pool's connections do. While
// none is open it says that it does: the one that the call gets is asked again.
func (p *Pool) CarriesFiles() error {
	p.mu.Lock()
	var one *conn
	for one = range p.all {
		break
	}
	p.mu.Unlock()
	if one == nil {
		return nil
	}
	return carriesFiles(one.t)
}

// takesFiles gives c back when it cannot carry the request's files.
func (p *Pool) takesFiles(c *conn, req *vgirpc.ClientRequest) error {
	if len(req.Files) == 0 {
		return nil
	}
	err := carriesFiles(c.t)
	if err != nil {
		p.done(c, nil) // nothing was sent on it
	}
	return err
}

func carriesFiles(t vgirpc.Transport) error {
	if carrier, ok := t.(vgirpc.FileCarrier); ok {
		return carrier.CarriesFiles()
	}
	return &vgirpc.Error{
		Code: vgirpc.FailedPrecondition, Type: "FilesError",
		Message: "the pool's connections cannot pass files: only a Unix socket can, without TLS",
	}
}

// Call implements [vgirpc.Transport]. The connection is in use until the result
// is released.
func (p *Pool) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	c, err := p.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := p.takesFiles(c, req); err != nil {
		return nil, nil, err
	}
	returned := false
	defer p.rescue(c, Broken, &returned)
	result, release, err := c.t.Call(ctx, req)
	returned = true
	if err != nil {
		p.done(c, err)
		return nil, nil, err
	}
	c.release = release
	return result, c.giveBack, nil
}

// Open implements [vgirpc.Transport]. The connection is in use until the stream
// has ended.
func (p *Pool) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	c, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.takesFiles(c, req); err != nil {
		return nil, err
	}
	returned := false
	defer p.rescue(c, Broken, &returned)
	s, err := c.t.Open(ctx, req)
	returned = true
	if err != nil {
		p.done(c, err)
		return nil, err
	}
	return &stream{TurnStream: s, p: p, c: c}, nil
}

// errPanicked is what led to the loss of a connection whose call, or check, has
// panicked.
var errPanicked = errors.New("vgirpc: pool: a function of the caller's has panicked")

// rescue gives up the connection that a panic has left.
func (p *Pool) rescue(c *conn, why Reason, returned *bool) {
	if !*returned {
		p.discard(c, why, errPanicked)
	}
}

// stream is an open stream, which has a connection.
type stream struct {
	vgirpc.TurnStream
	p     *Pool
	c     *conn
	ended bool
}

// Turn implements [vgirpc.TurnStream].
func (s *stream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	if s.ended {
		return nil, io.EOF
	}
	out, err := s.TurnStream.Turn(ctx, in)
	if err != nil {
		s.end(err)
	}
	return out, err
}

// Cancel implements [vgirpc.TurnStream].
func (s *stream) Cancel(ctx context.Context) error {
	if s.ended {
		return nil
	}
	err := s.TurnStream.Cancel(ctx)
	s.end(err)
	return err
}

// Close implements [vgirpc.TurnStream].
func (s *stream) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	err := s.TurnStream.Close(ctx)
	s.end(err)
	return err
}

func (s *stream) end(err error) {
	if s.ended {
		return
	}
	s.ended = true
	if err == io.EOF { //nolint:errorlint // the stream's end, by identity: a lost connection wraps it
		err = nil
	}
	s.p.done(s.c, err)
}

// Ping asks the server behind t for its transport's options. Any answer will do,
// a refusal as well (WIRE_PROTOCOL section 15).
func Ping(ctx context.Context, t vgirpc.Transport) error {
	m, err := vgirpc.NewUntyped(vgirpc.NewProtocol("Ping", ""), "ping", vgirpc.UntypedMethod{Kind: vgirpc.KindUnary})
	if err != nil {
		return err
	}
	req := &vgirpc.ClientRequest{Method: m, Batch: vgirpc.CapabilityRequest()}
	_, release, err := t.Call(ctx, req)
	if err == nil {
		release()
	}
	if vgirpc.IsRemote(err) {
		return nil
	}
	return err
}

// OnClients makes a pool's dial function of one that returns clients, as those
// of worker processes are. What methods log goes to the OnLog of these clients,
// not to that of the client on the pool.
func OnClients(dial func(ctx context.Context) (*vgirpc.Client, error)) Dial {
	return func(ctx context.Context) (vgirpc.Transport, error) {
		c, err := dial(ctx)
		if err != nil || c == nil {
			return nil, err
		}
		return onClient{c}, nil
	}
}

// onClient is a client as a transport.
type onClient struct{ *vgirpc.Client }

// Call implements [vgirpc.Transport].
func (c onClient) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	return c.CallBatch(ctx, req.Method, &req.Batch)
}

// CarriesFiles implements [vgirpc.FileCarrier]: the client, which finds them in the
// context of the call, refuses what it cannot pass.
func (onClient) CarriesFiles() error { return nil }

// Open implements [vgirpc.Transport].
func (c onClient) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return c.OpenBatches(ctx, req.Method, &req.Batch)
}
