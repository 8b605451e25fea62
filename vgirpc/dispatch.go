package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Request is one request as a transport read it.
type Request struct {
	// Meta is the custom metadata of the request batch.
	Meta wire.Metadata
	// Batch is the request batch; nil when reading it failed with Err.
	Batch *wire.Batch
	// Err is why the request could not be read although the transport is still
	// in step. The call is answered with it.
	Err error
	// Peer is the other end.
	Peer *Peer
	// ID correlates the call's records, where the transport has its own way to
	// carry one; else the metadata's identifier counts, or one is made up.
	ID string
	// Budget is what the transport lets one response have.
	Budget ResponseBudget
	// Files came beside the request. The call takes them over.
	Files []*os.File
	// Capabilities is what the transport adds to the answer of a capability
	// request (WIRE_PROTOCOL section 15).
	Capabilities wire.Metadata

	building SharedMemory // for the answer, nil without
}

// ResponseBudget bounds one response of a transport that answers whole turns,
// as HTTP does. Numbers are bytes; 0 is without limit.
type ResponseBudget struct {
	// Limit is what the encoded response may have, framing included. One that
	// is larger is replaced by an error.
	Limit int64
	// Preferred is the size that a batch should aim at, at most Limit.
	Preferred int64
	// Externalized is what may leave for external storage during one response.
	Externalized int64
	// Externalizing reports whether large batches leave for external storage.
	Externalizing bool
}

// Reply is what one step of a call sends: batches of one IPC stream. A driver
// reuses one Reply for all steps of all calls of a connection, and writes it
// out before the next step: the batches borrow its memory.
type Reply struct {
	// HeaderSchema and Header are a whole stream that goes out before anything
	// else: the header of a stream call. HeaderSchema is nil without one.
	HeaderSchema *wire.Schema
	Header       []wire.Batch
	// Schema is the schema of the stream that Batches belong to.
	Schema  *wire.Schema
	Batches []wire.Batch
	// Done says that the stream ends after Batches.
	Done bool

	enc  codec.Encoder
	data wire.Batch
	has  bool // data is set
}

// keptBatches is for how many batches a reply that is kept has room.
const keptBatches = 32

// Forget lets go of what the reply refers to. A driver that keeps a reply for
// later calls forgets it, or the last call's data lives as long.
func (r *Reply) Forget() {
	for _, batches := range [...]*[]wire.Batch{&r.Header, &r.Batches} {
		if cap(*batches) > keptBatches {
			*batches = nil
		}
		clear((*batches)[:cap(*batches)])
	}
	r.data = wire.Batch{}
	r.reset(nil)
}

func (r *Reply) reset(schema *wire.Schema) {
	r.HeaderSchema, r.Header = nil, r.Header[:0]
	r.Schema, r.Batches, r.Done, r.has = schema, r.Batches[:0], false, false
	r.enc.Reset()
}

// handler is a method with the code that serves it, its Go types erased.
type handler struct {
	method *Method
	unary  func(ctx context.Context, d *Dispatch, params *wire.Batch) error
	open   func(ctx context.Context, d *Dispatch, params *wire.Batch) error
	states *stateSet
	rows   bool // the stream takes its input as rows

	accepted atomic.Pointer[wire.Schema] // of parameters, other than the declared one
	fits     atomic.Pointer[wire.Schema] // of input that needs no cast, other than the declared one
}

// openStream is a stream between its turns, its Go types erased.
type openStream interface {
	turn(ctx context.Context, d *Dispatch, in *wire.Batch) error
	onCancel(ctx context.Context)
	state() any
}

// Dispatch is one call in progress as its driver sees it: [Server.Begin] makes
// it, [Dispatch.Turn] takes a stream further, and [Dispatch.End] ends it.
type Dispatch struct {
	call    Call
	ctx     callContext
	handler *handler
	reply   *Reply
	stream  openStream
	started bool
	begun   time.Time
	err     *Error
	cancel  bool
	refused bool // the handler was never asked
	// rehydrate completes a resumed state, as part of its first turn.
	rehydrate func(context.Context) error
	deadline  time.Time // by which the caller wants the call to be over; zero for none
	stopTimer func()    // nil without a deadline
}

