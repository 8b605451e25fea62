package workeridentity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeridentity"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeroauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerproxy"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerspiffe"
)

const (
	// unplugged is the role of a worker that forgets Option.In.
	unplugged = "unplugged"
	audience  = "https://service.test"
	origin    = "the-service"
)

var (
	contract = vgirpc.NewProtocol("test.IdentityWorker", "1.0.0")
	whoami   = vgirpc.NewUnary[vgirpc.None, string](contract, "whoami")
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

// workerMain is a user's main function.
func workerMain(role string) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, contract)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		id := vgirpc.CallFrom(ctx).Peer().Identity
		proxy, _ := id.Claims[proof.ClaimKey].(map[string]string)
		return strings.TrimRight(id.Domain+"/"+id.Principal+" "+proxy["proxy"], " "), nil
	})
	callers := workeridentity.New(workeridentity.Options{Workload: workerspiffe.Workload()})
	signIn := workeroauth.New(workeroauth.Options{})
	if role == unplugged {
		worker.Main(server, callers, workerhttp.Option(httpserver.Options{}))
	}
	worker.Main(server, signIn, callers, workerproxy.Option(), readiness{},
		workerhttp.With(callers.In(workerhttp.Options{Prepare: signIn.Prepare})))
}

// readiness is an option that tells on standard error what the worker waits for,
// and how many proofs it has seen, on SIGHUP.
type readiness struct{}

// AddFlags declares nothing.
func (readiness) AddFlags(*pflag.FlagSet) {}

// Apply makes SIGHUP the question.
func (readiness) Apply(_ context.Context, setup *worker.Setup) error {
	setup.OnReload(func(ctx context.Context) error {
		text := []string{"READINESS:"}
		for _, r := range setup.CheckReady(ctx) {
			text = append(text, fmt.Sprintf("%s=%t", r.Name, r.Err == nil))
		}
		for _, m := range setup.Measures() {
			if m.Name == "proofs_total" {
				m.Read(func(outcome string, n float64) {
					if n > 0 {
						text = append(text, fmt.Sprintf("%s=%v", outcome, n))
					}
				})
			}
		}
		slices.Sort(text[1:])
		_, err := fmt.Fprintln(os.Stderr, strings.Join(text, " "))
		return err
	})
	return nil
}

