package nativeclient_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// envServe makes this test binary a worker on standard input and output.
const envServe = "VGIRPC_TEST_NATIVE_CLIENT_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(envServe) == "" {
		os.Exit(m.Run())
	}
	if err := serveStdio(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveStdio() error {
	rw, err := vgirpc.TakeStdio()
	if err != nil {
		return err
	}
	s, err := hosted(nil)
	if err != nil {
		return err
	}
	return s.ServePipe(context.Background(), rw)
}

// command is the command line of the reference worker.
func command(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{pyref.Python(t), "-W", "ignore", "-m", "vgi_rpc.conformance.client_worker"}, args...)
}

// withCertificate is a command line of the reference worker where it cannot make
// a certificate of its own: it gets one like it.
func withCertificate(t *testing.T, argv []string) []string {
	t.Helper()
	if exec.CommandContext(t.Context(), argv[0], "-c", "import cryptography").Run() == nil {
		return argv
	}
	files, _ := certificate(t)
	worker := []string{argv[0], "-W", "ignore", "testdata/tls_worker.py", files.CertFile, files.KeyFile}
	return append(worker, argv[5:]...)
}

// reference starts a reference worker, and returns what follows the given words
// at the beginning of its first lines.
func reference(t *testing.T, argv []string, words ...string) []string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // of the signal
		if t.Failed() {
			t.Logf("the reference worker said:\n%s", stderr.String())
		}
	})
	rd := bufio.NewReader(out)
	var found []string
	for _, word := range words {
		line, err := rd.ReadString('\n')
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), word)
		if err != nil || !ok {
			t.Fatalf("the reference worker says %q, %v: want a line with %s", line, err, word)
		}
		found = append(found, rest)
	}
	return found
}

// mode is how a worker is started on HTTP.
type mode struct {
	prefix    string
	sticky    bool
	external  bool
	tls       bool
	turnBytes int64
}

// externalThreshold is the limit of requests and of results of external modes,
// and maxUpload that of uploads, in bytes.
const (
	externalThreshold = 4096
	maxUpload         = 16 << 20
)

// endpoint is a worker on HTTP.
type endpoint struct {
	url   string // with the prefix
	host  string // host:port
	roots *x509.CertPool
	store *store // of the server of this module, in external mode
}

// bothServers runs a test against the reference worker and against the server
// of this module.
func bothServers(t *testing.T, m mode, test func(t *testing.T, e endpoint)) {
	t.Helper()
	t.Run("the Python worker", func(t *testing.T) { test(t, m.python(t)) })
	t.Run("the server of this module", func(t *testing.T) { test(t, m.own(t)) })
}

// python starts the reference worker and waits until it is healthy.
func (m mode) python(t *testing.T) endpoint {
	t.Helper()
	args, words := []string{"--http", "0"}, []string{"PORT:"}
	if m.prefix != "" {
		args = append(args, "--prefix", m.prefix)
	}
	if m.sticky {
		args = append(args, "--sticky")
	}
	if m.external {
		args = append(args, "--external", "--external-threshold", strconv.Itoa(externalThreshold))
	}
	if m.turnBytes != 0 {
		args = append(args, "--producer-turn-bytes", strconv.FormatInt(m.turnBytes, 10))
	}
	if m.tls {
		args, words = append(args, "--tls"), append(words, "TLS-CA:")
	}
	argv := command(t, args...)
	if m.tls {
		argv = withCertificate(t, argv)
	}
	found := reference(t, argv, words...)
	e := endpoint{host: "127.0.0.1:" + found[0]}
	if m.tls {
		pem, err := os.ReadFile(found[1])
		noError(t, err)
		e.roots = x509.NewCertPool()
		equal(t, e.roots.AppendCertsFromPEM(pem), true)
	}
	return m.healthy(t, e)
}

// own starts the server of this module.
func (m mode) own(t *testing.T) endpoint {
	t.Helper()
	e := endpoint{}
	opts := httpserver.Options{Prefix: m.prefix}
	serve := httpserver.ServeOptions{Logger: slog.New(slog.DiscardHandler)}
	if m.sticky {
		opts.Sticky = &httpserver.Sticky{TTL: sessionTTL, EchoHeaders: map[string]string{echoHeader: echoText}}
	}
	var offload vgirpc.Offload
	if m.external {
		e.store = newStore(t)
		o, err := external.New(external.Options{
			Store: e.store, Threshold: externalThreshold, Compression: external.Zstd, AllowedOrigins: []string{e.store.url},
		})
		noError(t, err)
		t.Cleanup(func() { noError(t, o.Close()) })
		offload, opts.MaxRequestBytes, opts.Uploads = o, externalThreshold, e.store
	}
	if m.turnBytes != 0 {
		opts.MaxResponseBytes = m.turnBytes
	}
	if m.tls {
		serve.TLS, e.roots = certificate(t)
	}
	h, err := httpserver.New(newServer(t, offload), opts)
	noError(t, err)
	s, err := httpserver.NewServer(h, serve)
	noError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		noError(t, s.Shutdown(context.Background()))
		noError(t, <-done)
	})
	e.host = l.Addr().String()
	return m.healthy(t, e)
}

