package vgirpc

import (
	"context"
	"errors"
	"net"
	"time"
)

// RefusedReason says why a request or a connection was refused. The set is
// closed: a reason can be the label of a metric.
type RefusedReason string

// The reasons. The first six are those of a 401 (unauthorized-spec.md section 3).
const (
	RefusedMissingCredential RefusedReason = "missing_credential"
	RefusedInvalidCredential RefusedReason = "invalid_credential" //nolint:gosec // a word, and no credential
	RefusedExpiredCredential RefusedReason = "expired_credential" //nolint:gosec // likewise
	RefusedInsufficientScope RefusedReason = "insufficient_scope"
	RefusedProxyRequired     RefusedReason = "proxy_required"
	RefusedUnauthorized      RefusedReason = "unauthorized"

	// RefusedAuthUnavailable: whoever had to be asked about the caller could not
	// be. RefusedAuthFailed: asking broke.
	RefusedAuthUnavailable RefusedReason = "auth_unavailable"
	RefusedAuthFailed      RefusedReason = "auth_failed"
	// RefusedSignIn: a step of a browser's sign-in, or of the token proxy, was
	// not accepted.
	RefusedSignIn RefusedReason = "sign_in"

	// RefusedAddressRate and RefusedPrincipalRate: too many from one address, or
	// of one caller.
	RefusedAddressRate   RefusedReason = "address_rate"
	RefusedPrincipalRate RefusedReason = "principal_rate"
	// RefusedBusy: the server is at a limit of its own, for now.
	RefusedBusy RefusedReason = "busy"
	// RefusedDraining: the server ends.
	RefusedDraining RefusedReason = "draining"
	// RefusedNotServing: the server could not begin to serve.
	RefusedNotServing RefusedReason = "not_serving"

	// RefusedNotFound: the path, the protocol or the method is not there.
	RefusedNotFound RefusedReason = "not_found"
	// RefusedVerb: calls are made with POST.
	RefusedVerb RefusedReason = "verb"
	// RefusedMediaType: the content type or the coding is not spoken here.
	RefusedMediaType RefusedReason = "media_type"
	// RefusedOrigin: a page of another origin, or another host name.
	RefusedOrigin RefusedReason = "origin"
	// RefusedTooLarge: the header or the body is.
	RefusedTooLarge RefusedReason = "too_large"
	// RefusedStalled: the body stood still.
	RefusedStalled RefusedReason = "stalled"
	// RefusedVersion: the protocol's version does not fit.
	RefusedVersion RefusedReason = "version"
	// RefusedStreamToken: the tokens of a stream are not valid, or no longer.
	RefusedStreamToken RefusedReason = "stream_token"
	// RefusedSession: the sticky session is not here, or no longer.
	RefusedSession RefusedReason = "session_lost"
	// RefusedPointer: what a pointer stands for could not be had.
	RefusedPointer RefusedReason = "pointer"
	// RefusedMalformed: anything else that is wrong with a request.
	RefusedMalformed RefusedReason = "malformed"

	// RefusedProxyHeader: what a proxy has to send before the first byte is
	// missing or wrong.
	RefusedProxyHeader RefusedReason = "proxy_header"
	// RefusedHandshake: the handshake of a connection failed.
	RefusedHandshake RefusedReason = "handshake"
	// RefusedAdmissionTimeout: a connection took too long to be admitted.
	RefusedAdmissionTimeout RefusedReason = "admission_timeout"
	// RefusedAdmission: a connection was not admitted for another reason.
	RefusedAdmission RefusedReason = "admission"
	// RefusedOther: the status says more.
	RefusedOther RefusedReason = "other"
)

// Refused is a request that was refused before its handler was asked, or a
// connection that is not served. It never has a value of a header but the request's
// identifier, nothing of a credential, a claim, a token or a payload, and of a path
// only what names a protocol or a method that is hosted here. It is valid during
// the call of RequestRefused.
type Refused struct {
	Transport TransportKind
	Reason    RefusedReason
	// Code is the canonical code of the error, Unknown where there is none.
	Code Code
	// Kind is the error's kind, "" without one.
	Kind string

	// Status is the status of the answer, Verb the request's, Version that of
	// HTTP, as in "HTTP/1.1": over HTTP alone. A verb that is not one of HTTP's
	// own is "OTHER".
	Status  int
	Verb    string
	Version string

	// Protocol and Method are what the request asked for, as far as it is hosted
	// here; else "".
	Protocol, Method string
	// RequestID is that of the answer; "" for a connection.
	RequestID string

	// Peer is the other end of the connection, "ip:port", "" for a Unix socket.
	Peer string
	// Client is the caller's address, "ip" or "ip:port", where a trusted proxy
	// says that it is not Peer; else "".
	Client string
	// Principal and Domain are who was calling, where that is known.
	Principal, Domain string
	// UID and PID are the peer's of a Unix socket, -1 where they are not known.
	UID, PID int

	// BytesIn is how much of the body was read, as it was sent.
	BytesIn int64
	// Duration is the time from the request, or the connection, to its refusal.
	Duration time.Duration
}

