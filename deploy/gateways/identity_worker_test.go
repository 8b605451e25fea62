package gateways_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerproxy"
)

// asWorker makes the test binary a worker that tells callers who they are. Its
// value is the gateway that the worker stands behind.
const asWorker = "VGI_TEST_WORKER_BEHIND"

var (
	whoamiProtocol = vgirpc.NewProtocol("Whoami", "1.0.0")
	whoami         = vgirpc.NewUnary[vgirpc.None, string](whoamiProtocol, "whoami")
)

// trustDomain is that of the clients' SPIFFE IDs.
const trustDomain = "example.org"

// authenticators are the options of the worker that go with each recipe. The
// gateways of the tests connect from 127.0.0.1, and from nowhere else.
var authenticators = map[string]func() (auth.Authenticator, error){
	"nginx": func() (auth.Authenticator, error) {
		return mtls.New(mtls.Options{Source: mtls.EscapedPEM, Proxies: []string{"127.0.0.1"}})
	},
	"nginx with spiffe": func() (auth.Authenticator, error) {
		provider, err := spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: spiffe.ProxyOptions{
			TrustDomains: []string{trustDomain}, Proxies: []string{"127.0.0.1"},
		}})
		return primary(provider, err)
	},
	"haproxy": func() (auth.Authenticator, error) {
		return mtls.New(mtls.Options{Source: mtls.ClientCert, ProxyVerifies: true, Proxies: []string{"127.0.0.1"}})
	},
	"envoy": func() (auth.Authenticator, error) {
		return mtls.New(mtls.Options{
			Source: mtls.XFCC, TrustDomains: []string{trustDomain}, Proxies: []string{"127.0.0.1"},
		})
	},
	"envoy with certificates": func() (auth.Authenticator, error) {
		return mtls.New(mtls.Options{Source: mtls.XFCC, Name: mtls.CommonName, Proxies: []string{"127.0.0.1"}})
	},
	"envoy with spiffe": func() (auth.Authenticator, error) {
		provider, err := spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: spiffe.ProxyOptions{
			TrustDomains: []string{trustDomain}, Proxies: []string{"127.0.0.1"},
		}})
		return primary(provider, err)
	},
	"nobody": func() (auth.Authenticator, error) { return nil, nil }, //nolint:nilnil // everybody is let in
}

func primary(provider peer.Provider, err error) (auth.Authenticator, error) {
	if err != nil {
		return nil, err
	}
	return peer.New(peer.Options{Providers: []peer.Provider{provider}, Policy: peer.Primary(provider.Name())})
}

// serveWhoami is the worker's main.
func serveWhoami(behind string) {
	authenticator, err := authenticators[behind]()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, whoamiProtocol)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		p := vgirpc.CallFrom(ctx).Peer()
		return p.Identity.Principal + " from " + p.Addr, nil
	})
	worker.Main(server, workerhttp.Option(httpserver.Options{Auth: authenticator}), workerproxy.Option())
}

// startWhoami starts a worker, and returns its port once it listens there.
func startWhoami(t *testing.T, behind string, args ...string) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asWorker+"="+behind)
	announced := make(chan string, 1)
	cmd.Stdout = &firstLine{line: announced}
	run(t, cmd)
	select {
	case line := <-announced:
		port, err := strconv.Atoi(line[strings.LastIndexByte(line, ':')+1:])
		if err != nil {
			t.Fatalf("the worker announces %q", line)
		}
		return port
	case <-time.After(startLimit):
	}
	t.Fatal("the worker announces nothing")
	return 0
}

// firstLine sends the first line that is written to it.
type firstLine struct {
	text []byte
	line chan string
	done bool
}

func (w *firstLine) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	if line, _, ok := strings.Cut(string(w.text), "\n"); ok && !w.done {
		w.done = true
		w.line <- line
	}
	return len(p), nil
}