// healthy waits for the answer of the worker's health route: the reference says
// where it is before it accepts connections.
func (m mode) healthy(t *testing.T, e endpoint) endpoint {
	t.Helper()
	scheme := "http://"
	if m.tls {
		scheme = "https://"
	}
	e.url = scheme + e.host + m.prefix
	tries := time.NewTicker(20 * time.Millisecond)
	defer tries.Stop()
	for range 1500 {
		status, _, err := e.do(t, http.MethodGet, e.url+"/health")
		if err == nil {
			equal(t, status, http.StatusOK)
			return e
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		<-tries.C
	}
	t.Fatal("the worker does not accept connections")
	return e
}

// do sends a request without a body, by hand, and returns status and headers of
// the response.
func (e endpoint) do(t *testing.T, method, url string) (int, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	noError(t, err)
	pool := &http.Transport{TLSClientConfig: trust(e.roots)}
	defer pool.CloseIdleConnections()
	resp, err := pool.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, errors.Join(err, resp.Body.Close())
}

// status is the status of the answer to [endpoint.do].
func (e endpoint) status(t *testing.T, method, url string) int {
	t.Helper()
	status, _, err := e.do(t, method, url)
	noError(t, err)
	return status
}

// rawTransports start a worker on a byte stream, and connect to it.
var rawTransports = []struct {
	name string
	dial func(t *testing.T) *vgirpc.Client
}{
	{"the Python worker on standard input and output", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		return child(t, subprocess.Options{Command: command(t, "--stdio")})
	}},
	{"the Python worker on a Unix socket", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		path := filepath.Join(t.TempDir(), "worker.sock")
		found := reference(t, command(t, "--unix", path), "UNIX:")
		want, err := filepath.EvalSymlinks(filepath.Dir(path))
		noError(t, err)
		equal(t, found, []string{filepath.Join(want, "worker.sock")})
		c, err := vgirpc.DialUnix(t.Context(), found[0], vgirpc.ClientOptions{})
		return closed(t, c, err)
	}},
	{"the Python worker on raw TCP", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		found := reference(t, command(t, "--tcp", "127.0.0.1:0"), "TCP:127.0.0.1:")
		c, err := vgirpc.DialTCP(t.Context(), "127.0.0.1:"+found[0], vgirpc.ClientOptions{})
		return closed(t, c, err)
	}},
	{"the server of this module on standard input and output", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		return child(t, subprocess.Options{Command: []string{os.Args[0]}, Env: append(os.Environ(), envServe+"=1")})
	}},
	{"the server of this module on a Unix socket", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		path := filepath.Join(t.TempDir(), "worker.sock")
		l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
		serveOn(t, l, err)
		c, err := vgirpc.DialUnix(t.Context(), path, vgirpc.ClientOptions{})
		return closed(t, c, err)
	}},
	{"the server of this module on raw TCP", func(t *testing.T) *vgirpc.Client {
		t.Helper()
		l, err := vgirpc.ListenTCP(t.Context(), "127.0.0.1:0")
		serveOn(t, l, err)
		c, err := vgirpc.DialTCP(t.Context(), l.Addr().String(), vgirpc.ClientOptions{})
		return closed(t, c, err)
	}},
}

// child starts a worker process. It has to end well when its input does.
func child(t *testing.T, opts subprocess.Options) *vgirpc.Client {
	t.Helper()
	var stderr bytes.Buffer
	opts.Stderr, opts.StartTimeout = &stderr, -1
	c, err := subprocess.New(t.Context(), opts, vgirpc.ClientOptions{})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker said:\n%s", stderr.String())
		}
	})
	return closed(t, c, err)
}

// closed closes a client that was made, when the test is over.
func closed(t *testing.T, c *vgirpc.Client, err error) *vgirpc.Client {
	t.Helper()
	noError(t, err)
	t.Cleanup(func() { noError(t, c.Close()) })
	return c
}

// serveOn serves the contract until the test is over.
func serveOn(t *testing.T, l net.Listener, err error) {
	t.Helper()
	noError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := newServer(t, nil)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		noError(t, <-done)
	})
}