// RefusalObserver is told of what was refused before a handler was asked. Most of
// it an [Observer] never sees. Both see what was refused after its method was
// found: for the protocol's version, the parameters, or a batch that is none.
type RefusalObserver interface {
	// RequestRefused is called once for each refusal, when the answer is known,
	// on the goroutine of the request or the connection. It must not block, and
	// may run at once for different ones.
	RequestRefused(ctx context.Context, refused *Refused)
}

// WatchesRefusals reports whether anybody is told of refusals: a transport that
// knows that nobody is need not find out about them.
func (s *Server) WatchesRefusals() bool { return len(s.opts.RefusalObservers) > 0 }

// ReportRefused tells the observers of a refusal, for transports.
func (s *Server) ReportRefused(ctx context.Context, refused *Refused) {
	for _, o := range s.opts.RefusalObservers {
		o.RequestRefused(ctx, refused)
	}
}

// refusedError is an error with its reason.
type refusedError struct {
	error
	reason RefusedReason
}

// Unwrap returns the error.
func (e *refusedError) Unwrap() error { return e.error }

// RefusedFor gives err, which refuses a connection, its reason, for an
// [Admitter]: [ReasonRefused] finds it. The text stays as it is, and nil nil.
func RefusedFor(reason RefusedReason, err error) error {
	if err == nil {
		return nil
	}
	return &refusedError{err, reason}
}

// ReasonRefused is why err refuses a connection or a request: the reason that
// [RefusedFor] has given it, else one that follows from its kind and code.
func ReasonRefused(err error) RefusedReason {
	if r, ok := errors.AsType[*refusedError](err); ok {
		return r.reason
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return RefusedOther
	}
	switch e.Kind {
	case KindProtocolNotSupported, KindMethodNotImplemented:
		return RefusedNotFound
	case KindProtocolVersionMismatch:
		return RefusedVersion
	case KindSessionLost:
		return RefusedSession
	case KindServerDraining:
		return RefusedDraining
	}
	switch e.Code {
	case Unauthenticated:
		return RefusedUnauthorized
	case PermissionDenied:
		return RefusedInsufficientScope
	case Unimplemented:
		return RefusedNotFound
	case ResourceExhausted:
		if e.Retryable() {
			return RefusedBusy
		}
		return RefusedTooLarge
	case Unavailable:
		return RefusedBusy
	case InvalidArgument:
		return RefusedMalformed
	default:
		return RefusedOther
	}
}

// reportConn tells the observers of a connection that is not served.
func (s *Server) reportConn(ctx context.Context, a *Admission, err error, began time.Time) {
	if !s.WatchesRefusals() {
		return
	}
	refused := refusedBy(a.Peer, a.socket, err)
	refused.Reason, refused.Duration = reasonOfConn(err), time.Since(began)
	s.ReportRefused(ctx, refused)
}

// reportCall tells the observers of a request that was refused before its handler
// was asked, or of an input of its stream that was. bytes were read of the call.
func (c *Conn) reportCall(d *Dispatch, bytes int64) {
	if !c.s.WatchesRefusals() {
		return
	}
	refused := refusedBy(c.peer, c.socket, d.err)
	refused.Reason, refused.BytesIn, refused.RequestID = ReasonRefused(d.err), bytes, d.call.RequestID()
	if p := d.call.protocol; p != nil {
		refused.Protocol = p.name
	}
	if m := d.call.method; m != nil {
		refused.Method = m.name
	}
	if !d.begun.IsZero() {
		refused.Duration = time.Since(d.begun)
	}
	c.s.ReportRefused(c.ctx, refused)
}

// refusedBy is what a connection and an error tell of a refusal. socket may be nil.
func refusedBy(p *Peer, socket net.Conn, err error) *Refused {
	r := &Refused{
		Transport: p.Kind, Code: CodeOf(err), Peer: p.Addr,
		Principal: p.Identity.Principal, Domain: p.Identity.Domain, UID: p.UID, PID: p.PID,
	}
	if immediate := socketAddr(socket); immediate != "" && immediate != p.Addr {
		r.Peer, r.Client = immediate, p.Addr
	}
	if e, ok := errors.AsType[*Error](err); ok {
		r.Kind = e.Kind
	}
	return r
}

// typeAdmissionTimeout is the type of the error of a connection that took too long
// to be admitted.
const typeAdmissionTimeout = "AdmissionTimeout"

// socketAddr is the other end of a socket as it was accepted, "" without an
// address.
func socketAddr(nc net.Conn) string {
	if nc == nil {
		return ""
	}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.String()
	}
	return ""
}

// reasonOfConn is why a connection is not served.
func reasonOfConn(err error) RefusedReason {
	if errors.Is(err, errClosing) {
		return RefusedDraining
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Type == typeAdmissionTimeout {
		return RefusedAdmissionTimeout
	}
	if r, ok := errors.AsType[*refusedError](err); ok {
		return r.reason
	}
	return RefusedAdmission
}
