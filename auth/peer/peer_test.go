package peer_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// fake is a provider in the hands of a test.
type fake struct {
	name    string
	resolve func(ctx context.Context, s *peer.Snapshot) peer.Result
}

func (f fake) Name() string { return f.name }

func (f fake) Resolve(ctx context.Context, s *peer.Snapshot) peer.Result { return f.resolve(ctx, s) }

// local is one that asks nobody.
type local struct{ fake }

func (local) Local() {}

func (local) ProxyHeaders() []string { return []string{"X-Identity"} }

func status(name string, s peer.Status) fake {
	return fake{name, func(context.Context, *peer.Snapshot) peer.Result { return peer.Result{Status: s} }}
}

// subject is a stable one of the provider.
func subject(provider, key string) peer.Identity {
	return peer.Identity{
		Provider: provider, Source: "test", Assurance: peer.CryptographicPeer, Issuer: "issuer", Transport: "http",
		Kind: peer.Workload, Subject: key, Stability: peer.Stable, Verified: true,
	}
}

func found(provider string, keys ...string) fake {
	r := peer.Result{Status: peer.Available}
	for _, key := range keys {
		r.Identities = append(r.Identities, subject(provider, key))
	}
	return fake{provider, func(context.Context, *peer.Snapshot) peer.Result { return r }}
}

// capable has capabilities and no subject.
func capable(provider string) fake {
	i := subject(provider, "")
	i.Stability, i.Verified, i.CapabilitiesVerified = "", false, true
	i.Capabilities = must(peer.NewObject(map[string]any{"a/b": []any{}}))
	return fake{provider, func(context.Context, *peer.Snapshot) peer.Result {
		return peer.Result{Status: peer.Available, Identities: []peer.Identity{i}}
	}}
}

// login is a verified name that is not stable.
func login(provider string) fake {
	i := subject(provider, "alice@example.com")
	i.Stability = peer.Login
	return fake{provider, func(context.Context, *peer.Snapshot) peer.Result {
		return peer.Result{Status: peer.Available, Identities: []peer.Identity{i}}
	}}
}

func answers(id vgirpc.Identity, err error) auth.Authenticator {
	return auth.Func(func(*http.Request) (vgirpc.Identity, error) { return id, err })
}

var (
	alice   = vgirpc.Identity{Domain: "bearer", Principal: "alice", Authenticated: true, Claims: map[string]any{"x": "y"}}
	nobody  = answers(vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential})
	known   = answers(alice, nil)
	badOne  = answers(vgirpc.Identity{}, &auth.Failure{Reason: auth.InvalidCredential})
	gateOut = answers(vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential, Final: true})
	deepOut = answers(vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential, Err: &auth.Failure{Reason: auth.ProxyRequired, Final: true}})
	outage  = answers(vgirpc.Identity{}, &auth.Unavailable{})
)

