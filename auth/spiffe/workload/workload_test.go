package workload

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	tokens "github.com/vgirpc/vgirpc-go/auth/spiffe/jwtsvid"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// authority issues the SVIDs of a trust domain.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued int64
}

func newAuthority() *authority {
	a := &authority{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))))
	return a
}

// issue makes an SVID as the API sends it.
func (a *authority) issue(id string) *workload.X509SVID {
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

// agent is a server of the Workload API.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	addr   string // of its Unix socket
	server *grpc.Server

	mu      sync.Mutex
	current *workload.X509SVIDResponse // nil: it issues nothing
	changed chan struct{}              // closed when something is not current any more

	kid        string
	jwtKey     *ecdsa.PrivateKey
	jwtBundles *workload.JWTBundlesResponse
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{addr: filepath.Join(t.TempDir(), "api.sock"), changed: make(chan struct{})}
	a.start(t)
	t.Cleanup(func() { a.server.Stop() })
	return a
}

// start makes it listen, anew after it was stopped.
func (a *agent) start(t *testing.T) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	a.server = grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(a.server, a)
	go func() { _ = a.server.Serve(l) }() // until it is stopped
}

// send issues SVIDs, with the authorities beside the bundle of each.
func (a *agent) send(svids ...*workload.X509SVID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = &workload.X509SVIDResponse{Svids: svids}
	close(a.changed)
	a.changed = make(chan struct{})
}

// FetchX509SVID sends what is current, and what becomes it.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if got := md.Get("workload.spiffe.io"); len(got) != 1 || got[0] != "true" {
		return status.Error(codes.InvalidArgument, "no security header")
	}
	for {
		a.mu.Lock()
		current, changed := a.current, a.changed
		a.mu.Unlock()
		if current == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(current); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// publish makes the key with this name the only one of JWT-SVIDs.
func (a *agent) publish(kid string, key *ecdsa.PrivateKey) {
	bundle := jwtbundle.FromJWTAuthorities(domain, map[string]crypto.PublicKey{kid: key.Public()})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kid, a.jwtKey = kid, key
	a.jwtBundles = &workload.JWTBundlesResponse{Bundles: map[string][]byte{domain.IDString(): must(bundle.Marshal())}}
	close(a.changed)
	a.changed = make(chan struct{})
}

// FetchJWTBundles sends what is current, and what becomes it.
func (a *agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	for {
		a.mu.Lock()
		current, changed := a.jwtBundles, a.changed
		a.mu.Unlock()
		if err := stream.Send(current); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// FetchJWTSVID issues a token.
func (a *agent) FetchJWTSVID(_ context.Context, r *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	signer := must(jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.jwtKey, KeyID: a.kid},
	}, (&jose.SignerOptions{}).WithType("JWT")))
	id := r.GetSpiffeId()
	if id == "" {
		id = clientID
	}
	claims := must(json.Marshal(map[string]any{"sub": id, "aud": r.GetAudience(), "exp": time.Now().Add(time.Hour).Unix()}))
	token := must(must(signer.Sign(claims)).CompactSerialize())
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: id, Svid: token}}}, nil
}

