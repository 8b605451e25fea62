package vgirpc

import (
	"fmt"
	"reflect"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// MethodType is what reflection calls a method.
type MethodType string

// The two method types of the wire.
const (
	TypeUnary  MethodType = "unary"
	TypeStream MethodType = "stream"
)

// StreamKind tells what a stream method does.
type StreamKind string

// The kinds of reflection (WIRE_PROTOCOL section 14); "" is a unary method.
const (
	KindUnary    StreamKind = ""
	KindProducer StreamKind = "producer"
	KindExchange StreamKind = "exchange"
)

// Idempotency says how safe a method is to call again.
type Idempotency string

// The idempotency levels of reflection; "" means IdempotencyUnknown.
const (
	IdempotencyUnknown Idempotency = "unknown"
	NoSideEffects      Idempotency = "no_side_effects"
	Idempotent         Idempotency = "idempotent"
)

// MethodOptions describe a method beyond its name and types.
type MethodOptions struct {
	Idempotency Idempotency
	// Deprecated tells callers what to migrate to, when not empty.
	Deprecated string
	// Doc is one or two sentences for people and pages.
	Doc string
	// Result holds the options that a unary method's result would have in a
	// field's tag, where its Go type says too little: "type=decimal128(20,4)".
	Result string
}

// None is the type of no value: the parameters of a method without parameters,
// or the result of a void method.
type None struct{}

// Method is what a server and a client know of a method without its Go types.
type Method struct {
	protocol *Protocol
	name     string
	kind     StreamKind
	options  MethodOptions

	params *codec.Plan
	result *codec.Plan // unary; no columns when void
	header *codec.Plan // streams with a header
	input  *codec.Plan // exchange; nil when it takes batches of any schema
	output *codec.Plan // streams; nil when the schema is chosen by each call

	fullName    string
	requestMeta wire.Metadata
}

// Protocol is the contract that the method belongs to.
func (m *Method) Protocol() *Protocol { return m.protocol }

// Name is the method's name on the wire.
func (m *Method) Name() string { return m.name }

// Type is unary or stream.
func (m *Method) Type() MethodType {
	if m.kind == KindUnary {
		return TypeUnary
	}
	return TypeStream
}

// Kind tells a producer from an exchange.
func (m *Method) Kind() StreamKind { return m.kind }

// Options are what the method was declared with.
func (m *Method) Options() MethodOptions { return m.options }

// HasReturn reports whether a unary method returns a value.
func (m *Method) HasReturn() bool { return m.result != nil && m.result.Schema().NumFields() > 0 }

// HasHeader reports whether a stream begins with a header.
func (m *Method) HasHeader() bool { return m.header != nil }

// String is "protocol/method".
func (m *Method) String() string { return m.fullName }

func (m *Method) resultSchema() *wire.Schema {
	if !m.HasReturn() {
		return nil
	}
	return m.result.Schema()
}

func (m *Method) headerSchema() *wire.Schema {
	if m.header == nil {
		return nil
	}
	return m.header.Schema()
}

// errorSchema is the schema of the stream that answers a refused call.
func (m *Method) errorSchema() *wire.Schema {
	if m.kind == KindUnary {
		return m.result.Schema()
	}
	return wire.EmptySchema()
}

// Unary is a method that takes one set of parameters and returns one result.
// P is a struct whose fields are the parameters ([None] for none), R the
// result's type ([None] for a void method).
type Unary[P, R any] struct{ *Method }

// Producer is a method whose stream sends batches of Row until it ends. Row is
// a struct whose fields are the columns, or [Dynamic].
type Producer[P, Row any] struct{ *Method }

// Exchange is a method whose stream answers each input batch with one output
// batch. In and Out are structs whose fields are the columns; Out may be
// [Dynamic].
type Exchange[P, In, Out any] struct{ *Method }

// HeaderProducer is a [Producer] whose stream begins with a header H, a struct.
type HeaderProducer[P, H, Row any] struct{ Producer[P, Row] }

// HeaderExchange is an [Exchange] whose stream begins with a header H, a struct.
type HeaderExchange[P, H, In, Out any] struct{ Exchange[P, In, Out] }

// Dynamic is the row type of a stream whose output schema each call chooses,
// with [Call.SetOutputSchema].
type Dynamic struct{}

// NewUnary defines a unary method of protocol p. It panics when the types
// cannot be mapped to Arrow, naming type and field.
func NewUnary[P, R any](p *Protocol, name string, opts ...MethodOptions) *Unary[P, R] {
	m := newMethod[P](p, name, KindUnary, single(opts))
	m.result = must(m, "result", reflect.TypeFor[R](), func(t reflect.Type) (*codec.Plan, error) {
		if t == reflect.TypeFor[None]() {
			return codec.Compile(t, codec.Row) // no columns
		}
		if m.options.Result != "" {
			return codec.CompileResult(t, m.options.Result)
		}
		return codec.CompileResult(t)
	})
	p.add(m)
	return &Unary[P, R]{m}
}

// NewProducer defines a producer method of protocol p. It panics as [NewUnary]
// does.
func NewProducer[P, Row any](p *Protocol, name string, opts ...MethodOptions) *Producer[P, Row] {
	m := newMethod[P](p, name, KindProducer, single(opts))
	m.output = rowPlan(m, "output", reflect.TypeFor[Row]())
	p.add(m)
	return &Producer[P, Row]{m}
}

// NewHeaderProducer defines a producer method with a header.
func NewHeaderProducer[P, H, Row any](p *Protocol, name string, opts ...MethodOptions) *HeaderProducer[P, H, Row] {
	m := NewProducer[P, Row](p, name, opts...)
	m.header = rowPlan(m.Method, "header", reflect.TypeFor[H]())
	return &HeaderProducer[P, H, Row]{*m}
}

// NewExchange defines an exchange method of protocol p. It panics as [NewUnary]
// does.
func NewExchange[P, In, Out any](p *Protocol, name string, opts ...MethodOptions) *Exchange[P, In, Out] {
	m := newMethod[P](p, name, KindExchange, single(opts))
	m.input = rowPlan(m, "input", reflect.TypeFor[In]())
	m.output = rowPlan(m, "output", reflect.TypeFor[Out]())
	p.add(m)
	return &Exchange[P, In, Out]{m}
}

// NewHeaderExchange defines an exchange method with a header.
func NewHeaderExchange[P, H, In, Out any](p *Protocol, name string, opts ...MethodOptions) *HeaderExchange[P, H, In, Out] {
	m := NewExchange[P, In, Out](p, name, opts...)
	m.header = rowPlan(m.Method, "header", reflect.TypeFor[H]())
	return &HeaderExchange[P, H, In, Out]{*m}
}

func newMethod[P any](p *Protocol, name string, kind StreamKind, opts MethodOptions) *Method {
	m := &Method{
		protocol: p, name: name, kind: kind, options: opts, fullName: p.name + "/" + name, requestMeta: newRequestMetadata(p, name),
	}
	m.params = must(m, "parameters", reflect.TypeFor[P](), func(t reflect.Type) (*codec.Plan, error) {
		return codec.Compile(t, codec.Params)
	})
	return m
}

// rowPlan compiles the rows of a stream, or returns nil for [Dynamic].
func rowPlan(m *Method, what string, t reflect.Type) *codec.Plan {
	if t == reflect.TypeFor[Dynamic]() {
		return nil
	}
	return must(m, what, t, func(t reflect.Type) (*codec.Plan, error) { return codec.Compile(t, codec.Row) })
}

func must(m *Method, what string, t reflect.Type, compile func(reflect.Type) (*codec.Plan, error)) *codec.Plan {
	plan, err := compile(t)
	if err != nil {
		panic(fmt.Sprintf("vgirpc: %s: %s of type %v: %v", m.fullName, what, t, err)) //nolint:forbidigo // registration
	}
	return plan
}
