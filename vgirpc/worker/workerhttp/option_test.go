package workerhttp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
)

// clientCA names the variable with the certificates of clients that the program
// of the worker under test demands by itself.
const clientCA = "VGIRPC_TEST_CLIENT_CA"

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

type row struct {
	N int64 `vgi:"n"`
}

var (
	contract = vgirpc.NewProtocol("test.HTTPWorker", "1.0.0")
	who      = vgirpc.NewUnary[vgirpc.None, int64](contract, "who") // which process answers
	count    = vgirpc.NewProducer[vgirpc.None, row](contract, "count")
	stay     = vgirpc.NewUnary[vgirpc.None, vgirpc.None](contract, "stay") // in a session
)

// counter counts to 20.
type counter struct{ N int64 }

func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[row]) error {
	if c.N++; c.N > 20 {
		return io.EOF
	}
	return out.Emit(row{c.N})
}

// workerMain is a user's main function, with a route that lets a test hold a
// request.
func workerMain(string) {
	ping := vgirpc.NewUnary[vgirpc.None, string](contract, "ping")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{ServerID: "the-worker"}, contract)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, ping, func(context.Context, vgirpc.None) (string, error) { return "pong", nil })
	vgirpc.HandleUnary(server, who, func(context.Context, vgirpc.None) (int64, error) { return int64(os.Getpid()), nil })
	vgirpc.HandleUnary(server, stay, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		return vgirpc.None{}, httpserver.OpenSession(ctx, new(int64), 0)
	})
	vgirpc.HandleProducer(server, count, func(context.Context, vgirpc.None) (*counter, error) { return &counter{}, nil })
	var serve httpserver.ServeOptions
	if path := os.Getenv(clientCA); path != "" {
		serve.TLS = &httpserver.TLSOptions{ClientCAFile: path}
	}
	worker.Main(server, workerhttp.With(workerhttp.Options{
		Serve:   serve,
		Handler: httpserver.Options{MaxResponseBytes: 1 << 20},
		Configure: func(_ context.Context, o *httpserver.Options) error {
			if o.Prefix == "/refused" {
				return errors.New("this program wants another prefix")
			}
			return nil
		},
		Wrap: func(h *httpserver.Handler) http.Handler { return &holding{h} },
	}))
}

type holding struct{ *httpserver.Handler }

func (h *holding) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/hold" {
		h.Handler.ServeHTTP(w, r)
		return
	}
	answer := http.NewResponseController(w)
	_ = answer.EnableFullDuplex()
	_ = answer.Flush()
	_, _ = io.Copy(w, r.Body) // to the end of the request
}

func (h *holding) Drain() {
	fmt.Fprintln(os.Stderr, "draining")
	h.Handler.Drain()
}

// serve starts a worker that listens, with more of an environment.
func serve(t *testing.T, env []string, args ...string) *workertest.Process {
	t.Helper()
	return workertest.Serve(t, workertest.Command(env, args...))
}

