package workerstorage_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

type textParams struct {
	Text string `vgi:"text"`
}

func newContract() (*vgirpc.Protocol, *vgirpc.Unary[textParams, string]) {
	p := vgirpc.NewProtocol("test.Storage", "1.0.0")
	return p, vgirpc.NewUnary[textParams, string](p, "echo")
}

// workerMain is a user's main function.
func workerMain(string) {
	contract, echo := newContract()
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, contract)
	if err != nil {
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, echo, func(_ context.Context, p textParams) (string, error) { return p.Text, nil })
	refuses := func(_ context.Context, target string, _ time.Duration) (external.Store, error) {
		return nil, errors.New("cannot open " + target)
	}
	worker.Main(server, workerstorage.Option(workerstorage.Options{
		Stores: map[string]func(context.Context, string, time.Duration) (external.Store, error){"test": refuses},
	}), workerhttp.Option(httpserver.Options{}))
}

// connect starts a worker with storage on its standard input and output.
func connect(t *testing.T, opts vgirpc.ClientOptions, args ...string) *vgirpc.Client {
	t.Helper()
	c, err := subprocess.New(t.Context(), subprocess.Options{
		Command: append([]string{os.Args[0]}, args...), Env: workertest.Environ(), Stderr: os.Stderr,
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestLargeResultsOfAWorkerLeaveForItsStorage(t *testing.T) {
	offload, err := external.New(external.Options{AllowedOrigins: []string{"http://127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = offload.Close() }()
	_, echo := newContract()
	large := strings.Repeat("large ", 1000)
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"in memory", []string{"--storage", "mem://", "--externalize-threshold", "1000"}},
		{"in files, compressed", []string{
			"--storage", (&url.URL{Scheme: "file", Path: t.TempDir()}).String(), "--externalize-threshold", "1000",
			"--storage-compression", "zstd", "--storage-ttl", "60",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, vgirpc.ClientOptions{Offload: offload}, tt.args...)
			for _, text := range []string{"small", large} {
				if got, err := echo.Call(t.Context(), c, textParams{text}); got != text || err != nil {
					t.Errorf("%d bytes came back as %d, %v", len(text), len(got), err)
				}
			}
			without := connect(t, vgirpc.ClientOptions{}, tt.args...)
			if got, err := echo.Call(t.Context(), without, textParams{"small"}); got != "small" || err != nil {
				t.Errorf("a small result: %q, %v", got, err)
			}
			if _, err := echo.Call(t.Context(), without, textParams{large}); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
				t.Errorf("a large result, to a client that cannot fetch it: %v", err)
			}
		})
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--externalize-threshold 5":                     "there is no --storage",
		"--storage mem:// --externalize-threshold 0":    "--externalize-threshold",
		"--storage mem:// --storage-compression brotli": "none, zstd or gzip",
		"--storage mem:// --storage-ttl 0.5":            "--storage-ttl",
		"--storage mem:// --storage-listen nowhere":     "--storage",
		"--storage s3://bucket":                         "knows file, mem, test",
		"--storage file://":                             "file:///absolute/path",
		"--storage mem://name":                          "mem://",
		"--storage /tmp/secret":                         "want a URL",
		"--storage test://u:p@h/x?key=secret":           "cannot open test://h/x",
		"--storage test://h --storage-listen :0":        "--storage-listen",
	} {
		t.Run(args, func(t *testing.T) {
			if said := workertest.Refused(t, 2, workertest.Command(nil, strings.Fields(args)...), want); strings.Contains(said, "secret") {
				t.Errorf("it tells the secret: %q", said)
			}
		})
	}
}

func TestOverHTTPClientsGetPlacesForLargeRequests(t *testing.T) {
	header := health(t, workertest.Serve(t, workertest.Command(nil, "--http", "--storage", "mem://")).Address(t))
	for name, want := range map[string]string{"VGI-Upload-URL-Support": "true", "VGI-Externalization-Enabled": "true"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// health is the header of the answer to load balancers.
func health(t *testing.T, address string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.Header
}
