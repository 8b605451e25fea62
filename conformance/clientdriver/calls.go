package clientdriver

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// call is what a method is known by. A description of the server is not asked
// for: what a stream is, the request says.
type call struct {
	name   string
	kind   vgirpc.StreamKind
	header bool
}

// method returns the method of a call, in a protocol of its own: one name may be
// called in several ways.
func (d *driver) method(c call) (*vgirpc.Method, error) {
	if m := d.methods[c]; m != nil {
		return m, nil
	}
	p, err := (&vgirpc.ServiceDescription{Protocol: d.protocol}).Untyped()
	if err != nil {
		return nil, err
	}
	m, err := vgirpc.NewUntyped(p, c.name, vgirpc.UntypedMethod{Kind: c.kind, HasHeader: c.header})
	if err != nil {
		return nil, err
	}
	d.methods[c] = m
	return m, nil
}

// params reads the request of a call.
func (d *driver) params(q *request) (name string, b *wire.Batch, err error) {
	if b, err = d.decodeBatch("request_b64", q.Request); err != nil {
		return "", nil, err
	}
	name, ok := b.Meta.Get(wire.KeyMethod)
	if !ok {
		return "", nil, errors.New("request_b64: the batch has no metadata key " + wire.KeyMethod)
	}
	return name, b, nil
}

// failed adds the error of a call to an answer.
func (a answers) failed(err error) (answers, error) {
	p, err := problem(err)
	a["error"] = p
	return a, err
}

// unary does the operation of that name.
func (d *driver) unary(ctx context.Context, q *request) (answers, error) {
	name, params, err := d.params(q)
	if err != nil {
		return nil, err
	}
	a := answers{"result_b64": nil, "error": nil}
	m, err := d.method(call{name: name})
	if err != nil {
		return a.failed(err)
	}
	result, release, err := d.client().CallBatch(ctx, m, params)
	if err != nil {
		return a.failed(err)
	}
	defer release()
	a["result_b64"], err = encodeBatch(result)
	return a, err
}

// openStream does the operation stream_open.
func (d *driver) openStream(ctx context.Context, q *request) (answers, error) {
	if d.stream != nil {
		return nil, errStreamOpen
	}
	if q.IsExchange == nil {
		return nil, errors.New("stream_open: is_exchange is required")
	}
	name, params, err := d.params(q)
	if err != nil {
		return nil, err
	}
	kind := vgirpc.KindProducer
	if *q.IsExchange {
		kind = vgirpc.KindExchange
	}
	a := answers{"header_b64": nil, "error": nil}
	m, err := d.method(call{name, kind, q.HasHeader})
	if err != nil {
		return a.failed(err)
	}
	s, err := d.client().OpenBatches(ctx, m, params)
	if err != nil {
		return a.failed(err)
	}
	if a["header_b64"], err = encodeBatch(s.Header()); err != nil {
		return nil, errors.Join(err, s.Cancel(ctx))
	}
	d.stream = s
	return a, nil
}

// tick does the operation of that name.
func (d *driver) tick(ctx context.Context, q *request) (answers, error) {
	in := wire.EmptyBatch(wire.EmptySchema(), nil)
	if q.Input != "" {
		b, err := d.decodeBatch("input_b64", q.Input)
		if err != nil {
			return nil, err
		}
		in.Meta = b.Meta
	}
	return d.turn(ctx, &in)
}

// exchange does the operation of that name.
func (d *driver) exchange(ctx context.Context, q *request) (answers, error) {
	in, err := d.decodeBatch("input_b64", q.Input)
	if err != nil {
		return nil, err
	}
	return d.turn(ctx, in)
}

// nextWithToken does the operation of that name.
func (d *driver) nextWithToken(ctx context.Context, _ *request) (answers, error) {
	in := wire.EmptyBatch(wire.EmptySchema(), nil)
	a, err := d.turn(ctx, &in)
	if err != nil {
		return nil, err
	}
	a["token"] = nil
	if tokens, ok := httpclient.Tokens(d.stream); ok {
		a["token"] = tokens.Cursor
	}
	return a, nil
}

// turn sends one batch and relays the answer. The stream is over after an error
// and after its end.
func (d *driver) turn(ctx context.Context, in *wire.Batch) (answers, error) {
	if d.stream == nil {
		return nil, errNoStream
	}
	a := answers{"done": false, "batch_b64": nil, "error": nil}
	out, err := d.stream.Turn(ctx, in)
	if err == nil {
		a["batch_b64"], err = encodeBatch(out)
		return a, err
	}
	d.stream, a["done"] = nil, true
	if errors.Is(err, io.EOF) {
		return a, nil
	}
	return a.failed(err)
}

// cancel does the operation of that name.
func (d *driver) cancel(ctx context.Context, _ *request) (answers, error) {
	return d.finish(ctx, vgirpc.TurnStream.Cancel)
}

// closeStream does the operation close.
func (d *driver) closeStream(ctx context.Context, _ *request) (answers, error) {
	return d.finish(ctx, vgirpc.TurnStream.Close)
}

func (d *driver) finish(ctx context.Context, how func(vgirpc.TurnStream, context.Context) error) (answers, error) {
	a := answers{"error": nil}
	s := d.stream
	if s == nil {
		return a, nil
	}
	d.stream = nil
	if err := how(s, ctx); err != nil {
		return a.failed(err)
	}
	return a, nil
}

// describeVersion is the version of the description's format: a constant since the
// description is a protocol with a version of its own.
const describeVersion = "5"

// describe does the operation of that name: the first protocol that is not the
// framework's own, as the client decodes it.
func (d *driver) describe(ctx context.Context, _ *request) (answers, error) {
	a := answers{"describe": nil, "error": nil}
	list, err := d.client().Describe(ctx)
	if err != nil {
		return a.failed(err)
	}
	i := slices.IndexFunc(list.Protocols, func(p vgirpc.ProtocolSummary) bool {
		return !strings.HasPrefix(p.Protocol, wire.ReservedNamePrefix)
	})
	if i < 0 {
		return a.failed(&vgirpc.Error{
			Code: vgirpc.NotFound, Type: "ProtocolError", Message: "the server hosts nothing but the framework's own protocols",
		})
	}
	s, err := vgirpc.NewReflection().Describe.Call(ctx, d.client(), vgirpc.DescribeParams{Protocol: list.Protocols[i].Protocol})
	if err != nil {
		return a.failed(err)
	}
	methods := make([]answers, len(s.Methods))
	for i := range s.Methods {
		methods[i] = describeMethod(&s.Methods[i])
	}
	a["describe"] = answers{
		"protocol_name": s.Protocol, "protocol_version": s.ProtocolVersion, "protocol_hash": s.ProtocolHash,
		"request_version": list.RequestVersion, "server_id": list.ServerID, "describe_version": describeVersion,
		"methods": methods,
	}
	return a, nil
}

func describeMethod(m *vgirpc.MethodInfo) answers {
	a := answers{
		"name": m.Name, "method_type": m.MethodType, "has_return": m.HasReturn, "has_header": m.HasHeader, "is_exchange": nil,
		"params_schema_b64": encodeSchema(m.ParamsSchemaIPC), "result_schema_b64": encodeSchema(m.ResultSchemaIPC),
		"header_schema_b64": encodeSchema(m.HeaderSchemaIPC),
	}
	switch vgirpc.StreamKind(m.StreamKind) {
	case vgirpc.KindProducer, vgirpc.KindExchange:
		a["is_exchange"] = m.StreamKind == string(vgirpc.KindExchange)
	default: // unary, or the server cannot say
	}
	return a
}
