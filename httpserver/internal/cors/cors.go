package cors

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/cors"
)

// maxAge is for how long a browser may keep a preflight's answer, in seconds.
// Two hours is the most that any browser grants.
const maxAge = 7200

// Headers that every server exposes: they stand on failures, which nothing
// advertises.
var alwaysExposed = []string{
	"WWW-Authenticate", "X-Request-ID", "X-VGI-Content-Encoding", "X-VGI-RPC-Error", "VGI-Auth-Reason",
}

// Names of headers in the form in which http.Header keeps them.
const (
	allowOrigin    = "Access-Control-Allow-Origin"
	allowMethods   = "Access-Control-Allow-Methods"
	exposeHeaders  = "Access-Control-Expose-Headers"
	maxAgeHeader   = "Access-Control-Max-Age"
	requestMethod  = "Access-Control-Request-Method"
	resourcePolicy = "Cross-Origin-Resource-Policy"
)

// methods are what a page of another origin may use.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodOptions}

// Options say who may call, and what they may see.
type Options struct {
	// Origins are the origins that may call, each a scheme and a host, with a
	// port where it is not the scheme's own: https://app.example. The only
	// element "*" allows every origin. At least one is required.
	Origins []string
	// Expose names response headers that pages may read, beside those that
	// the protocol always exposes: every capability header that the server
	// advertises, and its session headers.
	Expose []string
}

// New returns the middleware. It is an error when no origin is given, when one
// is not an origin as a browser sends it, or when a name to expose is no name of
// a header.
//
// The middleware answers preflights itself with 204, whether or not they are
// allowed, and leaves headers alone that were set before it: what stands
// outside of it reaches preflights as well. Every other request goes on to the
// next handler, OPTIONS included. It is safe for concurrent use.
func New(o Options) (func(http.Handler) http.Handler, error) {
	origins, err := normalize(o.Origins)
	if err != nil {
		return nil, err
	}
	expose, err := exposed(o.Expose)
	if err != nil {
		return nil, err
	}
	library := cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: methods,
		AllowedHeaders: []string{"*"}, // those that a preflight asks for are echoed
		// The end of a preflight is here, where its headers can be completed.
		OptionsPassthrough: true,
	})
	values := &values{
		methods: []string{strings.Join(methods, ", ")},
		expose:  []string{strings.Join(expose, ", ")},
		maxAge:  []string{strconv.Itoa(maxAge)},
		policy:  []string{"cross-origin"},
	}
	return func(next http.Handler) http.Handler {
		inner := library.Handler(&completer{values, next})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header()[resourcePolicy] = values.policy
			inner.ServeHTTP(w, r)
		})
	}, nil
}

// values are header values that all responses share. Nobody writes to them: a
// handler that adds to a header copies the slice, which has no room.
type values struct {
	methods, expose, maxAge, policy []string
}

// completer stands behind the library's handler, which has decided by now
// whether the origin is allowed, and adds what follows from that.
type completer struct {
	*values

	next http.Handler
}

func (c *completer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	preflight := isPreflight(r)
	if len(h[allowOrigin]) != 0 {
		h[exposeHeaders] = c.expose
		if r.Method == http.MethodOptions {
			h[maxAgeHeader] = c.maxAge
		}
		if preflight {
			h[allowMethods] = c.methods
		}
	}
	if preflight {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	c.next.ServeHTTP(w, r)
}

// isPreflight is the library's own test.
func isPreflight(r *http.Request) bool {
	_, hasOrigin := r.Header["Origin"]
	return r.Method == http.MethodOptions && hasOrigin && r.Header.Get(requestMethod) != ""
}

// normalize returns origins as browsers write them.
func normalize(origins []string) ([]string, error) {
	if len(origins) == 0 {
		return nil, errors.New("cors: no origin is allowed: leave CORS out instead")
	}
	out := make([]string, 0, len(origins))
	for _, o := range origins {
		if o == "*" {
			if len(origins) > 1 {
				return nil, errors.New(`cors: "*" allows every origin and stands alone`)
			}
			return []string{"*"}, nil
		}
		n, err := origin(o)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// origin returns one origin in lower case and without its scheme's own port,
// which browsers leave out.
func origin(s string) (string, error) {
	fail := func(why string) (string, error) { return "", fmt.Errorf("cors: origin %q: %s", s, why) }
	if strings.Contains(s, "*") {
		return fail(`patterns are not supported: name each origin, or "*" alone`)
	}
	if s == "null" {
		return fail("every sandboxed page has it, whoever wrote it")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fail("browsers send ASCII: write the host in Punycode")
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("cors: origin %q: %w", s, errors.Unwrap(err))
	}
	if u.Scheme == "" || u.Hostname() == "" {
		return fail("want a scheme and a host, like https://app.example")
	}
	if !strings.EqualFold(s, u.Scheme+"://"+u.Host) {
		return fail("want a scheme, a host and perhaps a port, and nothing else")
	}
	host := u.Host
	if port := u.Port(); port != "" || strings.HasSuffix(host, ":") {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return fail("want a port from 1 to 65535")
		}
		if (u.Scheme == "https" && n == 443) || (u.Scheme == "http" && n == 80) {
			host = strings.TrimSuffix(host, ":"+port)
		}
	}
	return strings.ToLower(u.Scheme + "://" + host), nil
}

// exposed is what pages may read, each name once and the fixed ones first.
func exposed(more []string) ([]string, error) {
	out := slices.Clone(alwaysExposed)
	for _, name := range more {
		if name == "" || strings.ContainsFunc(name, notToken) || name == "*" {
			return nil, fmt.Errorf("cors: cannot expose %q: not the name of a header", name)
		}
		if !slices.ContainsFunc(out, func(have string) bool { return strings.EqualFold(have, name) }) {
			out = append(out, name)
		}
	}
	return out, nil
}

// notToken reports whether a rune may not stand in the name of a header (RFC
// 9110, section 5.6.2).
func notToken(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
