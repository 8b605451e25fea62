//go:build unix

package socket_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/auth/socket/sockettls"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

const (
	patience = 30 * time.Second
	oneKey   = "1111111111111111111111111111111111111111111111111111111111111111"
	otherKey = "2222222222222222222222222222222222222222222222222222222222222222"
)

var (
	protocol = vgirpc.NewProtocol("test.Socket.v1", "1.0.0")
	whoami   = vgirpc.NewUnary[vgirpc.None, string](protocol, "whoami")
	ping     = vgirpc.NewUnary[vgirpc.None, int64](protocol, "ping")
)

func must[T any](tb testing.TB) func(T, error) T {
	tb.Helper()
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// place is a served socket.
type place struct {
	addr net.Addr
	log  *journal
}

// journal is a log that tests look into.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// serve serves whoami behind admitters.
func serve(tb testing.TB, network string, admit ...vgirpc.Admitter) place {
	tb.Helper()
	log := &journal{}
	opts := vgirpc.ServerOptions{Logger: slog.New(slog.NewTextHandler(log, nil)), Conns: vgirpc.ConnOptions{Admit: admit}}
	s := must[*vgirpc.Server](tb)(vgirpc.NewServer(opts, protocol))
	vgirpc.HandleUnary(s, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		id := vgirpc.CallFrom(ctx).Peer().Identity
		return id.Domain + "/" + id.Principal, nil
	})
	vgirpc.HandleUnary(s, ping, func(context.Context, vgirpc.None) (int64, error) { return 1, nil })
	var l net.Listener
	if network == "unix" {
		l = must[net.Listener](tb)(vgirpc.ListenUnix(tb.Context(), filepath.Join(tb.TempDir(), "s"), vgirpc.UnixOptions{}))
	} else {
		l = must[net.Listener](tb)(vgirpc.ListenTCP(tb.Context(), "0"))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(context.Background(), l)
	}()
	tb.Cleanup(func() {
		_ = l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-done
	})
	return place{l.Addr(), log}
}

func (p place) url(scheme string) string {
	if scheme == "" {
		scheme = p.addr.Network()
	}
	return scheme + ":" + p.addr.String()
}

// eventuallySays waits until the log has a text.
func (p place) eventuallySays(tb testing.TB, text string) {
	tb.Helper()
	for end := time.Now().Add(patience); !strings.Contains(p.log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("the log does not say %q: %s", text, p.log)
		}
	}
}

// ask is who a new client is taken for.
func ask(ctx context.Context, url string, opts dial.Options) (string, error) {
	return dial.CallOnce(ctx, url, opts, whoami, vgirpc.None{})
}

// outcome of asking: who it is, or why not.
type outcome struct {
	Who  string      `json:"Who"`
	Code vgirpc.Code `json:"Code"`
	Kind string      `json:"Kind"`
}

func outcomeOf(who string, err error) outcome {
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return outcome{Code: e.Code, Kind: e.Kind}
	}
	if err != nil {
		return outcome{Who: err.Error()}
	}
	return outcome{Who: who}
}

func secrets(tb testing.TB, lines ...string) *socket.Secrets {
	tb.Helper()
	return must[*socket.Secrets](tb)(socket.ParseSecrets(strings.Join(lines, "\n")))
}

func hmacServer(tb testing.TB, lines ...string) *socket.Handshake {
	tb.Helper()
	return must[*socket.Handshake](tb)(socket.NewHandshake(socket.HandshakeOptions{Mode: socket.HMAC, Secrets: secrets(tb, lines...)}))
}

func hmacClient(tb testing.TB, id string, lines ...string) *socket.Client {
	tb.Helper()
	return must[*socket.Client](tb)(socket.NewClient(socket.ClientOptions{Mode: socket.HMAC, Secrets: secrets(tb, lines...), KeyID: id}))
}

func versionServer(tb testing.TB) *socket.Handshake {
	tb.Helper()
	return must[*socket.Handshake](tb)(socket.NewHandshake(socket.HandshakeOptions{Mode: socket.Version}))
}

func versionClient(tb testing.TB) *socket.Client {
	tb.Helper()
	return must[*socket.Client](tb)(socket.NewClient(socket.ClientOptions{Mode: socket.Version}))
}

