package oauth

import (
	"net/http"
	"net/url"
)

// serveLogout removes the token from a browser. A page of another site cannot
// have it done: the visitor is asked.
func (s *Server) serveLogout(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		s.fail(w, r, http.StatusForbidden, notice{
			Heading: "Sign out", Text: "Another site asks you to sign out here.", Retry: s.SignOut(), Again: "Sign out",
		})
		return
	}
	token := cookie(r, authCookie)
	s.set(w, authCookie, "", 0, s.opts.HideToken)
	s.set(w, identityCookie, "", 0, false)
	// The authorization server still knows the browser: without this the next
	// page would sign it in again before anybody sees it.
	s.set(w, outCookie, "1", outTime, true)
	s.forget(w)
	redirect(w, s.afterLogout(r, token))
}

// afterLogout is where a browser goes that has signed out.
func (s *Server) afterLogout(r *http.Request, token string) string {
	to := home(s.opts.Prefix)
	if !s.opts.EndSession {
		return to
	}
	p, err := s.issuer.get(r.Context())
	if err != nil || p.endSession == "" {
		return to
	}
	u, err := url.Parse(p.endSession)
	if err != nil {
		return to
	}
	q := u.Query()
	q.Set("client_id", s.opts.ClientID)
	q.Set("post_logout_redirect_uri", s.origin+to)
	if s.opts.UseIDToken && usableToken(token) {
		q.Set("id_token_hint", token)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
