package otel

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Observer is a [vgirpc.Observer] that makes a span of each call of a server, and
// counts and times it. As a [vgirpc.RefusalObserver] it counts those who are not
// let in. It is safe for concurrent use.
type Observer struct {
	opts    Options
	own     []attribute.KeyValue
	tracer  trace.Tracer // nil: no spans
	metrics *metrics     // nil: no metrics
	starts  sync.Map     // of *vgirpc.Method: *start
	mine    owner
}

var (
	_ vgirpc.Observer        = (*Observer)(nil)
	_ vgirpc.RefusalObserver = (*Observer)(nil)
)

// NewObserver returns an observer for a server. It fails when an option makes no
// sense, or the provider refuses a metric.
func NewObserver(opts Options) (*Observer, error) {
	opts, err := complete(opts)
	if err != nil {
		return nil, err
	}
	o := &Observer{opts: opts, own: opts.own(), tracer: opts.tracer()}
	if !opts.NoMetrics {
		if o.metrics, err = newMetrics(&opts, o.own); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// start is what the spans of a method's calls begin with.
type start struct {
	name    string
	options [2]trace.SpanStartOption
}

func (o *Observer) startOf(m *vgirpc.Method) *start {
	if s, ok := o.starts.Load(m); ok {
		return s.(*start)
	}
	attributes := methodAttributes(m)
	if o.opts.ServerID != "" {
		attributes = append(attributes, attribute.String(keyServerID, o.opts.ServerID))
	}
	s := &start{name: spanName(m)}
	s.options[0] = trace.WithSpanKind(trace.SpanKindServer)
	s.options[1] = trace.WithAttributes(append(attributes, o.own...)...)
	kept, _ := o.starts.LoadOrStore(m, s)
	return kept.(*start)
}

// owner is who made a span. Its address is the key of the span's context.
type owner struct{ _ byte }

// spanContext is the context that a span is in. Its owner finds the span there
// even where others have put theirs on top.
type spanContext struct {
	context.Context //nolint:containedctx // it is a context

	owner *owner
	span  trace.Span
}

// Value returns the context itself to its owner and asks the parent for the rest.
func (c *spanContext) Value(key any) any {
	if key == any(c.owner) {
		return c
	}
	return c.Context.Value(key)
}

// startSpan starts a span that its owner ends.
func startSpan(ctx context.Context, o *owner, t trace.Tracer, name string, opts ...trace.SpanStartOption) context.Context {
	ctx, span := t.Start(ctx, name, opts...) //nolint:spancheck // as documented
	return &spanContext{ctx, o, span}        //nolint:spancheck // as documented
}

// spanOf is the span that an owner has started in ctx, nil for none.
func spanOf(ctx context.Context, o *owner) trace.Span {
	if c, ok := ctx.Value(o).(*spanContext); ok {
		return c.span
	}
	return nil
}

// watches reports whether a call is one to be seen: neither the transport's own
// business nor the cancellation of a stream that an earlier request opened.
func watches(call *vgirpc.Call) bool {
	if strings.HasPrefix(call.Method().Name(), "__") {
		return false
	}
	return call.Phase() != vgirpc.PhaseTurn || !call.Metadata().Has(wire.KeyCancel)
}

// CallStarted starts the call's span, which the returned context is in.
func (o *Observer) CallStarted(ctx context.Context, call *vgirpc.Call) context.Context {
	if o.tracer == nil || !watches(call) {
		return ctx
	}
	s := o.startOf(call.Method())
	var room [8]attribute.KeyValue
	return startSpan(parent(ctx, o.opts.Propagator, call.Metadata()), &o.mine, o.tracer, s.name,
		s.options[0], s.options[1], trace.WithAttributes(o.caller(ctx, room[:0], call)...))
}

// maxUserAgent bounds what a caller says of itself, in bytes.
const maxUserAgent = 512

// caller appends what is known of who is calling.
func (o *Observer) caller(ctx context.Context, to []attribute.KeyValue, call *vgirpc.Call) []attribute.KeyValue {
	peer := call.Peer()
	if peer == nil {
		peer = &vgirpc.Peer{}
	}
	id := &peer.Identity
	to = append(to, attribute.String(keyAuthenticated, strconv.FormatBool(id.Authenticated)))
	if id.Principal != "" {
		to = append(to, attribute.String(keyPrincipal, id.Principal))
	}
	if id.Domain != "" {
		to = append(to, attribute.String(keyDomain, id.Domain))
	}
	for claim, name := range o.opts.ClaimAttributes {
		if text, ok := claimText(id.Claims[claim]); ok {
			to = append(to, attribute.String(name, text))
		}
	}
	if o.opts.PeerIdentity != nil {
		status, sources := o.opts.PeerIdentity(*id)
		to = appendPeer(to, status, sources)
	}
	if peer.Kind != vgirpc.TransportHTTP {
		return to
	}
	if host, _, err := net.SplitHostPort(peer.Addr); err == nil {
		to = append(to, attribute.String(keyClient, host))
	}
	if headers := vgirpc.HeadersFrom(ctx); headers != nil {
		if agent := headers.Get("User-Agent"); agent != "" {
			to = append(to, attribute.String(keyUserAgent, strings.ToValidUTF8(agent[:min(len(agent), maxUserAgent)], "\uFFFD")))
		}
	}
	return to
}

func appendPeer(to []attribute.KeyValue, status, sources string) []attribute.KeyValue {
	if status != "" {
		to = append(to, attribute.String(keyPeerStatus, status))
	}
	if sources != "" {
		to = append(to, attribute.String(keyPeerSources, sources))
	}
	return to
}

// claimText is a claim as an attribute, when it is of a simple type.
func claimText(claim any) (string, bool) {
	switch v := claim.(type) {
	case string:
		return v, true
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case interface {
		Float64() (float64, error)
		String() string
	}: // a json.Number
		return v.String(), true
	}
	return "", false
}

// CallEnded ends the call's span and counts the call.
func (o *Observer) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	if span := spanOf(ctx, &o.mine); span != nil {
		o.finish(span, end)
	}
	if o.metrics == nil || strings.HasPrefix(call.Method().Name(), "__") {
		return
	}
	if end.Cancelled && call.Peer().Kind == vgirpc.TransportHTTP {
		return // a request of its own, which is no call
	}
	var status, sources string
	if o.opts.PeerIdentity != nil {
		status, sources = o.opts.PeerIdentity(call.Peer().Identity)
	}
	o.metrics.count(ctx, series{
		method: call.Method(), failed: end.Err != nil, domain: call.Peer().Identity.Domain, status: status, sources: sources,
	}, end.Duration)
}

// finish ends a span.
func (o *Observer) finish(span trace.Span, end *vgirpc.CallEnd) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	stats := &end.Stats
	span.SetAttributes(
		attribute.Int64("rpc.vgi_rpc.input_batches", stats.InputBatches),
		attribute.Int64("rpc.vgi_rpc.output_batches", stats.OutputBatches),
		attribute.Int64("rpc.vgi_rpc.input_rows", stats.InputRows),
		attribute.Int64("rpc.vgi_rpc.output_rows", stats.OutputRows),
		attribute.Int64("rpc.vgi_rpc.input_bytes", stats.InputBytes),
		attribute.Int64("rpc.vgi_rpc.output_bytes", stats.OutputBytes),
	)
	if end.Err == nil {
		span.SetStatus(codes.Ok, "")
		return
	}
	code := vgirpc.CodeOf(end.Err)
	if serverFault(code) {
		span.SetStatus(codes.Error, end.Err.Message)
	}
	span.SetAttributes(attribute.String(keyErrorType, end.Err.TypeName()), attribute.String(keyErrorCode, string(code)))
	if !o.opts.NoExceptions {
		recordException(span, end.Err.TypeName(), end.Err.Message)
	}
}

