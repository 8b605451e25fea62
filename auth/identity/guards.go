package identity

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// MaxTokenBytes bounds a token that is looked at, in bytes of UTF-8.
const MaxTokenBytes = 4096

// resolvable reports whether a token may be shown to whoever resolves tokens: it
// is neither blank nor too long, and no JWS. A JWS is validated with keys that
// are published; resolving it would show it to somebody else, after it was
// refused here, perhaps (IDENTITY_V2_SPEC section 4).
//
// What is tested is the token without the space around it, of every kind that
// Unicode has, so that padding does not get a JWS past the test.
func resolvable(token string) bool {
	if len(token) > MaxTokenBytes {
		return false
	}
	trimmed := strings.TrimSpace(token)
	return trimmed != "" && !looksLikeJWS(trimmed)
}

// looksLikeJWS reports whether s is three segments of base64url with dots
// between, the last of which may be empty.
func looksLikeJWS(s string) bool {
	dots := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if i == 0 || s[i-1] == '.' { // an empty segment that is not the last
				return false
			}
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return dots == 2
}

// checkFresh refuses a caller who has not signed in lately (IDENTITY_V2_SPEC
// section 4). A grant has no auth_time, and neither has a static token: so no
// grant begets another, and no machine gets one.
//
// A time ahead of the clock is as bad as none at all: a provider that counts
// milliseconds would make every sign-in fresh for ever.
func checkFresh(caller *vgirpc.Identity, maxAge time.Duration, now time.Time) error {
	if !caller.Authenticated || caller.Principal == "" {
		return staleAuth("caller is not authenticated")
	}
	claim, ok := caller.Claims["auth_time"]
	if !ok || claim == nil {
		return staleAuth("credential carries no auth_time; only a recently authenticated user may mint a grant")
	}
	at, ok := number(claim)
	if !ok {
		return staleAuth("credential carries an unusable auth_time")
	}
	const skew = 60.0
	age := float64(now.UnixNano())/1e9 - at
	switch {
	case age > maxAge.Seconds():
		return staleAuth(fmt.Sprintf("last authentication is longer ago than the %.0f s that minting a grant allows; authenticate again",
			maxAge.Seconds()))
	case age < -skew:
		return staleAuth("credential carries an auth_time that lies ahead")
	}
	return nil
}

// number reads a claim, in whatever form an authenticator passes numbers on.
func number(claim any) (v float64, ok bool) {
	switch c := claim.(type) {
	case float64:
		v = c
	case int64:
		v = float64(c)
	case int:
		v = float64(c)
	case json.Number:
		return parse(string(c))
	case string:
		return parse(strings.TrimSpace(c))
	default:
		return 0, false
	}
	return v, finite(v)
}

func parse(s string) (v float64, ok bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && finite(v)
}

// finite keeps out what compares as neither old nor new.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
