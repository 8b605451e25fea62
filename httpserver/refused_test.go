package httpserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/peer/iroh"
	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// refusals remembers what it is told.
type refusals struct {
	mu  sync.Mutex
	all []vgirpc.Refused
}

func (o *refusals) RequestRefused(_ context.Context, r *vgirpc.Refused) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, *r)
}

// take returns what was told since the last time.
func (o *refusals) take() []vgirpc.Refused {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.all
	o.all = nil
	return all
}

// The secrets that tests put wherever a caller can put something.
const (
	secretToken = "s3cret-t0ken-in-a-header"
	secretClaim = "s3cret-cla1m-value"
	secretPath  = "s3cret-in-the-path"
	secretValue = "s3cret-parameter"
	secretVerb  = "S3CRETVERB"
)

// byToken lets callers in by the Authorization header.
func byToken(r *http.Request) (vgirpc.Identity, error) {
	switch r.Header.Get("Authorization") {
	case "":
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential}
	case "Bearer alice":
		return vgirpc.Identity{Principal: "alice", Domain: "test", Authenticated: true, Claims: map[string]any{"client_secret": secretClaim}}, nil
	case "Bearer bob":
		return vgirpc.Identity{Principal: "bob", Domain: "test", Authenticated: true}, nil
	case "Bearer late":
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.ExpiredCredential}
	case "Bearer weak":
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.InsufficientScope}
	case "Bearer outage":
		return vgirpc.Identity{}, &auth.Unavailable{Err: errors.New("nobody answers")}
	case "Bearer fault":
		return vgirpc.Identity{}, errors.New("broken")
	}
	return vgirpc.Identity{}, &auth.Failure{Reason: auth.InvalidCredential}
}

// stalledBody stands still after its first bytes.
type stalledBody struct{ io.Reader }

