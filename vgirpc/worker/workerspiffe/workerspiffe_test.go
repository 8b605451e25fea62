package workerspiffe_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"

	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeridentity"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerspiffe"
)

const (
	serverID = "spiffe://example.org/reports"
	billing  = "spiffe://example.org/billing"
	stranger = "spiffe://example.org/stranger"
)

var (
	contract = vgirpc.NewProtocol("test.SPIFFEWorker", "1.0.0")
	whoami   = vgirpc.NewUnary[vgirpc.None, string](contract, "whoami")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

func workerMain(string) {
	server := must(vgirpc.NewServer(vgirpc.ServerOptions{}, contract))
	vgirpc.HandleUnary(server, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		return vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})
	callers := workeridentity.New(workeridentity.Options{Workload: workerspiffe.Workload()})
	worker.Main(server, callers, workerhttp.With(callers.In(workerhttp.Options{})))
}

// agent is a server of the Workload API, with the authority behind it.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	addr   string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued int64
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{addr: filepath.Join(t.TempDir(), "api.sock"), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))))
	l := must(new(net.ListenConfig).Listen(t.Context(), "unix", a.addr))
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { _ = server.Serve(l) }() // until it is stopped
	t.Cleanup(server.Stop)
	return a
}

// issue makes an SVID as the API sends it.
func (a *agent) issue(id string) *workload.X509SVID {
	a.issued++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + a.issued), Subject: pkix.Name{CommonName: "workload"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs: []*url.URL{must(url.Parse(id))},
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return &workload.X509SVID{
		SpiffeId: id, X509Svid: must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)),
		X509SvidKey: must(x509.MarshalPKCS8PrivateKey(key)), Bundle: a.cert.Raw,
	}
}

// FetchX509SVID sends the worker's.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{a.issue(serverID)}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// FetchJWTBundles sends the keys of tokens.
func (a *agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	bundle := jwtbundle.FromJWTAuthorities(domain, map[string]crypto.PublicKey{"k": a.key.Public()})
	if err := stream.Send(&workload.JWTBundlesResponse{Bundles: map[string][]byte{domain.IDString(): must(bundle.Marshal())}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// token is a JWT-SVID.
func (a *agent) token(id, audience string) string {
	t := golangjwt.NewWithClaims(golangjwt.SigningMethodES256, golangjwt.MapClaims{
		"sub": id, "aud": []string{audience}, "exp": time.Now().Add(time.Hour).Unix(),
	})
	t.Header["kid"] = "k"
	return must(t.SignedString(a.key))
}

// client is one that shows an SVID, none when the ID is "".
func (a *agent) client(t *testing.T, address, id, token string) *vgirpc.Client {
	t.Helper()
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	opts := spiffe.TLSOptions{
		Bundles: x509bundle.FromX509Authorities(domain, []*x509.Certificate{a.cert}), TrustDomains: []string{"example.org"}, IDs: []string{serverID},
	}
	if id != "" {
		svid := a.issue(id)
		opts.SVID = must(x509svid.ParseRaw(svid.GetX509Svid(), svid.GetX509SvidKey()))
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	c := must(httpclient.Dial(t.Context(), "https://"+address, httpclient.Options{
		MaxResponseBytes: -1, TLS: must(spiffe.ClientTLS(opts)), Header: header,
	}, vgirpc.ClientOptions{}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// start starts a worker and returns its address.
func start(t *testing.T, args ...string) string {
	t.Helper()
	return workertest.Serve(t, workertest.Command(nil, append([]string{"--http"}, args...)...)).Address(t)
}

func TestWorkloadsAreKnownByCertificatesAndTokens(t *testing.T) {
	a := newAgent(t)
	common := []string{"--spiffe-workload-api=unix://" + a.addr, "--spiffe-trust-domain", "example.org"}
	strict := start(t, append(common, "--spiffe-allow-id", billing, "--peer-policy", "primary:spiffe")...)
	either := start(t, append(common, "--spiffe-client-optional", "--spiffe-jwt-audience", "reports", "--peer-policy", "any:spiffe")...)
	peerOf := func(id string) string {
		return "peer/spiffe/spiffe%3A%2F%2Fexample.org/" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(id)
	}
	const refusedByTLS = "connection"
	for _, tt := range []struct {
		name      string
		address   string
		id, token string
		want      string // who, or why not
	}{
		{"a workload that is allowed", strict, billing, "", peerOf(billing)},
		{"a workload that is not", strict, stranger, "", refusedByTLS},
		{"nobody", strict, "", "", refusedByTLS},
		{"any workload", either, stranger, "", peerOf(stranger)},
		{"a token", either, "", a.token(billing, "reports"), billing},
		{"a token of a workload with another ID", either, stranger, a.token(billing, "reports"), billing},
		{"a token for another service", either, billing, a.token(billing, "payments"), "invalid_credential"},
		{"neither", either, "", "", "missing_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := whoami.Call(t.Context(), a.client(t, tt.address, tt.id, tt.token), vgirpc.None{})
			if refused, ok := errors.AsType[*httpclient.UnauthorizedError](err); ok {
				got = refused.Reason
			} else if err != nil {
				got = refusedByTLS
				if vgirpc.CodeOf(err) != vgirpc.Unavailable {
					got = fmt.Sprint(err)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
