package workerproxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerproxy"
)

var (
	protocol = vgirpc.NewProtocol("test.Proxied", "1.0.0")
	whence   = vgirpc.NewUnary[vgirpc.None, string](protocol, "whence")
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

func workerMain(string) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, protocol)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, whence, func(ctx context.Context, _ vgirpc.None) (string, error) {
		return vgirpc.CallFrom(ctx).Peer().Addr, nil
	})
	worker.Main(server, workerhttp.Option(httpserver.Options{}), workerproxy.Option())
}

const (
	// header says that the client is at 192.0.2.7:4242, local that the connection
	// is the proxy's own.
	header = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x92\x01\xbb"
	local  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

func dial(ctx context.Context, from, address, first string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_, err = conn.Write([]byte(first))
	}
	return conn, err
}

// ask calls over raw TCP or HTTP, on a connection that begins with some bytes. What
// fails is "refused".
func ask(t *testing.T, transport, address, from, first string) string {
	t.Helper()
	var client *vgirpc.Client
	if transport == "--tcp" {
		conn, err := dial(t.Context(), from, address, first)
		if err != nil && os.Getenv("CI") == "" {
			t.Skipf("this machine has no address %s to come from: %v", from, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(workertest.Patience))
		client = vgirpc.NewClient(conn, vgirpc.ClientOptions{})
		defer func() { _ = client.Close() }()
	} else {
		pool := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dial(ctx, from, address, first)
		}}
		defer pool.CloseIdleConnections()
		over, err := httpclient.New("http://"+address, httpclient.Options{Transport: pool}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = over.Close() }()
		client = over.Client()
	}
	answer, err := whence.Call(t.Context(), client, vgirpc.None{})
	if e, ok := errors.AsType[*vgirpc.Error](err); ok && e.Kind != "" {
		return e.Kind
	}
	if err != nil {
		return "refused"
	}
	host, _, _ := strings.Cut(answer, ":")
	return host
}

func TestBothTransportsReadTheHeader(t *testing.T) {
	on := []string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "unix", "--proxy-timeout", "20"}
	for _, tt := range []struct {
		name        string
		args        []string
		from, first string
		tcp, http   string
	}{
		{"a header", on, "127.0.0.1", header, "192.0.2.7", "192.0.2.7"},
		{"an address that is not trusted", on, "127.0.0.2", header, "untrusted_proxy", "refused"},
		{"no header", on, "127.0.0.1", "", "proxy_header_missing", "refused"},
		{"the proxy's own connection", on, "127.0.0.1", local, "proxy_header_invalid", "refused"},
		{"the proxy's own connection where that is taken", append(on, "--proxy-local"), "127.0.0.1", local, "127.0.0.1", "127.0.0.1"},
		{"nothing of all this without the flag", nil, "127.0.0.1", "", "127.0.0.1", "127.0.0.1"},
	} {
		for transport, want := range map[string]string{"--tcp": tt.tcp, "--http": tt.http} {
			t.Run(tt.name+" "+transport, func(t *testing.T) {
				address := workertest.Serve(t, workertest.Command(nil, append([]string{transport, "0"}, tt.args...)...)).Address(t)
				if got := ask(t, transport, address, tt.from, tt.first); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	trusted := []string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1"}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--tcp", "0", "--proxy-protocol"}, "--proxy-protocol wants --trusted-proxy"},
		{trusted, "--proxy-protocol is nothing without"},
		{[]string{"--tcp", "0", "--trusted-proxy", "127.0.0.1"}, "--trusted-proxy is nothing without --proxy-protocol"},
		{[]string{"--tcp", "0", "--proxy-local"}, "--proxy-local is nothing without --proxy-protocol"},
		{[]string{"--tcp", "0", "--proxy-timeout", "3"}, "--proxy-timeout is nothing without --proxy-protocol"},
		{append([]string{"--tcp", "0", "--proxy-timeout", "0"}, trusted...), "--proxy-timeout 0"},
		{append([]string{"--tcp", "0", "--proxy-timeout", "NaN"}, trusted...), "--proxy-timeout NaN"},
		{append([]string{"--tcp", "0", "--trusted-proxy", "10.0.0.0/8"}, trusted...), "10.0.0.0/8"},
		{append([]string{"--tcp", "0", "--trusted-proxy", "balancer"}, trusted...), "balancer"},
		{append([]string{"--http", "0", "--trusted-proxy", "127.0.0.1"}, trusted...), "twice"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			workertest.Refused(t, 2, workertest.Command(nil, tt.args...), tt.want)
		})
	}
}

func ExampleOption() {
	// worker.Main(server, workerhttp.Option(httpserver.Options{}), workerproxy.Option())
	// serves with these flags:
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	workerproxy.Option().AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) { fmt.Println("--" + f.Name) })
	// Output:
	// --proxy-local
	// --proxy-protocol
	// --proxy-timeout
	// --trusted-proxy
}
