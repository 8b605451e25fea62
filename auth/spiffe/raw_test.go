package spiffe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/proxyproto"
	"github.com/vgirpc/vgirpc-go/auth/socket/sockettls"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// piped is an end of a pipe that comes from an address.
type piped struct {
	net.Conn
	from string
}

func (c piped) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from)) }

// pipes is a listener that gives them out.
type pipes chan net.Conn

func (l pipes) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l pipes) Close() error {
	select {
	case _, open := <-l:
		if !open {
			return nil
		}
	default:
	}
	close(l)
	return nil
}

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

var (
	rawProtocol = vgirpc.NewProtocol("Raw", "1.0.0")
	rawWhoami   = vgirpc.NewUnary[vgirpc.None, string](rawProtocol, "whoami")
)

// proxyHeader says that the client is at 192.0.2.7:4242.
const proxyHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x92\x01\xbb"

// TestARawConnectionIsItsSVIDs: over raw TCP, behind a load balancer, the peer is
// found out once, and the connection ends with the SVID that it was let in by.
func TestARawConnectionIsItsSVIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority("example.org")
		server := ca.issue("spiffe://example.org/server", nil)
		receiver := must(proxyproto.New(proxyproto.Options{Proxies: []string{"10.0.0.8"}}))
		secure := must(sockettls.New(sockettls.Options{Config: must(spiffe.ServerTLS(spiffe.TLSOptions{
			SVID: server, Bundles: ca.bundle(), TrustDomains: []string{"example.org"}, ClientCertOptional: true,
		}))}))
		peers := must(peer.New(peer.Options{
			Providers: []peer.Provider{must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}, Bundles: ca.bundle()}))},
			Policy:    peer.Primary(spiffe.ProviderName),
		}))
		opts := vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}
		opts.Conns.Admit = []vgirpc.Admitter{receiver, secure, peers}
		s := must(vgirpc.NewServer(opts, rawProtocol))
		vgirpc.HandleUnary(s, rawWhoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
			p := vgirpc.CallFrom(ctx).Peer()
			return p.Identity.Principal + " from " + p.Addr + " by " + peer.EvidenceOf(p.Identity).String(), nil
		})
		l := make(pipes)
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background(), l) }()

		dial := func(svid *tls.Certificate) (*tls.Conn, *vgirpc.Client) {
			near, far := net.Pipe()
			l <- piped{far, "10.0.0.8:1"}
			if _, err := io.WriteString(near, proxyHeader); err != nil {
				t.Fatal(err)
			}
			config := must(spiffe.ClientTLS(spiffe.TLSOptions{Bundles: ca.bundle(), TrustDomains: []string{"example.org"}}))
			if svid != nil {
				config.Certificates = []tls.Certificate{*svid}
			}
			conn := tls.Client(near, config)
			return conn, vgirpc.NewClient(conn, vgirpc.ClientOptions{})
		}

		short := ca.issue(workloadID, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * time.Minute).Truncate(time.Second) })
		until := short.Certificates[0].NotAfter
		conn, client := dial(&tls.Certificate{Certificate: [][]byte{short.Certificates[0].Raw}, PrivateKey: short.PrivateKey})
		got, err := rawWhoami.Call(t.Context(), client, vgirpc.None{})
		const want = "peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Fns%2Fdefault%2Fsa%2Fworker from 192.0.2.7:4242 by spiffe:available"
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || !time.Now().Equal(until) {
			t.Errorf("the connection ends at %v: want %v; %v", time.Now(), until, err)
		}
		_ = client.Close()

		conn, client = dial(nil)
		err = vgirpc.ReadRefusal(conn)
		refused, ok := errors.AsType[*vgirpc.Error](err)
		if !ok || refused.Code != vgirpc.Unauthenticated || refused.Kind != "missing_credential" || strings.Contains(err.Error(), "spiffe") {
			t.Errorf("somebody without an SVID: %v", err)
		}
		_ = client.Close()
		_ = l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
