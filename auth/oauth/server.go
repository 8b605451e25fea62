package oauth

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Paths below the prefix.
const (
	oauthPath    = "/_oauth/"
	callbackPath = "/_oauth/callback"
	logoutPath   = "/_oauth/logout"
	tokenPath    = "/_oauth/token" //nolint:gosec // a path
)

// Server is the server's side of OAuth 2 of one service. It is immutable, apart
// from what it remembers of the authorization server and of finished sign-ins,
// and may be used by many goroutines at once.
type Server struct {
	opts      Options
	log       *slog.Logger
	origin    string // of every URL that is told to others
	base      string // origin and prefix
	below     string // with what the paths of the routes begin, but for the metadata
	secure    bool
	challenge string
	frontends map[string]bool
	client    *http.Client
	sealer    *sealer
	issuer    *discovery
	used      used
	now       func() time.Time

	metadata     []byte
	metadataPath string // beside wellKnown alone
}

// New returns the server's side of OAuth 2, or names the option that makes no
// sense. It asks nobody: the authorization server is found when it is first
// needed.
func New(opts Options) (*Server, error) { return newServer(opts, time.Now) }

func newServer(opts Options, now func() time.Time) (*Server, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	resource, err := url.Parse(opts.Resource)
	if err != nil {
		return nil, fmt.Errorf("oauth: option Resource: %w", err)
	}
	s := &Server{
		opts: opts, log: opts.Logger, origin: origin(resource), secure: resource.Scheme == "https",
		frontends: map[string]bool{}, client: newClient(opts.HTTPClient, opts.Timeout), now: now,
	}
	s.base, s.below, s.metadataPath = s.origin+opts.Prefix, opts.Prefix+oauthPath, wellKnown+opts.Prefix
	for _, o := range opts.FrontendOrigins {
		if o, err = parseOrigin(o); err != nil {
			return nil, fmt.Errorf("oauth: option FrontendOrigins: %w", err)
		}
		s.frontends[o] = true
	}
	if err := s.hostMetadata(); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	if opts.ClientID == "" {
		return s, nil
	}
	s.issuer = &discovery{
		issuer: opts.AuthorizationServers[0], clientID: opts.ClientID, client: s.client, timeout: opts.Timeout,
		faultOf: opts.faultOf, log: s.log, now: now, turn: make(chan struct{}, 1),
	}
	keys := opts.Keys
	if len(keys) == 0 {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		keys = [][]byte{key}
		s.log.Warn("no keys for sign-ins are configured: a random one seals them, and they have to end at this process")
	}
	if s.sealer, err = newSealer(keys, opts.ClientID+"\x00"+s.base, now); err != nil {
		return nil, fmt.Errorf("oauth: option Keys: %w", err)
	}
	return s, nil
}

// SignsIn reports whether people can sign in: there is a ClientID.
func (s *Server) SignsIn() bool { return s.issuer != nil }

// Prefix is the path in front of every route.
func (s *Server) Prefix() string { return s.opts.Prefix }

// SignOut is the path that signs a browser out; "" when nobody can sign in.
func (s *Server) SignOut() string {
	if !s.SignsIn() {
		return ""
	}
	return s.opts.Prefix + logoutPath
}

// Handler serves the routes of the package and answers 404 to everything else.
// None of them may be behind authentication. accept is who decides about the
// service's callers: a sign-in whose token it refuses fails.
func (s *Server) Handler(accept auth.Authenticator) http.Handler {
	type route struct {
		methods []string
		serve   http.HandlerFunc
	}
	metadata := route{[]string{http.MethodGet, http.MethodHead}, s.serveMetadata}
	routes := map[string]route{wellKnown: metadata, s.metadataPath: metadata}
	if s.SignsIn() {
		p := s.opts.Prefix
		get := []string{http.MethodGet}
		routes[p+callbackPath] = route{get, func(w http.ResponseWriter, r *http.Request) { s.serveCallback(w, r, accept) }}
		routes[p+logoutPath] = route{get, s.serveLogout}
		if s.opts.ClientSecret != "" {
			routes[p+tokenPath] = route{[]string{http.MethodPost, http.MethodOptions}, s.serveToken}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, ok := routes[r.URL.EscapedPath()]
		switch {
		case !ok:
			http.NotFound(w, r)
		case !slices.Contains(found.methods, r.Method):
			allowed := strings.Join(found.methods, ", ")
			w.Header().Set("Allow", allowed)
			http.Error(w, "this path is for "+allowed, http.StatusMethodNotAllowed)
		default:
			found.serve(w, r)
		}
	})
}

// Owns reports whether a path, as it was sent, belongs to [Server.Handler].
func (s *Server) Owns(path string) bool {
	return path == wellKnown || path == s.metadataPath || (s.SignsIn() && strings.HasPrefix(path, s.below))
}

// Authenticator is a with the cookie of a sign-in as a credential for pages: for
// GET and HEAD, which never run a call, and only where no Authorization header
// says otherwise. A call is never authenticated by a cookie, or any page could
// make a visitor's browser call.
func (s *Server) Authenticator(a auth.Authenticator) auth.Authenticator {
	if a == nil || !s.SignsIn() {
		return a
	}
	return &withCookie{a, auth.ProxyHeaders(a)}
}

// withCookie is what [Server.Authenticator] returns.
type withCookie struct {
	inner   auth.Authenticator
	headers []string
}

// ProxyHeaders are those of the authenticator inside.
func (c *withCookie) ProxyHeaders() []string { return c.headers }

// Authenticate asks the authenticator inside, once: a gate may count.
func (c *withCookie) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return c.inner.Authenticate(r)
	}
	if _, sent := r.Header["Authorization"]; !sent {
		if token := cookie(r, authCookie); usableToken(token) {
			r = withBearer(r, token)
		}
	}
	return c.inner.Authenticate(r)
}

// withBearer is r as if it had come with a bearer token.
func withBearer(r *http.Request, token string) *http.Request {
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	out.Header["Authorization"] = []string{"Bearer " + token}
	return out
}

// usableToken reports whether a token can stand in a header and a cookie (RFC
// 6750 section 2.1).
func usableToken(token string) bool {
	return token != "" && strings.IndexFunc(token, func(c rune) bool {
		return notUnreserved(c) && c != '+' && c != '/' && c != '='
	}) < 0
}
