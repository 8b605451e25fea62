package workeradmin_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeradmin"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
)

type textParams struct {
	Text string `vgi:"text"`
}

type row struct {
	N int64 `vgi:"n"`
}

func newContract() (*vgirpc.Protocol, vgirpc.Unary[textParams, string], vgirpc.Producer[textParams, row]) {
	p := vgirpc.NewProtocol("test.Admin", "1.0.0")
	return p, *vgirpc.NewUnary[textParams, string](p, "echo"), *vgirpc.NewProducer[textParams, row](p, "count")
}

// counter is a stream that can be stored between two requests.
type counter struct {
	Left int64 `vgi:"left"`
}

// Produce sends a row as long as there are some left.
func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[row]) error {
	if c.Left--; c.Left < 0 {
		return io.EOF
	}
	return out.Emit(row{c.Left})
}

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

func workerMain(string) {
	protocol, echo, count := newContract()
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Version: "1.2.3"}, protocol)
	if err != nil {
		panic(err)
	}
	vgirpc.HandleUnary(server, &echo, func(_ context.Context, p textParams) (string, error) {
		if p.Text == "fail" {
			return "", vgirpc.Errorf(vgirpc.NotFound, "no such text")
		}
		return p.Text, nil
	})
	vgirpc.HandleProducer(server, &count, func(context.Context, textParams) (*counter, error) { return &counter{3}, nil })
	worker.Main(server,
		workerhttp.Option(httpserver.Options{}),
		workerstorage.Option(workerstorage.Options{}),
		workeradmin.Option(workeradmin.Options{}))
}

// process is a worker with an admin listener.
type process struct {
	*workertest.Process
	admin  string // URL of the listener
	client *http.Client
}

// announced is how a worker says where its admin listener is.
const announced = `msg="admin listener" address=(\S+)`

// start starts a worker over sockets.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Process: workertest.Serve(t, workertest.Command(nil, args...)), client: &http.Client{}}
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		p.Stop(t)
		if rest := p.Rest(t); rest != "" {
			t.Errorf("it also wrote to standard output: %q", rest)
		}
	})
	address := p.SaysTimes(t, announced, 1)[1]
	if path := address; strings.HasPrefix(path, "/") {
		p.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		address = "localhost"
	}
	p.admin = "http://" + address
	return p
}

