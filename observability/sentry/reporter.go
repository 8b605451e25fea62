package sentry

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/getsentry/sentry-go"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Reporter is a [vgirpc.Observer] that reports faults, and with
// [Options.Performance] how long calls took. It is safe for concurrent use.
type Reporter struct {
	opts   Options
	client *sdk.Client
}

// New returns a reporter. It fails when the SDK is not initialised, and when an
// option makes no sense.
func New(opts Options) (*Reporter, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	return &Reporter{opts: opts, client: opts.Hub.Client()}, nil
}

// Flush sends what waits to be sent. When ctx ends first, it gives up.
func (r *Reporter) Flush(ctx context.Context) error {
	if !r.client.FlushWithContext(ctx) {
		return fmt.Errorf("sentry: not everything was sent: %w", context.Cause(ctx))
	}
	return nil
}

// Shutdown is Flush, and ends the client, for whoever made that for this reporter
// alone. When ctx ends first, the client ends with the process: to close it could
// take long.
func (r *Reporter) Shutdown(ctx context.Context) error {
	if err := r.Flush(ctx); err != nil {
		return err
	}
	r.client.Close()
	return nil
}

// CallStarted returns a context in which the SDK finds a hub that knows the call.
func (r *Reporter) CallStarted(ctx context.Context, call *vgirpc.Call) context.Context {
	c := &scope{Context: ctx, reporter: r, method: call.Method(), peer: call.Peer()}
	if !r.opts.Performance {
		return c
	}
	c.span = r.begin(c, call)
	return c.span.Context()
}

// begin starts the call's span.
func (r *Reporter) begin(c *scope, call *vgirpc.Call) *sdk.Span {
	name := "vgi_rpc/" + c.method.Name()
	var span *sdk.Span
	if ambient := sdk.SpanFromContext(c); ambient != nil {
		span = sdk.StartSpan(c, r.opts.Op, sdk.WithDescription(name))
	} else {
		span = sdk.StartSpan(c, r.opts.Op, sdk.WithTransactionName(name), sdk.WithTransactionSource(sdk.SourceCustom),
			sdk.ContinueFromTrace(sentryTrace(call.Metadata().Value(wire.KeyTraceParent))))
	}
	span.SetData("rpc.system", "vgi_rpc")
	span.SetData("rpc.service", c.method.Protocol().Name())
	span.SetData("rpc.method", c.method.Name())
	span.SetData("rpc.method_type", string(c.method.Type()))
	if id := call.StreamID(); id != "" {
		span.SetData("rpc.stream_id", id) // of many values: never a tag
	}
	return span
}

// sentryTrace is a W3C traceparent as Sentry writes it, "" when it is none. Its
// sampled bit is left out: how much is measured here, and paid for, is not up to
// whoever calls.
func sentryTrace(parent string) string {
	part := strings.Split(parent, "-")
	if len(part) < 4 || len(part[1]) != 32 || len(part[2]) != 16 || len(part[3]) != 2 {
		return ""
	}
	return part[1] + "-" + part[2]
}

// CallEnded reports how the call ended.
func (r *Reporter) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	c, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return // CallStarted was not asked
	}
	if end.Err != nil && r.reports(end.Err) {
		r.report(ctx, c, call, end.Err)
	}
	if c.span == nil {
		return
	}
	c.span.Status = status(end.Err)
	for name, hash := range c.hashes() {
		c.span.SetData(name, hash)
	}
	c.span.Finish()
}

// reports tells whether an error is an event.
func (r *Reporter) reports(err *vgirpc.Error) bool {
	return !slices.Contains(r.opts.IgnoreCodes, codeOf(err)) && !slices.Contains(r.opts.IgnoreTypes, err.TypeName())
}

// codeOf is the code of an error that a handler may have made up.
func codeOf(err *vgirpc.Error) vgirpc.Code {
	if err.Code.Valid() {
		return err.Code
	}
	return vgirpc.Unknown
}

// report sends an event. What the program lets the SDK do with it, and fails at,
// is not the call's trouble.
func (r *Reporter) report(ctx context.Context, c *scope, call *vgirpc.Call, err *vgirpc.Error) {
	defer func() { _ = recover() }()
	event := r.event(c, err)
	event.Contexts["rpc"]["request_id"] = call.RequestID()
	if r.opts.TraceOf != nil && c.span == nil {
		if p, ok := propagation(r.opts.TraceOf(ctx)); ok {
			c.Hub().Scope().SetPropagationContext(p)
		}
	}
	c.Hub().CaptureEvent(event)
}

