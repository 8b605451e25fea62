package unauthorized

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
)

// Headers of a 401 (section 4.1). With CORS both are to be exposed.
const (
	ReasonHeader        = "VGI-Auth-Reason"
	ProxyRequiredHeader = "VGI-Auth-Proxy-Required"
)

// The headers as net/http keeps them.
const (
	reasonKey        = "Vgi-Auth-Reason"
	proxyRequiredKey = "Vgi-Auth-Proxy-Required"
)

// rejected is the detail of a failure that has none of its own.
const rejected = "authentication rejected"

const defaultRetryAfter = 5 * time.Second

// View is what a page for people shows. Nothing of it may be trusted as HTML.
type View struct {
	Reason auth.Reason
	Detail string
	Hint   string // the note about the proxy; "" when it does not apply
}

// Options configure [New].
type Options struct {
	// Challenge is the value of WWW-Authenticate on every 401; none when empty.
	Challenge string
	// ProxyHeaders names the headers that a proxy must set for authentication
	// to succeed; with any of them every 401 carries the note of section 5.
	ProxyHeaders []string
	// Page renders the HTML page of a 401; a plain one of the package's own when
	// nil. When it fails, the answer is the JSON envelope.
	Page func(w io.Writer, v View) error
	// PageCSP is the Content-Security-Policy of Page's output. Without it
	// nothing but the HTML itself may load or run.
	PageCSP string
	// Logger hears of outages (warning) and faults (error), which the caller is
	// told nothing of; nobody does when nil.
	Logger *slog.Logger
}

// Responder writes the answers. It may be used by many goroutines at once.
type Responder struct {
	opts   Options
	hint   string
	bodies map[auth.Reason][]byte // envelopes with the constant detail
	header map[string][]string    // what every 401 has
}

// envelope is the JSON body of a 401 (section 4.3).
type envelope struct {
	Error  string      `json:"error"`
	Reason auth.Reason `json:"reason"`
	Detail string      `json:"detail"`
	Hint   string      `json:"proxy_hint,omitempty"`
}

// New returns a responder. It is an error when the challenge cannot stand in a
// header, and when a proxy header's name is none.
func New(opts Options) (*Responder, error) {
	if !validValue(opts.Challenge) {
		return nil, fmt.Errorf("unauthorized: the challenge %q is no header value", opts.Challenge)
	}
	if !validValue(opts.PageCSP) {
		return nil, fmt.Errorf("unauthorized: the content security policy %q is no header value", opts.PageCSP)
	}
	for _, name := range opts.ProxyHeaders {
		if !validName(name) {
			return nil, fmt.Errorf("unauthorized: %q is no name of a header", name)
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case opts.Page == nil:
		opts.Page, opts.PageCSP = renderPage, pageCSP
	case opts.PageCSP == "":
		opts.PageCSP = bareCSP
	}
	u := &Responder{opts: opts, hint: proxyHint(opts.ProxyHeaders)}
	u.header = map[string][]string{
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}
	if opts.Challenge != "" {
		u.header["Www-Authenticate"] = []string{opts.Challenge}
	}
	if u.hint != "" {
		u.header[proxyRequiredKey] = []string{"true"}
	}
	u.bodies = map[auth.Reason][]byte{}
	for _, reason := range []auth.Reason{
		auth.MissingCredential, auth.InvalidCredential, auth.ExpiredCredential,
		auth.InsufficientScope, auth.ProxyRequired, auth.Unauthorized,
	} {
		u.bodies[reason] = u.envelope(View{reason, rejected, u.hint})
	}
	return u, nil
}

// validValue reports whether a header may have the value s; "" is none.
func validValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return (c < ' ' && c != '\t') || c >= 0x7f })
}

// validName reports whether s is the name of a header (RFC 9110 section 5.6.2).
func validName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		alnum := ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9')
		return !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// proxyHint is the note of section 5.2, "" without headers.
