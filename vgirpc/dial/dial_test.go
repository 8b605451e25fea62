package dial_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/wire"
)

// asWorker makes the test binary a worker on its standard input and output.
const asWorker = "DIAL_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		os.Exit(work())
	}
	os.Exit(m.Run())
}

func work() int {
	s, err := vgitest.NewContract().NewServer(vgirpc.ServerOptions{})
	if err != nil {
		return 1
	}
	if len(os.Args) > 1 && os.Args[1] == "--unix" {
		// The last timeout counts: nobody stays behind.
		return worker.Run(context.Background(), s, slices.Concat(os.Args[1:], []string{"--idle-timeout", "1"}))
	}
	stdio, err := vgirpc.TakeStdio()
	if err != nil {
		return 1
	}
	if err := s.ServePipe(context.Background(), stdio); err != nil {
		return 1
	}
	return 0
}

func newServer(t *testing.T) *vgirpc.Server {
	t.Helper()
	s, err := vgitest.NewContract().NewServer(vgirpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve serves raw connections of l until the test ends.
func serve(t *testing.T, l net.Listener) {
	t.Helper()
	s := newServer(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(context.Background(), l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

// shortDir is a directory whose path leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dial") //nolint:usetesting // the path of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEveryURLLeadsToItsServer(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", shortDir(t)) // where warm workers are known
	contract := vgitest.NewContract()
	h, err := httpserver.New(newServer(t), httpserver.Options{Prefix: "/vgi"})
	if err != nil {
		t.Fatal(err)
	}
	web, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(web.Close)
	t.Cleanup(secure.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	config := &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}

	socket := filepath.Join(t.TempDir(), "s")
	serve(t, listen(t, "unix", socket))
	tcp := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tcp)
	overTLS := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tls.NewListener(overTLS, secure.TLS))
	through := newProxy(t)

	opts := dial.Options{
		TLS:     config,
		Process: subprocess.Options{Env: append(os.Environ(), asWorker+"=1")},
		Servers: map[string]*vgirpc.Server{"here": newServer(t)},
	}
	viaProxy := opts
	viaProxy.Proxy = through.url()
	for _, tt := range []struct {
		name, target string
		opts         dial.Options
	}{
		{"a command", "stdio:'" + os.Args[0] + "' -test.run none", opts},
		{"a command behind slashes", "stdio://" + os.Args[0], opts},
		{"a warm worker", "launch:" + os.Args[0], opts},
		{"a Unix socket", "unix:" + socket, opts},
		{"a Unix socket behind slashes", "unix://" + socket, opts},
		{"TCP", "tcp:" + tcp.Addr().String(), opts},
		{"TLS over TCP", "tcp+tls://" + overTLS.Addr().String(), opts},
		{"HTTP", web.URL + "/vgi", opts},
		{"HTTPS", secure.URL + "/vgi", opts},
		{"this process", "inproc:here", opts},
		{"TCP through a proxy", "tcp:" + tcp.Addr().String(), viaProxy},
		{"TLS through a proxy", "tcp+tls:" + overTLS.Addr().String(), viaProxy},
		{"HTTPS through a proxy", secure.URL + "/vgi", viaProxy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := through.count.Load()
			c, err := dial.Dial(t.Context(), tt.target, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := contract.Add.Call(t.Context(), c, vgitest.AddParams{A: 1, B: 2})
			if sum != 3 || err != nil {
				t.Errorf("1 + 2 is %v, %v", sum, err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if used := through.count.Load() > before; used != (tt.opts.Proxy != "") {
				t.Errorf("the proxy was used: %v", used)
			}
			sum, err = dial.CallOnce(t.Context(), tt.target, tt.opts, contract.Add, vgitest.AddParams{A: 2, B: 2})
			if sum != 4 || err != nil {
				t.Errorf("2 + 2 is %v, %v", sum, err)
			}
		})
	}
}

func TestTargetsThatLeadNowhere(t *testing.T) {
	for _, tt := range []struct {
		name, target string
		opts         dial.Options
		want         vgirpc.Code
	}{
		{"no scheme", "localhost", dial.Options{}, vgirpc.InvalidArgument},
		{"another scheme", "ftp://example.com", dial.Options{}, vgirpc.InvalidArgument},
		{"nothing behind the colon", "unix:", dial.Options{}, vgirpc.InvalidArgument},
		{"a quote that is not closed", "stdio:worker 'x", dial.Options{}, vgirpc.InvalidArgument},
		{"a port without a host's colon", "tcp:localhost", dial.Options{}, vgirpc.InvalidArgument},
		{"a server that nobody named", "inproc:x", dial.Options{}, vgirpc.InvalidArgument},
		{"a proxy that is none", "tcp:127.0.0.1:1", dial.Options{Proxy: "http://x:1"}, vgirpc.InvalidArgument},
		{
			"a proxy beside a transport", "http://127.0.0.1:1",
			dial.Options{Proxy: "socks5h://x:1", HTTP: httpclient.Options{Transport: httptest.NewServer(nil).Client().Transport}},
			vgirpc.InvalidArgument,
		},
		{"a web server without a host", "http://", dial.Options{}, vgirpc.InvalidArgument},
		{"a web server with a port that is none", "https://127.0.0.1:x", dial.Options{}, vgirpc.InvalidArgument},
		{"credentials in a URL", "http://user:hunter2@127.0.0.1:1", dial.Options{}, vgirpc.InvalidArgument},
		{"a query in a URL", "http://127.0.0.1:1/?token=hunter2", dial.Options{}, vgirpc.InvalidArgument},
		{"options that HTTP refuses", "http://127.0.0.1:1", dial.Options{HTTP: httpclient.Options{Compression: 23}}, vgirpc.InvalidArgument},
		{"limits that make no sense", "http://127.0.0.1:1", dial.Options{Client: vgirpc.ClientOptions{Limits: wire.Limits{MaxSchemaBytes: -1}}}, vgirpc.InvalidArgument},
		{"a program that is not there", "stdio:/nowhere/at/all", dial.Options{}, vgirpc.FailedPrecondition},
		{"a socket that is not there", "unix:/nowhere/at/all", dial.Options{}, vgirpc.Unavailable},
		{"a port where nobody listens", "tcp:127.0.0.1:1", dial.Options{}, vgirpc.Unavailable},
		{"a web server that is not there", "http://127.0.0.1:1", dial.Options{}, vgirpc.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := dial.Dial(t.Context(), tt.target, tt.opts)
			if err == nil {
				t.Fatal("a client", c.Close())
			}
			var typed *vgirpc.Error
			if !errors.As(err, &typed) || typed.Code != tt.want {
				t.Errorf("error %v: want code %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestCommandsAreSplitAsAShellDoesIt(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{`worker`, []string{"worker"}},
		{"  worker\t--unix  path\n", []string{"worker", "--unix", "path"}},
		{`'a b' "c d" e\ f`, []string{"a b", "c d", "e f"}},
		{`a'b'"c"d`, []string{"abcd"}},
		{`'' ""`, []string{"", ""}},
		{`"a\"b\\c\d"`, []string{`a"b\c\d`}},
		{`'a\'`, []string{`a\`}},
		{`$HOME *`, []string{"$HOME", "*"}},
		{``, nil},
		{`  `, nil},
		{`"a`, nil},
		{`a\`, nil},
	} {
		got, err := dial.Split(tt.line)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", tt.line, err, diff)
		}
	}
}