// certificate makes a certificate with a common name that is its own authority.
func certificate(tb testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key := must[*ecdsa.PrivateKey](tb)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must[[]byte](tb)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	pool := x509.NewCertPool()
	pool.AddCert(must[*x509.Certificate](tb)(x509.ParseCertificate(der)))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestAHandshakeLetsInWhoProvesItself(t *testing.T) {
	cert, pool := certificate(t, "somebody")
	over := func(config *tls.Config) *sockettls.TLS {
		config.Certificates = []tls.Certificate{cert}
		return must[*sockettls.TLS](t)(sockettls.New(sockettls.Options{
			Config: config,
			Identify: func(s *tls.ConnectionState) (vgirpc.Identity, error) {
				return vgirpc.Identity{Principal: s.PeerCertificates[0].Subject.CommonName, Domain: "mtls", Authenticated: true}, nil
			},
		}))
	}
	trusts := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	shows := trusts.Clone()
	shows.Certificates = []tls.Certificate{cert}
	old := trusts.Clone()
	old.MaxVersion = tls.VersionTLS12
	mutual := func() *tls.Config { return &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert} }
	optional := func() *tls.Config { return &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven} }
	one, both := "one "+oneKey, []string{"two " + otherKey, "one " + oneKey}
	refused := outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeFailed}
	required := outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeRequired}
	for _, tt := range []struct {
		name    string
		network string
		scheme  string
		admit   []vgirpc.Admitter
		opts    dial.Options
		want    outcome
	}{
		{"nothing is asked", "unix", "", nil, dial.Options{}, outcome{Who: "/"}},
		{"a version", "unix", "", []vgirpc.Admitter{versionServer(t)}, dial.Options{Handshake: versionClient(t)}, outcome{Who: "/"}},
		{"a version over TCP", "tcp", "", []vgirpc.Admitter{versionServer(t)}, dial.Options{Handshake: versionClient(t)}, outcome{Who: "/"}},
		{"a secret", "unix", "", []vgirpc.Admitter{hmacServer(t, one)}, dial.Options{Handshake: hmacClient(t, "", one)}, outcome{Who: "hmac/one"}},
		{"a secret over TCP", "tcp", "", []vgirpc.Admitter{hmacServer(t, one)}, dial.Options{Handshake: hmacClient(t, "", one)}, outcome{Who: "hmac/one"}},
		{
			"a server that takes the new secret and the old one", "tcp", "",
			[]vgirpc.Admitter{hmacServer(t, both...)},
			dial.Options{Handshake: hmacClient(t, "", one)},
			outcome{Who: "hmac/one"},
		},
		{
			"a client that uses the first of its secrets", "tcp", "",
			[]vgirpc.Admitter{hmacServer(t, both...)},
			dial.Options{Handshake: hmacClient(t, "", both...)},
			outcome{Who: "hmac/two"},
		},
		{
			"a client that uses the secret it is told to", "tcp", "",
			[]vgirpc.Admitter{hmacServer(t, both...)},
			dial.Options{Handshake: hmacClient(t, "one", both...)},
			outcome{Who: "hmac/one"},
		},
		{"another secret", "unix", "", []vgirpc.Admitter{hmacServer(t, one)}, dial.Options{Handshake: hmacClient(t, "", "one "+otherKey)}, refused},
		{
			"a secret that the server has no more", "unix", "",
			[]vgirpc.Admitter{hmacServer(t, one)},
			dial.Options{Handshake: hmacClient(t, "two", both...)},
			refused,
		},
		{"no handshake where one is wanted", "unix", "", []vgirpc.Admitter{hmacServer(t, one)}, dial.Options{}, required},
		{"no handshake where one is wanted, over TCP", "tcp", "", []vgirpc.Admitter{hmacServer(t, one)}, dial.Options{}, required},
		{
			"less than what is wanted", "unix", "",
			[]vgirpc.Admitter{hmacServer(t, one)},
			dial.Options{Handshake: versionClient(t)},
			outcome{Code: vgirpc.FailedPrecondition, Kind: socket.KindHandshakeMode},
		},
		{
			"more than what is wanted", "unix", "",
			[]vgirpc.Admitter{versionServer(t)},
			dial.Options{Handshake: hmacClient(t, "", one)},
			outcome{Code: vgirpc.FailedPrecondition, Kind: socket.KindHandshakeMode},
		},
		{"TLS without certificates of clients", "tcp", "tcp+tls", []vgirpc.Admitter{over(&tls.Config{})}, dial.Options{TLS: trusts}, outcome{Who: "/"}},
		{"TLS on both sides", "tcp", "tcp+tls", []vgirpc.Admitter{over(mutual())}, dial.Options{TLS: shows}, outcome{Who: "mtls/somebody"}},
		{
			"TLS with a certificate that need not be", "tcp", "tcp+tls",
			[]vgirpc.Admitter{over(optional())},
			dial.Options{TLS: shows},
			outcome{Who: "mtls/somebody"},
		},
		{
			"TLS without a certificate that need not be", "tcp", "tcp+tls",
			[]vgirpc.Admitter{over(optional())},
			dial.Options{TLS: trusts},
			outcome{Who: "/"},
		},
		{
			"TLS without a certificate that must be", "tcp", "tcp+tls",
			[]vgirpc.Admitter{over(mutual())},
			dial.Options{TLS: trusts},
			outcome{Code: vgirpc.Unavailable},
		},
		{"no TLS where it is wanted", "tcp", "tcp", []vgirpc.Admitter{over(&tls.Config{})}, dial.Options{}, outcome{Code: vgirpc.Unavailable}},
		{
			"a secret over TLS", "tcp", "tcp+tls",
			[]vgirpc.Admitter{over(&tls.Config{}), hmacServer(t, one)},
			dial.Options{TLS: trusts, Handshake: hmacClient(t, "", one)},
			outcome{Who: "hmac/one"},
		},
		{"a refusal over TLS", "tcp", "tcp+tls", []vgirpc.Admitter{over(&tls.Config{}), hmacServer(t, one)}, dial.Options{TLS: trusts}, required},
		{"an old TLS, with its extended master secret", "tcp", "tcp+tls", []vgirpc.Admitter{
			over(&tls.Config{MinVersion: tls.VersionTLS12}), hmacServer(t, one),
		}, dial.Options{TLS: old, Handshake: hmacClient(t, "", one)}, outcome{Who: "hmac/one"}},
		{"a user and a secret: the last word counts", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{})), hmacServer(t, one),
		}, dial.Options{Handshake: hmacClient(t, "", one)}, outcome{Who: "hmac/one"}},
		{"the user of this process", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{})),
		}, dial.Options{}, outcome{Who: fmt.Sprintf("unix/uid:%d", os.Getuid())}},
		{"a user who is listed", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{UIDs: []int{4242, os.Getuid()}})),
		}, dial.Options{}, outcome{Who: fmt.Sprintf("unix/uid:%d", os.Getuid())}},
		{"a group that is listed", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{GIDs: []int{os.Getgid()}})),
		}, dial.Options{}, outcome{Who: fmt.Sprintf("unix/uid:%d", os.Getuid())}},
		{"a user who is not", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{UIDs: []int{4242}, GIDs: []int{4242}})),
		}, dial.Options{}, outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindPeerNotAllowed}},
		{"a user who is not, and would do a handshake", "unix", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{UIDs: []int{4242}})), hmacServer(t, one),
		}, dial.Options{Handshake: hmacClient(t, "", one)}, outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindPeerNotAllowed}},
		{"a user where there is none", "tcp", "", []vgirpc.Admitter{
			must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{})),
		}, dial.Options{}, outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindPeerNotAllowed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := serve(t, tt.network, tt.admit...)
			got := outcomeOf(ask(t.Context(), p.url(tt.scheme), tt.opts))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Code != "" {
				p.eventuallySays(t, "connection refused")
			}
			if strings.Contains(p.log.String(), oneKey[:8]) || strings.Contains(p.log.String(), otherKey[:8]) {
				t.Errorf("the log has a secret: %s", p.log)
			}
		})
	}
}