func (b stalledBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func TestEveryRefusalIsReportedOnce(t *testing.T) {
	var seen refusals
	h := newHandlerOf(t, httpserver.Options{
		MaxRequestBytes: 4096, Auth: auth.Func(byToken), Sticky: &httpserver.Sticky{}, JSON: &httpserver.JSONGateway{},
	}, vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
	body := echoFloat(t)
	const (
		service = "ConformanceService"
		echo    = "/" + service + "/echo_float"
	)
	size := int64(len(body))
	tokens := open(t, h, "Authorization", "Bearer bob") // of another caller
	if got := seen.take(); got != nil {
		t.Fatalf("a call that succeeds is reported: %+v", got)
	}
	one := func(status int, code vgirpc.Code, reason vgirpc.RefusedReason, more func(*vgirpc.Refused)) vgirpc.Refused {
		r := vgirpc.Refused{
			Transport: vgirpc.TransportHTTP, Status: status, Code: code, Reason: reason, Verb: "POST", Version: "HTTP/1.1",
			Protocol: service, Method: "echo_float", Peer: "192.0.2.1:1234", Principal: "alice", Domain: "test",
			RequestID: "req-1", UID: -1, PID: -1,
		}
		if more != nil {
			more(&r)
		}
		return r
	}
	nobody := func(r *vgirpc.Refused) { r.Principal, r.Domain = "", "" }
	nowhere := func(r *vgirpc.Refused) { r.Protocol, r.Method = "", "" }
	bytesIn := func(n int64) func(*vgirpc.Refused) { return func(r *vgirpc.Refused) { r.BytesIn = n } }
	for _, tt := range []struct {
		name, verb, path string
		body             io.Reader
		fields           []string
		want             vgirpc.Refused
	}{
		{"no credential", "", echo, nil, []string{"Authorization", ""}, one(401, vgirpc.Unauthenticated, vgirpc.RefusedMissingCredential, nobody)},
		{"a bad credential", "", echo, nil, []string{"Authorization", "Bearer x"}, one(401, vgirpc.Unauthenticated, vgirpc.RefusedInvalidCredential, nobody)},
		{"an expired one", "", echo, nil, []string{"Authorization", "Bearer late"}, one(401, vgirpc.Unauthenticated, vgirpc.RefusedExpiredCredential, nobody)},
		{"one that does not suffice", "", echo, nil, []string{"Authorization", "Bearer weak"}, one(401, vgirpc.Unauthenticated, vgirpc.RefusedInsufficientScope, nobody)},
		{"an outage of who has to be asked", "", echo, nil, []string{"Authorization", "Bearer outage"}, one(503, vgirpc.Unavailable, vgirpc.RefusedAuthUnavailable, nobody)},
		{"a fault of the authenticator", "", echo, nil, []string{"Authorization", "Bearer fault"}, one(500, vgirpc.Internal, vgirpc.RefusedAuthFailed, nobody)},
		{"a page without a credential", "GET", "/", nil, []string{"Authorization", ""}, one(401, vgirpc.Unauthenticated, vgirpc.RefusedMissingCredential, func(r *vgirpc.Refused) {
			nobody(r)
			nowhere(r)
			r.Verb = "GET"
		})},
		{"a protocol that is not hosted", "", "/" + secretPath + "/echo_float", nil, nil, one(404, vgirpc.Unimplemented, vgirpc.RefusedNotFound, func(r *vgirpc.Refused) {
			nowhere(r)
			r.Kind = vgirpc.KindProtocolNotSupported
		})},
		{"a method that is not", "", "/" + service + "/" + secretPath, nil, nil, one(404, vgirpc.Unimplemented, vgirpc.RefusedNotFound, func(r *vgirpc.Refused) {
			r.Method, r.Kind = "", vgirpc.KindMethodNotImplemented
		})},
		{"a path that is none of a call", "", "/" + secretPath, nil, nil, one(404, vgirpc.Unimplemented, vgirpc.RefusedNotFound, nowhere)},
		{"a page that is not there", "GET", "/" + secretPath, nil, nil, one(404, vgirpc.Unimplemented, vgirpc.RefusedNotFound, func(r *vgirpc.Refused) {
			nowhere(r)
			r.Verb = "GET"
		})},
		{"another verb", "PUT", echo, nil, nil, one(405, vgirpc.Unimplemented, vgirpc.RefusedVerb, func(r *vgirpc.Refused) { r.Verb = "PUT" })},
		{"a verb that is none of HTTP's", secretVerb, echo, nil, nil, one(405, vgirpc.Unimplemented, vgirpc.RefusedVerb, func(r *vgirpc.Refused) { r.Verb = "OTHER" })},
		{"another content type", "", echo, bytes.NewReader(body), []string{"Content-Type", "text/" + secretToken}, one(415, vgirpc.InvalidArgument, vgirpc.RefusedMediaType, nil)},
		{"a coding that nobody knows", "", echo, bytes.NewReader(body), []string{"Content-Encoding", secretToken}, one(415, vgirpc.InvalidArgument, vgirpc.RefusedMediaType, nil)},
		{"a bound that is none", "", echo, bytes.NewReader(body), []string{"VGI-Accept-Max-Response-Bytes", secretToken}, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, nil)},
		{"a unary method as a stream", "", echo + "/init", bytes.NewReader(body), nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, nil)},
		{"a body beyond the limit", "", echo, bytes.NewReader(make([]byte, 5000)), nil, one(413, vgirpc.ResourceExhausted, vgirpc.RefusedTooLarge, nil)},
		{"no body", "", echo, nil, nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, nil)},
		{"half a body", "", echo, bytes.NewReader(body[:size/2]), nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, bytesIn(size/2))},
		{"a body that stands still", "", echo, stalledBody{bytes.NewReader(body[:size/2])}, nil, one(408, vgirpc.DeadlineExceeded, vgirpc.RefusedStalled, bytesIn(size/2))},
		{"metadata that does not agree with the path", "", "/" + service + "/echo_string", bytes.NewReader(body), nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, func(r *vgirpc.Refused) {
			r.Method, r.BytesIn = "echo_string", size
		})},
		{"a session that is not here", "", echo, bytes.NewReader(body), []string{"VGI-Session", secretToken}, one(200, vgirpc.Aborted, vgirpc.RefusedSession, func(r *vgirpc.Refused) {
			r.Kind, r.BytesIn = vgirpc.KindSessionLost, size
		})},
		{"a continuation with another caller's tokens", "", accumulate + "/exchange", bytes.NewReader(floats(t, tokens, 1)), nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedStreamToken, func(r *vgirpc.Refused) {
			r.Method, r.BytesIn = "exchange_accumulate", -1
		})},
		{"a continuation without tokens", "", accumulate + "/exchange", bytes.NewReader(floats(t, wire.Metadata{{Key: "x", Value: secretToken}}, 1)), nil, one(400, vgirpc.InvalidArgument, vgirpc.RefusedStreamToken, func(r *vgirpc.Refused) {
			r.Method, r.BytesIn = "exchange_accumulate", -1
		})},
		{"JSON of another content type", "", echo + "?format=json", strings.NewReader("{}"), nil, one(415, vgirpc.InvalidArgument, vgirpc.RefusedMediaType, nil)},
		{"JSON of another origin", "", echo + "?format=json", strings.NewReader("{}"), []string{"Content-Type", "application/json", "Origin", "https://" + secretToken}, one(403, vgirpc.PermissionDenied, vgirpc.RefusedOrigin, nil)},
		{"JSON that is none", "", echo + "?format=json", strings.NewReader(secretValue), []string{"Content-Type", "application/json"}, one(400, vgirpc.InvalidArgument, vgirpc.RefusedMalformed, bytesIn(int64(len(secretValue))))},
		{"JSON for what is not there", "", "/" + service + "/" + secretPath + "?format=json", strings.NewReader("{}"), []string{"Content-Type", "application/json"}, one(404, vgirpc.Unimplemented, vgirpc.RefusedNotFound, func(r *vgirpc.Refused) {
			r.Method, r.Kind = "", vgirpc.KindMethodNotImplemented
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := exchangeOf(t, h, tt.verb, tt.path, tt.body, append([]string{
				"Authorization", "Bearer alice", "X-Request-ID", "req-1", "Content-Type", "application/vnd.apache.arrow.stream", "X-Other", secretToken,
			}, tt.fields...)...)
			if w.Code != tt.want.Status {
				t.Errorf("status %d, want %d", w.Code, tt.want.Status)
			}
			got := seen.take()
			for i := range got {
				if tt.want.BytesIn == -1 && got[i].BytesIn > 0 {
					got[i].BytesIn = -1 // some: how far a buffer reads is no matter
				}
			}
			if diff := cmp.Diff([]vgirpc.Refused{tt.want}, got, cmpopts.IgnoreFields(vgirpc.Refused{}, "Duration")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for i, r := range got {
				if r.Duration < 0 || r.Duration > time.Minute {
					t.Errorf("%d: duration %v", i, r.Duration)
				}
			}
			if w := post(t, h, echo, body, "Authorization", "Bearer alice"); w.status != http.StatusOK || seen.take() != nil {
				t.Errorf("a good call after it: status %d, or it is reported", w.status)
			}
		})
	}
}

