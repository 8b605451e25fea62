package httpserver

import (
	"context"
	"net/http"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// SetCookie sends a cookie with the response of a unary call. It fails on other
// transports, in a stream, and for a cookie that is not valid. Cookies are for
// browsers that come through pages; a call is never authenticated by one.
func SetCookie(ctx context.Context, cookie *http.Cookie) error {
	q := requestFrom(ctx)
	if q == nil || q.streams {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "cookies are for unary calls over HTTP")
	}
	if err := cookie.Valid(); err != nil {
		return vgirpc.Errorf(vgirpc.InvalidArgument, "cookie %q: %w", cookie.Name, err)
	}
	http.SetCookie(q.w, cookie)
	return nil
}

// Cookies are those of the request that a unary handler answers; nil on other
// transports and in a stream. They are the caller's to choose.
func Cookies(ctx context.Context) []*http.Cookie {
	q := requestFrom(ctx)
	if q == nil || q.streams {
		return nil
	}
	return q.r.Cookies()
}