// serverFault reports whether a code says that the server is at fault, and not
// its caller: those make an error of a server's span, as OpenTelemetry has it for
// gRPC.
func serverFault(code vgirpc.Code) bool {
	switch code {
	case vgirpc.Unknown, vgirpc.DeadlineExceeded, vgirpc.Unimplemented, vgirpc.Internal, vgirpc.Unavailable, vgirpc.DataLoss:
		return true
	default:
		return false
	}
}

func recordException(span trace.Span, name, message string) {
	span.AddEvent("exception", trace.WithAttributes(
		attribute.String("exception.type", name), attribute.String("exception.message", message)))
}

// RequestRefused counts a caller whose credential, or the lack of one, has kept
// him out.
func (o *Observer) RequestRefused(ctx context.Context, refused *vgirpc.Refused) {
	if o.metrics == nil {
		return
	}
	switch refused.Reason {
	case vgirpc.RefusedMissingCredential, vgirpc.RefusedInvalidCredential, vgirpc.RefusedExpiredCredential,
		vgirpc.RefusedInsufficientScope, vgirpc.RefusedProxyRequired, vgirpc.RefusedUnauthorized, vgirpc.RefusedHandshake:
		o.metrics.failed(ctx, o.opts.Service, refused.Reason)
	default: // it is not his credential
	}
}
