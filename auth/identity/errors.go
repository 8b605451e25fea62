package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The kinds of the protocol's errors, which a caller branches on. All but the
// last are definitive, and the first two may be cached; the last never may.
const (
	// KindIntrospectionRefused: the caller may not ask whom tokens stand for.
	KindIntrospectionRefused = "introspection_refused"
	// KindTokenUnresolved: the token stands for nobody, whatever the reason.
	KindTokenUnresolved = "token_unresolved"
	// KindStaleAuth: the caller has not signed in lately enough. Sign in again.
	KindStaleAuth = "stale_auth"
	// KindGrantRefused: the server will not issue this grant.
	KindGrantRefused = "grant_refused"
	// KindUnavailable: nobody can tell now. Ask again after the error's
	// [vgirpc.RetryInfo].
	KindUnavailable = "identity_unavailable"
)

// defaultRetryAfter is when to ask again when nobody says.
const defaultRetryAfter = 5 * time.Second

// What is refused is told without a stack and without a cause: both are sent,
// and would tell guards apart that are to give one answer.

func introspectionRefused(message string) *vgirpc.Error {
	return &vgirpc.Error{Code: vgirpc.PermissionDenied, Kind: KindIntrospectionRefused, Type: "IntrospectionRefusedError", Message: message}
}

func tokenUnresolved() *vgirpc.Error {
	return &vgirpc.Error{Code: vgirpc.NotFound, Kind: KindTokenUnresolved, Type: "TokenUnresolvedError", Message: "unresolved"}
}

func staleAuth(message string) *vgirpc.Error {
	return &vgirpc.Error{Code: vgirpc.Unauthenticated, Kind: KindStaleAuth, Type: "StaleAuthError", Message: message}
}

// GrantRefused is what Options.MintGrant returns when it will not mint. The
// caller is shown the message.
func GrantRefused(message string) *vgirpc.Error {
	return &vgirpc.Error{Code: vgirpc.PermissionDenied, Kind: KindGrantRefused, Type: "GrantRefusedError", Message: message}
}

// Unavailable is what the functions of [Options] return when they cannot tell,
// because a store is down, say. The caller is shown the message, and told to ask
// again after retryAfter: 5 s unless positive. An [*auth.Unavailable], and any
// error with the code UNAVAILABLE or DEADLINE_EXCEEDED, comes to the same with
// its own delay and a message of the package's.
func Unavailable(retryAfter time.Duration, message string) *vgirpc.Error {
	if retryAfter <= 0 {
		retryAfter = defaultRetryAfter
	}
	e := &vgirpc.Error{Code: vgirpc.Unavailable, Kind: KindUnavailable, Type: "IdentityUnavailableError", Message: message}
	return e.WithDetails(vgirpc.RetryInfo{RetryDelaySeconds: retryAfter.Seconds()})
}

// outage reports whether err says that nobody can tell, and when to ask again.
func outage(err error) (retryAfter time.Duration, ok bool) {
	if u, ok := errors.AsType[*auth.Unavailable](err); ok {
		return orDefault(u.RetryAfter), true
	}
	switch vgirpc.CodeOf(err) {
	case vgirpc.Unavailable, vgirpc.DeadlineExceeded:
		info, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err)
		return orDefault(seconds(info.RetryDelaySeconds)), true
	default:
		return 0, false
	}
}

func orDefault(retryAfter time.Duration) time.Duration {
	if retryAfter <= 0 {
		return defaultRetryAfter
	}
	return retryAfter
}

// seconds is a delay from a detail, which may be any number; a day at most.
func seconds(s float64) time.Duration {
	const longest = 24 * 3600.0
	if !(s > 0) { // not a number, too
		return 0
	}
	return time.Duration(min(s, longest) * float64(time.Second))
}

// callError is the error of one of the application's functions as the caller
// gets it. An outage keeps its delay. Anything else is the application's own
// affair, except that it does not quote the token: an error about one, which is
// "" where there is none, keeps its code and its text alone.
func callError(err error, token string) error {
	own, typed := errors.AsType[*vgirpc.Error](err)
	if retryAfter, down := outage(err); down {
		message := "identity lookup unavailable"
		if typed && own.Kind == KindUnavailable {
			message = own.Message
		}
		return Unavailable(retryAfter, without(message, token))
	}
	if token == "" {
		return err
	}
	out := &vgirpc.Error{Code: vgirpc.CodeOf(err), Message: without(err.Error(), token)}
	if typed {
		out.Kind, out.Type, out.Message = own.Kind, own.Type, without(own.Message, token)
	}
	return out
}

// authError is the error of the function that resolves tokens as an
// authenticator's: an outage, or a fault of the server. It is never a refusal,
// whatever its code: the store refused the server, and not the caller.
func authError(err error, token string) error {
	text := errors.New("resolve_token: " + without(err.Error(), token))
	if retryAfter, down := outage(err); down {
		return &auth.Unavailable{RetryAfter: retryAfter, Err: text}
	}
	return text
}

// without is a text in which the token does not stand, neither as it is nor as
// the errors of HTTP clients and of fmt's %q have it.
func without(text, token string) string {
	if token == "" {
		return text
	}
	const mark = "[token]"
	quoted := strconv.Quote(token)
	return strings.NewReplacer(
		token, mark, url.QueryEscape(token), mark, url.PathEscape(token), mark, quoted[1:len(quoted)-1], mark,
	).Replace(text)
}

// TokenDigest is the SHA-256 of a token in hex, by which records can tell that
// two failures were about the same token. It may be logged; callers are never
// shown it.
func TokenDigest(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:])
}
