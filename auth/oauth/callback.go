package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/vgirpc/vgirpc-go/auth"
)

const maxQuery = 8 << 10 // bytes of a callback's query

// answer is what the authorization server sends a browser back with (RFC 6749
// section 4.1.2).
type answer struct {
	code, state, issuer string
	err, description    string
}

// parseAnswer reads the query of a callback. A parameter that stands there twice
// could be read in two ways.
func parseAnswer(query string) (answer, error) {
	if len(query) > maxQuery {
		return answer{}, errors.New("the query is too long")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return answer{}, errors.New("the query is malformed")
	}
	var a answer
	for name, to := range map[string]*string{
		"code": &a.code, "state": &a.state, "iss": &a.issuer, "error": &a.err, "error_description": &a.description,
	} {
		if len(values[name]) > 1 {
			return answer{}, errors.New("a parameter appears twice")
		}
		*to = values.Get(name)
	}
	return a, nil
}

// refused is why a sign-in does not end well: what the browser is told, and what
// the log is.
type refused struct {
	status int
	why    string // for the log: constant text
	notice notice
}

// serveCallback ends a sign-in.
func (s *Server) serveCallback(w http.ResponseWriter, r *http.Request, accept auth.Authenticator) {
	a, f, no := s.resume(r)
	if no == nil {
		no = s.finish(w, r, accept, a, f)
	}
	if no == nil {
		return
	}
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "a sign-in failed", slog.String("why", no.why), slog.Int("status", no.status))
	if no.notice.Retry == "" {
		no.notice.Retry = home(s.opts.Prefix)
		if f != nil {
			no.notice.Retry = f.Path
		}
	}
	s.fail(w, r, no.status, no.notice)
}

// resume finds the sign-in that an answer belongs to. Until that is known
// nothing of the answer is shown: anybody can send a browser here.
func (s *Server) resume(r *http.Request) (answer, *flow, *refused) {
	bad := func(why, text string) (answer, *flow, *refused) {
		return answer{}, nil, &refused{http.StatusBadRequest, why, notice{Text: text}}
	}
	a, err := parseAnswer(r.URL.RawQuery)
	switch {
	case err != nil:
		return bad(err.Error(), "The answer of the authorization server is malformed.")
	case a.err == "" && (a.code == "" || a.state == ""):
		return bad("code or state is missing", "Missing authorization code or state parameter.")
	}
	var f flow
	sealed := cookie(r, sessionCookie)
	switch {
	case sealed == "" && a.err != "":
		return bad("an error without a sign-in", "The authorization server returned an error.")
	case sealed == "":
		return bad("no cookie, or several", "Session cookie missing or expired. Please try again.")
	case s.sealer.open(flowPurpose, sealed, &f) != nil:
		return bad("the cookie does not open", "Session expired or invalid. Please try again.")
	case subtle.ConstantTimeCompare([]byte(a.state), []byte(f.State)) != 1:
		return bad("the state is another", "State mismatch: this sign-in was not begun here, or another one was begun since. Please try again.")
	case !s.bound(r, &f):
		return bad("the browser is another", "This sign-in was begun in another browser. Please try again.")
	}
	// The cookie is sealed; what is done with these is checked all the same.
	if f.Path, err = returnPath(f.Path, s.opts.Prefix); err != nil {
		f.Path = home(s.opts.Prefix)
	}
	f.ReturnTo = returnURL(f.ReturnTo, s.frontends)
	return a, &f, nil
}

// finish gets the token of a sign-in and hands it to the browser.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, accept auth.Authenticator, a answer, f *flow) *refused {
	ctx := context.WithValue(r.Context(), oauth2.HTTPClient, s.client)
	p, err := s.issuer.get(ctx)
	if err != nil {
		// Nothing is used up: the same answer may be tried again.
		return &refused{http.StatusBadGateway, "discovery failed", notice{
			Text: "Could not reach the authorization server.", Retry: r.URL.RequestURI(),
		}}
	}
	if a.issuer != s.issuer.issuer && (a.issuer != "" || p.namesIssuer) {
		return &refused{http.StatusBadRequest, "the answer is that of another issuer (RFC 9207)", notice{
			Text: "The answer does not come from this service's authorization server.",
		}}
	}
	if !s.used.first(f.State, s.now(), signInTime) {
		return &refused{http.StatusBadRequest, "the answer was used before", notice{
			Text: "This sign-in is finished already. Please try again.",
		}}
	}
	s.forget(w)
	if a.err != "" {
		return &refused{http.StatusBadRequest, "the authorization server refused", notice{
			Text: "The authorization server returned an error.", Detail: shown(a),
		}}
	}
	t, no := s.redeem(ctx, p, a.code, f)
	if no != nil {
		return no
	}
	if no := s.accepted(r, accept, t.bearer); no != nil {
		return no
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "a sign-in succeeded")
	if f.ReturnTo != "" {
		redirect(w, s.handOver(p, f, t))
		return nil
	}
	if len(t.bearer) > maxTokenSize {
		return &refused{http.StatusBadGateway, "the token is too long for a cookie", notice{
			Text: "The token of the authorization server is too long for a browser to keep.",
		}}
	}
	s.set(w, authCookie, t.bearer, t.lifetime, s.opts.HideToken)
	s.set(w, identityCookie, identityOf(t.claims), t.lifetime, false)
	if cookie(r, outCookie) != "" {
		s.set(w, outCookie, "", 0, true)
	}
	redirect(w, f.Path)
	return nil
}