// Route is what a request's metadata asks for, before anything is checked.
type Route struct {
	binding *binding
	handler *handler
}

// Lifetime is how a driver should read the request's body.
func (r Route) Lifetime() wire.Lifetime {
	if r.handler == nil || r.handler.method.params.Borrows() {
		return wire.Borrow
	}
	return wire.Own
}

// Streams reports whether the request names a stream method: a client that
// calls one sends an input stream after it, even when the call is refused.
func (r Route) Streams() bool { return r.handler != nil && r.handler.method.kind != KindUnary }

// Resolved reports whether the request names a method that is hosted here.
func (r Route) Resolved() bool { return r.handler != nil }

// Route looks up what a request asks for. It never fails: Begin says what is
// wrong.
func (s *Server) Route(meta wire.Metadata) Route {
	b := s.bindings[meta.Value(wire.KeyProtocol)]
	if b == nil {
		return Route{}
	}
	return Route{b, b.handlers[meta.Value(wire.KeyMethod)]}
}

// Lookup finds a method by the names that a transport carries beside the
// metadata, as the path of a URL does. The error tells the ways in which they
// can miss (WIRE_PROTOCOL section 3.1).
func (s *Server) Lookup(protocol, method string) (Route, error) {
	b := s.bindings[protocol]
	if b == nil {
		return Route{}, s.unroutable(nil, protocol, method)
	}
	route := Route{b, b.handlers[method]}
	if route.handler == nil {
		return route, s.unroutable(b, protocol, method)
	}
	return route, nil
}

// Method is what the request names, nil when it names nothing that is hosted.
func (r Route) Method() *Method {
	if r.handler == nil {
		return nil
	}
	return r.handler.method
}

// Begin begins the call that a request asks for and writes its first answer
// into reply: a unary result, the refusal of a call, or what a stream sends
// before its first turn. The driver writes the reply, takes turns while it is
// not Done, and ends the call in every case.
func (s *Server) Begin(ctx context.Context, route Route, req *Request, reply *Reply) *Dispatch {
	d := &Dispatch{reply: reply, handler: route.handler}
	d.call = Call{server: s, dispatch: d, peer: req.Peer, meta: req.Meta, requestID: req.ID, budget: req.Budget, files: req.Files, building: req.building}
	d.ctx = callContext{ctx, &d.call}
	if route.binding != nil {
		d.call.protocol, d.call.hash = route.binding.protocol, route.binding.hash
	}
	schema := wire.EmptySchema()
	if route.handler != nil {
		d.call.method = route.handler.method
		schema = route.handler.method.errorSchema()
	}
	reply.reset(schema)
	if builtin := req.Meta.Value(wire.KeyMethod); strings.HasPrefix(builtin, "__") && req.Err == nil {
		d.builtin(builtin, route, req)
		return d
	}
	if err := s.check(route, req); err != nil {
		d.refuse(err)
		return d
	}
	d.start(req)
	return d
}

// check applies the rules that a request must meet before it is decoded, in the
// order of the specification (WIRE_PROTOCOL sections 3.1, 5 and 13).
func (s *Server) check(route Route, req *Request) error {
	if err := checkEnvelope(req); err != nil {
		return err
	}
	if err := s.checkRoute(route, req.Meta); err != nil {
		return err
	}
	if err := route.binding.gate(req.Meta); err != nil {
		return err
	}
	return route.handler.checkParams(req.Batch.Schema)
}

// checkParams holds a request's schema against the declared one. Callers in
// other languages write the same schema with other bytes: the last one that was
// found to agree is remembered.
func (h *handler) checkParams(s *wire.Schema) error {
	if s == h.method.params.Schema() || s == h.accepted.Load() {
		return nil
	}
	if err := h.method.params.Check(s); err != nil {
		return fmt.Errorf("parameters of %s: %w", h.method, err)
	}
	h.accepted.Store(s)
	return nil
}