// exchangeOf sends a request as from 192.0.2.1 and returns the answer.
func exchangeOf(t *testing.T, h http.Handler, verb, path string, body io.Reader, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	if verb == "" {
		verb = http.MethodPost
	}
	r := httptest.NewRequestWithContext(t.Context(), verb, path, body)
	for i := 0; i < len(fields); i += 2 {
		if r.Header.Set(fields[i], fields[i+1]); fields[i+1] == "" {
			r.Header.Del(fields[i])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestARefusalForWantOfRoomIsReported(t *testing.T) {
	var seen refusals
	s, err := newServerWith(vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(s, httpserver.Options{MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		exchangeOf(t, h, "", "/ConformanceService/echo_float", &gate{inside: inside, leave: leave}, "Content-Type", "application/vnd.apache.arrow.stream")
	})
	<-inside
	w := post(t, h, "/ConformanceService/echo_float", echoFloat(t))
	got := seen.take()
	close(leave)
	first.Wait()
	if w.status != http.StatusServiceUnavailable || w.header.Get("Retry-After") != "1" || len(got) != 1 || got[0].Reason != vgirpc.RefusedBusy {
		t.Errorf("status %d, Retry-After %q, %+v", w.status, w.header.Get("Retry-After"), got)
	}
}

// gate is a body that says when it is read, and then waits.
type gate struct {
	once   sync.Once
	inside chan struct{}
	leave  chan struct{}
}

func (g *gate) Read([]byte) (int, error) {
	g.once.Do(func() { close(g.inside) })
	<-g.leave
	return 0, io.EOF
}

// addresses returns limits of addresses.
func addresses(t *testing.T, opts ratelimit.Options) *ratelimit.Addresses {
	t.Helper()
	limit, err := ratelimit.NewAddresses(opts)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

func TestAnAddressIsServedNoMoreOftenThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen refusals
		h := newHandlerOf(t, httpserver.Options{
			AddressLimit: addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 0.4, Burst: 2}}),
			JSON:         &httpserver.JSONGateway{},
		}, vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
		body := echoFloat(t)
		const echo = "/ConformanceService/echo_float"
		arrow := []string{"Content-Type", "application/vnd.apache.arrow.stream"}
		call := func() *httptest.ResponseRecorder {
			return exchangeOf(t, h, "", echo, bytes.NewReader(body), arrow...)
		}
		for i := range 2 {
			if w := call(); w.Code != http.StatusOK {
				t.Fatalf("call %d: status %d", i, w.Code)
			}
		}
		w := call()
		e := wire.ParseStatus(last(t, w.Body.Bytes()).Meta)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "3" || e.Code != "RESOURCE_EXHAUSTED" || e.Type != "RateLimitError" {
			t.Errorf("status %d, Retry-After %q, %s %s", w.Code, w.Header().Get("Retry-After"), e.Code, e.Type)
		}
		if len(e.Details) != 1 || !bytes.Contains(e.Details[0], []byte(`"retry_delay_seconds":2.5`)) {
			t.Errorf("details %s", e.Details)
		}
		want := []vgirpc.Refused{{
			Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedAddressRate, Code: vgirpc.ResourceExhausted, Status: 429,
			Verb: "POST", Version: "HTTP/1.1", Protocol: "ConformanceService", Method: "echo_float", Peer: "192.0.2.1:1234", UID: -1, PID: -1,
			RequestID: w.Header().Get("X-Request-ID"),
		}}
		if diff := cmp.Diff(want, seen.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if w := exchangeOf(t, h, "GET", "/describe", nil); w.Code != 429 || w.Header().Get("Retry-After") != "3" {
			t.Errorf("a page: status %d", w.Code)
		}
		if w := exchangeOf(t, h, "", echo+"?format=json", strings.NewReader("{}")); w.Code != 429 || !strings.Contains(w.Body.String(), `"RESOURCE_EXHAUSTED"`) || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			t.Errorf("JSON: status %d %s", w.Code, w.Body)
		}
		if w := exchangeOf(t, h, "GET", "/health", nil); w.Code != 200 {
			t.Errorf("health: status %d", w.Code)
		}
		time.Sleep(3 * time.Second)
		if w := call(); w.Code != http.StatusOK {
			t.Errorf("after that time: status %d", w.Code)
		}
	})
}

