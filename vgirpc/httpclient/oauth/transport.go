package oauth

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A TokenSource has the bearer tokens for one server. Its methods may be called
// from many goroutines.
type TokenSource interface {
	// Token returns the token to send, "" for none.
	Token(ctx context.Context) (string, error)
	// Renew is told that a request with the token refused ("" without one) was
	// answered with 401 and this header. It returns the token to send the request
	// with once more, or "" to let the answer stand.
	Renew(ctx context.Context, refused string, answer http.Header) (string, error)
}

// StaticToken is a source of one token, which nothing renews.
type StaticToken string

// Token is the token.
func (s StaticToken) Token(context.Context) (string, error) { return string(s), nil }

// Renew lets every refusal stand.
func (s StaticToken) Renew(context.Context, string, http.Header) (string, error) { return "", nil }

// String keeps the token out of what is printed.
func (s StaticToken) String() string { return "StaticToken(redacted)" }

// GoString is the same for %#v.
func (s StaticToken) GoString() string { return s.String() }

// Authorize returns what makes a transport send the tokens of source: give it as
// Wrap of the HTTP client's options. Tokens go to the origin of server alone, which
// is https, or http on this machine. A request that has an Authorization header
// is left as it is. One that is answered with 401 is sent once more when the source
// has another token, and its body can be read again.
func Authorize(server string, source TokenSource) (func(http.RoundTripper) http.RoundTripper, error) {
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return &transport{server: u, source: source, next: next}
	}, nil
}

func parseServer(server string) (*url.URL, error) {
	u, err := parseSecure(server)
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "oauth: the server %w", err)
	}
	if u.RawQuery != "" {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "oauth: the URL of the server has a query")
	}
	return u, nil
}

// transport sends requests with the tokens of a source.
type transport struct {
	server *url.URL
	source TokenSource
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, has := req.Header["Authorization"]; has || !sameServer(req.URL, t.server) {
		return t.next.RoundTrip(req)
	}
	token, err := t.source.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.next.RoundTrip(withToken(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !repeatable(req) {
		return resp, err
	}
	again, err := t.source.Renew(req.Context(), token, resp.Header)
	if err != nil {
		_ = resp.Body.Close() // the error says why the answer is of no use
		return nil, err
	}
	if again == "" || again == token {
		return resp, nil
	}
	return t.repeat(req, resp, again)
}

// repeat sends a request again with another token.
func (t *transport) repeat(req *http.Request, refused *http.Response, token string) (*http.Response, error) {
	out := withToken(req, token)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return refused, nil //nolint:nilerr // the answer stands
		}
		out.Body = body
	}
	const rest = 64 << 10 // what is read of the refusal so that its connection can be used again
	_, _ = io.CopyN(io.Discard, refused.Body, rest)
	_ = refused.Body.Close()
	return t.next.RoundTrip(out)
}

// sameServer compares the origin of a request with the server's, by name: what is
// the same machine under another name is not asked for.
func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && (a.Host == b.Host || sameOrigin(a, b) && a.Hostname() == b.Hostname())
}

// repeatable reports whether a request can be sent again.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// withToken is a copy of a request with a token, or the request itself where
// there is none.
func withToken(req *http.Request, token string) *http.Request {
	if token == "" {
		return req
	}
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header["Authorization"] = []string{"Bearer " + token}
	return out
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nobody reads it
	}
}
