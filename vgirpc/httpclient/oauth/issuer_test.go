package oauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

const (
	serverURL = "https://api.example/vgi"
	issuerURL = "https://idp.example"
)

// An issuer is an authorization server and the server that takes its tokens, both
// in memory: requests reach them without a network, so that time can stand still.
type issuer struct {
	resource, server map[string]any
	// tokens answers the token endpoints, one function for each request and the
	// last one for all that follow.
	tokens []func(form url.Values) (int, any)
	device map[string]any

	mu       sync.Mutex
	paths    []string // host and path of each request, in order
	forms    []url.Values
	basic    []string // user and password of each form, "" without
	times    []time.Time
	revoked  []string
	accepted string // the token that the server takes
}

func newIssuer() *issuer {
	return &issuer{
		resource: map[string]any{
			"resource": serverURL, "authorization_servers": []string{issuerURL}, "client_id": "web", "resource_name": "Numbers",
		},
		server: map[string]any{
			"issuer": issuerURL, "token_endpoint": issuerURL + "/token", "device_authorization_endpoint": issuerURL + "/device",
			"authorization_endpoint": issuerURL + "/authorize", "revocation_endpoint": issuerURL + "/revoke",
		},
		device: map[string]any{
			"device_code": "dev-code-secret", "user_code": "ABCD-EFGH", "verification_uri": issuerURL + "/activate", "expires_in": 300, "interval": 5,
		},
	}
}

// RoundTrip implements http.RoundTripper.
func (i *issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if status := i.serve(w, req); status < 0 {
		return nil, errors.New("connection reset")
	}
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func (i *issuer) serve(w http.ResponseWriter, req *http.Request) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := req.URL.Host + req.URL.Path
	i.paths = append(i.paths, at)
	i.times = append(i.times, time.Now())
	switch at {
	case "api.example/.well-known/oauth-protected-resource/vgi":
		return reply(w, 200, i.resource)
	case "idp.example/.well-known/openid-configuration":
		return reply(w, 200, i.server)
	case "idp.example/device":
		i.form(req)
		return reply(w, 200, i.device)
	case "idp.example/revoke":
		i.revoked = append(i.revoked, i.form(req).Get("token"))
		return reply(w, 200, nil)
	case "idp.example/token", "api.example/vgi/_oauth/token", "other.example/token":
		form := i.form(req)
		answer := i.tokens[0]
		if len(i.tokens) > 1 {
			i.tokens = i.tokens[1:]
		}
		status, body := answer(form)
		if status < 0 {
			return status
		}
		return reply(w, status, body)
	case "api.example/vgi/call":
		if i.accepted != "" && req.Header.Get("Authorization") == "Bearer "+i.accepted {
			body, _ := io.ReadAll(req.Body)
			return reply(w, 200, string(body))
		}
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/vgi", client_id="challenged"`)
		return reply(w, 401, "no")
	}
	return reply(w, 404, "nothing here")
}

func (i *issuer) form(req *http.Request) url.Values {
	body, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(body))
	i.forms = append(i.forms, form)
	user, password, ok := req.BasicAuth()
	if ok {
		user += ":" + password
	}
	i.basic = append(i.basic, user)
	return form
}

func reply(w http.ResponseWriter, status int, body any) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
	return status
}

// count is how many requests there were for a host and path.
func (i *issuer) count(at string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, p := range i.paths {
		if p == at {
			n++
		}
	}
	return n
}

// pauses are the times between the requests for a host and path, and before the
// first since start.
func (i *issuer) pauses(at string, start time.Time) []time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []time.Duration
	for n, p := range i.paths {
		if p == at {
			all = append(all, i.times[n].Sub(start))
			start = i.times[n]
		}
	}
	return all
}

// take makes the server take a token.
func (i *issuer) take(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepted = token
}

// gives is an answer with a token, changed by more.
func gives(token string, more ...any) func(url.Values) (int, any) {
	body := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600}
	for n := 0; n < len(more); n += 2 {
		body[more[n].(string)] = more[n+1]
	}
	return func(url.Values) (int, any) { return 200, body }
}

// refuses is an OAuth error.
func refuses(status int, code string) func(url.Values) (int, any) {
	return func(form url.Values) (int, any) {
		return status, map[string]any{"error": code, "error_description": "form was " + form.Encode()}
	}
}

// fails answers with a status without an OAuth error, or not at all when it is -1.
func fails(status int) func(url.Values) (int, any) {
	return func(url.Values) (int, any) { return status, "trouble" }
}

// idToken is an unsigned token with claims.
func idToken(claims map[string]any) string {
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(text) + ".c2ln"
}

// newClient returns a client that talks to i. Its codes are shown to nobody unless
// opts say otherwise.
func newClient(t *testing.T, i *issuer, opts oauth.Options) *oauth.Client {
	t.Helper()
	opts.Transport = i
	c, err := oauth.New(serverURL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func shown(into *oauth.DeviceCode) func(context.Context, oauth.DeviceCode) error {
	return func(_ context.Context, code oauth.DeviceCode) error { *into = code; return nil }
}

func ignored(context.Context, oauth.DeviceCode) error { return nil }

// call sends a request with a body to the server, with the client's tokens.
func call(ctx context.Context, i *issuer, source oauth.TokenSource) (status int, body string, err error) {
	wrap, err := oauth.Authorize(serverURL, source)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, serverURL+"/call", strings.NewReader("payload"))
	if err != nil {
		return 0, "", err
	}
	resp, err := wrap(i).RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// noSecrets fails when text has one of the secrets.
func noSecrets(t *testing.T, text string, secrets ...string) {
	t.Helper()
	if at := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(text, s) }); at >= 0 {
		t.Errorf("%q has a secret: %s", text, secrets[at])
	}
}

func errText(err error) string { return fmt.Sprintf("%v %+v %#v", err, err, err) }