// shown is what of an error may be shown: text, and not much of it.
func shown(a answer) string {
	text := a.err
	if a.description != "" {
		text += ": " + a.description
	}
	if len(text) > 300 {
		text = text[:300]
	}
	return strings.ToValidUTF8(text, "")
}

// tokens are what a sign-in ends with.
type tokens struct {
	bearer, refresh string
	lifetime        time.Duration
	claims          map[string]any // of the id_token; nil without one
}

// redeem gets the tokens for a code, and checks what can be checked.
func (s *Server) redeem(ctx context.Context, p *provider, code string, f *flow) (*tokens, *refused) {
	fail := func(why, text string) (*tokens, *refused) {
		return nil, &refused{http.StatusBadGateway, why, notice{Text: text}}
	}
	token, err := s.config(p).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return fail(exchangeFailure(err), "Token exchange with the authorization server failed.")
	}
	out := &tokens{bearer: token.AccessToken, refresh: token.RefreshToken, lifetime: tokenTime}
	if token.ExpiresIn > 0 {
		out.lifetime = time.Duration(token.ExpiresIn) * time.Second
	}
	if idToken, _ := token.Extra("id_token").(string); idToken != "" {
		id, err := s.verify(ctx, p, idToken, f.Nonce, token.AccessToken)
		if err == nil {
			err = id.Claims(&out.claims)
		}
		if err != nil {
			return fail("the id_token is not good: "+verifyFailure(err), "What the authorization server says of who you are could not be verified.")
		}
		if s.opts.UseIDToken {
			out.bearer, out.lifetime = idToken, id.Expiry.Sub(s.now())
		}
	} else if s.opts.UseIDToken {
		return fail("there is no id_token", "The authorization server does not say who you are.")
	}
	if !usableToken(out.bearer) || !strings.EqualFold(token.Type(), "Bearer") {
		return fail("the token is no bearer token", "The token of the authorization server is not one that this service can use.")
	}
	out.lifetime = min(max(out.lifetime, time.Second), 365*24*time.Hour)
	return out, nil
}

// errIDToken are faults of an id_token that go-oidc does not look for.
type errIDToken string //nolint:errname // it is the text

// Error is the fault.
func (e errIDToken) Error() string { return string(e) }

// verify checks an id_token (OpenID Connect Core 1.0 section 3.1.3.7).
func (s *Server) verify(ctx context.Context, p *provider, raw, nonce, access string) (*oidc.IDToken, error) {
	if p.verifier == nil {
		return nil, errIDToken("the authorization server publishes no keys")
	}
	id, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := id.Claims(&party); err != nil {
		return nil, errIDToken("a claim has the wrong type")
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return nil, errIDToken("the nonce is another")
	case party.Authorized != "" && party.Authorized != s.opts.ClientID, party.Authorized == "" && len(id.Audience) > 1:
		return nil, errIDToken("the authorized party is another")
	}
	if id.AccessTokenHash != "" {
		if id.VerifyAccessToken(access) != nil {
			return nil, errIDToken("the access token is another")
		}
	}
	return id, nil
}

// verifyFailure is what may be said of a bad id_token: what go-oidc says holds
// claims.
func verifyFailure(err error) string {
	if own, ok := errors.AsType[errIDToken](err); ok {
		return string(own)
	}
	if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return "it is expired"
	}
	return "its signature, issuer or audience, or the keys cannot be had"
}

// exchangeFailure likewise of a failed exchange.
func exchangeFailure(err error) string {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return "the token endpoint did not answer, or with something else than a token"
	case e.ErrorCode != "" && len(e.ErrorCode) <= 64 && strings.IndexFunc(e.ErrorCode, notUnreserved) < 0:
		return "the token endpoint refused: " + e.ErrorCode
	}
	return "the token endpoint refused"
}

// accepted lets the service's own authenticator judge a token before a browser
// keeps it: one that it refuses would send the browser back to sign in, for ever.
func (s *Server) accepted(r *http.Request, accept auth.Authenticator, token string) *refused {
	if accept == nil {
		return nil
	}
	_, err := accept.Authenticate(withBearer(r, token))
	if err == nil {
		return nil
	}
	if reason, no := auth.ReasonOf(err); no {
		return &refused{http.StatusForbidden, "the authenticator refuses the token: " + string(reason), notice{
			Text:   "You are signed in at the authorization server, and this service does not let you in.",
			Detail: "Reason: " + string(reason),
		}}
	}
	if _, outage := errors.AsType[*auth.Unavailable](err); outage {
		return &refused{http.StatusServiceUnavailable, "authentication is unavailable", notice{
			Text: "Who you are cannot be checked at the moment.",
		}}
	}
	return &refused{http.StatusInternalServerError, "the authenticator failed", notice{Text: "Signing in failed on the server's side."}}
}

// handOver is where a frontend gets the tokens. It gets the secret only where
// everybody does, and renews its token through the proxy otherwise.
func (s *Server) handOver(p *provider, f *flow, t *tokens) string {
	params := []pair{{"token", t.bearer}}
	if t.refresh != "" {
		params = append(params, pair{"refresh_token", t.refresh})
	}
	endpoint := p.tokenURL
	if s.opts.ClientSecret != "" && !s.opts.PublishSecrets {
		endpoint = s.base + tokenPath
	}
	params = append(params, pair{"token_endpoint", endpoint}, pair{"client_id", s.opts.ClientID})
	if s.opts.ClientSecret != "" && s.opts.PublishSecrets {
		params = append(params, pair{"client_secret", s.opts.ClientSecret})
	}
	if s.opts.UseIDToken {
		params = append(params, pair{"use_id_token", "true"})
	}
	return withFragment(f.ReturnTo, params)
}