func TestAFailedAuthenticationCostsAnAddressMore(t *testing.T) {
	for _, tt := range []struct {
		name, credential string
		served           int // before the first 429
	}{
		{"none", "", 20},
		{"one that is good", "Bearer alice", 20},
		{"one that has expired", "Bearer late", 20},
		{"one that is bad", "Bearer guess", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, httpserver.Options{
					Auth: auth.Func(byToken), AddressLimit: addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 20}}),
				})
				served := 0
				for exchangeOf(t, h, "GET", "/", nil, "Authorization", tt.credential).Code != http.StatusTooManyRequests {
					served++
				}
				if served != tt.served {
					t.Errorf("%d requests were served, want %d", served, tt.served)
				}
			})
		})
	}
}

func TestACallerIsServedNoMoreOftenThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen refusals
		limit, err := ratelimit.NewPrincipals(ratelimit.Options{Rate: ratelimit.Rate{Events: 1, Burst: 3}})
		if err != nil {
			t.Fatal(err)
		}
		h := newHandlerOf(t, httpserver.Options{Auth: auth.Func(byToken), PrincipalLimit: limit},
			vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
		var got []int
		for _, who := range []string{"alice", "alice", "alice", "alice", "bob", "alice"} {
			got = append(got, post(t, h, "/ConformanceService/echo_float", echoFloat(t), "Authorization", "Bearer "+who).status)
		}
		if diff := cmp.Diff([]int{200, 200, 200, 429, 200, 429}, got); diff != "" {
			t.Error(diff)
		}
		for _, r := range seen.take() {
			if r.Reason != vgirpc.RefusedPrincipalRate || r.Principal != "alice" || r.Domain != "test" || r.Method != "echo_float" {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestWhomTrustedProxiesForwardARequestFor(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct {
		name, from string
		header     []string
		want       string // of Refused.Client
	}{
		{"no header", "10.0.0.1:5", nil, ""},
		{"one proxy", "10.0.0.1:5", []string{"203.0.113.7"}, "203.0.113.7"},
		{"two proxies", "10.0.0.1:5", []string{"203.0.113.7, 10.2.2.2"}, "203.0.113.7"},
		{"two headers", "10.0.0.1:5", []string{"203.0.113.7", "10.2.2.2"}, "203.0.113.7"},
		{"a forged entry before the real one", "10.0.0.1:5", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"garbage before the real one", "10.0.0.1:5", []string{secretToken + ", 203.0.113.7"}, "203.0.113.7"},
		{"garbage from a proxy", "10.0.0.1:5", []string{"203.0.113.7, " + secretToken}, ""},
		{"nothing but proxies", "10.0.0.1:5", []string{"10.9.9.9"}, ""},
		{"somebody who is no proxy", "192.0.2.9:5", []string{"203.0.113.7"}, ""},
		{"an address of IPv4 in one of IPv6", "[::ffff:10.0.0.1]:5", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::7"}, "2001:db8::7"},
		{"empty entries", "10.0.0.1:5", []string{"203.0.113.7,, "}, "203.0.113.7"},
		{"a Unix socket", "@", []string{"203.0.113.7"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen refusals
				h := newHandlerOf(t, httpserver.Options{
					TrustedProxies: networks, AddressLimit: addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 1}}),
				}, vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
				ask := func(from string, header []string) int {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nothing", nil)
					r.RemoteAddr, r.Header["X-Forwarded-For"] = from, header
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					return w.Code
				}
				first := ask(tt.from, tt.header)
				if got := seen.take(); first != 404 || len(got) != 1 || got[0].Client != tt.want || got[0].Peer != tt.from {
					t.Errorf("status %d, %+v: want client %q of peer %q", first, got, tt.want, tt.from)
				}
				if tt.from == "@" {
					return
				}
				if again := ask(tt.from, tt.header); again != 429 {
					t.Errorf("the second time: status %d", again)
				}
				if other := ask("10.0.0.1:6", []string{"203.0.113.99"}); other != 404 {
					t.Errorf("another client: status %d", other)
				}
			})
		})
	}
}