func do(t *testing.T, method, url string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

const key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestFlagsReachTheHandler(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("s3cret alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("# the key\n"+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   string
		env    []string
		path   string
		status int
		header map[string]string // "" for one that is not there
		log    string            // what is not said, with a "-" in front
	}{
		{"nothing but the mode", "--http", nil, "/health", 200, map[string]string{
			"Vgi-Max-Response-Bytes": "1048576", "Vgi-Supported-Encodings": "zstd, gzip", "Vgi-Sticky-Enabled": "", "Vgi-Max-Request-Bytes": "",
		}, "no token key"},
		{"limits", "--max-request-bytes 4096 --http 0 --max-response-bytes 70000", nil, "/health", 200, map[string]string{
			"Vgi-Max-Request-Bytes": "4096", "Vgi-Max-Response-Bytes": "70000",
		}, ""},
		{"a prefix", "--http=0 --prefix /deep/er", nil, "/deep/er/health", 200, nil, ""},
		{"no compression", "--http --no-compression", nil, "/health", 200, map[string]string{"Vgi-Supported-Encodings": ""}, ""},
		{"hosting limits", "--http --hosting-max-request-bytes 512 --max-request-bytes 4096 --hosting-max-response-bytes 65536", nil, "/health", 200, map[string]string{
			"Vgi-Max-Request-Bytes": "512", "Vgi-Max-Response-Bytes": "65536",
		}, ""},
		{"no pages", "--http --no-pages", nil, "/describe", 404, nil, ""},
		{"a challenge of its own", "--http --challenge Custom --bearer-tokens " + tokens, nil, "/test.HTTPWorker/ping", 401, map[string]string{
			"Www-Authenticate": "Custom", "Vgi-Auth-Proxy-Required": "",
		}, ""},
		{"zstd, whatever the environment says", "--http --no-zstd=false", []string{"VGI_HTTP_DISABLE_ZSTD=1"}, "/health", 200, map[string]string{
			"Vgi-Supported-Encodings": "zstd, gzip",
		}, ""},
		{"no zstd", "--http", []string{"VGI_HTTP_DISABLE_ZSTD=1"}, "/health", 200, map[string]string{"Vgi-Supported-Encodings": "gzip"}, ""},
		{"sticky sessions", "--http --sticky-ttl 0.5", nil, "/health", 200, map[string]string{"Vgi-Sticky-Enabled": "true"}, ""},
		{"no sticky sessions", "--http --sticky-ttl 5 --no-sticky", nil, "/health", 200, map[string]string{"Vgi-Sticky-Enabled": ""}, ""},
		{"a key", "--http --replicas 2 --token-key " + key, nil, "/health", 200, nil, "-no token key"},
		{"a key file", "--http --replicas 2 --token-key-file " + keys, nil, "/health", 200, nil, "-no token key"},
		{"a key in the environment", "--http --replicas 2", []string{"VGI_RPC_TOKEN_KEY=" + key}, "/health", 200, nil, "-no token key"},
		{"a key file in the environment", "--http --replicas 2", []string{"VGI_RPC_TOKEN_KEY_FILE=" + keys}, "/health", 200, nil, "-no token key"},
		{"callers with a token", "--http --bearer-tokens " + tokens, nil, "/test.HTTPWorker/ping", 401, map[string]string{
			"Www-Authenticate": "Bearer", "Vgi-Auth-Reason": "missing_credential",
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := serve(t, tt.env, strings.Fields(tt.args)...)
			method := http.MethodGet
			if tt.status == http.StatusUnauthorized {
				method = http.MethodPost
			}
			res := do(t, method, "http://"+p.Address(t)+tt.path, nil) //nolint:bodyclose // do closes it
			if res.StatusCode != tt.status {
				t.Errorf("status %s", res.Status)
			}
			for name, want := range tt.header {
				if got := strings.Join(res.Header.Values(name), ","); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if absent, not := strings.CutPrefix(tt.log, "-"); strings.Contains(p.Said(), absent) == not && tt.log != "" {
				t.Errorf("the log is %q", p.Said())
			}
		})
	}
}

func TestGrantKeysOfTheEnvironmentBringIdentityAlong(t *testing.T) {
	for want, env := range map[bool][]string{
		false: nil,
		true: {
			"VGI_RPC_GRANT_KEYS=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)), "VGI_RPC_GRANT_AUDIENCE=here",
		},
	} {
		base := "http://" + serve(t, env, "--http").Address(t)
		c, err := httpclient.Dial(t.Context(), base, httpclient.Options{}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hosted := slices.ContainsFunc(list.Protocols, func(p vgirpc.ProtocolSummary) bool { return p.Protocol == identity.Name })
		if hosted != want {
			t.Errorf("with %q it hosts %v", env, list.Protocols)
		}
		_ = c.Close()
		header := http.Header{"Authorization": {"Bearer vgig1.nonsense"}}
		c, err = httpclient.Dial(t.Context(), base, httpclient.Options{Header: header}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Describe(t.Context()); (vgirpc.CodeOf(err) == vgirpc.Unauthenticated) != want {
			t.Errorf("a grant that is none, with %q: %v", env, err)
		}
		_ = c.Close()
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		args string
		env  []string
		want string
	}{
		{"--http 70000", nil, "--http"},
		{"--http --tcp 0", nil, "exclude each other"},
		{"--http --max-response-bytes 5", nil, "MaxResponseBytes"},
		{"--http --prefix x", nil, "Prefix"},
		{"--http --prefix /refused", nil, "another prefix"},
		{"--http --replicas 2", nil, "Keys are missing"},
		{"--http --token-key xyz", nil, "--token-key"},
		{"--http --token-key " + key + " --token-key-file x", nil, "exclude each other"},
		{"--http --token-key-file /nowhere", nil, "--token-key-file"},
		{"--http", []string{"VGI_RPC_TOKEN_KEY=short"}, "VGI_RPC_TOKEN_KEY"},
		{"--http", []string{"VGI_HTTP_DISABLE_ZSTD=maybe"}, "VGI_HTTP_DISABLE_ZSTD"},
		{"--http", []string{"VGI_RPC_GRANT_KEYS=short"}, "VGI_RPC_GRANT_KEYS"},
		{"--http --sticky-ttl -1", nil, "--sticky-ttl"},
		{"--http --bearer-tokens /nowhere", nil, "--bearer-tokens"},
		{"--http --tls-cert x", nil, "want both"},
		{"--http=8080 --port 9090", nil, "--http 8080 and --port 9090"},
		{"--http 8080 --port 0", nil, "--http 8080 and --port 0"},
		{"--bearer-tokens x", nil, "--bearer-tokens: only HTTP has that: add --http"},
		{"--tcp 0 --tls-cert x --tls-key x", nil, "--tls-cert, --tls-key: only HTTP has that: add --http"},
		{"--http --header-timeout 0", nil, "--header-timeout"},
		{"--http --progress-timeout soon", nil, "--progress-timeout"},
		{"--http --drain-delay -1", nil, "--drain-delay"},
		{"--http --max-header-bytes -1", nil, "MaxHeaderBytes"},
		{"--http --hosting-max-response-bytes 5", nil, "HostingMaxResponseBytes"},
		{"--http --call-state-cache -1", nil, "--call-state-cache"},
		{"--http --call-state-cache 1 --no-call-state-cache", nil, "exclude each other"},
		{"--http --sticky-echo X-A=a", nil, "add --sticky-ttl"},
		{"--http --sticky-ttl 1 --sticky-echo X-A", nil, "NAME=VALUE"},
		{"--http --sticky-ttl 1 --sticky-max-sessions -1", nil, "MaxSessions"},
		{"--http --json-host x", nil, "add --json-gateway"},
		{"--http --json-gateway --json-max-bytes -1", nil, "JSON.MaxBodyBytes"},
		{"--http --repository-url javascript:x", nil, "repository URL"},
		{"--http --proxy-auth-header a:b", nil, "header"},
		{"--http --prefix /.well-known/x", nil, "authentication"},
	} {
		t.Run(tt.args+strings.Join(tt.env, ""), func(t *testing.T) {
			workertest.Refused(t, 2, workertest.Command(tt.env, strings.Fields(tt.args)...), tt.want)
		})
	}
}

func TestASignalLetsRequestsFinish(t *testing.T) {
	p := serve(t, nil, "--http")
	body, feed := io.Pipe()
	res := do(t, http.MethodPost, "http://"+p.Address(t)+"/hold", body) //nolint:bodyclose // do closes it
	p.Signal(t, syscall.SIGTERM)
	p.Says(t, "draining")
	go func() {
		_, _ = io.WriteString(feed, "finished")
		_ = feed.Close()
	}()
	if got, err := io.ReadAll(res.Body); string(got) != "finished" || err != nil {
		t.Errorf("answer %q, %v", got, err)
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if rest := p.Rest(t); rest != "" {
		t.Errorf("more on standard output: %q", rest)
	}
}

func TestTheProgramsClientCertificatesStayDemandedWithACertificateOfTheFlags(t *testing.T) {
	cert, pool := certificate(t)
	p := serve(t, []string{clientCA + "=" + cert}, "--http", "--tls-cert", cert, "--tls-key", cert)
	url := "https://" + p.Address(t) + "/health"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	res, err := stranger.Do(r)
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("a client without a certificate is let in: %s", res.Status)
	}
	if !strings.Contains(err.Error(), "certificate required") {
		t.Error(err)
	}
}

// certificate writes a certificate of the loopback address and its key into one
// file, and returns its path and who trusts it.
func certificate(t *testing.T) (path string, trust *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	private, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	)
	path = filepath.Join(t.TempDir(), "tls.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AddCert(s.Certificate())
	return path, trust
}

func TestFlagsThatLaunchersPassWhateverTheTransportAreToldOf(t *testing.T) {
	p := serve(t, nil, "--tcp", "0", "--port", "9090", "--prefix", "/x")
	if line := p.Announcement(t); !strings.HasPrefix(line, "TCP:") {
		t.Fatalf("announcement %q", line)
	}
	if log := p.Said(); !strings.Contains(log, "add --http") || !strings.Contains(log, "--port --prefix") {
		t.Errorf("the log is %q", log)
	}
}

func TestAPortMayBeGivenInTwoWays(t *testing.T) {
	first := serve(t, nil, "--http", "--host", "127.0.0.1")
	_, port, _ := strings.Cut(first.Address(t), ":")
	for _, args := range [][]string{{"--http", port}, {"--port", port, "--http"}, {"--http", port, "--port", port}} {
		workertest.Refused(t, 1, workertest.Command(nil, args...), "address already in use")
	}
}