func request(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	r.RemoteAddr = proxyAddr + ":40000"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// outcome is what comes of a request, in a word.
func outcome(id vgirpc.Identity, err error) string {
	if reason, refused := auth.ReasonOf(err); refused {
		return string(reason)
	}
	if _, out := errors.AsType[*auth.Unavailable](err); out {
		return "unavailable"
	}
	switch {
	case err != nil:
		return "fault"
	case !id.Authenticated:
		return "anonymous"
	}
	return id.Domain + " " + id.Principal
}

func all(opts peer.AllOfOptions) peer.Policy {
	if opts.Link == nil {
		opts.Link = func(vgirpc.Identity, map[string]peer.Identity) error { return nil }
	}
	return must(peer.AllOf(opts))
}

func TestPolicies(t *testing.T) {
	either := must(peer.AnyOf("a", "b"))
	both := all(peer.AllOfOptions{Providers: []string{"a", "b"}, Principal: "b"})
	off := status("b", peer.Off)
	for _, tt := range []struct {
		name   string
		policy peer.Policy
		inner  auth.Authenticator
		a, b   peer.Provider
		want   string
	}{
		{"observing changes nothing", peer.Observe(), known, found("a", "s"), off, "bearer alice"},
		{"observing makes nobody known", peer.Observe(), nil, found("a", "s"), off, "anonymous"},
		{"observing does not replace a credential", peer.Observe(), nobody, found("a", "s"), off, "missing_credential"},
		{"without a policy evidence does not replace a credential", nil, nobody, found("a", "s"), off, "missing_credential"},
		{"observing an outage", peer.Observe(), known, status("a", peer.Unavailable), off, "bearer alice"},
		{"observing rejected evidence", peer.Observe(), known, status("a", peer.Invalid), off, "bearer alice"},

		{"requiring leaves the application's caller", peer.Require("a"), known, found("a", "s"), off, "bearer alice"},
		{"requiring leaves an anonymous caller", peer.Require("a"), nil, found("a", "s"), off, "anonymous"},
		{"requiring does not replace a credential", peer.Require("a"), nobody, found("a", "s"), off, "missing_credential"},
		{"capabilities alone are evidence", peer.Require("a"), known, capable("a"), off, "bearer alice"},
		{"several subjects are evidence", peer.Require("a"), known, found("a", "s", "t"), off, "bearer alice"},
		{"required evidence is missing", peer.Require("a"), known, status("a", peer.NoMatch), off, "missing_credential"},
		{"required evidence is off", peer.Require("a"), known, status("a", peer.Off), off, "missing_credential"},
		{"required evidence does not apply", peer.Require("a"), known, status("a", peer.NotApplicable), off, "missing_credential"},
		{"required evidence is rejected", peer.Require("a"), known, status("a", peer.Invalid), off, "invalid_credential"},
		{"required evidence is another proxy's", peer.Require("a"), known, status("a", peer.UntrustedProxy), off, "proxy_required"},
		{"who has the evidence does not answer", peer.Require("a"), known, status("a", peer.Unavailable), off, "unavailable"},
		{"who has the evidence refuses us", peer.Require("a"), known, status("a", peer.PermissionDenied), off, "unavailable"},

		{"a subject is the caller", peer.Primary("a"), nil, found("a", "s t"), off, "a peer/a/issuer/s%20t"},
		{"a subject is the caller in place of a credential", peer.Primary("a"), nobody, found("a", "s"), off, "a peer/a/issuer/s"},
		{"a subject is the caller, whatever the credential", peer.Primary("a"), known, found("a", "s"), off, "a peer/a/issuer/s"},
		{"several subjects are nobody", peer.Primary("a"), nil, found("a", "s", "t"), off, "invalid_credential"},
		{"capabilities are nobody", peer.Primary("a"), nil, capable("a"), off, "invalid_credential"},
		{"a login is nobody", peer.Primary("a"), nil, login("a"), off, "invalid_credential"},
		{"a bad credential is refused beside a subject", peer.Primary("a"), badOne, found("a", "s"), off, "invalid_credential"},
		{"a gate in front of the credential is not gone around", peer.Primary("a"), gateOut, found("a", "s"), off, "missing_credential"},
		{"a gate deeper inside is not gone around", peer.Primary("a"), deepOut, found("a", "s"), off, "missing_credential"},
		{"an outage of the application's is one", peer.Primary("a"), outage, found("a", "s"), off, "unavailable"},

		{"either: a credential", either, known, status("a", peer.NoMatch), status("b", peer.NoMatch), "bearer alice"},
		{"either: a credential while one does not answer", either, known, status("a", peer.Unavailable), status("b", peer.NoMatch), "bearer alice"},
		{"either: the first subject", either, nobody, found("a", "s"), found("b", "t"), "a peer/a/issuer/s"},
		{"either: the second subject", either, nobody, status("a", peer.NoMatch), found("b", "t"), "b peer/b/issuer/t"},
		{"either: a subject while the other does not answer", either, nobody, status("a", peer.Unavailable), found("b", "t"), "b peer/b/issuer/t"},
		{"either: a subject behind a login", either, nobody, login("a"), found("b", "t"), "b peer/b/issuer/t"},
		{"either: a bad credential", either, badOne, found("a", "s"), found("b", "t"), "invalid_credential"},
		{"either: rejected evidence beside a credential", either, known, status("a", peer.NoMatch), status("b", peer.Invalid), "invalid_credential"},
		{"either: rejected evidence beside a subject", either, nobody, found("a", "s"), status("b", peer.Invalid), "invalid_credential"},
		{"either: another proxy's beside a credential", either, known, status("a", peer.UntrustedProxy), found("b", "t"), "proxy_required"},
		{"either: several subjects beside a credential", either, known, status("a", peer.NoMatch), found("b", "t", "u"), "invalid_credential"},
		{"either: several subjects beside one", either, nobody, found("a", "s"), found("b", "t", "u"), "invalid_credential"},
		{"either: nothing but an outage", either, nobody, status("a", peer.NoMatch), status("b", peer.PermissionDenied), "unavailable"},
		{"either: nothing", either, nobody, status("a", peer.NoMatch), status("b", peer.NotApplicable), "missing_credential"},
		{"either: nothing, and no credential is needed", either, nil, status("a", peer.NoMatch), off, "missing_credential"},

		{"both: all is there", both, known, found("a", "s"), found("b", "t"), "b peer/b/issuer/t"},
		{"both: no credential", both, nobody, found("a", "s"), found("b", "t"), "missing_credential"},
		{"both: no application", both, nil, found("a", "s"), found("b", "t"), "missing_credential"},
		{"both: a login", both, known, found("a", "s"), login("b"), "invalid_credential"},
		{"both: one is missing", both, known, found("a", "s"), status("b", peer.NoMatch), "missing_credential"},
		{"both: one does not answer", both, known, status("a", peer.Unavailable), found("b", "t"), "unavailable"},
		{"both: one is rejected", both, known, status("a", peer.Invalid), found("b", "t"), "invalid_credential"},

		{"a provider with an unknown status", peer.Observe(), known, status("a", "invald"), off, "fault"},
		{"a provider that is available with nobody", peer.Observe(), known, status("a", peer.Available), off, "fault"},
		{"a provider that speaks for another", peer.Observe(), known, fake{"a", found("b", "s").resolve}, off, "fault"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := peer.New(peer.Options{Providers: []peer.Provider{tt.a, tt.b}, Policy: tt.policy, Inner: tt.inner})
			if err != nil {
				t.Fatal(err)
			}
			id, err := a.Authenticate(request())
			if got := outcome(id, err); got != tt.want {
				t.Fatalf("got %s (%v), want %s", got, err, tt.want)
			}
			if e := peer.EvidenceOf(id); (err == nil) != (e != nil) {
				t.Errorf("the evidence is %v", e)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	authenticate := func(policy peer.Policy, inner vgirpc.Identity, a string) vgirpc.Identity {
		t.Helper()
		x := must(peer.New(peer.Options{Providers: []peer.Provider{found("a", a)}, Policy: policy, Inner: answers(inner, nil)}))
		return must(x.Authenticate(request()))
	}
	// The claims but for the evidence.
	rest := func(id vgirpc.Identity) map[string]any {
		delete(id.Claims, peer.EvidenceClaim)
		return id.Claims
	}
	e := evidenceOf(t, subject("a", "s"))
	binding := e.Binding([]string{"a"}, nil)
	forged := alice
	forged.Claims = map[string]any{"x": "y", peer.BindingClaim: strings.Repeat("0", 64), peer.EvidenceClaim: e}
	named := map[string]any{
		"issuer": "issuer", "subject": "s", "subject_kind": "workload", "assurance": "cryptographic_peer", "evidence_source": "test",
		peer.BindingClaim: binding,
	}
	every := all(peer.AllOfOptions{Providers: []string{"a"}})
	linked := map[string]any{"application_domain": "bearer", "application_principal": "alice"}
	maps.Copy(linked, named)
	linked[peer.BindingClaim] = e.Binding([]string{"a"}, &alice)
	for _, tt := range []struct {
		name   string
		policy peer.Policy
		want   map[string]any
	}{
		{"observed evidence is not bound", peer.Observe(), map[string]any{"x": "y"}},
		{"required evidence is", peer.Require("a"), map[string]any{"x": "y", peer.BindingClaim: binding}},
		{"a credential among several is not", must(peer.AnyOf("a")), map[string]any{"x": "y"}},
		{"a subject has claims of its own", peer.Primary("a"), named},
		{"all of it is bound together", every, linked},
	} {
		for _, application := range []vgirpc.Identity{alice, forged} {
			t.Run(tt.name, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, rest(authenticate(tt.policy, application, "s"))); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	if diff := cmp.Diff(3, len(forged.Claims)); diff != "" {
		t.Error("the application's claims were changed: " + diff)
	}
	bob := alice
	bob.Principal = "bob"
	if a, b := authenticate(every, alice, "s"), authenticate(every, bob, "s"); a.Claims[peer.BindingClaim] == b.Claims[peer.BindingClaim] || a.Principal != b.Principal {
		t.Error("two callers of the application behind one peer are bound alike")
	}
	if a, b := authenticate(peer.Require("a"), alice, "s"), authenticate(peer.Require("a"), alice, "t"); a.Claims[peer.BindingClaim] == b.Claims[peer.BindingClaim] {
		t.Error("one caller behind two peers is bound alike")
	}
}

func TestLink(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"they belong together", nil, "a peer/a/issuer/s"},
		{"they do not", errors.New("somebody else"), "invalid_credential"},
		{"nobody can say", &auth.Unavailable{}, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			policy := all(peer.AllOfOptions{Providers: []string{"a"}, Link: func(application vgirpc.Identity, subjects map[string]peer.Identity) error {
				if application.Principal != "alice" || subjects["a"].Subject != "s" {
					t.Errorf("got %v, %v", application, subjects)
				}
				return tt.err
			}})
			a := must(peer.New(peer.Options{Providers: []peer.Provider{found("a", "s")}, Policy: policy, Inner: known}))
			if got := outcome(a.Authenticate(request())); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRejectedEvidenceEndsTheSearch(t *testing.T) {
	for _, s := range []peer.Status{peer.Invalid, peer.UntrustedProxy, peer.Unavailable} {
		x := must(peer.New(peer.Options{Providers: []peer.Provider{status("a", s)}, Policy: peer.Primary("a")}))
		either := must(auth.Any(x, known))
		if id, err := either.Authenticate(request()); err == nil {
			t.Errorf("%s: another authenticator let in %s", s, id.Principal)
		}
	}
	x := must(peer.New(peer.Options{Providers: []peer.Provider{status("a", peer.NoMatch)}, Policy: peer.Primary("a")}))
	if got := outcome(must(auth.Any(x, known)).Authenticate(request())); got != "bearer alice" {
		t.Errorf("no evidence at all: got %s", got)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	a, b := found("a", "s"), found("b", "t")
	link := func(vgirpc.Identity, map[string]peer.Identity) error { return nil }
	for name, opts := range map[string]peer.Options{
		"no provider":                    {},
		"a nil provider":                 {Providers: []peer.Provider{nil}},
		"a provider twice":               {Providers: []peer.Provider{a, a}},
		"a provider without a name":      {Providers: []peer.Provider{fake{name: ""}}},
		"a policy for another":           {Providers: []peer.Provider{a}, Policy: peer.Primary("b")},
		"a negative timeout":             {Providers: []peer.Provider{a}, Timeout: -1},
		"no place for all of a request":  {Providers: []peer.Provider{a, b}, Concurrency: 1},
		"a negative number of providers": {Providers: []peer.Provider{a}, Concurrency: -1},
	} {
		if _, err := peer.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, opts := range map[string]peer.AllOfOptions{
		"no provider":       {Link: link},
		"a provider twice":  {Providers: []string{"a", "a"}, Link: link},
		"another principal": {Providers: []string{"a"}, Principal: "b", Link: link},
		"no link":           {Providers: []string{"a"}},
	} {
		if _, err := peer.AllOf(opts); err == nil {
			t.Errorf("AllOf: %s: no error", name)
		}
	}
	for _, names := range [][]string{nil, {""}, {"a", "a"}} {
		if _, err := peer.AnyOf(names...); err == nil {
			t.Errorf("AnyOf(%q): no error", names)
		}
	}
	for _, list := range [][]string{
		nil,
		{""},
		{"10.0.0.0/8"},
		{"10.0.0.1/32"},
		{"localhost"},
		{"0.0.0.0"},
		{"::"},
		{"224.0.0.1"},
		{"fe80::1%eth0"},
		{"*"},
		{"127.0.0.1", "::ffff:127.0.0.1"},
		{"unix", "unix"},
		{"127.0.0.1:80"},
	} {
		if _, err := peer.ParseProxies(list); err == nil {
			t.Errorf("ParseProxies(%q): no error", list)
		}
	}
}

func TestProxyHeadersFollowThePolicy(t *testing.T) {
	proxied := local{found("a", "s")}
	for _, tt := range []struct {
		policy peer.Policy
		want   []string
	}{{peer.Observe(), nil}, {peer.Require("a"), []string{"X-Identity"}}} {
		x := must(peer.New(peer.Options{Providers: []peer.Provider{proxied}, Policy: tt.policy, Inner: known}))
		if diff := cmp.Diff(tt.want, auth.ProxyHeaders(x)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestProvidersAreAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Each waits for the other.
		x, y := make(chan struct{}), make(chan struct{})
		meet := func(name string, mine, other chan struct{}) fake {
			return fake{name, func(ctx context.Context, _ *peer.Snapshot) peer.Result {
				if end, ok := ctx.Deadline(); !ok || time.Until(end) != 5*time.Second {
					t.Errorf("%s has until %v", name, end)
				}
				close(mine)
				<-other
				return found(name, "s").resolve(ctx, nil)
			}}
		}
		a := must(peer.New(peer.Options{Providers: []peer.Provider{meet("a", x, y), meet("b", y, x)}, Policy: all(peer.AllOfOptions{Providers: []string{"a", "b"}}), Inner: known}))
		if got := outcome(a.Authenticate(request())); got != "a peer/a/issuer/s" {
			t.Error(got)
		}
	})
}

func TestOneThatHangsIsUnavailableAndKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var asked atomic.Int64
		stuck := fake{"a", func(context.Context, *peer.Snapshot) peer.Result {
			asked.Add(1)
			<-release
			return peer.Result{Status: peer.NoMatch}
		}}
		a := must(peer.New(peer.Options{
			Providers: []peer.Provider{stuck}, Policy: peer.Require("a"), Inner: known, Timeout: time.Second, Concurrency: 1,
		}))
		start := time.Now()
		if got := outcome(a.Authenticate(request())); got != "unavailable" || time.Since(start) != time.Second {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
		start = time.Now()
		if got := outcome(a.Authenticate(request())); got != "unavailable" || time.Since(start) != 0 || asked.Load() != 1 {
			t.Errorf("got %s after %v, and %d were asked: want no wait, because there is no place", got, time.Since(start), asked.Load())
		}
		close(release)
		synctest.Wait()
		if got := outcome(a.Authenticate(request())); got != "missing_credential" || asked.Load() != 2 {
			t.Errorf("got %s, and %d were asked", got, asked.Load())
		}
	})
}

func TestARejectionCountsWhoeverIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := fake{"slow", func(context.Context, *peer.Snapshot) peer.Result {
			<-release
			return peer.Result{Status: peer.NoMatch}
		}}
		a := must(peer.New(peer.Options{
			Providers: []peer.Provider{slow, status("bad", peer.Invalid)}, Policy: must(peer.AnyOf("slow", "bad")), Inner: known,
		}))
		if got := outcome(a.Authenticate(request())); got != "invalid_credential" {
			t.Error(got)
		}
		close(release)
	})
}

func TestACallerWhoLeavesEndsTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := fake{"a", func(ctx context.Context, _ *peer.Snapshot) peer.Result {
			<-ctx.Done()
			return peer.Result{Status: peer.Unavailable}
		}}
		a := must(peer.New(peer.Options{Providers: []peer.Provider{waits}, Policy: peer.Primary("a")}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if got := outcome(a.Authenticate(request().WithContext(ctx))); got != "unavailable" || time.Since(start) != time.Second {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
	})
}

func TestWhatAProviderPanicsWithIsNotTold(t *testing.T) {
	const secret = "raw-capability"
	panics := fake{"a", func(context.Context, *peer.Snapshot) peer.Result { panic(secret) }}
	for _, p := range []peer.Provider{panics, local{panics}} {
		a := must(peer.New(peer.Options{Providers: []peer.Provider{p}, Inner: known}))
		_, err := a.Authenticate(request())
		if err == nil || strings.Contains(err.Error(), secret) || outcome(vgirpc.Identity{}, err) != "fault" {
			t.Errorf("got %v", err)
		}
	}
}

func TestConnectionsAreIdentifiedOnce(t *testing.T) {
	a := must(peer.New(peer.Options{Providers: []peer.Provider{found("a", "s")}, Policy: peer.Primary("a"), Inner: badOne}))
	id, err := a.Identify(t.Context(), &peer.Snapshot{Transport: "tcp", Immediate: netip.MustParseAddr("192.0.2.9")})
	if got := outcome(id, err); got != "a peer/a/issuer/s" {
		t.Error(got)
	}
}

func TestFromRequest(t *testing.T) {
	on := func(local net.Addr) context.Context {
		return context.WithValue(t.Context(), http.LocalAddrContextKey, local)
	}
	addr := netip.MustParseAddrPort
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		remote string
		want   peer.Snapshot
	}{
		{
			"TCP", on(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 20), Port: 9400}), "[::ffff:192.0.2.1]:40000",
			peer.Snapshot{Immediate: netip.MustParseAddr("192.0.2.1"), Source: "192.0.2.1:40000", Destination: "192.0.2.20:9400"},
		},
		{"a Unix socket", on(&net.UnixAddr{Name: "/x", Net: "unix"}), "192.0.2.1:1", peer.Snapshot{Unix: true}},
		{"an address that is none", t.Context(), "@", peer.Snapshot{}},
		{
			"a PROXY header", peer.WithConn(on(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}), peer.Conn{
				Immediate: addr("[::ffff:127.0.0.1]:5"), Source: addr("100.64.0.10:4242"), Destination: addr("100.64.0.1:9400"), IrohEndpoint: "e",
			}), "100.64.0.10:4242",
			peer.Snapshot{
				Immediate: netip.MustParseAddr("127.0.0.1"), Source: "127.0.0.1:5", Asserted: "100.64.0.10:4242", Destination: "100.64.0.1:9400", IrohEndpoint: "e",
			},
		},
		{"a PROXY header on a Unix socket", peer.WithConn(t.Context(), peer.Conn{Unix: true}), "x", peer.Snapshot{Unix: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request("X-A", "b").WithContext(tt.ctx)
			r.RemoteAddr = tt.remote
			got, err := peer.FromRequest(r, "svc:a")
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Transport, tt.want.Service, tt.want.Authority, tt.want.Header = "http", "svc:a", r.Host, r.Header
			if diff := cmp.Diff(&tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeadersBeyondTheirLimitsAreRefused(t *testing.T) {
	lines := func(n, size int) http.Header { return http.Header{"X": slicesOf(strings.Repeat("x", size), n)} }
	for _, tt := range []struct {
		name   string
		header http.Header
		ok     bool
	}{
		{"as many lines as may be", lines(256, 1), true},
		{"one more", lines(257, 1), false},
		{"as many bytes as may be", lines(1, 65_535), true},
		{"one more byte", lines(1, 65_536), false},
		{"a line break", http.Header{"X": {"a\r\nb"}}, false},
		{"a zero", http.Header{"X": {"a\x00"}}, false},
		{"a line break in a name", http.Header{"X\n": {"a"}}, false},
		{"one name in two spellings", http.Header{"X-Identity": {"a"}, "x-identity": {"b"}}, false},
		{"one name in another spelling", http.Header{"x-identity": {"b"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			r.Header = tt.header
			x := must(peer.New(peer.Options{Providers: []peer.Provider{found("a", "s")}, Inner: known}))
			want := map[bool]string{true: "bearer alice", false: "invalid_credential"}[tt.ok]
			if got := outcome(x.Authenticate(r)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func slicesOf(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}