// TestAPROXYHeadersAddressStandsForTheConnectionsInLimitsAlone has connections
// from a proxy that sends PROXY headers, and requests with what only a proxy may
// set: where a request comes from follows from the address that the PROXY header
// asserts, and who calls from the other end of the connection.
func TestAPROXYHeadersAddressStandsForTheConnectionsInLimitsAlone(t *testing.T) {
	const subject = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	bridge, err := iroh.New(iroh.Options{Issuer: "mesh", Bridges: []string{"10.0.0.8"}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := peer.New(peer.Options{Providers: []peer.Provider{bridge}, Policy: peer.Primary("iroh")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, immediate, asserted string
		client                    string // of the refusal
		status                    int    // 404 for who is let in
	}{
		{"an address that may forward", "192.0.2.1:5", "10.0.0.8:6", "203.0.113.7", 401},
		{"an address that may not, by a proxy that may", "10.0.0.8:5", "192.0.2.1:6", "192.0.2.1:6", 404},
		{"both may", "10.0.0.8:5", "10.0.0.9:6", "203.0.113.7", 404},
		{"neither may", "192.0.2.1:5", "192.0.2.2:6", "192.0.2.2:6", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen refusals
			h := newHandlerOf(t, httpserver.Options{Auth: who, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
				vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
			ctx := peer.WithConn(t.Context(), peer.Conn{Immediate: netip.MustParseAddrPort(tt.immediate), Source: netip.MustParseAddrPort(tt.asserted)})
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/nothing", nil)
			r.RemoteAddr = tt.asserted // as package auth/proxyproto has it
			r.Header["X-Forwarded-For"], r.Header[iroh.Header] = []string{"203.0.113.7"}, []string{subject}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := seen.take()
			if w.Code != tt.status || len(got) != 1 || got[0].Client != tt.client || got[0].Peer != tt.immediate {
				t.Errorf("status %d, %+v: want %d, client %q of peer %q", w.Code, got, tt.status, tt.client, tt.immediate)
			}
		})
	}
}

func TestOptionsOfLimitsThatMakeNoSense(t *testing.T) {
	limit, err := ratelimit.NewPrincipals(ratelimit.Options{Rate: ratelimit.Rate{Events: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]httpserver.Options{
		"PrincipalLimit": {PrincipalLimit: limit},
		"TrustedProxies": {TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		if _, err := httpserver.New(newServer(t), opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// buffer is written to by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func TestNoSecretOfACallerGetsIntoALog(t *testing.T) {
	var text, requests, access buffer
	requestLog, err := observability.NewRequestLog(&requests, observability.RequestLogOptions{AddressRate: -1, Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	accessLog := observability.NewAccessLog(&access, observability.AccessLogOptions{})
	h := newHandlerOf(t, httpserver.Options{
		MaxRequestBytes: 4096, Auth: auth.Func(byToken), Sticky: &httpserver.Sticky{}, JSON: &httpserver.JSONGateway{},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		AddressLimit:   addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 20}}),
	}, vgirpc.ServerOptions{
		Logger:           slog.New(slog.NewJSONHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})),
		RefusalObservers: []vgirpc.RefusalObserver{requestLog}, Observers: []vgirpc.Observer{accessLog},
	})
	body := requestOf(t, func(c *vgirpc.Client) error {
		_, err := conformance.EchoString.Call(t.Context(), c, conformance.Value[string]{Value: secretValue})
		return err
	})
	const echo = "/ConformanceService/echo_string"
	n := 0
	for _, path := range []string{echo, echo + "/init", echo + "/exchange", "/" + secretPath + "/x", "/ConformanceService/" + secretPath, "/" + secretPath, echo + "?format=json&" + secretPath, "/_oauth/" + secretPath, "/__session__"} {
		for _, verb := range []string{"POST", "GET", "DELETE", secretVerb} {
			for _, authorization := range []string{"Bearer alice", "Bearer " + secretToken, "Basic " + secretToken, ""} {
				for _, header := range []string{"X-Other", "Content-Type", "Content-Encoding", "VGI-Session", "VGI-Accept-Max-Response-Bytes", "X-Forwarded-For", "Cookie", "Origin", "Traceparent", "Accept"} {
					exchangeOf(t, h, verb, path, bytes.NewReader(body),
						"Content-Type", "application/vnd.apache.arrow.stream", "Authorization", authorization, header, secretToken)
					n++
				}
			}
		}
	}
	if lines := strings.Count(requests.b.String(), "\n"); lines < n/2 {
		t.Errorf("%d records of %d requests", lines, n)
	}
	for name, log := range map[string]*buffer{"request log": &requests, "access log": &access, "log": &text} {
		for _, secret := range []string{secretToken, secretClaim, secretPath, secretValue, secretVerb} {
			if at := strings.Index(log.b.String(), secret); at >= 0 {
				t.Errorf("the %s has %q: …%s…", name, secret, log.b.String()[max(0, at-200):min(log.b.Len(), at+50)])
			}
		}
	}
}

func TestAHeaderThatIsTooLargeIsReported(t *testing.T) {
	told := make(chan vgirpc.Refused, 10)
	s, err := httpserver.NewServer(newHandler(t, httpserver.Options{}), httpserver.ServeOptions{
		MaxHeaderBytes: 4096, Refused: func(_ context.Context, r *vgirpc.Refused) { told <- *r },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), l) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: x\r\nX-Other: "+strings.Repeat(secretToken, 1000)+"\r\n\r\n") // the server may hang up first
	want := vgirpc.Refused{
		Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedTooLarge, Code: vgirpc.ResourceExhausted, Status: 431,
		Version: "HTTP/1.1", Peer: c.LocalAddr().String(), UID: -1, PID: -1,
	}
	if diff := cmp.Diff(want, <-told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil || len(told) > 0 {
		t.Errorf("%v, %d more", err, len(told))
	}
}

func TestOurClientLearnsWhenToComeBack(t *testing.T) {
	limit := addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 2, Per: time.Hour}})
	web := httptest.NewServer(newHandler(t, httpserver.Options{AddressLimit: limit}))
	defer web.Close()
	transport, err := httpclient.New(web.URL, httpclient.Options{}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client := vgirpc.NewClientOn(transport, vgirpc.ClientOptions{})
	defer func() { _ = client.Close() }()
	for i := range 3 {
		_, err := conformance.EchoFloat.Call(t.Context(), client, conformance.Value[float64]{Value: 1})
		wait, told := vgirpc.DetailOf[vgirpc.RetryInfo](err)
		e, _ := errors.AsType[*vgirpc.Error](err)
		switch {
		case i < 2 && err != nil:
			t.Fatal(err)
		case i == 2 && (!told || !vgirpc.IsRemote(err) || !e.Retryable() || wait.RetryDelaySeconds < 1700 || wait.RetryDelaySeconds > 1800):
			t.Errorf("%v, wait %v", err, wait)
		}
	}
}

func TestARefusedSignInIsReported(t *testing.T) {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	defer issuer.Close()
	var seen refusals
	h := newHandlerOf(t, httpserver.Options{Prefix: "/vgi", Auth: auth.Func(byToken), OAuth: newSignIn(t, signInOptions(issuer.URL))},
		vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
	w := exchangeOf(t, h, http.MethodGet, "/vgi/_oauth/callback?code="+secretToken+"&state="+secretToken, nil)
	want := []vgirpc.Refused{{
		Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedSignIn, Code: vgirpc.InvalidArgument, Status: 400, Verb: "GET", Version: "HTTP/1.1",
		Peer: "192.0.2.1:1234", RequestID: w.Header().Get("X-Request-ID"), UID: -1, PID: -1,
	}}
	if diff := cmp.Diff(want, seen.take(), cmpopts.IgnoreFields(vgirpc.Refused{}, "Duration")); diff != "" || w.Code != 400 {
		t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
	}
	if w := exchangeOf(t, h, http.MethodGet, "/.well-known/oauth-protected-resource/vgi", nil); w.Code != 200 || seen.take() != nil {
		t.Errorf("metadata: status %d, or it is reported", w.Code)
	}
}

func TestASignInThatCannotBeginIsReportedAsWhatItIs(t *testing.T) {
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, issuer.URL, issuer.URL+"/auth", issuer.URL+"/token")
	}))
	defer issuer.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	for _, tt := range []struct {
		name, issuer, accept, credential string
		status                           int
		reason                           vgirpc.RefusedReason
		code                             vgirpc.Code
	}{
		{"one that begins", issuer.URL, "text/html", "", 302, "missing_credential", vgirpc.Unauthenticated},
		{"one that begins after a bad credential", issuer.URL, "text/html", "Bearer guess", 302, "invalid_credential", vgirpc.Unauthenticated},
		{"one whose authorization server is broken", broken.URL, "text/html", "", 503, vgirpc.RefusedAuthUnavailable, vgirpc.Unavailable},
		{"none for a program", broken.URL, "*/*", "", 401, "missing_credential", vgirpc.Unauthenticated},
		{"none when who calls cannot be found out", issuer.URL, "text/html", "Bearer outage", 503, vgirpc.RefusedAuthUnavailable, vgirpc.Unavailable},
		{"none when finding out fails", issuer.URL, "text/html", "Bearer fault", 500, vgirpc.RefusedAuthFailed, vgirpc.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen refusals
			h := newHandlerOf(t, httpserver.Options{Prefix: "/vgi", Auth: auth.Func(byToken), OAuth: newSignIn(t, signInOptions(tt.issuer))},
				vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{&seen}})
			w := exchangeOf(t, h, http.MethodGet, "/vgi/describe", nil, "Accept", tt.accept, "Authorization", tt.credential)
			got := seen.take()
			if w.Code != tt.status || len(got) != 1 || got[0].Status != tt.status || got[0].Reason != tt.reason || got[0].Code != tt.code {
				t.Errorf("status %d, reported %+v: want %d, %s and %s", w.Code, got, tt.status, tt.reason, tt.code)
			}
		})
	}
}