func TestTokensAndTheirKeys(t *testing.T) {
	a := newAgent(t)
	newKey := func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }
	a.publish("one", newKey())
	source, err := OpenJWT(t.Context(), Options{Addr: "unix://" + a.addr, ID: clientID, backoff: tries(make(chan struct{}, 1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	server := must(tokens.New(tokens.Options{Bundles: source, Audience: []string{"vgi"}, TrustDomains: []string{"example.org"}}))
	authenticate := func(token string) string {
		r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		id, err := server.Authenticate(r)
		if err != nil {
			return "refused"
		}
		return id.Principal
	}
	fetch := func(audience string) string {
		token, until, err := source.Token(t.Context(), audience)
		if err != nil || time.Until(until) < time.Minute {
			t.Fatalf("until %v, %v", until, err)
		}
		return token
	}
	first := fetch("vgi")
	if got := authenticate(first); got != clientID {
		t.Errorf("got %q", got)
	}
	if got := authenticate(fetch("other")); got != "refused" {
		t.Errorf("for another service: got %q", got)
	}
	a.publish("two", newKey())
	select {
	case <-source.Updated():
	case <-time.After(time.Minute):
		t.Fatal("no update")
	}
	if got := authenticate(first); got != "refused" {
		t.Errorf("a key that is gone: got %q", got)
	}
	if got := authenticate(fetch("vgi")); got != clientID {
		t.Errorf("a new key: got %q", got)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := source.Token(t.Context(), "vgi"); err == nil {
		t.Error("a source that is closed has a token")
	}
	if _, err := OpenJWT(t.Context(), Options{Addr: "unix://" + a.addr, ID: "client"}); err == nil {
		t.Error("an ID that is none: no error")
	}
}

// tries is a strategy that tries again at once, and says so.
type tries chan struct{}

func (b tries) NewBackoff() workloadapi.Backoff { return b }

func (b tries) Next() time.Duration {
	select {
	case b <- struct{}{}:
	default:
	}
	return time.Millisecond
}

func (tries) Reset() {}

var domain = spiffeid.RequireTrustDomainFromString("example.org")

const (
	serverID = "spiffe://example.org/server"
	clientID = "spiffe://example.org/client"
)

func open(t *testing.T, a *agent, change func(o *Options)) *Source {
	t.Helper()
	opts := Options{Addr: "unix://" + a.addr, backoff: tries(make(chan struct{}, 1))}
	if change != nil {
		change(&opts)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// await waits until the source's SVID has the serial number.
func await(t *testing.T, s *Source, want int64) {
	t.Helper()
	for {
		if serial(t, s) == want {
			return
		}
		select {
		case <-s.Updated():
		case <-time.After(time.Minute):
			t.Fatalf("the SVID is still %d, want %d", serial(t, s), want)
		}
	}
}

func serial(t *testing.T, s *Source) int64 {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid.Certificates[0].SerialNumber.Int64()
}

func TestAWorkloadKnowsItself(t *testing.T) {
	a, ca := newAgent(t), newAuthority()
	a.send(ca.issue(serverID), ca.issue(clientID))
	for _, tt := range []struct{ id, want string }{{"", serverID}, {clientID, clientID}} {
		s := open(t, a, func(o *Options) { o.ID = tt.id })
		svid, err := s.GetX509SVID()
		if err != nil || svid.ID.String() != tt.want {
			t.Errorf("asked for %q: got %v, %v", tt.id, svid, err)
		}
		bundle, err := s.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("example.org"))
		if err != nil || !bundle.HasX509Authority(ca.cert) {
			t.Errorf("the bundle is %v, %v", bundle, err)
		}
	}
	s := open(t, a, func(o *Options) { o.ID = "spiffe://example.org/somebody/else" })
	if svid, err := s.GetX509SVID(); err == nil {
		t.Errorf("got %v", svid.ID)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("example.org")); err == nil {
		t.Error("a source that is closed has a bundle")
	}
}

func TestOpenThatCannotBe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	missing := tries(make(chan struct{}, 1))
	go func() {
		<-missing // it has tried once
		cancel()
	}()
	if _, err := Open(ctx, Options{Addr: "unix://" + filepath.Join(t.TempDir(), "none.sock"), backoff: missing}); err == nil {
		t.Error("no agent: no error")
	}
	for name, opts := range map[string]Options{
		"an address that is none": {Addr: "/run/agent.sock"},
		"an ID that is none":      {Addr: "unix:///run/agent.sock", ID: "server"},
	} {
		if _, err := Open(t.Context(), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRotationAndOutage: a server and a client, each with an agent, go on through
// new certificates, an agent that is gone, and a new authority.
func TestRotationAndOutage(t *testing.T) {
	ca := newAuthority()
	serverAgent, clientAgent := newAgent(t), newAgent(t)
	serverAgent.send(ca.issue(serverID)) // 1001
	clientAgent.send(ca.issue(clientID)) // 1002
	var events strings.Builder
	tried := tries(make(chan struct{}, 1))
	server := open(t, serverAgent, func(o *Options) {
		o.Logger, o.backoff = slog.New(slog.NewTextHandler(&events, nil)), tried
	})
	client := open(t, clientAgent, nil)

	direct := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}, Bundles: server}))
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := direct.Resolve(r.Context(), must(peer.FromRequest(r, "")))
		_, _ = io.WriteString(w, string(got.Status))
	}))
	domains := []string{"example.org"}
	h.TLS = must(spiffe.ServerTLS(spiffe.TLSOptions{SVID: server, Bundles: server, TrustDomains: domains}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	config := must(spiffe.ClientTLS(spiffe.TLSOptions{SVID: client, Bundles: client, TrustDomains: domains, IDs: []string{serverID}}))
	// call makes a new connection, and says what the server does and who it is.
	call := func() (string, int64) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer c.CloseIdleConnections()
		resp, err := c.Do(must(http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL, http.NoBody)))
		if err != nil {
			return "refused", 0
		}
		defer resp.Body.Close()
		return string(must(io.ReadAll(resp.Body))), resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	check := func(step, want string, wantSerial int64) {
		t.Helper()
		if got, serial := call(); got != want || serial != wantSerial {
			t.Errorf("%s: got %s by %d, want %s by %d", step, got, serial, want, wantSerial)
		}
	}
	check("at first", "available", 1001)

	serverAgent.send(ca.issue(serverID)) // 1003
	await(t, server, 1003)
	check("a new certificate", "available", 1003)

	serverAgent.server.Stop()
	<-tried
	check("no agent", "available", 1003)
	serverAgent.start(t)
	serverAgent.send(ca.issue(serverID)) // 1004
	await(t, server, 1004)
	check("the agent is back", "available", 1004)

	// The authority is replaced at the server first: the client's old certificate
	// is refused until its agent follows.
	next := newAuthority()
	next.issued = 100
	serverAgent.send(next.issue(serverID)) // 1101
	await(t, server, 1101)
	check("a new authority at the server alone", "refused", 0)
	clientAgent.send(next.issue(clientID)) // 1102
	await(t, client, 1102)
	check("a new authority", "available", 1101)

	if err := server.Close(); err != nil {
		t.Error(err)
	}
	check("a source that is closed", "refused", 0)
	if text := events.String(); !strings.Contains(text, "Workload API") || strings.Contains(text, "PRIVATE") {
		t.Errorf("the log is %q", text)
	}
}

func TestTheAgentIsAskedAsItMustBe(t *testing.T) {
	a := newAgent(t)
	conn, err := grpc.NewClient("unix://"+a.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchX509SVID(t.Context(), &workload.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the tests' agent takes requests that a real one refuses: %v", err)
	}
}