// checkEnvelope checks what every request needs, whatever it calls.
func checkEnvelope(req *Request) error {
	method, ok := req.Meta.Get(wire.KeyMethod)
	switch {
	case req.Err != nil && !ok:
		return req.Err
	case !ok:
		return protocolErrorf("ProtocolError", "request without %q in the batch's custom metadata", wire.KeyMethod)
	}
	if v, ok := req.Meta.Get(wire.KeyRequestVersion); v != wire.RequestVersion {
		if !ok {
			return protocolErrorf("VersionError", "request without %q: want %q", wire.KeyRequestVersion, wire.RequestVersion)
		}
		return protocolErrorf("VersionError", "request version %.32q is not supported: want %q", v, wire.RequestVersion)
	}
	switch {
	case !utf8.ValidString(method):
		return protocolErrorf("ProtocolError", "%q is not valid UTF-8", wire.KeyMethod)
	case req.Err != nil:
		return req.Err
	case notHere(req.Batch) != nil:
		return notHere(req.Batch)
	case req.Batch.Rows != 1 && req.Batch.Schema.NumFields() > 0:
		return protocolErrorf("ProtocolError", "request batch has %d rows: want exactly 1", req.Batch.Rows)
	}
	return nil
}

// checkRoute tells the three ways in which a request can miss
// (WIRE_PROTOCOL section 3.1).
func (s *Server) checkRoute(route Route, meta wire.Metadata) error {
	if route.handler != nil {
		return nil
	}
	protocol, ok := meta.Get(wire.KeyProtocol)
	if !ok {
		return s.ProtocolNotSpecified()
	}
	return s.unroutable(route.binding, protocol, meta.Value(wire.KeyMethod))
}

// ProtocolNotSpecified refuses a request without a routing key.
func (s *Server) ProtocolNotSpecified() *Error {
	return protocolErrorf("ProtocolNotSpecifiedError", "request without %q: name one of the protocols hosted here (%s)",
		wire.KeyProtocol, s.protocolNames()).WithKind(KindProtocolNotSpecified)
}

// unroutable says why names lead nowhere; b is the protocol's binding, if there
// is one.
func (s *Server) unroutable(b *binding, protocol, method string) *Error {
	switch {
	case !validName(protocol):
		e := protocolErrorf("ProtocolNotSupportedError", "%q is not a protocol name; hosted here: %s", wire.KeyProtocol, s.protocolNames())
		return e.unimplemented(KindProtocolNotSupported)
	case b == nil:
		e := protocolErrorf("ProtocolNotSupportedError", "protocol %s is not hosted here; hosted: %s", protocol, s.protocolNames())
		return e.unimplemented(KindProtocolNotSupported)
	case !validName(method):
		e := protocolErrorf("MethodNotImplementedError", "%q is not a method name", wire.KeyMethod)
		return e.unimplemented(KindMethodNotImplemented)
	}
	e := protocolErrorf("MethodNotImplementedError", "protocol %s has no method %s; it has %s", protocol, method, methodNames(b.protocol))
	return e.unimplemented(KindMethodNotImplemented)
}

// unimplemented marks e as the refusal of a route that leads nowhere.
func (e *Error) unimplemented(kind string) *Error {
	e.Code, e.Kind = Unimplemented, kind
	return e
}

func (s *Server) protocolNames() string {
	names := make([]string, len(s.order))
	for i, b := range s.order {
		names[i] = b.protocol.name
	}
	return strings.Join(names, ", ")
}