func TestABadCredentialCostsAnAddressMoreThoughNoSignInBegins(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	h := newHandler(t, httpserver.Options{
		Prefix: "/vgi", Auth: auth.Func(byToken), OAuth: newSignIn(t, signInOptions(broken.URL)),
		AddressLimit: addresses(t, ratelimit.Options{Rate: ratelimit.Rate{Events: 1, Per: time.Hour, Burst: 20}}),
	})
	var got []int
	for range 3 {
		got = append(got, exchangeOf(t, h, http.MethodGet, "/vgi/describe", nil, "Accept", "text/html", "Authorization", "Bearer guess").Code)
	}
	if diff := cmp.Diff([]int{503, 503, 429}, got); diff != "" {
		t.Error(diff)
	}
}

func TestARequestOverAnOutlivedCertificateIsReported(t *testing.T) {
	var seen refusals
	s, err := httpserver.NewServer(newHandler(t, httpserver.Options{}), httpserver.ServeOptions{ProgressTimeout: -1, Refused: seen.RequestRefused})
	if err != nil {
		t.Fatal(err)
	}
	for lasts, want := range map[time.Duration][]vgirpc.Refused{
		time.Hour: nil,
		-time.Hour: {{
			Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedExpiredCredential, Code: vgirpc.Unauthenticated, Status: 401,
			Verb: "GET", Version: "HTTP/1.1", Peer: "192.0.2.1:1234", UID: -1, PID: -1,
		}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{lasting(t, lasts)}}
		s.ServeHTTP(httptest.NewRecorder(), r)
		if diff := cmp.Diff(want, seen.take()); diff != "" {
			t.Errorf("one that lasts for %v (-want +got):\n%s", lasts, diff)
		}
	}
}
