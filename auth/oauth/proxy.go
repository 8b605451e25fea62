package oauth

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const maxForm = 64 << 10 // bytes of a token request

// What the proxy passes on, and nothing else: no grant that would give a caller
// tokens of the service itself.
var (
	grantTypes = []string{"authorization_code", "refresh_token"}
	formFields = []string{"code", "code_verifier", "redirect_uri", "refresh_token", "scope"}
)

// serveToken passes a token request on with the client's secret, and the answer
// back as it is, for pages that cannot keep a secret. It needs no cookie and
// sends none.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	if from := r.Header["Origin"]; len(from) == 1 && s.frontends[from[0]] {
		h.Set("Access-Control-Allow-Origin", from[0])
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	// The answer is shown to nobody, whatever the other side says it is.
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	form, no := s.tokenRequest(w, r)
	if no != nil {
		no.write(w)
		return
	}
	p, err := s.issuer.get(r.Context())
	if err != nil {
		(&oauthError{http.StatusBadGateway, "server_error", "the authorization server cannot be reached"}).write(w)
		return
	}
	s.forward(w, r, p, form)
}

// oauthError is a refusal (RFC 6749 section 5.2).
type oauthError struct {
	status int

	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *oauthError) write(w http.ResponseWriter) {
	body, err := json.Marshal(e)
	if err != nil {
		body = nil // two strings always have a JSON form
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // the peer may be gone
}

// tokenRequest is what is passed on of a request.
func (s *Server) tokenRequest(w http.ResponseWriter, r *http.Request) (url.Values, *oauthError) {
	bad := func(code, text string) (url.Values, *oauthError) {
		return nil, &oauthError{http.StatusBadRequest, code, text}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &oauthError{
			http.StatusUnsupportedMediaType, "invalid_request", "the Content-Type must be application/x-www-form-urlencoded",
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return bad("invalid_request", "the request cannot be read, or is longer than "+strconv.Itoa(maxForm)+" bytes")
	}
	in, err := url.ParseQuery(string(body))
	if err != nil {
		return bad("invalid_request", "the form is malformed")
	}
	for _, name := range append([]string{"grant_type", "client_id"}, formFields...) {
		if len(in[name]) > 1 {
			return bad("invalid_request", name+" appears twice")
		}
	}
	grant := in.Get("grant_type")
	switch {
	case !slices.Contains(grantTypes, grant):
		return bad("unsupported_grant_type", "grant_type must be one of "+strings.Join(grantTypes, ", "))
	case in.Get("client_id") != "" && in.Get("client_id") != s.opts.ClientID:
		return bad("invalid_client", "client_id is not that of this service")
	case grant == "authorization_code" && in.Get("code_verifier") == "":
		// Without it whoever has got hold of a code could redeem it here.
		return bad("invalid_request", "code_verifier is missing: codes are redeemed with PKCE alone")
	}
	out := url.Values{"grant_type": {grant}, "client_id": {s.opts.ClientID}}
	for _, name := range formFields {
		if v := in.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out, nil
}

// forward asks the token endpoint and copies its answer.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, p *provider, form url.Values) {
	fail := func(why string) {
		s.log.WarnContext(r.Context(), "a token request could not be passed on", "why", why)
		(&oauthError{http.StatusBadGateway, "server_error", "the token endpoint did not answer as it should"}).write(w)
	}
	if !s.opts.ClientSecretBasic {
		form.Set("client_secret", s.opts.ClientSecret)
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, p.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		fail("its URL is none")
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if s.opts.ClientSecretBasic {
		req.SetBasicAuth(url.QueryEscape(s.opts.ClientID), url.QueryEscape(s.opts.ClientSecret))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		fail("no answer")
		return
	}
	defer func() { _ = resp.Body.Close() }() // nothing is left to lose
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		fail("the answer breaks off, or is too long")
		return
	case resp.StatusCode < 200 || (resp.StatusCode >= 300 && resp.StatusCode < 400):
		fail("a redirect")
		return
	}
	kind := resp.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body) // the peer may be gone
}
