package httpserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// begun is when a request began, the zero time when nobody is told of refusals.
func (h *Handler) begun() time.Time {
	if !h.server.WatchesRefusals() {
		return time.Time{}
	}
	return time.Now()
}

// refusedRequest is what is known of a request that is refused, without what follows
// from the request itself.
type refusedRequest struct {
	status int
	reason vgirpc.RefusedReason
	err    error // nil: no error of ours
	who    *vgirpc.Identity
	to     target
	read   int64 // of the body
	began  time.Time
}

// report tells the observers of a refusal.
func (h *Handler) report(w http.ResponseWriter, r *http.Request, f refusedRequest) {
	if !h.server.WatchesRefusals() {
		return
	}
	if s, ok := w.(*statusWriter); ok {
		s.reported = true
	}
	out := &vgirpc.Refused{
		Transport: vgirpc.TransportHTTP, Reason: f.reason, Code: codeOf(f.status), Status: f.status,
		Verb: verb(r.Method), Version: r.Proto, Peer: r.RemoteAddr, UID: -1, PID: -1, BytesIn: f.read,
	}
	if !f.began.IsZero() {
		out.Duration = time.Since(f.began)
	}
	if id := w.Header()[headerRequestID]; len(id) == 1 {
		out.RequestID = id[0]
	}
	if conn, ok := peer.ConnOf(r.Context()); ok { // the address is the one that a proxy sent ahead
		out.Peer, out.Client = "", r.RemoteAddr
		if !conn.Unix {
			out.Peer = conn.Immediate.String()
		}
	}
	if addr, ok := h.forwarded(r); ok {
		out.Client = addr.String()
	}
	if f.who != nil {
		out.Principal, out.Domain = f.who.Principal, f.who.Domain
	}
	if e, ok := errors.AsType[*vgirpc.Error](f.err); ok {
		out.Code, out.Kind = vgirpc.CodeOf(e), e.Kind
	}
	out.Protocol, out.Method = h.hosted(f.to)
	h.server.ReportRefused(r.Context(), out)
}

// hosted is as much of a target as is hosted here: the rest is a caller's text.
func (h *Handler) hosted(to target) (protocol, method string) {
	if to.protocol == "" {
		return "", to.method // one of the server's own, or none
	}
	if !h.hosts(to.protocol) {
		return "", ""
	}
	if _, err := h.server.Lookup(to.protocol, to.method); err != nil {
		return to.protocol, ""
	}
	return to.protocol, to.method
}

// verb is a request's verb, if it is one of HTTP's own.
func verb(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method
	}
	return "OTHER"
}

// codeOf is the code of an answer that has only a status.
func codeOf(status int) vgirpc.Code {
	switch status {
	case http.StatusFound, http.StatusUnauthorized:
		return vgirpc.Unauthenticated
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return vgirpc.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return vgirpc.Unimplemented
	case http.StatusRequestTimeout:
		return vgirpc.DeadlineExceeded
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return vgirpc.ResourceExhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return vgirpc.Unavailable
	}
	if status >= http.StatusInternalServerError {
		return vgirpc.Internal
	}
	return vgirpc.InvalidArgument
}

// reasonOfStatus is the reason of an answer that has only a status.
func reasonOfStatus(status int) vgirpc.RefusedReason {
	switch status {
	case http.StatusUnauthorized:
		return vgirpc.RefusedUnauthorized
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return vgirpc.RefusedOrigin
	case http.StatusNotFound:
		return vgirpc.RefusedNotFound
	case http.StatusMethodNotAllowed:
		return vgirpc.RefusedVerb
	case http.StatusRequestTimeout:
		return vgirpc.RefusedStalled
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return vgirpc.RefusedTooLarge
	case http.StatusUnsupportedMediaType:
		return vgirpc.RefusedMediaType
	case http.StatusServiceUnavailable:
		return vgirpc.RefusedBusy
	case http.StatusBadRequest:
		return vgirpc.RefusedMalformed
	}
	return vgirpc.RefusedOther
}

// refusedReason is why a request never became a call.
func refusedReason(status int, err error) vgirpc.RefusedReason {
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		switch {
		case e.Type == "StateTokenError":
			return vgirpc.RefusedStreamToken
		case e.Kind != "":
			return vgirpc.ReasonRefused(e)
		case status == http.StatusInternalServerError:
			return vgirpc.RefusedNotServing
		}
	}
	return reasonOfStatus(status)
}

// statusOf is the status that refuse answers err with, and what is wrong.
func statusOf(err error) (int, error) {
	if refused, ok := errors.AsType[*statusError](err); ok {
		return refused.status, refused.err
	}
	return http.StatusBadRequest, err
}

// refused reports that the request never became a call.
func (q *request) refused(status int, err error) {
	q.h.report(q.w, q.r, refusedRequest{
		status: status, reason: refusedReason(status, err), err: err,
		who: &q.peer.Identity, to: q.target, read: q.body.n, began: q.began,
	})
}

