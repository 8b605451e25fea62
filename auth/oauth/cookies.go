package oauth

import (
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// The cookies. The names and attributes of the first three are the
// specification's.
const (
	// sessionCookie holds what a sign-in has to remember, sealed, for the paths
	// below _oauth.
	sessionCookie = "_vgi_oauth_session"
	// authCookie holds the token, for the pages and their scripts.
	authCookie = "_vgi_auth"
	// identityCookie holds what a page shows of who is signed in, as JSON in
	// base64url. It says nothing to the server.
	identityCookie = "_vgi_identity"
	// bindCookie holds what only the browser that began a sign-in has: its name
	// keeps other hosts of the domain from setting it, which can set
	// sessionCookie. It goes with https alone, where that works.
	bindCookie = "__Host-_vgi_oauth_bind"
	// outCookie says that somebody has signed out, and is to be asked who he is
	// when he signs in again.
	outCookie = "_vgi_oauth_out"
)

const (
	signInTime   = 10 * time.Minute
	tokenTime    = time.Hour // of a token whose time is not told
	outTime      = 24 * time.Hour
	maxTokenSize = 3800 // browsers drop a cookie that is longer than 4,096 bytes, with its attributes
)

// displayed are the claims that a page shows.
var displayed = []string{"sub", "email", "preferred_username", "name", "picture"}

// cookie is the value of a request's cookie; "" when there is none, and when
// there are several: one of them was set by somebody else.
func cookie(r *http.Request, name string) string {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// set sets a cookie for pages of the service.
func (s *Server) set(w http.ResponseWriter, name, value string, lifetime time.Duration, private bool) {
	s.setAt(w, home(s.opts.Prefix), name, value, lifetime, private)
}

// setAt sets a cookie, or removes it when value is empty.
func (s *Server) setAt(w http.ResponseWriter, path, name, value string, lifetime time.Duration, private bool) {
	c := &http.Cookie{ //nolint:gosec // Secure with https; what scripts may read is the specification's
		Name: name, Value: value, Path: path, MaxAge: int(math.Ceil(lifetime.Seconds())),
		Secure: s.secure, HttpOnly: private, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// forget removes what a sign-in had to remember.
func (s *Server) forget(w http.ResponseWriter) {
	s.setAt(w, s.below, sessionCookie, "", 0, true)
	if s.secure {
		s.setAt(w, "/", bindCookie, "", 0, true)
	}
}

// identityOf is the value of identityCookie for the claims of an id_token; ""
// when there is nothing to show.
func identityOf(claims map[string]any) string {
	shown := map[string]any{}
	for _, name := range displayed {
		if v, ok := claims[name].(string); ok && v != "" {
			shown[name] = v
		}
	}
	// The picture is what may be long, and what is missed least.
	for _, drop := range []string{"", "picture", "name", "preferred_username", "email"} {
		delete(shown, drop)
		text, err := json.Marshal(shown)
		if err == nil && len(shown) > 0 && rawURL.EncodedLen(len(text)) <= maxTokenSize {
			return rawURL.EncodeToString(text)
		}
	}
	return ""
}