// TestASecretDoesNotCrossFromOneTLSConnectionToAnother has somebody in the middle
// who speaks TLS with both sides, and passes the handshake on.
func TestASecretDoesNotCrossFromOneTLSConnectionToAnother(t *testing.T) {
	cert, pool := certificate(t, "server")
	inner := must[*sockettls.TLS](t)(sockettls.New(sockettls.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	p := serve(t, "tcp", inner, hmacServer(t, "one "+oneKey))
	middle := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}))
	var both sync.WaitGroup
	both.Go(func() {
		near, err := middle.Accept()
		if err != nil {
			return
		}
		far, err := tls.Dial("tcp", p.addr.String(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
		if err != nil {
			_ = near.Close()
			return
		}
		both.Go(func() { pass(near, far) })
		pass(far, near)
	})
	opts := dial.Options{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, Handshake: hmacClient(t, "", "one "+oneKey)}
	got := outcomeOf(ask(t.Context(), "tcp+tls:"+middle.Addr().String(), opts))
	if diff := cmp.Diff(outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeFailed}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_ = middle.Close()
	both.Wait()
}

func pass(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

func TestAPolicyRefusesWhatIsTooMuchUntilThereIsRoom(t *testing.T) {
	full := outcome{Code: vgirpc.ResourceExhausted, Kind: socket.KindConnectionLimit}
	me := outcome{Who: "/"}
	for _, tt := range []struct {
		name   string
		policy socket.PolicyOptions
		lines  []string // secrets of clients that stay connected
		next   string   // of the one that comes then
		want   outcome
	}{
		{"one client and no other", socket.PolicyOptions{Total: 1}, []string{""}, "", full},
		{"two in all", socket.PolicyOptions{Total: 2}, []string{"", ""}, "", full},
		{"room for one more", socket.PolicyOptions{Total: 2}, []string{""}, "", me},
		{"two of a peer by its address", socket.PolicyOptions{PerPeer: 2}, []string{"", ""}, "", full},
		{"one of each principal", socket.PolicyOptions{PerPeer: 1}, []string{"one " + oneKey}, "one " + oneKey, full},
		{"another principal", socket.PolicyOptions{PerPeer: 1}, []string{"one " + oneKey}, "two " + otherKey, outcome{Who: "hmac/two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			admit := []vgirpc.Admitter{must[*socket.ConnectionPolicy](t)(socket.NewConnectionPolicy(tt.policy))}
			opts := func(line string) dial.Options {
				if line == "" {
					return dial.Options{}
				}
				return dial.Options{Handshake: hmacClient(t, "", line)}
			}
			if tt.next != "" {
				admit = slices.Insert(admit, 0, vgirpc.Admitter(hmacServer(t, "one "+oneKey, "two "+otherKey)))
			}
			p := serve(t, "tcp", admit...)
			var clients []*vgirpc.Client
			for _, line := range tt.lines {
				c := must[*vgirpc.Client](t)(dial.Dial(t.Context(), p.url(""), opts(line)))
				must[string](t)(whoami.Call(t.Context(), c, vgirpc.None{})) // it has been let in
				clients = append(clients, c)
			}
			if diff := cmp.Diff(tt.want, outcomeOf(ask(t.Context(), p.url(""), opts(tt.next)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, c := range clients {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the server has to notice
				if _, err := ask(t.Context(), p.url(""), opts(tt.next)); err == nil {
					break
				} else if time.Now().After(end) {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestWhichPeersAreOne(t *testing.T) {
	at := func(addr string) *vgirpc.Peer {
		return &vgirpc.Peer{Kind: vgirpc.TransportTCP, Addr: addr, UID: -1, PID: -1}
	}
	user := func(uid int) *vgirpc.Peer { return &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: uid, PID: -1} }
	named := func(domain, addr string) *vgirpc.Peer {
		p := at(addr)
		p.Identity = vgirpc.Identity{Principal: "ann", Domain: domain, Authenticated: true}
		return p
	}
	for _, tt := range []struct {
		name       string
		one, other *vgirpc.Peer
		same       bool
	}{
		{"two connections from one address", at("192.0.2.1:1"), at("192.0.2.1:2"), true},
		{"neighbours of IPv4", at("192.0.2.1:1"), at("192.0.2.2:1"), false},
		{"IPv4 in IPv6", at("192.0.2.1:1"), at("[::ffff:192.0.2.1]:1"), true},
		{"two addresses of one /64", at("[2001:db8::1]:1"), at("[2001:db8::ffff:1]:1"), true},
		{"two networks of IPv6", at("[2001:db8:0:1::1]:1"), at("[2001:db8:0:2::1]:1"), false},
		{"one user", user(1000), user(1000), true},
		{"two users", user(1000), user(1001), false},
		{"a principal wherever it comes from", named("mtls", "192.0.2.1:1"), named("mtls", "192.0.2.2:1"), true},
		{"a principal of another domain", named("mtls", "192.0.2.1:1"), named("hmac", "192.0.2.1:1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			policy := must[*socket.ConnectionPolicy](t)(socket.NewConnectionPolicy(socket.PolicyOptions{PerPeer: 1}))
			first := &vgirpc.Admission{Peer: tt.one}
			if err := policy.Admit(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if err := policy.Admit(t.Context(), &vgirpc.Admission{Peer: tt.other}); (err != nil) != tt.same {
				t.Errorf("the other one: %v", err)
			}
			first.End()
			if err := policy.Admit(t.Context(), &vgirpc.Admission{Peer: tt.one}); err != nil {
				t.Errorf("when the first one is gone: %v", err)
			}
		})
	}
}

// caller is a Python client that prints how a call ends.
const caller = `
import json, sys, time
from typing import Protocol
from vgi_rpc.rpc import RpcError, tcp_connect, unix_connect
class Calc(Protocol):
    def add(self, a: float, b: float) -> float: ...
kind, target = sys.argv[1:]
connect = unix_connect(Calc, target) if kind == "unix" else tcp_connect(Calc, target.rpartition(":")[0], int(target.rpartition(":")[2]))
with connect as calc:
    try:
        print(json.dumps({"Who": str(calc.add(a=1.0, b=2.0))}))
    except RpcError as e:
        print(json.dumps({"Code": e.error_code, "Kind": e.error_kind}))
`

func TestAPythonClientThatIsRefusedSeesATypedError(t *testing.T) {
	python := pyref.Python(t)
	policy := must[*socket.ConnectionPolicy](t)(socket.NewConnectionPolicy(socket.PolicyOptions{Total: 1}))
	users := must[*socket.PeerCredentials](t)(socket.NewPeerCredentials(socket.CredentialsOptions{UIDs: []int{4242}}))
	for _, tt := range []struct {
		name, network string
		admit         vgirpc.Admitter
		occupied      bool
		want          outcome
	}{
		{"the one place is taken", "unix", policy, true, outcome{Code: vgirpc.ResourceExhausted, Kind: socket.KindConnectionLimit}},
		{"the one place is taken, over TCP", "tcp", policy, true, outcome{Code: vgirpc.ResourceExhausted, Kind: socket.KindConnectionLimit}},
		{"a handshake is wanted", "unix", hmacServer(t, "one "+oneKey), false, outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeRequired}},
		{"a handshake is wanted, over TCP", "tcp", versionServer(t), false, outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeRequired}},
		{"another user is wanted", "unix", users, false, outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindPeerNotAllowed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := serve(t, tt.network, tt.admit)
			if tt.occupied {
				c := must[*vgirpc.Client](t)(dial.Dial(t.Context(), p.url(""), dial.Options{}))
				defer func() { _ = c.Close() }()
				must[string](t)(whoami.Call(t.Context(), c, vgirpc.None{}))
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, "-W", "ignore", "-c", caller, tt.network, p.addr.String())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			var got outcome
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%q: %v", out, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAHandshakeWithASilentServerEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { // says a byte from time to time
			buf := make([]byte, 1000)
			_, _ = far.Read(buf)
			for _, b := range []byte("VGIH\x01\x02\x00\x22") {
				time.Sleep(2 * time.Second)
				if _, err := far.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		client := must[*socket.Client](t)(socket.NewClient(socket.ClientOptions{
			Mode: socket.HMAC, Secrets: secrets(t, "one "+oneKey), Timeout: 5 * time.Second,
		}))
		err := client.Shake(t.Context(), near, nil)
		if vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = near.Close()
		_ = far.Close()
		time.Sleep(time.Minute) // the writer ends
	})
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	ring := secrets(t, "one "+oneKey)
	public := must[ed25519.PublicKey](t)(func() (ed25519.PublicKey, error) {
		key, _, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}())
	server := func(o socket.HandshakeOptions) error { _, err := socket.NewHandshake(o); return err }
	client := func(o socket.ClientOptions) error { _, err := socket.NewClient(o); return err }
	policy := func(o socket.PolicyOptions) error { _, err := socket.NewConnectionPolicy(o); return err }
	process := func(o socket.ProcessOptions) error { _, err := socket.NewSignedProcess(o); return err }
	parse := func(text string) error { _, err := socket.ParseSecrets(text); return err }
	users := func(o socket.CredentialsOptions) error { _, err := socket.NewPeerCredentials(o); return err }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a server without a mode", server(socket.HandshakeOptions{}), "mode"},
		{"a server with a mode that there is not", server(socket.HandshakeOptions{Mode: "none"}), "mode"},
		{"a server without secrets", server(socket.HandshakeOptions{Mode: socket.HMAC}), "secrets"},
		{"a server with secrets for nothing", server(socket.HandshakeOptions{Mode: socket.Version, Secrets: ring}), "secrets"},
		{"a server without keys", server(socket.HandshakeOptions{Mode: socket.Signed}), "signed process"},
		{"a client without a mode", client(socket.ClientOptions{}), "mode"},
		{"a client without secrets", client(socket.ClientOptions{Mode: socket.HMAC}), "secrets"},
		{"a client with an id of nothing", client(socket.ClientOptions{Mode: socket.Version, KeyID: "one"}), "KeyID"},
		{"a client with an id that is not there", client(socket.ClientOptions{Mode: socket.HMAC, Secrets: ring, KeyID: "two"}), "KeyID"},
		{"a client without time", client(socket.ClientOptions{Mode: socket.Version, Timeout: -1}), "Timeout"},
		{"a policy without a bound", policy(socket.PolicyOptions{}), "Total"},
		{"a policy with less than nothing", policy(socket.PolicyOptions{Total: -1}), "Total"},
		{"signed processes without a key", process(socket.ProcessOptions{}), "key"},
		{"signed processes with half a key", process(socket.ProcessOptions{Keys: []ed25519.PublicKey{public[:5]}}), "key 0"},
		{"a user of less than nothing", users(socket.CredentialsOptions{UIDs: []int{-1}}), "-1"},
		{"no secret", parse("# none\n"), "no secret"},
		{"a secret without an id", parse(oneKey), "line 1"},
		{"a short secret", parse("\none 11"), "line 2: a secret of 1 bytes"},
		{"a secret that is none", parse("one " + strings.Repeat("x", 64)), "line 1"},
		{"two of an id", parse("one " + oneKey + "\none " + otherKey), "line 2"},
		{"an id that is too long", parse(strings.Repeat("i", 65) + " " + oneKey), "line 1"},
		{"TLS without a certificate", func() error { _, err := sockettls.New(sockettls.Options{}); return err }(), "certificate"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) || strings.Contains(tt.err.Error(), oneKey) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
}

func BenchmarkACallBehindAdmitters(b *testing.B) {
	policy := must[*socket.ConnectionPolicy](b)(socket.NewConnectionPolicy(socket.PolicyOptions{Total: 2}))
	users := must[*socket.PeerCredentials](b)(socket.NewPeerCredentials(socket.CredentialsOptions{}))
	for _, bb := range []struct {
		name  string
		admit []vgirpc.Admitter
		opts  dial.Options
	}{
		{"none", nil, dial.Options{}},
		{"all", []vgirpc.Admitter{users, hmacServer(b, "one "+oneKey), policy}, dial.Options{Handshake: hmacClient(b, "", "one "+oneKey)}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p := serve(b, "unix", bb.admit...)
			c := must[*vgirpc.Client](b)(dial.Dial(b.Context(), p.url(""), bb.opts))
			defer func() { _ = c.Close() }()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ping.Call(b.Context(), c, vgirpc.None{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