// ask sends a request to the listener.
func (p *process) ask(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// metrics are the worker's own figures, by their names and labels.
func (p *process) metrics(t *testing.T) (all string, values map[string]string) {
	t.Helper()
	status, text := p.ask(t, "GET", "/metrics", "")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	values = map[string]string{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndex(line, " "); strings.HasPrefix(line, "vgi_rpc_") {
			values[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return text, values
}

func TestFiguresOfAWorkerOverHTTP(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access.jsonl")
	p := start(t, "--http", "--sticky-ttl", "60", "--admin", "0", "--access-log", log,
		"--storage", "mem://", "--externalize-threshold", "2000", "--max-request-bytes", "100000")
	offload, err := external.New(external.Options{AllowedOrigins: []string{"http://127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + p.Address(t)
	c, err := httpclient.Dial(t.Context(), base, httpclient.Options{}, vgirpc.ClientOptions{Offload: offload})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, echo, count := newContract()
	for _, text := range []string{"small", "fail", strings.Repeat("large", 1000)} {
		if got, err := echo.Call(t.Context(), c, textParams{text}); err != nil && text != "fail" || err == nil && got != text {
			t.Fatalf("%.10s: %v", text, err)
		}
	}
	s, err := count.Open(t.Context(), c, textParams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/test.Admin/nothing", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	} else {
		_ = resp.Body.Close()
	}
	text, got := p.metrics(t)
	for name, want := range map[string]string{
		`vgi_rpc_calls_total{code="OK",method="echo",protocol="test.Admin",type="unary"}`:        "2",
		`vgi_rpc_calls_total{code="NOT_FOUND",method="echo",protocol="test.Admin",type="unary"}`: "1",
		`vgi_rpc_refused_total{code="UNIMPLEMENTED",reason="not_found",transport="http"}`:        "1",
		`vgi_rpc_worker_state{state="serving"}`:                                                  "1",
		`vgi_rpc_worker_state{state="draining"}`:                                                 "0",
		`vgi_rpc_http_in_flight`:                                                                 "0",
		`vgi_rpc_http_sessions`:                                                                  "0",
		`vgi_rpc_http_call_cache_total{result="miss"}`:                                           "0",
		`vgi_rpc_external_uploads_total{result="ok"}`:                                            "1",
		`vgi_rpc_external_fetches_total{result="failed"}`:                                        "0",
		`vgi_rpc_access_log_dropped_total`:                                                       "0",
		`vgi_rpc_memory_bytes`:                                                                   "0",
		`vgi_rpc_connections_open`:                                                               "0",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
	}
	for _, name := range []string{
		`vgi_rpc_http_call_cache_total{result="hit"}`, `vgi_rpc_http_received_bytes_total`, `vgi_rpc_http_sent_bytes_total`,
		`vgi_rpc_external_uploaded_bytes_total`, `vgi_rpc_call_externalized_bytes_total{method="echo",protocol="test.Admin",type="unary"}`,
	} {
		if got[name] == "" || got[name] == "0" {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	checkMetrics(t, text)
}

// checkMetrics lets promtool look at figures.
func checkMetrics(t *testing.T, text string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: observability/setup.sh installs it", err)
		}
		t.Skipf("%v: observability/setup.sh installs it", err)
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s\nof\n%s", err, out, text)
	}
}

func TestAWorkerThatEndsIsNotReady(t *testing.T) {
	p := start(t, "--http", "--admin", "0", "--drain-delay", "600")
	if status, body := p.ask(t, "GET", "/readyz", ""); status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	p.Signal(t, syscall.SIGTERM)
	for deadline := time.Now().Add(workertest.Patience); ; {
		status, body := p.ask(t, "GET", "/readyz?verbose", "")
		if status == 503 && strings.Contains(body, "the worker is draining") {
			break
		}
		if status != 200 || time.Now().After(deadline) {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	if status, _ := p.ask(t, "GET", "/livez", ""); status != 200 {
		t.Errorf("status %d: it lives", status)
	}
	// Nobody waits for the rest: a second signal is the end.
	p.Signal(t, syscall.SIGINT)
	if status := p.Wait(t); status != 130 {
		t.Errorf("exit status %d", status)
	}
}

func TestTheConfigurationHidesSecrets(t *testing.T) {
	const secret = "correct-horse-battery"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--unix", filepath.Join(t.TempDir(), "s"), "--admin-unix", filepath.Join(t.TempDir(), "a"), "--admin-token-file", file)
	if status, _ := p.ask(t, "GET", "/config", ""); status != 401 {
		t.Errorf("status %d without the token", status)
	}
	next := p.client.Transport
	p.client.Transport = withToken{next, secret}
	_, body := p.ask(t, "GET", "/config", "")
	var got struct {
		State    string `json:"state"`
		Settings []struct {
			Name   string   `json:"name"`
			Source string   `json:"source"`
			Values []string `json:"values"`
			Hidden bool     `json:"hidden"`
		} `json:"settings"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.State != "serving" {
		t.Fatalf("%v: %s", err, body)
	}
	var hidden []string
	for _, s := range got.Settings {
		if s.Hidden {
			hidden = append(hidden, s.Name+" "+s.Source)
		}
	}
	if diff := cmp.Diff([]string{"admin-token command line"}, hidden); diff != "" || strings.Contains(body, secret) {
		t.Errorf("hidden (-want +got):\n%s\n%s", diff, body)
	}
	if status, body := p.ask(t, "PUT", "/loglevel", "debug"); status != 200 {
		t.Errorf("status %d: %s", status, body)
	}
	if _, body := p.ask(t, "GET", "/loglevel", ""); !strings.Contains(body, "DEBUG") {
		t.Errorf("the level is %s", body)
	}
	if _, body := p.ask(t, "GET", "/buildinfo", ""); !strings.Contains(body, `"version": "1.2.3"`) {
		t.Errorf("the build is %s", body)
	}
}

// withToken adds a token to requests.
type withToken struct {
	http.RoundTripper
	token string
}

// RoundTrip sends a request.
func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.RoundTripper.RoundTrip(r)
}

func TestOverStandardOutputThereIsNothingButTheProtocol(t *testing.T) {
	p := &process{Process: workertest.Start(t, workertest.Command(nil, "--admin", "0")), client: &http.Client{}}
	c := vgirpc.NewClient(p.Conn(), vgirpc.ClientOptions{})
	_, echo, _ := newContract()
	if got, err := echo.Call(t.Context(), c, textParams{"hello"}); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.admin = "http://" + p.SaysTimes(t, announced, 1)[1]
	_, got := p.metrics(t)
	if n := got["vgi_rpc_connections_open"]; n != "1" {
		t.Errorf("%s connections", n)
	}
	p.client.CloseIdleConnections()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if rest := p.Rest(t); rest != "" {
		t.Errorf("it also wrote to standard output: %q", rest)
	}
}

func TestTheListenerIsHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	p := start(t, "--unix", path, "--admin", "0")
	id := func() string {
		status, body := p.ask(t, "GET", "/buildinfo", "")
		var build struct {
			ServerID string `json:"server_id"`
		}
		if err := json.Unmarshal([]byte(body), &build); status != 200 || err != nil {
			t.Fatalf("status %d, %v: %s", status, err, body)
		}
		p.client.CloseIdleConnections()
		return build.ServerID
	}
	before := id()
	p.Restart(t)
	deadline := time.Now().Add(workertest.Patience)
	for id() == before { // which still takes connections at times, until it has drained
		if time.Now().After(deadline) {
			t.Fatal("no other process answers")
		}
	}
	c, err := dial.Dial(t.Context(), "unix:"+path, dial.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, echo, _ := newContract()
	if got, err := echo.Call(t.Context(), c, textParams{"hello"}); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if status, body := p.ask(t, "GET", "/readyz?verbose", ""); status != 200 {
		t.Errorf("status %d: %s", status, body)
	}
	_ = c.Close()
	p.Signal(t, syscall.SIGTERM) // the second process; the first one ends by itself
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--admin-public":                                 "--admin-public is nothing without --admin",
		"--admin 1 --admin-unix /x":                      "exclude each other",
		"--admin http":                                   "want [HOST:]PORT",
		"--admin 0.0.0.0:0":                              "others than this machine can reach",
		"--check --admin 0.0.0.0:9":                      "--admin-public",
		"--admin 0.0.0.0:0 --admin-host a:b":             `"a:b"`,
		"--admin 0 --admin-token short":                  "16 characters",
		"--admin 0 --admin-tls-cert c":                   "go together",
		"--admin 0 --admin-tls-cert c --admin-tls-key k": "--admin-tls-cert",
		"--check --admin host:99999":                     "want [HOST:]PORT",
		"--check --admin-unix /no/such/place/x":          "/no/such/place",
	} {
		t.Run(args, func(t *testing.T) {
			if said := workertest.Refused(t, 2, workertest.Command(nil, strings.Fields(args)...), want); strings.Contains(said, "short") {
				t.Errorf("it tells the token: %q", said)
			}
		})
	}
}

func TestACheckOpensNothing(t *testing.T) {
	end := workertest.Run(t, workertest.Command(nil, "--check", "--admin", "0"))
	if end.Status != 0 || strings.Contains(end.Stderr, "admin listener") {
		t.Errorf("%+v", end)
	}
}