func proxyHint(headers []string) string {
	var names []string
	for _, name := range headers {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	which := "header " + names[0]
	if last := len(names) - 1; last > 0 {
		which = "headers " + strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return "This service can be reached only through its reverse proxy, which has to set the " + which + ". " +
		"If the proxy does not forward that, or a request goes around the proxy, every credential is refused: " +
		"look at the proxy's configuration before you replace a credential."
}

// Write answers a request whose authentication ended in err: 401 for a refusal,
// 503 with Retry-After for an outage, 500 for anything else.
func (u *Responder) Write(w http.ResponseWriter, r *http.Request, err error) {
	if reason, refused := auth.ReasonOf(err); refused {
		u.refuse(w, r, reason, err)
		return
	}
	h := w.Header()
	h["Cache-Control"] = u.header["Cache-Control"]
	h["X-Content-Type-Options"] = u.header["X-Content-Type-Options"]
	ctx := r.Context()
	if outage, ok := errors.AsType[*auth.Unavailable](err); ok {
		u.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "authentication unavailable", slog.Any("error", err))
		h.Set("Retry-After", retryAfter(outage.RetryAfter))
		send(w, http.StatusServiceUnavailable, "application/json", unavailableBody)
		return
	}
	level := slog.LevelError
	if ctx.Err() != nil { // the caller is gone, and took the authenticator's context along
		level = slog.LevelDebug
	}
	u.opts.Logger.LogAttrs(ctx, level, "authentication failed", slog.Any("error", err))
	send(w, http.StatusInternalServerError, "application/json", internalBody)
}

const (
	unavailableBody = `{"error":"unavailable","detail":"authentication is unavailable"}`
	internalBody    = `{"error":"internal","detail":"authentication failed on the server's side"}`
)

// retryAfter is a delay in whole seconds, rounded up and never none.
func retryAfter(d time.Duration) string {
	if d <= 0 {
		d = defaultRetryAfter
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// refuse writes the 401.
func (u *Responder) refuse(w http.ResponseWriter, r *http.Request, reason auth.Reason, err error) {
	h := w.Header()
	maps.Copy(h, u.header)
	h[reasonKey] = []string{string(reason)}
	v := View{Reason: reason, Detail: rejected, Hint: u.hint}
	if f, ok := errors.AsType[*auth.Failure](err); ok && f.Detail != "" {
		v.Detail = f.Detail
	}
	if wantsHTML(r) {
		var page bytes.Buffer
		err := u.opts.Page(&page, v)
		if err == nil {
			h.Set("Content-Security-Policy", u.opts.PageCSP)
			h.Set("Referrer-Policy", "no-referrer")
			send(w, http.StatusUnauthorized, "text/html; charset=utf-8", page.Bytes())
			return
		}
		u.opts.Logger.LogAttrs(r.Context(), slog.LevelError, "the page of a 401 cannot be rendered", slog.Any("error", err))
	}
	body := u.bodies[reason]
	if v.Detail != rejected {
		body = u.envelope(v)
	}
	send(w, http.StatusUnauthorized, "application/json", body)
}

// envelope is the JSON form of v.
func (u *Responder) envelope(v View) []byte {
	body, err := json.Marshal(envelope{Error: "unauthorized", Reason: v.Reason, Detail: v.Detail, Hint: v.Hint})
	if err != nil {
		return []byte(internalBody) // four strings always have a JSON form
	}
	return body
}

// send writes a whole answer. A caller who is gone is nobody to report to.
func send[T string | []byte](w http.ResponseWriter, status int, contentType string, body T) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// wantsHTML is the rule for browsers: only they name text/html (section 4.2).
func wantsHTML(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Accept"], func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "text/html")
	})
}

// Exempt reports whether a request needs no authentication
// (proxy-proof-spec.md section 2.3): OPTIONS, what is below /.well-known/, and
// below the mount prefix health and what belongs to _oauth. The prefix is "" or
// begins with a slash and does not end with one.
//
// The path is compared as it was sent. One that some router could read as
// another path (dot segments, escapes, backslashes) is never exempt.
func Exempt(r *http.Request, prefix string) bool {
	if r.Method == http.MethodOptions {
		return true
	}
	sent := r.URL.EscapedPath()
	rest, mounted := strings.CutPrefix(sent, prefix)
	if mounted && (rest == "/health" || rest == "/_oauth") {
		return true
	}
	if !strings.HasPrefix(sent, "/.well-known/") && (!mounted || !strings.HasPrefix(rest, "/_oauth/")) {
		return false
	}
	return !strings.ContainsAny(sent, `%\`) && path.Clean(sent) == strings.TrimSuffix(sent, "/")
}
