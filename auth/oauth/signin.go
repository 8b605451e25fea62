package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/vgirpc/vgirpc-go/auth"
)

// flow is what a sign-in has to remember from its beginning to its end.
type flow struct {
	Verifier string `json:"v"`           // RFC 7636 section 4.1
	State    string `json:"s"`           // RFC 6749 section 10.12
	Nonce    string `json:"n"`           // OpenID Connect Core 1.0 section 3.1.2.1
	Path     string `json:"p"`           // where the browser wanted to go
	ReturnTo string `json:"r,omitempty"` // to whom the token goes instead
	Bind     []byte `json:"b,omitempty"` // SHA-256 of bindCookie
}

const flowPurpose = "sign-in"

// returnParam is the parameter with which a frontend of another origin sends a
// browser here.
const returnParam = "_vgi_return_to"

// Begin sends a browser that a page was refused for the given reason to the
// authorization server, and reports whether it answered. It does not for others
// than browsers (who name text/html in Accept), for other methods than GET, and
// where signing in would not help. When the authorization server cannot be
// reached the answer is 503 with Retry-After.
func (s *Server) Begin(w http.ResponseWriter, r *http.Request, reason auth.Reason) bool {
	if !s.SignsIn() || r.Method != http.MethodGet || !wantsHTML(r) {
		return false
	}
	if reason == auth.ProxyRequired || (reason == auth.InsufficientScope && cookie(r, authCookie) != "") {
		return false
	}
	p, err := s.issuer.get(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", "5")
		s.fail(w, r, http.StatusServiceUnavailable, notice{
			Text: "You have to sign in, and the authorization server cannot be reached.", Retry: s.wanted(r),
		})
		return true
	}
	f := flow{
		Verifier: oauth2.GenerateVerifier(), State: random(), Nonce: random(),
		Path: s.wanted(r), ReturnTo: returnURL(r.URL.Query().Get(returnParam), s.frontends),
	}
	var bind string
	if s.secure {
		bind = random()
		digest := sha256.Sum256([]byte(bind))
		f.Bind = digest[:]
	}
	sealed, err := s.sealer.seal(flowPurpose, f, signInTime)
	if err == nil && len(sealed) > maxSealed {
		f.Path = home(s.opts.Prefix)
		sealed, err = s.sealer.seal(flowPurpose, f, signInTime)
	}
	if err != nil {
		s.fail(w, r, http.StatusInternalServerError, notice{Text: "Signing in failed on the server's side."})
		return true
	}
	s.setAt(w, s.below, sessionCookie, sealed, signInTime, true)
	if bind != "" {
		s.setAt(w, "/", bindCookie, bind, signInTime, true)
	}
	redirect(w, s.config(p).AuthCodeURL(f.State, s.params(r, &f)...))
	return true
}

// wanted is the page that a request is for, when a browser may be sent there
// again, and the service's first page otherwise.
func (s *Server) wanted(r *http.Request) string {
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	if path, err := returnPath(target, s.opts.Prefix); err == nil {
		return path
	}
	return home(s.opts.Prefix)
}

// config is the service as a client of p.
func (s *Server) config(p *provider) *oauth2.Config {
	scopes := s.opts.Scopes
	if len(scopes) == 0 {
		scopes = defaultScopes
	}
	style := oauth2.AuthStyleInParams
	if s.opts.ClientSecretBasic && s.opts.ClientSecret != "" {
		style = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID: s.opts.ClientID, ClientSecret: s.opts.ClientSecret, RedirectURL: s.base + callbackPath, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: p.authURL, TokenURL: p.tokenURL, AuthStyle: style},
	}
}

// params are the parameters of an authorization request beyond those of every
// one.
func (s *Server) params(r *http.Request, f *flow) []oauth2.AuthCodeOption {
	params := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(f.Verifier), oauth2.SetAuthURLParam("nonce", f.Nonce),
	}
	var prompt []string
	if cookie(r, outCookie) != "" {
		prompt = append(prompt, "login")
	}
	if f.ReturnTo != "" {
		// A frontend that keeps the token needs a refresh token: so does one
		// authorization server hand it out, and so do the others.
		params = append(params, oauth2.SetAuthURLParam("access_type", "offline"))
		prompt = append(prompt, "consent")
	}
	if len(prompt) > 0 {
		params = append(params, oauth2.SetAuthURLParam("prompt", strings.Join(prompt, " ")))
	}
	for name, value := range s.opts.AuthorizeParams {
		params = append(params, oauth2.SetAuthURLParam(name, value))
	}
	return params
}

// Release sends a browser that is signed in back to the frontend that sent it
// here, with its token, and reports whether it did. It is for requests that the
// authenticator of [Server.Authenticator] has accepted.
func (s *Server) Release(w http.ResponseWriter, r *http.Request) bool {
	if !s.SignsIn() || len(s.frontends) == 0 || r.Method != http.MethodGet || !strings.Contains(r.URL.RawQuery, returnParam) {
		return false
	}
	to := returnURL(r.URL.Query().Get(returnParam), s.frontends)
	token := cookie(r, authCookie)
	if _, other := r.Header["Authorization"]; to == "" || !usableToken(token) || other {
		return false
	}
	redirect(w, withFragment(to, []pair{{"token", token}}))
	return true
}

// handedOver are the names of the parameters with which a frontend gets its token.
var handedOver = []string{"token", "refresh_token", "token_endpoint", "client_id", "client_secret", "use_id_token"}

// pair is a parameter in the fragment of a URL.
type pair struct{ name, value string }

// withFragment puts parameters behind a URL, in a fragment, which browsers send
// to nobody.
func withFragment(to string, params []pair) string {
	out := []byte(to)
	separator := byte('#')
	if strings.Contains(to, "#") {
		separator = '&'
	}
	for _, p := range params {
		out = append(out, separator)
		out = append(out, p.name...)
		out = append(out, '=')
		out = append(out, url.QueryEscape(p.value)...)
		separator = '&'
	}
	return string(out)
}

// bound reports whether a request comes from the browser where f began.
func (s *Server) bound(r *http.Request, f *flow) bool {
	if !s.secure {
		return len(f.Bind) == 0
	}
	digest := sha256.Sum256([]byte(cookie(r, bindCookie)))
	return subtle.ConstantTimeCompare(digest[:], f.Bind) == 1
}

// redirect sends a browser elsewhere. Nothing of the way is kept or told on.
func redirect(w http.ResponseWriter, to string) {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// wantsHTML is the rule for browsers: only they name text/html
// (unauthorized-spec section 4.2).
func wantsHTML(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Accept"], func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "text/html")
	})
}