// issuer issues tokens.
type issuer struct {
	*httptest.Server

	key  *ecdsa.PrivateKey
	down atomic.Bool
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
	b64 := base64.RawURLEncoding.EncodeToString
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any = map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/jwks"}
		switch {
		case i.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/jwks":
			answer = map[string]any{"keys": []map[string]string{{
				"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig", "x": b64(public[1:33]), "y": b64(public[33:]),
			}}}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	i.Start()
	t.Cleanup(i.Close)
	return i
}

// token is one with claims besides those that it needs.
func (i *issuer) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"iss": i.URL, "aud": audience, "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	token.Header["kid"] = "k"
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// running is a worker that serves HTTP.
type running struct {
	*workertest.Process

	url   string
	asked int
}

func start(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	p := workertest.Serve(t, workertest.Command(env, append([]string{"--http"}, args...)...))
	return &running{Process: p, url: "http://" + p.Address(t)}
}

// outcome is who called, or why not.
type outcome struct {
	Who    string
	Code   vgirpc.Code
	Reason string
}

// ask is what the worker says of itself.
func (w *running) ask(t *testing.T) string {
	t.Helper()
	w.Signal(t, syscall.SIGHUP)
	w.asked++
	return w.SaysTimes(t, `(READINESS:.*)\n`, w.asked)[1]
}

// call calls whoami with a header.
func (w *running) call(t *testing.T, header http.Header) outcome {
	t.Helper()
	return ask(t, w.url, httpclient.Options{Header: header})
}

const secretHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// stamped is a header with a proof by the proxy "edge", and with more.
func stamped(t *testing.T, more http.Header) http.Header {
	t.Helper()
	keys, err := proof.ParseKeys("edge:" + secretHex)
	if err != nil {
		t.Fatal(err)
	}
	s, err := proof.NewSigner(keys[0], origin)
	if err != nil {
		t.Fatal(err)
	}
	h := more.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set(proof.Header, s.Mint())
	return h
}

// asked is how a caller asks: with a header that is made when the worker runs, because
// a proof is good for seconds.
type asked func(t *testing.T) http.Header

// with asks with a header.
func with(h http.Header) asked { return func(*testing.T) http.Header { return h } }

// proven asks with a proof by the proxy "edge", and with more.
func proven(more http.Header) asked {
	return func(t *testing.T) http.Header {
		t.Helper()
		return stamped(t, more)
	}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

const (
	fingerprint = "d3b07384d113edec49eaa6238ad5ff00d3b07384d113edec49eaa6238ad5ff00"
	xfcc        = "X-Forwarded-Client-Cert"
)

func TestWhoIsLetInByFlags(t *testing.T) {
	t.Parallel()
	idp := newIssuer(t)
	tokens := []string{"--jwt-issuer", idp.URL, "--jwt-allow-http", "--jwt-audience", audience}
	files := []string{"--bearer-tokens", file(t, "s3cret bob\n")}
	local := []string{"--trusted-proxy", "127.0.0.1"}
	elsewhere := []string{"--trusted-proxy", "192.0.2.1"}
	gate := []string{"--proxy-proof", "require", "--proxy-proof-origin", origin, "--proxy-proof-secrets-file", file(t, "edge:"+secretHex+"\n")}
	forwarded := []string{"--forwarded-cert", "xfcc", "--mtls-principal", "sha256"}
	envoy := []string{"--spiffe", "envoy", "--spiffe-trust-domain", "example.org", "--peer-policy", "any:spiffe"}
	grants := []string{
		"VGI_RPC_GRANT_KEYS=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)), "VGI_RPC_GRANT_AUDIENCE=here",
	}
	ann := idp.URL + "/ann"
	workload := "spiffe/peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Fa"
	show := func(id string) http.Header {
		return http.Header{xfcc: {"Hash=" + fingerprint + ";URI=" + id}}
	}
	for _, tt := range []struct {
		name   string
		args   [][]string
		env    []string
		header asked
		want   outcome
	}{
		{"nobody is asked", nil, nil, nil, outcome{Who: "/"}},
		{"a token", [][]string{tokens}, nil, with(bearer(idp.token(t, nil))), outcome{Who: ann}},
		{"no token", [][]string{tokens}, nil, nil, outcome{Code: vgirpc.Unauthenticated, Reason: "missing_credential"}},
		{
			"a token for another",
			[][]string{tokens},
			nil, with(bearer(idp.token(t, jwt.MapClaims{"aud": "x"}))),
			outcome{Code: vgirpc.Unauthenticated, Reason: "invalid_credential"},
		},
		{
			"a token that has just expired",
			[][]string{tokens, {"--jwt-leeway", "600"}},
			nil, with(bearer(idp.token(t, jwt.MapClaims{"exp": time.Now().Add(-20 * time.Second).Unix()}))),
			outcome{Who: ann},
		},
		{
			"likewise without a leeway",
			[][]string{tokens, {"--jwt-leeway", "0"}},
			nil, with(bearer(idp.token(t, jwt.MapClaims{"exp": time.Now().Add(-20 * time.Second).Unix()}))),
			outcome{Code: vgirpc.Unauthenticated, Reason: "expired_credential"},
		},
		{
			"another claim",
			[][]string{tokens, {"--jwt-principal-claim", "email"}},
			nil, with(bearer(idp.token(t, jwt.MapClaims{"email": "a@b.test"}))),
			outcome{Who: idp.URL + "/a@b.test"},
		},
		{
			"another algorithm",
			[][]string{tokens, {"--jwt-algorithms", "RS256,EdDSA"}},
			nil, with(bearer(idp.token(t, nil))),
			outcome{Code: vgirpc.Unauthenticated, Reason: "invalid_credential"},
		},
		{
			"no scope",
			[][]string{tokens, {"--jwt-scope", "api"}},
			nil, with(bearer(idp.token(t, nil))),
			outcome{Code: vgirpc.Unauthenticated, Reason: "insufficient_scope"},
		},
		{"keys without discovery", [][]string{tokens, {"--jwt-jwks-url", idp.URL + "/jwks"}}, nil, with(bearer(idp.token(t, nil))), outcome{Who: ann}},
		{"a token of a file beside", [][]string{tokens, files}, nil, with(bearer("s3cret")), outcome{Who: "bearer/bob"}},
		{
			"a token of sign-in beside",
			[][]string{files, tokens, {"--oauth-issuer", idp.URL, "--oauth-allow-http", "--oauth-resource", "https://other.test"}},
			nil, with(bearer(idp.token(t, jwt.MapClaims{"aud": "https://other.test"}))),
			outcome{Who: ann},
		},
		{"a grant that is none", [][]string{tokens, files}, grants, with(bearer("vgig1.x")), outcome{Code: vgirpc.Unauthenticated, Reason: "invalid_credential"}},
		{"a token beside grants", [][]string{tokens, files}, grants, with(bearer(idp.token(t, nil))), outcome{Who: ann}},

		{"no proof", [][]string{gate}, nil, nil, outcome{Code: vgirpc.Unauthenticated, Reason: "proxy_required"}},
		{"a proof", [][]string{gate}, nil, proven(nil), outcome{Who: "/ edge"}},
		{
			"secrets in the environment",
			[][]string{gate[:4]},
			[]string{"VGI_PROXY_PROOF_SECRETS=edge:" + secretHex},
			proven(nil),
			outcome{Who: "/ edge"},
		},
		{
			"secrets in a file in the environment",
			[][]string{gate[:4]},
			[]string{"VGI_PROXY_PROOF_SECRETS_FILE=" + gate[5]},
			proven(nil),
			outcome{Who: "/ edge"},
		},
		{
			"a credential without a proof",
			[][]string{gate, tokens, files},
			grants, with(bearer("s3cret")),
			outcome{Code: vgirpc.Unauthenticated, Reason: "proxy_required"},
		},
		{
			"a proof without a credential",
			[][]string{gate, tokens, files},
			grants, proven(nil),
			outcome{Code: vgirpc.Unauthenticated, Reason: "missing_credential"},
		},
		{"a proof and a credential", [][]string{gate, tokens, files}, grants, proven(bearer("s3cret")), outcome{Who: "bearer/bob edge"}},
		{"proofs are noted", [][]string{{"--proxy-proof", "allow"}, gate[2:]}, nil, nil, outcome{Who: "/"}},
		{"proofs are off", [][]string{{"--proxy-proof", "off"}, gate[2:]}, nil, nil, outcome{Who: "/"}},

		{"a forwarded certificate", [][]string{forwarded, local}, nil, with(http.Header{xfcc: {"Hash=" + fingerprint}}), outcome{Who: "mtls/" + fingerprint}},
		{
			"one forwarded by anybody",
			[][]string{forwarded, elsewhere},
			nil,
			with(http.Header{xfcc: {"Hash=" + fingerprint}}),
			outcome{Code: vgirpc.Unauthenticated, Reason: "proxy_required"},
		},
		{
			"one that is not on the list",
			[][]string{forwarded, local, {"--mtls-allow", "x"}},
			nil,
			with(http.Header{xfcc: {"Hash=" + fingerprint}}),
			outcome{Code: vgirpc.Unauthenticated, Reason: "insufficient_scope"},
		},
		{
			"one that is listed",
			[][]string{forwarded, local, {"--mtls-fingerprint", fingerprint}},
			nil,
			with(http.Header{xfcc: {"Hash=" + fingerprint}}),
			outcome{Who: "mtls/" + fingerprint},
		},

		{"a workload", [][]string{envoy, local}, nil, with(show("spiffe://example.org/a")), outcome{Who: workload}},
		{"a workload of another domain", [][]string{envoy, local}, nil, with(show("spiffe://evil.org/a")), outcome{Code: vgirpc.Unauthenticated, Reason: "invalid_credential"}},
		{"a workload that is allowed", [][]string{envoy, local, {"--spiffe-allow-id", "spiffe://example.org/a"}}, nil, with(show("spiffe://example.org/a")), outcome{Who: workload}},
		{
			"a workload that is not",
			[][]string{envoy, local, {"--spiffe-allow-id", "spiffe://example.org/b"}},
			nil, with(show("spiffe://example.org/a")),
			outcome{Code: vgirpc.Unauthenticated, Reason: "insufficient_scope"},
		},
		{
			"a workload by way of anybody",
			[][]string{envoy, elsewhere},
			nil, with(show("spiffe://example.org/a")),
			outcome{Code: vgirpc.Unauthenticated, Reason: "proxy_required"},
		},
		{"a credential beside workloads", [][]string{envoy, local, files}, nil, with(bearer("s3cret")), outcome{Who: "bearer/bob"}},
		{
			"a bad credential of a workload",
			[][]string{envoy, local, files},
			nil,
			with(http.Header{xfcc: show("spiffe://example.org/a")[xfcc], "Authorization": {"Bearer bad"}}),
			outcome{Code: vgirpc.Unauthenticated, Reason: "invalid_credential"},
		},
		{
			"nobody by way of Tailscale",
			[][]string{{"--tailscale", "serve", "--tailscale-issuer", "tailnet:t", "--peer-policy", "require:tailscale"}, local},
			nil, nil,
			outcome{Code: vgirpc.Unauthenticated, Reason: "missing_credential"},
		},
		{
			"no daemon of Tailscale",
			[][]string{{"--tailscale", "local", "--tailscale-issuer", "tailnet:t", "--tailscale-socket", "/nowhere", "--peer-policy", "require:tailscale"}},
			nil, nil,
			outcome{Code: vgirpc.Unavailable},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var args []string
			for _, more := range tt.args {
				args = append(args, more...)
			}
			w := start(t, tt.env, args...)
			var header http.Header
			if tt.header != nil {
				header = tt.header(t)
			}
			got := w.call(t, header)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAWorkerIsNotReadyWithoutTheKeysOfItsIssuers(t *testing.T) {
	idp := newIssuer(t)
	idp.down.Store(true)
	w := start(t, nil, "--jwt-issuer", idp.URL, "--jwt-allow-http", "--jwt-audience", audience)
	if got := w.call(t, bearer(idp.token(t, nil))); got.Code != vgirpc.Unavailable {
		t.Errorf("a token whose key cannot be fetched: %+v", got)
	}
	if got, want := w.ask(t), "READINESS: jwt-issuer=false worker=true"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	idp.down.Store(false)
	w.Says(t, "can be fetched again")
	if got := w.call(t, bearer(idp.token(t, nil))); got.Who != idp.URL+"/ann" {
		t.Fatalf("when the issuer is back: %+v", got)
	}
	if got, want := w.ask(t), "READINESS: jwt-issuer=true worker=true"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestProofsAreCounted(t *testing.T) {
	w := start(t, nil, "--proxy-proof", "require", "--proxy-proof-origin", origin, "--proxy-proof-secrets", "edge:"+secretHex)
	used := stamped(t, nil)
	for _, header := range []http.Header{used, used, stamped(t, nil), nil} {
		w.call(t, header)
	}
	if got, want := w.ask(t), "READINESS: no_proof=1 ok=2 replayed=1 worker=true"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	idp := newIssuer(t)
	tokens := "--jwt-issuer " + idp.URL + " --jwt-allow-http --jwt-audience a "
	gate := "--proxy-proof require --proxy-proof-origin o "
	for _, tt := range []struct {
		name string
		args string
		env  []string
		want string
	}{
		{"without HTTP", tokens, nil, "add --http"},
		{"a program that forgets half of it", "--http " + tokens, []string{workertest.Role(unplugged)}, "Option.In"},
		{"no audience", "--http --jwt-issuer " + idp.URL + " --jwt-allow-http", nil, "--jwt-audience is missing"},
		{"an audience of no issuer", "--http --jwt-audience a", nil, "--jwt-audience is nothing without --jwt-issuer"},
		{"an issuer over http", "--http --jwt-issuer http://id.test --jwt-audience a", nil, "--jwt-issuer"},
		{"keys of two issuers", "--http " + tokens + "--jwt-issuer https://b.test --jwt-jwks-url https://c.test", nil, "--jwt-jwks-url"},
		{"no algorithm at all", "--http " + tokens + "--jwt-algorithms none", nil, "--jwt-issuer"},
		{"a shared secret's algorithm", "--http " + tokens + "--jwt-algorithms HS256", nil, "--jwt-issuer"},
		{"a leeway that is none", "--http " + tokens + "--jwt-leeway NaN", nil, "--jwt-leeway"},

		{"certificates that nobody asks for", "--http --mtls-principal common_name", nil, "--tls-client-ca"},
		{"a name that there is not", "--http --mtls-principal shoe_size", nil, "--mtls-principal"},
		{"a list of nothing", "--http --mtls-allow x", nil, "--mtls-allow is nothing without"},
		{"certificates forwarded by anybody", "--http --forwarded-cert xfcc", nil, "--trusted-proxy"},
		{"a form that there is not", "--http --forwarded-cert jpeg --trusted-proxy 127.0.0.1", nil, "--forwarded-cert"},
		{"an element of something else", "--http --forwarded-cert pem --trusted-proxy ::1 --forwarded-cert-element last", nil, "--forwarded-cert xfcc"},
		{"a proxy that is no address", "--http --forwarded-cert xfcc --trusted-proxy proxy.test", nil, "proxy.test"},
		{"a proxy that nobody believes", "--http --trusted-proxy 127.0.0.1", nil, "--trusted-proxy is nothing without --forwarded-cert or"},

		{"a mode that there is not", "--http --proxy-proof maybe", nil, "--proxy-proof"},
		{"no secrets", "--http " + gate, nil, "--proxy-proof"},
		{"no origin", "--http --proxy-proof require --proxy-proof-secrets k:" + secretHex, nil, "--proxy-proof"},
		{"secrets that are none", "--http " + gate + "--proxy-proof-secrets k:xyz", nil, "--proxy-proof-secrets"},
		{"secrets without a gate", "--http", []string{"VGI_PROXY_PROOF_SECRETS=k:" + secretHex}, "--proxy-proof is missing"},
		{"a skew that is none", "--http " + gate + "--proxy-proof-secrets k:" + secretHex + " --proxy-proof-skew 0", nil, "--proxy-proof-skew"},

		{"evidence that counts for nobody knows what", "--http --spiffe envoy --spiffe-trust-domain a --trusted-proxy ::1", nil, "--peer-policy is missing"},
		{"a policy about nothing", "--http --peer-policy observe", nil, "--peer-policy is nothing without"},
		{"a policy that there is not", "--http --spiffe envoy --spiffe-trust-domain a --trusted-proxy ::1 --peer-policy trust:spiffe", nil, "--peer-policy"},
		{"a policy about somebody else", "--http --spiffe envoy --spiffe-trust-domain a --trusted-proxy ::1 --peer-policy primary:tailscale", nil, "tailscale"},
		{"a link that there is not", "--http --spiffe envoy --spiffe-trust-domain a --trusted-proxy ::1 --peer-policy all:spiffe", nil, "Options.Link"},
		{"a list that counts for nothing", "--http --spiffe envoy --spiffe-trust-domain a --trusted-proxy ::1 --peer-policy observe --spiffe-allow-id spiffe://a/b", nil, "--spiffe-allow-id"},
		{"no trust domain", "--http --spiffe envoy --trusted-proxy ::1 --peer-policy primary:spiffe", nil, "--spiffe-trust-domain"},
		{"a form of SPIFFE that there is not", "--http --spiffe istio --peer-policy primary:spiffe", nil, "--spiffe \"istio\""},
		{"SPIFFE IDs of nobody", "--http --spiffe direct --spiffe-trust-domain a --peer-policy primary:spiffe", nil, "--tls-client-ca"},
		{"a Workload API that makes no sense", "--http --spiffe-workload-api=nowhere --spiffe-trust-domain a --peer-policy primary:spiffe", nil, "--spiffe-workload-api"},
		{"a tailnet without a name", "--http --tailscale local --peer-policy primary:tailscale", nil, "--tailscale-issuer"},
		{"a way to Tailscale that there is not", "--http --tailscale magic --peer-policy primary:tailscale", nil, "--tailscale"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			said := workertest.Refused(t, 2, workertest.Command(tt.env, strings.Fields(tt.args)...), tt.want)
			if strings.Contains(said, secretHex) {
				t.Errorf("it tells the secret:\n%s", said)
			}
		})
	}
}
