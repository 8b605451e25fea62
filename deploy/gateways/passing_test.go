package gateways_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// everyGateway runs a test against each gateway in front of two workers.
func everyGateway(t *testing.T, test func(t *testing.T, base string, replicas []*replica)) {
	t.Helper()
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.find(t)
			replicas := []*replica{startReplica(t, "replica-one"), startReplica(t, "replica-two")}
			test(t, g.start(t, replicas[0].port, replicas[1].port), replicas)
		})
	}
}

func TestCallsPassTheGatewayAsTheyAre(t *testing.T) {
	t.Parallel()
	everyGateway(t, func(t *testing.T, base string, replicas []*replica) {
		t.Run("a compressed request and a response in the codec that the client asked for", func(t *testing.T) { compressed(t, base) })
		t.Run("an echo of 20 MiB", func(t *testing.T) { largeEcho(t, base) })
		t.Run("a percent sign in the path is refused and not decoded", func(t *testing.T) { percent(t, base) })
		t.Run("the request id of the client", func(t *testing.T) { requestID(t, base) })
		t.Run("sessions reach the replica that opened them", func(t *testing.T) { sessions(t, base, replicas) })
		t.Run("a session whose replica is gone is lost, and the caller hears it from another", func(t *testing.T) { ownerGone(t, base, replicas) })
		t.Run("without a replica the answer is the gateway's, and not Arrow", func(t *testing.T) {
			for _, r := range replicas {
				r.kill()
			}
			a := unreachable(t, base)
			if a.header.Get("Vgi-Supported-Encodings") != "" {
				t.Errorf("the gateway speaks for a worker: %v", a.header)
			}
		})
	})
}

func compressed(t *testing.T, base string) {
	ctx := t.Context()
	// Long and repetitive: whoever compresses by content would do it here.
	data := bytes.Repeat([]byte("arrow "), 100_000)
	plain, err := request("echo_bytes", []param{{"data", data}})
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	squeezed := encoder.EncodeAll(plain, nil)
	for _, c := range []struct {
		name    string
		body    []byte
		request map[string]string
		// coding and stamp are those of the answer.
		stamp, coding string
	}{
		{"zstd by the custom header", squeezed, map[string]string{"Content-Encoding": "zstd", "X-VGI-Accept-Encoding": "zstd"}, "X-VGI-Content-Encoding", "zstd"},
		{"gzip by the usual header", squeezed, map[string]string{"Content-Encoding": "zstd", "Accept-Encoding": "gzip"}, "Content-Encoding", "gzip"},
		{"identity although gzip is accepted", plain, map[string]string{"X-VGI-Accept-Encoding": "identity", "Accept-Encoding": "gzip"}, "", ""},
		{"nothing asked for, nothing done", plain, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := http.Header{}
			for name, value := range c.request {
				header.Set(name, value)
			}
			a, err := send(ctx, http.MethodPost, base+"/"+service+"/echo_bytes", header, c.body)
			if err != nil {
				t.Fatal(err)
			}
			stamps := map[string]string{}
			for _, name := range []string{"Content-Encoding", "X-VGI-Content-Encoding"} {
				if value := a.header.Get(name); value != "" {
					stamps[name] = value
				}
			}
			want := map[string]string{}
			if c.stamp != "" {
				want[c.stamp] = c.coding
			}
			if diff := cmp.Diff(want, stamps); diff != "" {
				t.Fatalf("codings of the answer (-want +got):\n%s", diff)
			}
			a.body = unpack(t, c.coding, a.body)
			got, err := decode(a)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.columns[0].bytes, data) {
				t.Errorf("%d bytes came back changed, of %d", len(got.columns[0].bytes), len(data))
			}
		})
	}
}

