package httpclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// How much of a body that is not ours is read, and how much of it is shown.
const (
	maxForeign = 64 << 10
	maxExcerpt = 300
)

// ErrNoResponseLimit is the cause of the error of every call to a server that
// does not support the client's response limit (http-response-budgets.md):
// set MaxResponseBytes to a negative value to do without one.
var ErrNoResponseLimit = errors.New("httpclient: the server does not support VGI-Accept-Max-Response-Bytes")

// errClosed answers calls on a closed Transport.
var errClosed = errors.New("httpclient: the transport is closed")

// StatusError is the cause of a [vgirpc.Error] that stands for an HTTP response
// without a typed error of the server: a gateway's, mostly.
type StatusError struct {
	Status      int
	ContentType string
	// Excerpt is the beginning of the body on one line, without control
	// characters, at most 300 bytes. A page of HTML is only named.
	Excerpt string
}

// Error is the status and the excerpt.
func (e *StatusError) Error() string {
	s := "HTTP " + strconv.Itoa(e.Status)
	if text := http.StatusText(e.Status); text != "" {
		s += " " + text
	}
	if e.Excerpt != "" {
		s += ": " + e.Excerpt
	}
	return s
}

// UnauthorizedError is the cause of the [vgirpc.Error] of a 401, whose kind is
// the Reason (unauthorized-spec.md section 6).
type UnauthorizedError struct {
	// Reason is one of the codes of unauthorized-spec.md section 3;
	// "unauthorized" where the server gave none, or one that is not known.
	Reason string
	Detail string
	// ProxyHint says what a proxy in front of the server has to do; "" when the
	// server does not depend on one.
	ProxyHint string
	// Challenges are the values of WWW-Authenticate.
	Challenges []string
}

// Error is the detail and the hint.
func (e *UnauthorizedError) Error() string {
	s := e.Reason
	if e.Detail != "" && e.Detail != e.Reason {
		s += ": " + e.Detail
	}
	if e.ProxyHint != "" {
		s += "\n" + e.ProxyHint
	}
	return s
}

// reasons are the codes of unauthorized-spec.md section 3.
var reasons = []string{
	"missing_credential", "invalid_credential", "expired_credential", "insufficient_scope", "proxy_required", "unauthorized",
}

// unauthorized reads a 401, which is never Arrow.
func unauthorized(resp *http.Response, body []byte) error {
	u := &UnauthorizedError{Challenges: resp.Header.Values("WWW-Authenticate")}
	var envelope struct {
		Reason    string `json:"reason"`
		Detail    string `json:"detail"`
		ProxyHint string `json:"proxy_hint"`
	}
	if err := json.Unmarshal(body, &envelope); err == nil {
		u.Reason, u.Detail, u.ProxyHint = envelope.Reason, clean(envelope.Detail), clean(envelope.ProxyHint)
	} else {
		u.Detail = excerpt(resp, body)
	}
	if u.Reason == "" {
		u.Reason = resp.Header.Get(headerAuthReason)
	}
	if !slices.Contains(reasons, u.Reason) {
		u.Reason = "unauthorized"
	}
	if u.ProxyHint == "" && resp.Header.Get(headerProxyRequired) == "true" {
		u.ProxyHint = "the service expects headers that a reverse proxy in front of it sets"
	}
	return &vgirpc.Error{
		Code: vgirpc.Unauthenticated, Kind: u.Reason, Type: "AuthenticationError", Message: u.Error(),
		RequestID: responseID(resp), Cause: u,
	}
}

// foreign is the error of a response that is not Arrow. It reads the body, as
// far as it is worth it.
func (r *reply) foreign() error {
	body, err := io.ReadAll(io.LimitReader(&r.src, maxForeign))
	if err != nil {
		body = nil // the status says enough
	}
	if r.resp.StatusCode == http.StatusUnauthorized {
		return unauthorized(r.resp, body)
	}
	return statusError(r.resp, excerpt(r.resp, body), time.Now())
}

// statusError is the error of a response that carries none of its own.
func statusError(resp *http.Response, text string, now time.Time) error {
	if location := resp.Header.Get("Location"); location != "" && resp.StatusCode/100 == 3 {
		text = "redirects are not followed: the base URL may have moved"
	}
	cause := &StatusError{Status: resp.StatusCode, ContentType: wire.Clip(resp.Header.Get(headerContentType), 100), Excerpt: text}
	e := &vgirpc.Error{
		Code: statusCode(resp.StatusCode), Type: "HTTPError", Message: cause.Error(),
		RequestID: responseID(resp), Cause: cause,
	}
	if resp.StatusCode/100 == 2 {
		e.Type, e.Message = "ProtocolError", "the response is not Arrow but "+strconv.Quote(cause.ContentType)+": "+cause.Error()
	}
	if after, ok := retryAfter(resp.Header, now); ok {
		e.Details = []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: after.Seconds()}}
	}
	return e
}

// statusCode is the code of a response that carries none of its own.
func statusCode(status int) vgirpc.Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		return vgirpc.InvalidArgument
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return vgirpc.Unauthenticated
	case http.StatusForbidden:
		return vgirpc.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return vgirpc.Unimplemented
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return vgirpc.ResourceExhausted
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return vgirpc.Unavailable
	}
	switch status / 100 {
	case 3:
		return vgirpc.FailedPrecondition
	case 4:
		return vgirpc.Unknown
	default:
		return vgirpc.Internal
	}
}

// retryAfter is how long a response asks to wait, in seconds or as a date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := h.Get(headerRetryAfter)
	if value == "" {
		return 0, false
	}
	if s, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}

// excerpt is the beginning of a foreign body, fit for an error message.
func excerpt(resp *http.Response, body []byte) string {
	media, _, _ := mime.ParseMediaType(resp.Header.Get(headerContentType))
	start := bytes.ToLower(bytes.TrimSpace(body[:min(len(body), 64)]))
	if media == "text/html" || bytes.HasPrefix(start, []byte("<!doctype")) || bytes.HasPrefix(start, []byte("<html")) {
		return "a page of HTML (" + strconv.Itoa(len(body)) + " bytes)"
	}
	if media == contentTypeArrow || bytes.IndexByte(body, 0) >= 0 {
		return "a binary body"
	}
	return clean(string(body[:min(len(body), 4*maxExcerpt)]))
}

// responseID is the id under which the server logged a request, "" where it says
// none.
func responseID(resp *http.Response) string {
	if id := resp.Header[headerRequestID]; len(id) > 0 {
		return id[0]
	}
	return ""
}

// clean makes one short line of text.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return wire.Clip(strings.Join(strings.Fields(s), " "), maxExcerpt)
}

// protocolError reports what a server must not send.
func protocolError(cause error, format string, args ...any) error {
	return &vgirpc.Error{Code: vgirpc.Internal, Type: "ProtocolError", Message: fmt.Sprintf(format, args...), Cause: cause}
}

// brokenOff reports an answer that ended too early: the server may have done all
// that was asked of it.
func brokenOff(cause error) error {
	return connectionError(fmt.Errorf("the answer broke off: %w", cause))
}

// connectionError reports a request that got no complete answer.
func connectionError(cause error) error {
	message := clean(cause.Error())
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF // io.EOF is the good end of a stream
	}
	return &vgirpc.Error{Code: vgirpc.Unavailable, Type: "ConnectionLost", Message: message, Cause: cause}
}
