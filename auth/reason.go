package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Reason names the stage that refused a request, never what a verifier found
// (unauthorized-spec.md section 2). The set is closed.
type Reason string

// The six reasons (unauthorized-spec.md section 3).
const (
	// MissingCredential: nothing was presented. Send a credential.
	MissingCredential Reason = "missing_credential"
	// InvalidCredential: something was presented and rejected. Do not retry it.
	InvalidCredential Reason = "invalid_credential" //nolint:gosec // a word, and no credential
	// ExpiredCredential: well formed, but outside its time. Refresh and retry.
	ExpiredCredential Reason = "expired_credential" //nolint:gosec // likewise
	// InsufficientScope: the caller is known and not permitted.
	InsufficientScope Reason = "insufficient_scope"
	// ProxyRequired: nothing shows that the request came through the trusted
	// proxy. Mostly for the operator to mend.
	ProxyRequired Reason = "proxy_required"
	// Unauthorized: refused without a class.
	Unauthorized Reason = "unauthorized"
)

// Valid reports whether r is one of the six reasons.
func (r Reason) Valid() bool {
	switch r {
	case MissingCredential, InvalidCredential, ExpiredCredential, InsufficientScope, ProxyRequired, Unauthorized:
		return true
	}
	return false
}

// Failure refuses a caller: a 401.
type Failure struct { //nolint:errname // auth.FailureError would stutter
	Reason Reason // [Unauthorized] when empty
	// Detail is shown to the caller; a constant text stands in when it is
	// empty. It must not say what a verifier found, nor repeat what the caller
	// sent.
	Detail string
	// Err is the cause, for logs on this side alone. It must hold no credential.
	Err error
	// Final keeps [Any] from trying the next alternative. The failures of a
	// [Gate] are final.
	Final bool
}

// Error is the reason and the cause, for logs.
func (f *Failure) Error() string {
	text := "authentication rejected: " + string(f.reason())
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// reason is f's reason, from the closed set.
func (f *Failure) reason() Reason {
	if !f.Reason.Valid() {
		return Unauthorized
	}
	return f.Reason
}

// Unavailable says that whoever must be asked about a credential could not be:
// transport failures, timeouts, an authority's own faults. It is a 503 and never
// a 401, which would send every caller for a new credential while the one it
// has is good.
type Unavailable struct { //nolint:errname // likewise
	RetryAfter time.Duration // when to try again; 5 s when zero
	Err        error         // the cause, for logs on this side alone
}

// Error is the cause, for logs.
func (u *Unavailable) Error() string {
	if u.Err == nil {
		return "authentication unavailable"
	}
	return fmt.Sprintf("authentication unavailable: %v", u.Err)
}

// Unwrap returns the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

// ReasonOf classifies the error of an [Authenticator]. It reports whether err
// refuses the caller, and why: a [*Failure] by its reason, a *vgirpc.Error with
// code PERMISSION_DENIED as [InsufficientScope] and one with UNAUTHENTICATED as
// [Unauthorized]. Everything else is no refusal: an [*Unavailable] anywhere in
// err's chain, and faults of the server.
func ReasonOf(err error) (Reason, bool) {
	if _, outage := errors.AsType[*Unavailable](err); outage {
		return "", false
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.reason(), true
	}
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		switch e.Code {
		case vgirpc.PermissionDenied:
			return InsufficientScope, true
		case vgirpc.Unauthenticated:
			return Unauthorized, true
		default:
		}
	}
	return "", false
}

// triesNext reports whether an alternative credential may still be tried after
// err: that one was missing or bad. A known caller who is not permitted, a final
// failure anywhere in the chain, an outage and a fault all end the search.
func triesNext(err error) bool {
	if _, outage := errors.AsType[*Unavailable](err); outage {
		return false
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		reason, refused := ReasonOf(err)
		return refused && reason == Unauthorized
	}
	for ; ok; f, ok = errors.AsType[*Failure](f.Err) {
		if f.Final || f.Reason == InsufficientScope {
			return false
		}
	}
	return true
}

// final is err so that [Any] stops at it.
func final(err error) error {
	reason, refused := ReasonOf(err)
	if !refused || !triesNext(err) {
		return err
	}
	if f, ok := err.(*Failure); ok { //nolint:errorlint // one inside another error stays there, as its cause
		stopped := *f
		stopped.Final = true
		return &stopped
	}
	out := &Failure{Reason: reason, Err: err, Final: true}
	if f, ok := errors.AsType[*Failure](err); ok {
		out.Detail = f.Detail
	}
	return out
}
