package external

import (
	"context"
	"errors"
	"net/url"
	"regexp"
)

// invalidURL stands in diagnostics for what is not a URL with a host.
const invalidURL = "<invalid-url>"

// Redact is how a URL may be shown: scheme, host, port and path. Userinfo,
// query and fragment are credentials (WIRE_PROTOCOL section 12, "Fetch
// safety").
func Redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return invalidURL
	}
	return redactURL(u)
}

func redactURL(u *url.URL) string {
	if u.Scheme == "" || u.Host == "" {
		return invalidURL
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// urlInText is a URL and whatever sticks to it: too much may go, too little
// must not stay.
var urlInText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://\S+`)

// redactError is err as text without anything secret of the URLs in it. The
// error itself must not be wrapped: whoever walks its chain would find them.
func redactError(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Op + " " + Redact(u.URL) + ": " + redactError(u.Err)
	}
	return urlInText.ReplaceAllStringFunc(err.Error(), Redact)
}

// endOfContext is the part of err that callers branch on and that holds no URL.
func endOfContext(err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return end
		}
	}
	return nil
}

// Redacted is err without anything secret of the URLs in it, for what must not
// show more than [Redact] does. Nothing of err can be reached from it, except
// that it still is [context.Canceled] or [context.DeadlineExceeded]. Nil stays
// nil.
func Redacted(err error) error {
	if err == nil {
		return nil
	}
	return &redacted{text: redactError(err), end: endOfContext(err)}
}

type redacted struct {
	text string
	end  error
}

// Error is the text.
func (r *redacted) Error() string { return r.text }

// Unwrap is the end of a context, or nil.
func (r *redacted) Unwrap() error { return r.end }
