package vgirpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// UntypedMethod describes a method to a caller that has no Go types for it: a
// command line, a bridge, a proxy. Schemas are nil where they are not known, or
// where the method has none.
type UntypedMethod struct {
	Kind StreamKind
	// HasHeader says that the stream begins with a header, whatever its schema.
	HasHeader                             bool
	Params, Result, Header, Input, Output *wire.Schema
	Options                               MethodOptions
}

// NewUntyped defines a method of protocol p without Go types. It can be called
// with [Client.CallBatch] and [Client.OpenBatches], and not be served. The
// description may come from a peer: a name that makes no sense, or that is
// taken, is an error.
func NewUntyped(p *Protocol, name string, d UntypedMethod) (*Method, error) {
	m := &Method{
		protocol: p, name: name, kind: d.Kind, options: d.Options,
		fullName: p.name + "/" + name, requestMeta: newRequestMetadata(p, name),
		params: codec.Untyped(d.Params), result: codec.Untyped(d.Result),
	}
	if d.Input != nil {
		m.input = codec.Untyped(d.Input)
	}
	if d.Output != nil {
		m.output = codec.Untyped(d.Output)
	}
	if d.HasHeader || d.Header != nil {
		m.header = codec.Untyped(d.Header)
	}
	return m, p.define(m)
}

// Untyped makes a protocol of a description, for calls without Go types. Its
// streams have no schemas but their header's: a description has none.
func (d *ServiceDescription) Untyped() (*Protocol, error) {
	if _, ok := parseVersion(d.ProtocolVersion); !validName(d.Protocol) || (d.ProtocolVersion != "" && !ok) {
		return nil, Errorf(Internal, "the server describes a protocol %q of version %q", d.Protocol, d.ProtocolVersion)
	}
	p := newProtocol(d.Protocol, d.ProtocolVersion, ProtocolOptions{Deprecated: d.DeprecationMessage})
	p.exempt = strings.HasPrefix(d.Protocol, wire.ReservedNamePrefix)
	var schemas wire.SchemaCache
	for i := range d.Methods {
		info := &d.Methods[i]
		u := UntypedMethod{
			Kind: StreamKind(info.StreamKind), HasHeader: info.HasHeader,
			Options: MethodOptions{Idempotency: Idempotency(info.Idempotency), Deprecated: info.DeprecationMessage},
		}
		for _, s := range []struct {
			message []byte
			schema  **wire.Schema
		}{{info.ParamsSchemaIPC, &u.Params}, {info.ResultSchemaIPC, &u.Result}, {info.HeaderSchemaIPC, &u.Header}} {
			if len(s.message) == 0 {
				continue
			}
			schema, err := schemas.Parse(s.message)
			if err != nil {
				return nil, fmt.Errorf("vgirpc: description of %s/%s: %w", d.Protocol, info.Name, err)
			}
			*s.schema = schema
		}
		if _, err := NewUntyped(p, info.Name, u); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Discover asks the server for one of its protocols, to be called without Go
// types. The name "" asks for the first one that is not the framework's own.
func (c *Client) Discover(ctx context.Context, name string) (*Protocol, error) {
	reflection := NewReflection()
	if name == "" {
		list, err := reflection.ListProtocols.Call(ctx, c, None{})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list.Protocols, func(p ProtocolSummary) bool {
			return !strings.HasPrefix(p.Protocol, wire.ReservedNamePrefix)
		})
		if i < 0 {
			return nil, protocolErrorf("ProtocolError", "the server hosts nothing but the framework's own protocols")
		}
		name = list.Protocols[i].Protocol
	}
	d, err := reflection.Describe.Call(ctx, c, DescribeParams{Protocol: name})
	if err != nil {
		return nil, err
	}
	return d.Untyped()
}

// CallBatch calls a unary method with encoded parameters and returns the result
// batch, which is valid until release is called. Custom metadata of params goes
// along; what a request needs of it and has not got is added.
func (c *Client) CallBatch(ctx context.Context, m *Method, params *wire.Batch) (result *wire.Batch, release func(), err error) {
	if m.kind != KindUnary {
		return nil, nil, Errorf(InvalidArgument, "%s is a stream: open it", m)
	}
	req, err := c.untyped(ctx, m, params)
	if err != nil {
		return nil, nil, err
	}
	return c.transport.Call(ctx, req)
}

// OpenBatches opens a stream with encoded parameters, of which [Client.CallBatch]
// says more. The stream must be closed or cancelled.
func (c *Client) OpenBatches(ctx context.Context, m *Method, params *wire.Batch) (TurnStream, error) {
	if m.kind == KindUnary {
		return nil, Errorf(InvalidArgument, "%s is a unary method: call it", m)
	}
	req, err := c.untyped(ctx, m, params)
	if err != nil {
		return nil, err
	}
	return c.transport.Open(ctx, req)
}

func (c *Client) untyped(ctx context.Context, m *Method, params *wire.Batch) (req *ClientRequest, err error) {
	req = new(ClientRequest)
	c.request(ctx, m, req)
	req.Batch = *params
	for _, p := range m.RequestMetadata() {
		if !req.Batch.Meta.Has(p.Key) {
			req.Batch.Meta = req.Batch.Meta.With(p.Key, p.Value)
		}
	}
	req.Batch.Meta = stamp(ctx, slices.Clip(req.Batch.Meta))
	req.Files, err = filesOf(ctx, c.transport)
	return req, err
}