func methodNames(p *Protocol) string {
	var names []string
	for _, m := range p.Methods() {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

// gate compares the caller's version of the protocol with ours: major and
// minor must be equal (WIRE_PROTOCOL section 13).
func (b *binding) gate(meta wire.Metadata) error {
	p := b.protocol
	if p.version == "" || p.exempt {
		return nil
	}
	got, ok := meta.Get(wire.KeyProtocolVersion)
	if got == p.version {
		return nil
	}
	if !ok {
		return p.mismatch("(none)", "the client sent no "+wire.KeyProtocolVersion+": it does not know this protocol's version")
	}
	if !utf8.ValidString(got) {
		return p.mismatch("(not UTF-8)", "the client sent bytes that are not a version")
	}
	v, ok := parseVersion(got)
	switch {
	case !ok:
		return p.mismatch(fmt.Sprintf("%.64q", got), "the client sent a malformed version: want MAJOR.MINOR.PATCH")
	case v == p.parsed:
		return nil
	case v.major < p.parsed.major || (v.major == p.parsed.major && v.minor < p.parsed.minor):
		return p.mismatch(got, "the client is too old: upgrade it to "+p.version)
	}
	return p.mismatch(got, "the server is too old: upgrade it to "+got)
}

func (p *Protocol) mismatch(client, direction string) *Error {
	text := fmt.Sprintf("protocol %s: client version %s, server version %s: %s", p.name, client, p.version, direction)
	return &Error{
		Code: FailedPrecondition, Kind: KindProtocolVersionMismatch, Type: "ProtocolVersionError", Message: text,
		Details: []Detail{PreconditionFailure{Violations: []PreconditionViolation{
			{Type: "protocol_version", Subject: p.name, Description: text},
		}}},
	}
}

// builtin answers the methods of the server itself.
func (d *Dispatch) builtin(name string, route Route, req *Request) {
	s := d.call.server
	d.handler, d.call.method = nil, nil
	d.call.protocol, d.call.hash = s.order[0].protocol, s.order[0].hash
	d.reply.reset(wire.EmptySchema())
	if err := checkEnvelope(req); err != nil {
		d.refuse(err)
		return
	}
	switch name {
	case wire.MethodTransport:
		d.call.method = s.transportOptions
		d.call.fields, d.call.rows = req.Batch.Schema, req.Batch.Rows
		d.observe()
		meta := wire.Metadata{
			{Key: wire.KeyTransportSHM, Value: strconv.FormatBool(s.sharesMemory(d.call.peer))},
			{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
			{Key: wire.KeyServerID, Value: s.ID()},
		}
		meta = append(meta, req.Capabilities...)
		d.reply.Batches = append(d.reply.Batches, wire.EmptyBatch(wire.EmptySchema(), meta))
		d.reply.Done = true
	case wire.MethodDescribe:
		e := protocolErrorf("MethodNotImplementedError", "%s was retired: call list_protocols and describe of %s", name, ReflectionName)
		d.refuse(e.unimplemented(KindMethodNotImplemented))
	default:
		h := route.handler
		if h == nil || h.method.name != name {
			e := protocolErrorf("MethodNotImplementedError", "the server has no method of that name")
			d.refuse(e.unimplemented(KindMethodNotImplemented))
			return
		}
		d.handler, d.call.method = h, h.method
		d.reply.reset(h.method.errorSchema())
		if err := h.checkParams(req.Batch.Schema); err != nil {
			d.refuse(err)
			return
		}
		d.start(req)
	}
}

// refuse answers a call that never reached its handler.
func (d *Dispatch) refuse(err error) {
	d.dropFiles()
	d.observe()
	d.refused, d.err = true, asError(err)
	d.reply.Batches = append(d.reply.Batches, d.errorBatch(d.reply.Schema, d.err))
	d.reply.Done = true
}

// Refused reports whether the call, or the turn, failed before its handler was
// asked: what was sent is not a call of the method (WIRE_PROTOCOL section 13).
func (d *Dispatch) Refused() bool { return d.refused }

// Err is why the call failed, nil as long as it has not.
func (d *Dispatch) Err() *Error { return d.err }

// Context is the context of the call as its handler gets it, for what a driver does
// in the call's place.
func (d *Dispatch) Context() context.Context { return &d.ctx }

// Method is what is being called, nil when the request named nothing that is
// hosted.
func (d *Dispatch) Method() *Method { return d.call.method }

// Replace puts an error in the place of what the call sends next: the driver
// found that it cannot send that.
func (d *Dispatch) Replace(err error, reply *Reply) {
	d.reply = reply
	switch {
	case d.call.output != nil:
		reply.reset(d.call.output)
	case d.call.method != nil:
		reply.reset(d.call.method.errorSchema())
	default:
		reply.reset(wire.EmptySchema())
	}
	d.fail(err)
	reply.Done = true
}

// Fail ends an open stream with an error that the driver found in its input,
// such as a batch that cannot be read: that was no turn of the method.
func (d *Dispatch) Fail(err error, reply *Reply) {
	d.refused = true
	d.Replace(err, reply)
}

// ErrorBatch is the batch that tells a caller of an error on a stream without
// columns: a driver's answer to what never became a call. requestID may be
// empty.
func (s *Server) ErrorBatch(err error, requestID string) wire.Batch {
	d := Dispatch{}
	d.call = Call{server: s, dispatch: &d, requestID: requestID}
	return d.errorBatch(wire.EmptySchema(), asError(err))
}

func (d *Dispatch) errorBatch(schema *wire.Schema, e *Error) wire.Batch {
	s := d.call.server
	status := e.status(d.methodName(), !s.opts.OmitTracebacks)
	status.ServerID, status.RequestID = s.ID(), d.call.RequestID()
	return wire.EmptyBatch(schema, status.Metadata())
}

// methodName is what is being called, "" when that is not known.
func (d *Dispatch) methodName() string {
	if d.call.method == nil {
		return ""
	}
	return d.call.method.fullName
}

// start runs the handler of an accepted request.
func (d *Dispatch) start(req *Request) {
	err := d.limitTime(req.Meta)
	if err == nil {
		err = d.checkFiles(req.Meta)
	}
	if err != nil {
		d.refuse(err)
		return
	}
	d.observe()
	d.call.fields, d.call.rows = req.Batch.Schema, req.Batch.Rows
	d.countInput(req.Batch)
	d.call.phase = PhaseCall
	if d.handler.open != nil {
		d.call.phase = PhaseOpen
		if out := d.call.method.output; out != nil {
			d.call.output = out.Schema()
		}
	}
	err = d.run(firstStep, req.Batch)
	d.dropFiles()
	if d.handler.open == nil {
		d.finishUnary(err)
		return
	}
	d.finishOpen(err)
}

// limitTime gives the call the time that its caller has for it, if he says so.
func (d *Dispatch) limitTime(meta wire.Metadata) error {
	text, ok := meta.Get(wire.KeyTimeout)
	if !ok {
		return nil
	}
	left, err := strconv.ParseInt(text, 10, 64)
	if err != nil || left < 1 {
		return protocolErrorf("ProtocolError", "%q is %.32q: want a number of milliseconds, at least 1", wire.KeyTimeout, text)
	}
	left = min(left, int64(maxTimeout/time.Millisecond))
	d.expireAt(time.Now().Add(time.Duration(left) * time.Millisecond))
	return nil
}

// maxTimeout is the longest time that a caller can have for a call.
const maxTimeout = 10 * 365 * 24 * time.Hour

// expireAt ends the call's context at a time.
func (d *Dispatch) expireAt(at time.Time) {
	d.deadline = at
	d.ctx.Context, d.stopTimer = context.WithDeadline(d.ctx.Context, at) //nolint:fatcontext // once for each call
}

// expired is the error of a turn that came too late, nil when it did not.
func (d *Dispatch) expired() error {
	if d.deadline.IsZero() || time.Now().Before(d.deadline) {
		return nil
	}
	return &Error{Code: DeadlineExceeded, Type: "DeadlineExceeded", Message: "the time that the caller gave the call is over"}
}

// step is one piece of user code behind its typed wrapper.
type step func(ctx context.Context, d *Dispatch, b *wire.Batch) error

// firstStep runs a unary handler, or opens a stream.
func firstStep(ctx context.Context, d *Dispatch, params *wire.Batch) error {
	if d.handler.open != nil {
		return d.handler.open(ctx, d, params)
	}
	return d.handler.unary(ctx, d, params)
}

// turnStep runs one turn of a stream.
func turnStep(ctx context.Context, d *Dispatch, in *wire.Batch) error {
	if complete := d.rehydrate; complete != nil {
		d.rehydrate = nil
		if err := complete(ctx); err != nil {
			return err
		}
	}
	return d.stream.turn(ctx, d, in)
}

// run runs user code through the interceptors and turns a panic into an error.
func (d *Dispatch) run(f step, b *wire.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	if len(d.call.server.opts.Interceptors) == 0 {
		err = f(&d.ctx, d, b)
	} else {
		err = d.intercept(&d.ctx, 0, f, b)
	}
	if err == nil || errors.Is(err, io.EOF) {
		if d.call.logErr != nil {
			return d.call.logErr
		}
	}
	return err
}

func (d *Dispatch) intercept(ctx context.Context, i int, f step, b *wire.Batch) error {
	chain := d.call.server.opts.Interceptors
	if i == len(chain) {
		return f(ctx, d, b)
	}
	return chain[i](ctx, &d.call, func(ctx context.Context) error { return d.intercept(ctx, i+1, f, b) })
}

func (d *Dispatch) finishUnary(err error) {
	r := d.reply
	d.flushLogs(r.Schema)
	if err != nil {
		d.fail(err)
	} else if ref := d.call.ref; ref != nil {
		r.Batches = append(r.Batches, ref.Pointer(r.Schema))
	} else {
		r.Batches = append(r.Batches, r.data)
	}
	r.Done = true
	d.countOutput()
}

func (d *Dispatch) finishOpen(err error) {
	r := d.reply
	if err == nil && d.call.output == nil {
		err = Errorf(Internal, "%s chose no output schema: call SetOutputSchema while the stream opens", d.call.method)
	}
	if err != nil {
		r.HeaderSchema, r.Header = nil, r.Header[:0]
		d.flushLogs(r.Schema)
		d.fail(err)
		r.Done = true
		d.countOutput()
		return
	}
	defer d.countOutput()
	r.Schema = d.call.output
	if r.HeaderSchema != nil {
		header := r.Header
		r.Header = nil
		for i := range d.call.logs {
			meta := d.call.logs[i].Metadata(d.call.server.ID(), d.call.RequestID())
			r.Header = append(r.Header, wire.EmptyBatch(r.HeaderSchema, meta))
		}
		r.Header = append(r.Header, header...)
		d.call.logs = d.call.logs[:0]
		return
	}
	d.flushLogs(r.Schema)
}

// flushLogs puts the messages to the caller into the reply.
func (d *Dispatch) flushLogs(schema *wire.Schema) {
	for i := range d.call.logs {
		meta := d.call.logs[i].Metadata(d.call.server.ID(), d.call.RequestID())
		d.reply.Batches = append(d.reply.Batches, wire.EmptyBatch(schema, meta))
	}
	d.call.logs = d.call.logs[:0]
}

// loggedMessage is how much of an error's message is logged, in bytes.
const loggedMessage = 4096

// fail answers with an error and logs it.
func (d *Dispatch) fail(err error) {
	d.err = asError(err)
	d.reply.Batches = append(d.reply.Batches, d.errorBatch(d.reply.Schema, d.err))
	s := d.call.server
	level := CodeOf(d.err).logLevel()
	if s.log.Enabled(&d.ctx, level) {
		s.log.LogAttrs(&d.ctx, level, "call failed", slog.String("method", d.methodName()),
			slog.String("code", string(CodeOf(d.err))), slog.String("type", d.err.wireType()),
			slog.String("error", wire.Clip(d.err.Message, loggedMessage)), slog.String("request_id", d.call.RequestID()))
	}
}

// Open reports whether a stream is open: the driver takes turns.
func (d *Dispatch) Open() bool { return d.stream != nil && !d.reply.Done }

// Turn takes an open stream one step further with an input batch, or a tick,
// and writes what it sends into reply. A batch that carries the cancel key
// cancels the stream (WIRE_PROTOCOL section 9).
func (d *Dispatch) Turn(in *wire.Batch, reply *Reply) {
	d.reply = reply
	reply.reset(d.call.output)
	if in.Meta.Has(wire.KeyCancel) {
		d.Cancel()
		reply.Done = true
		return
	}
	d.call.phase, d.call.inputMeta, d.call.outMeta = PhaseTurn, inputMetadata(in.Meta), nil
	if d.call.method.kind == KindExchange {
		d.countInput(in)
	}
	err := d.expired()
	if err == nil && in.Rows == 0 {
		err = notHere(in)
	}
	if err == nil {
		err = d.run(turnStep, in)
	}
	ended := errors.Is(err, io.EOF)
	if ended {
		err = nil
	}
	if err == nil {
		err = d.checkTurn(ended)
	}
	d.flushLogs(reply.Schema)
	if err != nil {
		d.fail(err)
	} else if reply.has {
		reply.Batches = append(reply.Batches, reply.data)
	}
	reply.Done = ended || err != nil
	d.countOutput()
}

// checkTurn holds the handler to the lockstep: a producer sends one batch or
// ends, an exchange sends exactly one.
func (d *Dispatch) checkTurn(ended bool) error {
	switch m := d.call.method; {
	case m.kind == KindExchange && ended:
		return Errorf(Internal, "%s returned io.EOF: an exchange ends when its caller ends it", m)
	case m.kind == KindExchange && !d.reply.has:
		return Errorf(Internal, "%s sent no batch for an input: an exchange sends exactly one", m)
	case !ended && !d.reply.has:
		return Errorf(Internal, "%s sent no batch and did not end with io.EOF", m)
	}
	return nil
}

// Cancel runs the stream's OnCancel once. Its failure is logged, never sent.
func (d *Dispatch) Cancel() {
	if d.cancel || d.stream == nil {
		return
	}
	d.cancel = true
	d.call.phase = PhaseCancel
	defer func() {
		if p := recover(); p != nil {
			d.call.server.log.LogAttrs(&d.ctx, slog.LevelWarn, "OnCancel panicked",
				slog.String("method", d.call.method.fullName), slog.Any("panic", p))
		}
	}()
	if complete := d.rehydrate; complete != nil {
		if err := complete(&d.ctx); err != nil {
			d.call.server.log.LogAttrs(&d.ctx, slog.LevelWarn, "a cancelled stream could not be rehydrated",
				slog.String("method", d.call.method.fullName), slog.Any("error", err))
			return
		}
	}
	d.stream.onCancel(&d.ctx)
}

// inputMetadata is what a handler sees of an input batch's metadata: all but the
// transport's own keys.
func inputMetadata(m wire.Metadata) wire.Metadata {
	if len(m) == 0 {
		return nil
	}
	return m.Without(func(key string) bool {
		switch key {
		case wire.KeyStreamState, wire.KeyCallState, wire.KeySHMSegmentName, wire.KeySHMSegmentSize, wire.KeySHMSource:
			return true
		}
		return false
	})
}

// InputLifetime is how a driver should read the stream's input batches.
func (d *Dispatch) InputLifetime() wire.Lifetime {
	if in := d.call.method.input; in != nil && !in.Borrows() && d.handler.rows {
		return wire.Own
	}
	return wire.Borrow
}

// Abandon notes that the caller is gone: an open stream gets no further turn.
// The driver still ends the call.
func (d *Dispatch) Abandon(err error) {
	if d.err == nil {
		d.err = &Error{Code: Cancelled, Type: "ConnectionLost", Message: "the caller went away: " + err.Error(), Cause: err}
	}
}

// encodingFailed is the error batch that takes the place of one that cannot be
// encoded.
func (d *Dispatch) encodingFailed(err error) wire.Batch {
	d.err = &Error{Code: Internal, Type: "EncodingError", Message: err.Error(), Cause: err}
	return d.errorBatch(d.reply.Schema, d.err)
}

// observe tells the observers that the call starts.
func (d *Dispatch) observe() {
	observers := d.call.server.opts.Observers
	if len(observers) == 0 || d.call.method == nil {
		return
	}
	d.started, d.begun = true, time.Now()
	for _, o := range observers {
		d.ctx.Context = o.CallStarted(d.ctx.Context, &d.call) //nolint:fatcontext // each observer wraps what the one before it returned
	}
}

// End ends the call and tells the observers what the transport did for it. It
// must be called once for every Dispatch.
func (d *Dispatch) End(delivery Delivery) {
	if d.stopTimer != nil {
		d.stopTimer()
	}
	if !d.started {
		return
	}
	end := CallEnd{Err: d.err, Cancelled: d.cancel, Duration: time.Since(d.begun), Stats: d.call.stats, Delivery: delivery}
	for _, o := range d.call.server.opts.Observers {
		o.CallEnded(&d.ctx, &d.call, &end)
	}
}

func (d *Dispatch) countInput(b *wire.Batch) {
	s := &d.call.stats
	s.InputBatches++
	s.InputRows += int64(b.Rows)
	if d.started {
		s.InputBytes += b.Bytes()
	}
}

// countOutput counts what the reply sends: data, logs, headers and errors.
func (d *Dispatch) countOutput() {
	for _, batches := range [...][]wire.Batch{d.reply.Header, d.reply.Batches} {
		for i := range batches {
			s := &d.call.stats
			s.OutputBatches++
			s.OutputRows += int64(batches[i].Rows)
			if d.started {
				s.OutputBytes += batches[i].Bytes()
			}
		}
	}
}
