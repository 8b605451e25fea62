package workerstorage_test

import (
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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
	"github.com/vgirpc/vgirpc-go/wire"
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
	hangs := func(context.Context, string, time.Duration) (external.Store, error) { return stuck{}, nil }
	worker.Main(server, workerstorage.Option(workerstorage.Options{
		Stores: map[string]func(context.Context, string, time.Duration) (external.Store, error){"test": refuses, "stuck": hangs},
	}), workerhttp.Option(httpserver.Options{}))
}

// stuck is storage that does not answer.
type stuck struct{}

func (stuck) Upload(ctx context.Context, _ []byte, _ string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
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

// pointing sends a pointer to an object in place of the parameters.
type pointing struct {
	vgirpc.Transport

	url string
}

func (p pointing) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	to := *req
	to.Batch = wire.EmptyBatch(req.Batch.Schema, req.Batch.Meta.With(wire.KeyLocation, p.url))
	return p.Transport.Call(ctx, &to)
}

func TestWhatCallersPointToIsFetchedUnderLimits(t *testing.T) {
	t.Parallel()

	over := make(chan struct{})
	objects := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 5000))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
		default:
			select {
			case <-r.Context().Done():
			case <-over:
			}
		}
	}))
	t.Cleanup(objects.Close)
	t.Cleanup(func() { close(over) })
	_, echo := newContract()
	allowed := "--storage mem:// --storage-allow-origin http://127.0.0.1 "
	for _, tt := range []struct {
		name, args, object string
		code               vgirpc.Code
		want               string
	}{
		{"from public places alone", "--storage mem://", "/large", vgirpc.PermissionDenied, "URL rejected"},
		{"from the origins that were named", "--storage mem:// --storage-allow-origin https://a.example", "/large", vgirpc.PermissionDenied, "URL rejected"},
		{"so much as stored", allowed + "--storage-max-fetch-bytes 1000", "/large", vgirpc.ResourceExhausted, "1000"},
		{"so much when decompressed", allowed + "--storage-max-decoded-bytes 9000", "/bomb", vgirpc.ResourceExhausted, "9000"},
		{"for so long", allowed + "--storage-fetch-timeout 0.05", "/slow", vgirpc.Unavailable, "after 3 attempts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := subprocess.Start(t.Context(), subprocess.Options{
				Command: append([]string{os.Args[0]}, strings.Fields(tt.args)...), Env: workertest.Environ(), Stderr: os.Stderr,
			})
			if err != nil {
				t.Fatal(err)
			}
			c := vgirpc.NewClientOn(pointing{vgirpc.NewStreamTransport(p, vgirpc.ClientOptions{}), objects.URL + tt.object}, vgirpc.ClientOptions{})
			defer func() { _ = c.Close() }()
			if _, err := echo.Call(t.Context(), c, textParams{}); vgirpc.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s: %v, want %s with %q", vgirpc.CodeOf(err), err, tt.code, tt.want)
			}
		})
	}
}

func TestStorageThatIsStuckDoesNotHoldACall(t *testing.T) {
	_, echo := newContract()
	c := connect(t, vgirpc.ClientOptions{}, "--storage", "stuck://", "--externalize-threshold", "100", "--storage-upload-timeout", "0.05")
	_, err := echo.Call(t.Context(), c, textParams{strings.Repeat("large ", 100)})
	if vgirpc.CodeOf(err) != vgirpc.Unavailable || !strings.Contains(err.Error(), "UploadTimeout is 50ms") {
		t.Errorf("got %v", err)
	}
	if got, err := echo.Call(t.Context(), c, textParams{"small"}); got != "small" || err != nil {
		t.Errorf("the next call: %q, %v", got, err)
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--externalize-threshold 5":                     "there is no --storage",
		"--storage mem:// --externalize-threshold 0":    "--externalize-threshold",
		"--storage mem:// --storage-compression brotli": "none, zstd or gzip",
		"--storage mem:// --storage-ttl 0.5":            "--storage-ttl",
		"--storage-upload-timeout 5":                    "there is no --storage",
		"--storage mem:// --storage-fetch-timeout 0":    "--storage-fetch-timeout",
		"--storage mem:// --storage-upload-timeout -1":  "--storage-upload-timeout",
		"--storage mem:// --storage-max-fetch-bytes 0":  "--storage-max-fetch-bytes",
		"--storage mem:// --storage-allow-origin a.b":   "--storage-allow-origin",
		"--storage mem:// --storage-listen nowhere":     "--storage",
		"--storage s3://bucket":                         "knows file, mem, stuck, test",
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