// refusedByCore reports a call that was refused before its handler was asked.
func (q *request) refusedByCore(d *vgirpc.Dispatch, status int) {
	if !d.Refused() || !q.h.server.WatchesRefusals() {
		return
	}
	err := d.Err()
	reason := vgirpc.ReasonRefused(err)
	if q.missing {
		reason = vgirpc.RefusedPointer
	}
	q.h.report(q.w, q.r, refusedRequest{
		status: status, reason: reason, err: err,
		who: &q.peer.Identity, to: q.target, read: q.delivery.WireIn, began: q.began,
	})
}

// signInBegins sends a browser to sign in, if that helps. It reports whether it has
// answered, and with which status: no sign-in begins while the authorization server
// cannot be reached.
func (h *Handler) signInBegins(w http.ResponseWriter, r *http.Request, err error) (status int, answered bool) {
	if h.signIn == nil {
		return 0, false
	}
	noted := &statusWriter{ResponseWriter: w}
	answered = h.beginSignIn(noted, r, err)
	return noted.status, answered
}

// refuseAuth answers who is not let in, and tells the observers and the limits.
func (h *Handler) refuseAuth(w http.ResponseWriter, r *http.Request, err error, began time.Time) {
	reason, refused := auth.ReasonOf(err)
	f := refusedRequest{status: http.StatusUnauthorized, reason: vgirpc.RefusedReason(reason), began: began}
	status, answered := h.signInBegins(w, r, err)
	if !answered {
		h.refusals.Write(w, r, err)
	}
	switch {
	case answered:
		f.status = status
		if status == http.StatusServiceUnavailable {
			f.reason = vgirpc.RefusedAuthUnavailable
		} else if status >= http.StatusInternalServerError {
			f.reason = vgirpc.RefusedAuthFailed
		}
	case !refused:
		f.status, f.reason = http.StatusInternalServerError, vgirpc.RefusedAuthFailed
		if _, outage := errors.AsType[*auth.Unavailable](err); outage {
			f.status, f.reason = http.StatusServiceUnavailable, vgirpc.RefusedAuthUnavailable
		}
	}
	if h.opts.AddressLimit != nil && (reason == auth.InvalidCredential || reason == auth.Unauthorized) {
		h.opts.AddressLimit.Fail(h.clientAddr(r))
	}
	f.to, _ = h.callOf(r.URL.EscapedPath())
	h.report(w, r, f)
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status   int
	reported bool
}

// WriteHeader notes the status.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// watched reports what next refuses, which knows nothing of that: as reason, or
// else by the status.
func (h *Handler) watched(next http.Handler, reason vgirpc.RefusedReason) http.Handler {
	if next == nil || !h.server.WatchesRefusals() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, began := &statusWriter{ResponseWriter: w}, time.Now()
		next.ServeHTTP(s, r)
		if s.status < http.StatusBadRequest || s.reported {
			return
		}
		f := refusedRequest{status: s.status, reason: reason, began: began, who: identityOf(r)}
		if reason == "" {
			f.reason = reasonOfStatus(s.status)
		}
		f.to, _ = h.callOf(r.URL.EscapedPath())
		h.report(s, r, f)
	})
}

// identityOf is who was let in with a request, nil for nobody.
func identityOf(r *http.Request) *vgirpc.Identity {
	id, _ := r.Context().Value(identityKey{}).(*vgirpc.Identity)
	return id
}

// jsonStatus is the status of what the JSON gateway refuses, and what is wrong.
func jsonStatus(err error) (int, error) {
	if errors.Is(err, jsoncall.ErrTooLarge) {
		return http.StatusRequestEntityTooLarge, err
	}
	return statusOf(err)
}

// isHealth reports whether a request asks how the server is.
func (h *Handler) isHealth(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), h.opts.Prefix)
	return ok && rest == "/health"
}

// reportCertificate tells of a request over a connection that has outlived its
// client's certificate.
func (o *ServeOptions) reportCertificate(r *http.Request) {
	if o.Refused == nil {
		return
	}
	o.Refused(r.Context(), &vgirpc.Refused{
		Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedExpiredCredential, Code: vgirpc.Unauthenticated,
		Status: http.StatusUnauthorized, Verb: verb(r.Method), Version: r.Proto, Peer: r.RemoteAddr, UID: -1, PID: -1,
	})
}

// headerTooLarge is how net/http answers a header that is too large, before any
// handler is asked, and how no handler here answers anything.
const headerTooLarge = "HTTP/1.1 431 "

// reportHeader tells of a request whose header is too large, when that is what is
// written to a connection.
func (o *ServeOptions) reportHeader(c net.Conn, written []byte) {
	if o.Refused == nil || len(written) < len(headerTooLarge) || string(written[:len(headerTooLarge)]) != headerTooLarge {
		return
	}
	o.Refused(context.Background(), &vgirpc.Refused{
		Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedTooLarge, Code: vgirpc.ResourceExhausted,
		Status: http.StatusRequestHeaderFieldsTooLarge, Version: "HTTP/1.1", Peer: c.RemoteAddr().String(), UID: -1, PID: -1,
	})
}
