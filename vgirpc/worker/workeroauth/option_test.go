package workeroauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeroauth"
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

// workerMain is a user's main function.
func workerMain(string) {
	contract := vgirpc.NewProtocol("test.OAuthWorker", "1.0.0")
	ping := vgirpc.NewUnary[vgirpc.None, string](contract, "ping")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, contract)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, ping, func(context.Context, vgirpc.None) (string, error) { return "pong", nil })
	signIn := workeroauth.New(workeroauth.Options{})
	worker.Main(server, signIn, workerhttp.With(workerhttp.Options{Prepare: signIn.Prepare}))
}

// issuer issues tokens.
type issuer struct {
	*httptest.Server

	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/jwks",
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		b64 := base64.RawURLEncoding.EncodeToString
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig", "x": b64(public[1:33]), "y": b64(public[33:]),
		}}})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// token is one for an audience.
func (i *issuer) token(t *testing.T, audience string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": i.URL, "aud": audience, "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(),
	})
	token.Header["kid"] = "k"
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// file writes a file, and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts the worker and returns where it serves.
func start(t *testing.T, args ...string) string {
	t.Helper()
	return "http://" + workertest.Serve(t, workertest.Command(nil, append([]string{"--http"}, args...)...)).Address(t)
}

// ask is what a browser gets, with a bearer token unless it is empty.
func ask(t *testing.T, at, bearer string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
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
	return resp.StatusCode, resp.Header, string(text)
}

func TestWhoIsLetInByFlags(t *testing.T) {
	idp := newIssuer(t)
	secret, keys := file(t, "s3cret\n"), file(t, "# of sign-ins\n"+strings.Repeat("ab", 32)+"\n")
	here := []string{"--oauth-issuer", idp.URL, "--oauth-allow-http", "--oauth-resource", "https://service.test/vgi", "--prefix", "/vgi"}
	signIn := append([]string{"--oauth-client-id", "web", "--oauth-client-secret-file", secret, "--oauth-key-file", keys}, here...)
	const document = `{"resource":"https://service.test/vgi","authorization_servers":["%s"]%s}`
	for _, tt := range []struct {
		name      string
		args      []string
		bearer    string
		want      int // to a browser
		challenge string
		document  string // after the first two members
	}{
		{"a token for the resource", here, idp.token(t, "https://service.test/vgi"), 200, "", ""},
		{"no token for another", here, idp.token(t, "https://other.test"), 401, "", ""},
		{"no token", here, "", 401, `Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource/vgi"`, ""},
		{
			"a token for another name of it", append([]string{"--oauth-audience", "api", "--oauth-audience", "api2"}, here...),
			idp.token(t, "api2"), 200, "", "",
		},
		{
			"an id_token", append([]string{"--oauth-id-token"}, signIn...), idp.token(t, "web"), 200, "",
			`,"client_id":"web","use_id_token_as_bearer":true,"token_endpoint":"https://service.test/vgi/_oauth/token"`,
		},
		{
			"a browser signs in", signIn, "", 302, "",
			`,"client_id":"web","token_endpoint":"https://service.test/vgi/_oauth/token"`,
		},
		{
			"a secret that is no secret", append([]string{"--oauth-publish-secret", "--oauth-scope", "openid"}, signIn...), "", 302, "",
			`,"scopes_supported":["openid"],"client_id":"web","client_secret":"s3cret","token_endpoint":"https://service.test/vgi/_oauth/token"`,
		},
		{
			"a token of a file beside it", append([]string{"--bearer-tokens", file(t, "t0ken ann\n")}, signIn...), "t0ken", 200, "",
			`,"client_id":"web","token_endpoint":"https://service.test/vgi/_oauth/token"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := start(t, tt.args...)
			status, header, body := ask(t, at+"/vgi/describe", tt.bearer)
			if status != tt.want || (tt.challenge != "" && header.Get("WWW-Authenticate") != tt.challenge) {
				t.Errorf("status %d, challenge %q: %s", status, header.Get("WWW-Authenticate"), body)
			}
			if to := header.Get("Location"); tt.want == 302 && !strings.HasPrefix(to, idp.URL+"/auth?") {
				t.Errorf("sent to %q", to)
			}
			if _, _, got := ask(t, at+"/.well-known/oauth-protected-resource/vgi", ""); got != fmt.Sprintf(document, idp.URL, tt.document) {
				t.Errorf("the metadata is %s", got)
			}
		})
	}
}

// TestAFleetsEnvironmentIsNoErrorOfOneWorker has variables for workers that serve
// HTTP, and one that does not.
func TestAFleetsEnvironmentIsNoErrorOfOneWorker(t *testing.T) {
	environ := []string{"VGI_RPC_OAUTH_ISSUER=https://id.test", "VGI_RPC_OAUTH_RESOURCE=https://service.test"}
	for _, tt := range []struct {
		name    string
		args    []string
		environ []string
		want    string // on stderr, "" for a worker that serves
	}{
		{"without HTTP", nil, environ, ""},
		{"on the command line it is one", []string{"--oauth-scope", "openid"}, environ, "--oauth-scope is nothing without --http"},
		{"with HTTP an issuer is not forgotten", []string{"--http"}, environ[1:], "VGI_RPC_OAUTH_RESOURCE is nothing without --oauth-issuer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := workertest.Command(tt.environ, tt.args...)
			if tt.want != "" {
				workertest.Refused(t, 2, cmd, tt.want)
				return
			}
			if end := workertest.Run(t, cmd); end.Status != 0 { // who calls has left at once
				t.Errorf("%+v", end)
			}
		})
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	idp := newIssuer(t)
	good := []string{"--http", "--oauth-issuer", idp.URL, "--oauth-allow-http", "--oauth-resource", "https://service.test"}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"without HTTP", good[1:], "nothing without --http"},
		{"without an issuer", []string{"--http", "--oauth-client-id", "web"}, "nothing without --oauth-issuer"},
		{"without a resource", good[:4], "--oauth-resource is missing"},
		{"id_tokens for nobody", append(good, "--oauth-id-token"), "--oauth-client-id"},
		{"a secret of nobody", append(good, "--oauth-client-secret-file", file(t, "s3cret")), "--oauth-client-secret-file is nothing without --oauth-client-id"},
		{"an issuer over http", []string{"--http", "--oauth-issuer", "http://id.test", "--oauth-resource", "https://service.test"}, "http"},
		{"a file that is not there", append(good, "--oauth-client-id", "web", "--oauth-client-secret-file", "/nowhere"), "--oauth-client-secret-file"},
		{"a file without a secret", append(good, "--oauth-client-id", "web", "--oauth-client-secret-file", file(t, " \n")), "empty"},
		{"a file without a key", append(good, "--oauth-client-id", "web", "--oauth-key-file", file(t, "# none")), "no key"},
		{"replicas without a key", append(good, "--oauth-client-id", "web", "--replicas", "2", "--token-key", strings.Repeat("ab", 32)), "--oauth-key-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			workertest.Refused(t, 2, workertest.Command(nil, tt.args...), tt.want)
		})
	}
}