func unpack(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var src io.Reader = bytes.NewReader(body)
	var err error
	switch coding {
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(src); err == nil {
			defer d.Close()
			src = d
		}
	case "gzip":
		src, err = gzip.NewReader(src)
	default:
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(src)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func largeEcho(t *testing.T, base string) {
	data := make([]byte, 20<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	c := client{base: base}
	got, _ := must(t)(c.unary(t.Context(), "echo_bytes", param{"data", data}))
	if !bytes.Equal(got.columns[0].bytes, data) {
		t.Errorf("%d bytes came back changed, of %d", len(got.columns[0].bytes), len(data))
	}
}

func percent(t *testing.T, base string) {
	body, err := request("echo_int", []param{{"value", int64(7)}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/ConformanceService/echo_int":   http.StatusOK,
		"/Conformance%53ervice/echo_int": http.StatusNotFound,
	} {
		a, err := send(t.Context(), http.MethodPost, base+path, nil, body)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != want {
			t.Errorf("%s: status %d, want %d", path, a.status, want)
		}
	}
}

func requestID(t *testing.T, base string) {
	// A UUID: some gateways write into those.
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	c := client{base: base, header: http.Header{"X-Request-Id": {id}}}
	_, a := must(t)(c.unary(t.Context(), "echo_int", param{"value", int64(7)}))
	if diff := cmp.Diff([]string{id}, a.header.Values("X-Request-ID")); diff != "" {
		t.Errorf("request id (-want +got):\n%s", diff)
	}
}

// unreachable calls a method that nobody serves, and checks that the answer is the
// gateway's own.
func unreachable(t *testing.T, base string) *answer {
	t.Helper()
	body, err := request("echo_int", []param{{"value", int64(7)}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := send(t.Context(), http.MethodPost, base+"/"+service+"/echo_int", http.Header{"X-Request-Id": {"an-id"}}, body)
	if err != nil {
		t.Fatal(err)
	}
	switch a.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		t.Errorf("status %d, want one of a gateway", a.status)
	}
	if a.header.Get("Content-Type") == contentType {
		t.Errorf("the gateway's own error claims to be Arrow")
	}
	if diff := cmp.Diff([]string{"an-id"}, a.header.Values("X-Request-ID")); diff != "" {
		t.Errorf("request id of the gateway's own error (-want +got):\n%s", diff)
	}
	return a
}

// routeHeader is what a gateway asks clients to send within a session.
const routeHeader = "Vgi-Gateway-Route"

func sessions(t *testing.T, base string, replicas []*replica) {
	const count = 10
	before := []int{replicas[0].served(t, "increment_counter"), replicas[1].served(t, "increment_counter")}
	for i := range count {
		member := openSession(t, base, int64(i))
		for step := range 5 {
			got, a := must(t)(member.unary(t.Context(), "increment_counter", param{"by", int64(2)}))
			if want := int64(i + 2*(step+1)); got.columns[0].ints[0] != want {
				t.Errorf("session %d, step %d: %d, want %d", i, step, got.columns[0].ints[0], want)
			}
			if echo := a.header.Values("VGI-Echo-" + routeHeader); len(echo) != 0 {
				t.Errorf("the route came again on a later answer: %v", echo)
			}
		}
		sameReplicaWithoutARoute(t, base, member.header.Get("Vgi-Session"))
		_, closed := must(t)(member.unary(t.Context(), "close_counter"))
		if closed.header.Get("Vgi-Session-Close") != "true" {
			t.Errorf("session %d was not closed: %v", i, closed.header)
		}
	}
	for i, r := range replicas {
		if r.served(t, "increment_counter") == before[i] {
			t.Errorf("replica %s served no session", r.id)
		}
	}
}

// openSession opens a counter, and returns a client that sends what the answer
// asks for.
func openSession(t *testing.T, base string, initial int64) client {
	t.Helper()
	opener := client{base: base, header: http.Header{"Vgi-Session-Accept": {"true"}}}
	_, opened := must(t)(opener.unary(t.Context(), "open_counter", param{"initial", initial}))
	member := client{base: base, header: http.Header{"Vgi-Session": {opened.header.Get("Vgi-Session")}}}
	for name, values := range opened.header {
		if inner, ok := strings.CutPrefix(name, "Vgi-Echo-"); ok {
			member.header[http.CanonicalHeaderKey(inner)] = values
		}
	}
	if len(member.header[routeHeader]) != 1 {
		t.Fatalf("the answer that opened a session names no route: %v", opened.header)
	}
	return member
}

// ownerGone kills the replica that owns a session.
func ownerGone(t *testing.T, base string, replicas []*replica) {
	member := openSession(t, base, 0)
	owner := replicas[0]
	if member.header.Get(routeHeader) == "r2" {
		owner = replicas[1]
	}
	owner.kill()
	for range attempts {
		got, _, err := member.unary(t.Context(), "increment_counter", param{"by", int64(1)})
		if err != nil && lost(t.Context(), err) {
			continue // on a connection that the gateway had kept
		}
		if err == nil || got == nil || got.status == nil || got.status.Kind != "session_lost" {
			t.Errorf("got %v, want session_lost", err)
		}
		return
	}
	t.Errorf("no replica answered in %d attempts", attempts)
}

// sameReplicaWithoutARoute checks the hash: a token alone leads to one replica,
// which either owns the session or says each time that it does not.
func sameReplicaWithoutARoute(t *testing.T, base, token string) {
	t.Helper()
	c := client{base: base, header: http.Header{"Vgi-Session": {token}}}
	seen := map[string]int{}
	for range 4 {
		got, _, err := c.unary(t.Context(), "increment_counter", param{"by", int64(0)})
		switch {
		case err == nil:
			seen["owner"]++
		case got != nil && got.status != nil && got.status.Kind == "session_lost":
			seen["other"]++
		default:
			t.Fatal(err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("one token, two replicas: %v", seen)
	}
}

// A recorder stands in for a worker and keeps what reaches it.
type recorder struct {
	*httptest.Server
	// hangUp closes the connection of a call once its request has been read.
	hangUp bool

	mu       sync.Mutex
	requests []*http.Request
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/health" {
		// No connection stays behind: a call on one that is just being closed may
		// have been received, and is rightly not sent again.
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, `{"status":"ok"}`)
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, req)
	r.mu.Unlock()
	_, _ = io.Copy(io.Discard, req.Body)
	if r.hangUp {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	for _, name := range []string{"VGI-Session-Close", "X-VGI-RPC-Error", "X-VGI-Content-Encoding", "VGI-Some-Capability", "WWW-Authenticate", "VGI-Auth-Reason"} {
		w.Header().Set(name, "kept")
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, "body of the worker")
}

func (r *recorder) received() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

func (r *recorder) port(t *testing.T) int {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHeadersAndPathReachTheWorkerAndIdentityDoesNot(t *testing.T) {
	t.Parallel()
	const forged = "203.0.113.9"
	asserted := []string{
		"X-SSL-Client-Cert", "X-SSL-Client-Verify", "X-Forwarded-Client-Cert", "X-ARR-ClientCert",
		"X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Leaf", "X-Client-Cert-Present",
		"X-Client-Cert-Chain-Verified", "X-Client-Cert-Error", "X-Client-Cert-Spiffe-Id",
		"Tailscale-User-Login", "Tailscale-User-Name", "Tailscale-User-Profile-Pic",
		"Tailscale-App-Capabilities", "Tailscale-Funnel-Request", "VGI-Forwarded-Iroh-Endpoint",
		"X-SSL-Client-SHA256", "X-SSL-Client-S-DN", "Client-Cert", "Client-Cert-Chain",
		"Forwarded", "X-Real-IP", "X_SSL_Client_Cert",
	}
	passed := []string{
		"VGI-Session-Accept", "VGI-Proxy-Proof", "VGI-Accept-Max-Response-Bytes", "VGI-Unheard-Of",
		"X-VGI-Accept-Encoding", "X-VGI-Unheard-Of", "Authorization", "Traceparent", "X-Request-ID", "Accept-Encoding",
	}
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			one, two := newRecorder(t), newRecorder(t)
			base := g.start(t, one.port(t), two.port(t))
			received := func() []*http.Request { return append(one.received(), two.received()...) }
			header := http.Header{"X-Forwarded-For": {forged}}
			for _, name := range append(passed, asserted...) {
				header[http.CanonicalHeaderKey(name)] = []string{"sent by the client"}
			}
			const path = "/a%2Fb//%41%25/c?q=%2F"
			a, err := send(t.Context(), http.MethodPost, base+path, header, []byte("body"))
			if err != nil {
				t.Fatal(err)
			}
			requests := received()
			if len(requests) != 1 {
				t.Fatalf("the worker saw %d requests", len(requests))
			}
			got := requests[0]
			if got.RequestURI != path {
				t.Errorf("path %s arrived as %s", path, got.RequestURI)
			}
			for _, name := range asserted {
				if values := got.Header.Values(name); len(values) != 0 && strings.Join(values, "") != "" {
					t.Errorf("%s of the client reached the worker: %q", name, values)
				}
			}
			for _, name := range passed {
				if diff := cmp.Diff([]string{"sent by the client"}, got.Header.Values(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			// Envoy names its own address for a client on loopback.
			if from := got.Header.Values("X-Forwarded-For"); len(from) != 1 || net.ParseIP(from[0]) == nil || from[0] == forged {
				t.Errorf("X-Forwarded-For is %q, want the one address that the gateway saw", from)
			}
			if a.status != http.StatusUnauthorized || string(a.body) != "body of the worker" {
				t.Errorf("the worker's refusal arrived as %d %q", a.status, a.body)
			}
			for _, name := range []string{"VGI-Session-Close", "X-VGI-RPC-Error", "X-VGI-Content-Encoding", "VGI-Some-Capability", "WWW-Authenticate", "VGI-Auth-Reason"} {
				if diff := cmp.Diff([]string{"kept"}, a.header.Values(name)); diff != "" {
					t.Errorf("%s of the answer (-want +got):\n%s", name, diff)
				}
			}

			delete(header, "X-Request-Id")
			if _, err = send(t.Context(), http.MethodPost, base+"/nameless", header, []byte("body")); err != nil {
				t.Fatal(err)
			}
			for _, req := range received() {
				if id := req.Header.Values("X-Request-ID"); req.RequestURI == "/nameless" && (len(id) != 1 || len(id[0]) < 16) {
					t.Errorf("a request without an id got %q", id)
				}
			}
		})
	}
}

func TestARequestThatMayHaveBeenReceivedIsNeverSentAgain(t *testing.T) {
	t.Parallel()
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			one, two := newRecorder(t), newRecorder(t)
			one.hangUp, two.hangUp = true, true
			base := g.start(t, one.port(t), two.port(t))
			header := http.Header{
				"X-Envoy-Retry-On": {"reset,5xx,gateway-error"}, "X-Envoy-Max-Retries": {"5"},
				"Idempotency-Key": {"a-key"},
			}
			a, err := send(t.Context(), http.MethodPost, base+"/"+service+"/echo_int", header, []byte("body"))
			switch {
			case errors.Is(err, io.EOF) && g.name == "haproxy":
				// On a connection that has carried a request before, HAProxy closes
				// instead of answering, as a server without it would.
			case err != nil:
				t.Error(err)
			case a.status < 500 || a.header.Get("Content-Type") == contentType:
				t.Errorf("answered by %d, %s", a.status, a.header.Get("Content-Type"))
			}
			if n := len(one.received()) + len(two.received()); n != 1 {
				t.Errorf("one request was dispatched %d times", n)
			}
		})
	}
}

func TestACallThatCannotConnectGoesToTheOtherReplica(t *testing.T) {
	t.Parallel()
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			gone, alive := newRecorder(t), newRecorder(t)
			base := g.start(t, gone.port(t), alive.port(t))
			gone.Close()
			for range 20 {
				a, err := send(t.Context(), http.MethodPost, base+"/", nil, []byte("body"))
				if err != nil {
					t.Fatal(err)
				}
				if string(a.body) != "body of the worker" {
					t.Fatalf("status %d: %q", a.status, a.body)
				}
			}
			if n := len(gone.received()) + len(alive.received()); n != 20 {
				t.Errorf("20 requests were dispatched %d times", n)
			}
		})
	}
}

func TestABodyOverTheLimitIsRefusedBeforeAReplicaHearsOfIt(t *testing.T) {
	t.Parallel()
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			one, two := newRecorder(t), newRecorder(t)
			base := g.start(t, one.port(t), two.port(t))
			// A gateway may answer and close while the body is on its way, and the
			// answer is lost with the connection: no error is wrong here.
			a, err := send(t.Context(), http.MethodPost, base+"/", nil, make([]byte, 65<<20))
			if err == nil && a.status != http.StatusRequestEntityTooLarge {
				t.Errorf("status %d, want 413", a.status)
			}
			if n := len(one.received()) + len(two.received()); n != 0 {
				t.Errorf("the workers saw %d requests", n)
			}
		})
	}
}
