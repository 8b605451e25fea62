package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// errNoBrowser says that the person was not reached this way.
var errNoBrowser = errors.New("oauth: no browser could be opened")

// A visit is the browser that came back, or what went wrong with it.
type visit struct {
	code string
	err  error
}

// An attempt is one login with a browser.
type attempt struct {
	redirect        *url.URL
	state, nonce    string
	verifier        string
	issuer          string
	issuerInAnswers bool
	visits          chan visit // has room for one
	once            sync.Once
}

// browser signs a person in with a browser of this machine (RFC 8252, RFC 7636).
func (c *Client) browser(ctx context.Context, d *discovered) (*Record, error) {
	who := c.ordinaryClient(d)
	if who.id == "" {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s names no client to sign in as: set Options.ClientID", c.key.Resource)
	}
	if m := d.server.ChallengeMethods; len(m) > 0 && !slices.Contains(m, "S256") {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: the issuer %s has no PKCE with S256", d.server.Issuer)
	}
	r := c.record(d, who)
	a := &attempt{
		state: random(32), nonce: random(32), verifier: oauth2.GenerateVerifier(),
		issuer: d.server.Issuer, issuerInAnswers: d.server.IssuerInResponse, visits: make(chan visit, 1),
	}
	stop, err := a.listen(ctx, c.opts.RedirectURL)
	if err != nil {
		return nil, err
	}
	defer stop()
	login, err := secure("authorization endpoint", d.server.AuthorizationEndpoint)
	if err != nil {
		return nil, err
	}
	if err := c.opts.OpenBrowser(ctx, a.url(login, r, c.opts.Params)); err != nil {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "%w", fmt.Errorf("%w: %w", errNoBrowser, err))
	}
	var v visit
	select {
	case v = <-a.visits:
	case <-ctx.Done():
		return nil, vgirpc.Errorf(vgirpc.DeadlineExceeded, "oauth: the browser did not come back: %w", ctx.Err())
	}
	if v.err != nil {
		return nil, v.err
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {v.code}, "redirect_uri": {a.redirect.String()}, "code_verifier": {a.verifier},
	}
	if _, err := c.exchange(ctx, "login", r, r.TokenEndpoint, c.client(r), form); err != nil {
		return nil, err
	}
	if r.IDToken == "" {
		return r, nil
	}
	return r, checkIDToken(r.IDToken, d.server.Issuer, who.id, a.nonce, time.Now())
}

// url is where the browser goes.
func (a *attempt) url(login *url.URL, r *Record, more url.Values) string {
	q := login.Query()
	maps.Copy(q, more)
	for name, value := range map[string]string{
		"response_type": "code", "client_id": r.ClientID, "redirect_uri": a.redirect.String(), "scope": r.Scope,
		"state": a.state, "nonce": a.nonce,
		"code_challenge": oauth2.S256ChallengeFromVerifier(a.verifier), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	u := *login
	u.RawQuery = q.Encode()
	return u.String()
}

// listen waits for the browser on a port of loopback, until stop.
func (a *attempt) listen(ctx context.Context, redirect string) (stop func(), err error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	host, at := u.Hostname(), u.Port()
	if at == "" {
		at = "0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, at))
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.Unavailable, "oauth: no port of this machine for the browser to come back to: %w", err)
	}
	if u.Port() == "" {
		_, at, err = net.SplitHostPort(listener.Addr().String())
		if err != nil {
			_ = listener.Close() // the first error says more
			return nil, fmt.Errorf("oauth: %w", err)
		}
		u.Host = net.JoinHostPort(host, at)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	a.redirect = u
	server := &http.Server{
		Handler: http.HandlerFunc(a.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil { // the page gets a moment to arrive
			_ = server.Close()
		}
		<-served
	}, nil
}

// serve answers the browser. Whoever comes without the state changes nothing:
// any page can send a browser here.
func (a *attempt) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	q := req.URL.Query()
	switch {
	case req.Host != a.redirect.Host || req.URL.Path != a.redirect.Path:
		page(w, http.StatusNotFound, "There is nothing here.")
		return
	case req.Method != http.MethodGet:
		page(w, http.StatusMethodNotAllowed, "There is nothing here.")
		return
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) != 1:
		page(w, http.StatusBadRequest, "This page does not belong to the login that is waiting.")
		return
	}
	v := a.read(q)
	first := false
	a.once.Do(func() { first = true })
	switch {
	case !first:
		page(w, http.StatusBadRequest, "This login is over.")
	case v.err != nil:
		page(w, http.StatusBadRequest, "The login failed. The program that asked for it says why.")
	default:
		page(w, http.StatusOK, "You are signed in, and can close this window.")
	}
	if first {
		a.visits <- v // whoever waits for it goes on, and ends this server
	}
}

// page answers with a page, all of which it writes before it returns.
func page(w http.ResponseWriter, status int, text string) {
	text = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Login</title><p>" + text + "</p></html>\n"
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush() // the browser may be gone
}

// read is what the browser brought.
func (a *attempt) read(q url.Values) visit {
	for _, name := range []string{"code", "error", "iss"} {
		if len(q[name]) > 1 {
			return visit{err: vgirpc.Errorf(vgirpc.Unauthenticated, "oauth: the browser came back with two values of %s", name)}
		}
	}
	iss, has := q["iss"]
	switch {
	case has && iss[0] != a.issuer, !has && a.issuerInAnswers:
		return visit{err: vgirpc.Errorf(vgirpc.Unauthenticated, "oauth: the browser came back from another issuer than %s (RFC 9207)", a.issuer)}
	case q.Get("error") != "":
		e := &Error{Op: "login", Code: redact(q.Get("error"), nil), Description: redact(q.Get("error_description"), nil)}
		code := vgirpc.Unauthenticated
		if e.Code == codeDenied {
			code = vgirpc.PermissionDenied
		}
		return visit{err: vgirpc.Errorf(code, "%w", e)}
	case strings.TrimSpace(q.Get("code")) == "":
		return visit{err: vgirpc.Errorf(vgirpc.Unauthenticated, "oauth: the browser came back without a code")}
	}
	return visit{code: q.Get("code")}
}
