package conformance_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
)

// authorizationServer is one that a token request never satisfies: it answers
// what it is told to, and remembers what it was asked.
type authorizationServer struct {
	*httptest.Server

	asked  chan url.Values
	status int
	body   string
}

func newAuthorizationServer(t *testing.T) *authorizationServer {
	t.Helper()
	a := &authorizationServer{
		asked: make(chan url.Values, 1), status: http.StatusOK, body: `{"access_token":"new","token_type":"Bearer","expires_in":3600}`,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token",
		})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.asked <- r.PostForm
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// answerTo is what the worker answers: the status, the body, and its headers.
func answerTo(t *testing.T, method, at string, header http.Header, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// TestTheSignInOfBrowsers holds the worker to what every implementation's token
// proxy does (CONTRACT.md, section 5), and to the way there.
func TestTheSignInOfBrowsers(t *testing.T) {
	idp := newAuthorizationServer(t)
	port := strconv.Itoa(freeport.Port(t)) // the worker takes the port that its resource names
	address := "127.0.0.1:" + port
	base := "http://" + address + "/vgi"
	w := start(t, nil, "--http-pkce", "--port", port, "--idp-url", idp.URL, "--resource", base)
	if w.line != "PORT:"+port {
		t.Fatalf("announced %q", w.line)
	}
	defer w.stop(t, syscall.SIGTERM)

	const (
		code   = "grant_type=authorization_code&code=abc&code_verifier=v&redirect_uri=https://x/cb"
		secret = "my-client-secret"
	)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for _, tt := range []struct {
		name         string
		header       http.Header
		body         string
		status       int
		error        string
		passedOn     url.Values
		answerStatus int // of the authorization server; 0 for a token
	}{
		{"a code", form, code + "&client_id=my-client-id", 200, "", url.Values{
			"grant_type": {"authorization_code"}, "code": {"abc"}, "code_verifier": {"v"}, "redirect_uri": {"https://x/cb"},
			"client_id": {"my-client-id"}, "client_secret": {secret},
		}, 0},
		{"a refresh token", form, "grant_type=refresh_token&refresh_token=r&client_id=my-client-id&scope=openid", 200, "", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "scope": {"openid"}, "client_id": {"my-client-id"}, "client_secret": {secret},
		}, 0},
		{"another client", form, "grant_type=authorization_code&client_id=evil&code=x&code_verifier=v&redirect_uri=https://x", 400, "invalid_client", nil, 0},
		{"another grant", form, "grant_type=client_credentials", 400, "unsupported_grant_type", nil, 0},
		{"another kind of body", http.Header{"Content-Type": {"application/json"}}, `{"grant_type":"authorization_code"}`, 415, "invalid_request", nil, 0},
		{"an error of the authorization server", form, code, 400, "invalid_grant", url.Values{
			"grant_type": {"authorization_code"}, "code": {"abc"}, "code_verifier": {"v"}, "redirect_uri": {"https://x/cb"},
			"client_id": {"my-client-id"}, "client_secret": {secret},
		}, 400},
	} {
		t.Run("the proxy and "+tt.name, func(t *testing.T) {
			if tt.answerStatus != 0 {
				idp.status, idp.body = tt.answerStatus, `{"error":"invalid_grant","error_description":"bad code"}`
			}
			status, body, _ := answerTo(t, http.MethodPost, base+"/_oauth/token", tt.header, tt.body)
			var answer struct {
				Error string `json:"error"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || status != tt.status || answer.Error != tt.error {
				t.Errorf("status %d: %s (%v)", status, body, err)
			}
			if tt.passedOn != nil {
				if diff := cmp.Diff(tt.passedOn, <-idp.asked); diff != "" {
					t.Error(diff)
				}
				if body != idp.body {
					t.Errorf("the answer changed: %s", body)
				}
			}
		})
	}
	t.Run("the metadata names the proxy, and keeps the secret", func(t *testing.T) {
		status, body, _ := answerTo(t, http.MethodGet, "http://"+address+"/.well-known/oauth-protected-resource/vgi", nil, "")
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil || status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
		if diff := cmp.Diff(map[string]any{
			"resource": base, "authorization_servers": []any{idp.URL}, "client_id": "my-client-id", "token_endpoint": base + "/_oauth/token",
		}, doc); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a page of the frontend may ask", func(t *testing.T) {
		const frontend = "https://cupola.query-farm.services"
		status, _, h := answerTo(t, http.MethodOptions, base+"/_oauth/token", http.Header{"Origin": {frontend}}, "")
		if status != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != frontend ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("status %d, headers %v", status, h)
		}
	})
	t.Run("a browser is sent to sign in, and a client is told where", func(t *testing.T) {
		status, _, h := answerTo(t, http.MethodGet, base, http.Header{"Accept": {"text/html"}}, "")
		if status != http.StatusFound || !strings.HasPrefix(h.Get("Location"), idp.URL+"/authorize?") {
			t.Errorf("status %d to %q", status, h.Get("Location"))
		}
		status, _, h = answerTo(t, http.MethodPost, base+"/ConformanceService/echo_string", http.Header{"Accept": {"text/html"}}, "")
		if status != http.StatusUnauthorized || !strings.HasPrefix(h.Get("WWW-Authenticate"), `Bearer resource_metadata="http://`+address+"/.well-known/") {
			t.Errorf("status %d, challenge %q", status, h.Get("WWW-Authenticate"))
		}
	})
}