// propagation is the span of another library as the SDK has its own.
func propagation(trace, span string) (p sdk.PropagationContext, ok bool) {
	if len(trace) != 2*len(p.TraceID) || len(span) != 2*len(p.SpanID) {
		return p, false
	}
	_, err1 := hex.Decode(p.TraceID[:], []byte(trace))
	_, err2 := hex.Decode(p.SpanID[:], []byte(span))
	return p, err1 == nil && err2 == nil
}

// event is what is sent of an error, beside what the scope knows.
func (r *Reporter) event(c *scope, err *vgirpc.Error) *sdk.Event {
	event := r.client.EventFromException(err, sdk.LevelError)
	event.Timestamp = time.Now()
	last := &event.Exception[len(event.Exception)-1]
	last.Type, last.Value, last.Module = err.TypeName(), err.Message, c.method.Protocol().Name()
	for i := range event.Exception {
		ours(event.Exception[i].Stacktrace)
	}
	if len(err.StackTrace()) == 0 {
		// The SDK has put the stack of this function there. Without one it would
		// tell events apart by their messages, which name what differs each time.
		last.Stacktrace = nil
		event.Fingerprint = []string{c.method.String(), last.Type, string(codeOf(err))}
	}
	if n := len(event.Exception); n > 1 && event.Exception[n-2].Value == last.Value {
		// An error of the handler's that was wrapped for the wire.
		event.Exception = append(event.Exception[:n-2], *last)
		if n == 2 {
			event.Exception[0].Mechanism = nil // there is no chain any more
		}
	}
	event.Tags["rpc.code"] = string(codeOf(err))
	if err.Kind != "" {
		event.Tags["rpc.kind"] = clip(err.Kind)
	}
	event.Contexts = map[string]sdk.Context{"rpc": c.rpc()}
	return event
}

// framework is where the frames of a stack are that are not the program's own.
var framework = []string{"github.com/vgirpc/vgirpc-go/vgirpc", "github.com/vgirpc/vgirpc-go/httpserver"}

// ours tells Sentry which frames are not to blame: it groups by the others.
func ours(stack *sdk.Stacktrace) {
	if stack == nil {
		return
	}
	for i := range stack.Frames {
		f := &stack.Frames[i]
		if slices.ContainsFunc(framework, func(path string) bool { return f.Module == path || strings.HasPrefix(f.Module, path+"/") }) {
			f.InApp = false
		}
	}
}

// status is Sentry's word for how a call ended. An error that nobody has
// classified is a fault of the server, which "unknown" would not be.
func status(err *vgirpc.Error) sdk.SpanStatus {
	if err == nil {
		return sdk.SpanStatusOK
	}
	switch codeOf(err) {
	case vgirpc.Cancelled:
		return sdk.SpanStatusCanceled
	case vgirpc.InvalidArgument:
		return sdk.SpanStatusInvalidArgument
	case vgirpc.DeadlineExceeded:
		return sdk.SpanStatusDeadlineExceeded
	case vgirpc.NotFound:
		return sdk.SpanStatusNotFound
	case vgirpc.AlreadyExists:
		return sdk.SpanStatusAlreadyExists
	case vgirpc.PermissionDenied:
		return sdk.SpanStatusPermissionDenied
	case vgirpc.ResourceExhausted:
		return sdk.SpanStatusResourceExhausted
	case vgirpc.FailedPrecondition:
		return sdk.SpanStatusFailedPrecondition
	case vgirpc.Aborted:
		return sdk.SpanStatusAborted
	case vgirpc.OutOfRange:
		return sdk.SpanStatusOutOfRange
	case vgirpc.Unimplemented:
		return sdk.SpanStatusUnimplemented
	case vgirpc.Unavailable:
		return sdk.SpanStatusUnavailable
	case vgirpc.DataLoss:
		return sdk.SpanStatusDataLoss
	case vgirpc.Unauthenticated:
		return sdk.SpanStatusUnauthenticated
	default:
		return sdk.SpanStatusInternalError
	}
}
