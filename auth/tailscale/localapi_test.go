package tailscale_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/tailscale"
)

// daemon answers as tailscaled does on its socket.
type daemon struct {
	mu       sync.Mutex
	requests []url.Values
	password string // wanted, if any

	answer http.HandlerFunc
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.requests = append(d.requests, r.URL.Query())
	d.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case r.Host != "local-tailscaled.sock", r.Method != http.MethodGet, r.URL.Path != "/localapi/v0/whois":
		w.WriteHeader(http.StatusTeapot)
	case user != "", password != d.password:
		w.WriteHeader(http.StatusUnauthorized)
	default:
		d.answer(w, r)
	}
}

// seen are the questions so far.
func (d *daemon) seen() []url.Values {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests
}

func says(code int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if kind != "" {
			w.Header()["Content-Type"] = strings.Split(kind, "|")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// onSocket is a provider whose daemon listens on a Unix socket.
func onSocket(t *testing.T, answer http.HandlerFunc) (*tailscale.LocalAPIProvider, *daemon) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tailscaled.sock")
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{answer: answer}
	s := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = s.Close() })
	return must(tailscale.LocalAPI(tailscale.LocalAPIOptions{Issuer: "tailnet:example", Socket: path, Timeout: time.Minute})), d
}

func whois(tags, capabilities string) string {
	return `{"Node":{"ID":44,"StableID":"n123CNTRL","Name":"client.example.ts.net.","User":123,"Addresses":["100.64.0.10/32"],"Tags":` + tags +
		`},"UserProfile":{"ID":123,"LoginName":"alice@example.com","DisplayName":"Alice Architect"},"CapMap":` + capabilities + `}`
}

const grants = `{"example.com/cap/run":[{"queue":"blue"}]}`

// connection is one from the tailnet.
func connection() *peer.Snapshot {
	return &peer.Snapshot{
		Transport: "tcp", Immediate: netip.MustParseAddr("100.64.0.10"), Source: "100.64.0.10:4242", Destination: "100.64.0.1:9400",
	}
}

func TestWhoIs(t *testing.T) {
	user := peer.Identity{
		Provider: "tailscale", Source: "localapi", Assurance: peer.LocalDaemon, Issuer: "tailnet:example", Transport: "tcp",
		Kind: peer.User, Subject: "user:123", Stability: peer.Stable, Verified: true, CapabilitiesVerified: true,
		Capabilities: must(peer.ParseObject([]byte(grants))), SourceAddr: "100.64.0.10:4242",
	}
	node := user
	node.Kind, node.Subject = peer.TaggedNode, "node:n123CNTRL"
	attributes := func(target string, tags []any, profile bool) peer.Object {
		out := map[string]any{"node_id": "n123CNTRL", "node_name": "client.example.ts.net.", "tags": tags}
		kind, value, _ := strings.Cut(target, " ")
		out["capability_target"] = map[string]any{"kind": kind}
		if value != "" {
			out["capability_target"] = map[string]any{"kind": kind, "value": value}
		}
		if profile {
			out["user_id"], out["user_login"], out["user_display_name"] = "123", "alice@example.com", "Alice Architect"
		}
		return must(peer.NewObject(out))
	}
	question := func(pairs ...string) url.Values {
		q := url.Values{"addr": {"100.64.0.10:4242"}, "proto": {"tcp"}}
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
		}
		return q
	}
	for _, tt := range []struct {
		name     string
		answer   string
		change   func(s *peer.Snapshot)
		want     peer.Identity
		target   string
		tags     []any
		question url.Values
	}{
		{"a user", whois("[]", grants), nil, user, "destination_ip 100.64.0.1", []any{}, question("dst_ip", "100.64.0.1")},
		{"no tags", whois("null", grants), nil, user, "destination_ip 100.64.0.1", []any{}, question("dst_ip", "100.64.0.1")},
		{
			"a tagged node", whois(`["tag:b","tag:a"]`, grants), nil, node, "destination_ip 100.64.0.1",
			[]any{"tag:a", "tag:b"},
			question("dst_ip", "100.64.0.1"),
		},
		{
			"a service", whois("[]", grants), func(s *peer.Snapshot) { s.Service = "svc:analytics" }, user, "service svc:analytics",
			[]any{},
			question("svc_name", "svc:analytics"),
		},
		{"no destination", whois("[]", grants), func(s *peer.Snapshot) { s.Destination = "" }, user, "node", []any{}, question()},
		{
			"a proxy in between", whois("[]", grants), func(s *peer.Snapshot) {
				s.Immediate, s.Source, s.Asserted = netip.MustParseAddr("127.0.0.1"), "127.0.0.1:9", s.Source
				s.Destination = "[2001:db8::8]:443"
			}, user, "destination_ip 2001:db8::8", []any{}, question("dst_ip", "2001:db8::8"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, d := onSocket(t, says(200, "application/json", tt.answer))
			s := connection()
			if tt.change != nil {
				tt.change(s)
			}
			got := p.Resolve(t.Context(), s)
			tt.want.Attributes = attributes(tt.target, tt.tags, tt.want.Kind == peer.User)
			if diff := cmp.Diff(peer.Result{Status: peer.Available, Identities: []peer.Identity{tt.want}}, got, cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
			p.Resolve(t.Context(), s)
			if diff := cmp.Diff([]url.Values{tt.question, tt.question}, d.seen()); diff != "" {
				t.Error("the daemon was asked otherwise, or not each time: " + diff)
			}
			if id := must(peer.NewEvidence(map[string]peer.Result{p.Name(): got})); id.Identities("tailscale")[0].Principal() !=
				"peer/tailscale/tailnet%3Aexample/"+strings.ReplaceAll(tt.want.Subject, ":", "%3A") {
				t.Errorf("the principal is %s", got.Identities[0].Principal())
			}
		})
	}
}

func TestAnswersThatNameNobody(t *testing.T) {
	const kind = "application/json"
	large := `{"Node":{"Tags":[]},"UserProfile":{"ID":1},"X":"` + strings.Repeat("x", 64<<10) + `"}`
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   peer.Status
	}{
		{"it knows nobody there", says(404, kind, "{}"), peer.NoMatch},
		{"we may not ask", says(403, kind, "{}"), peer.PermissionDenied},
		{"it wants a password", says(401, kind, "{}"), peer.PermissionDenied},
		{"it has a fault", says(500, kind, "{}"), peer.Unavailable},
		{"it is not ready", says(503, kind, "{}"), peer.Unavailable},
		{"it does not understand us", says(400, kind, "{}"), peer.Invalid},
		{"it sends us somewhere else", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/localapi/v0/whois", http.StatusFound)
		}, peer.Invalid},
		{"nothing", says(204, "", ""), peer.Invalid},
		{"it goes away", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, peer.Unavailable},
		{"it goes away in the middle", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}, peer.Unavailable},
		{"it does not speak HTTP", raw("hello\r\n\r\n"), peer.Invalid},
		{"two lengths", raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), peer.Invalid},
		{"no kind", says(200, "", whois("[]", "{}")), peer.Invalid},
		{"another kind", says(200, "text/plain", whois("[]", "{}")), peer.Invalid},
		{"two kinds", says(200, kind+"|"+kind, whois("[]", "{}")), peer.Invalid},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, whois("[]", "{}"))
		}, peer.Invalid},
		{"a kind with parameters", says(200, "Application/JSON; charset=utf-8", whois("[]", "{}")), peer.Available},
		{"in chunks", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for _, c := range whois("[]", grants) {
				_, _ = io.WriteString(w, string(c))
				w.(http.Flusher).Flush()
			}
		}, peer.Available},
		{"too much", says(200, kind, large), peer.Invalid},
		{"no JSON", says(200, kind, "not-json"), peer.Invalid},
		{"no node", says(200, kind, `{"UserProfile":{"ID":1}}`), peer.Invalid},
		{"a node twice", says(200, kind, `{"Node":{},"Node":{},"UserProfile":{"ID":1}}`), peer.Invalid},
		{"nobody's node", says(200, kind, `{"Node":{}}`), peer.Invalid},
		{"a user zero", says(200, kind, `{"Node":{},"UserProfile":{"ID":0}}`), peer.Invalid},
		{"a user below zero", says(200, kind, `{"Node":{},"UserProfile":{"ID":-1}}`), peer.Invalid},
		{"half a user", says(200, kind, `{"Node":{},"UserProfile":{"ID":1.0}}`), peer.Invalid},
		{"a user as a text", says(200, kind, `{"Node":{},"UserProfile":{"ID":"1"}}`), peer.Invalid},
		{"a user that is true", says(200, kind, `{"Node":{},"UserProfile":{"ID":true}}`), peer.Invalid},
		{"a user of no number", says(200, kind, `{"Node":{},"UserProfile":{"ID":99999999999999999999}}`), peer.Invalid},
		{"a login that is a number", says(200, kind, `{"Node":{},"UserProfile":{"ID":1,"LoginName":1}}`), peer.Invalid},
		{"a tagged node without an ID", says(200, kind, `{"Node":{"Tags":["tag:a"]},"UserProfile":{"ID":1}}`), peer.Invalid},
		{"an ID that is a number", says(200, kind, `{"Node":{"StableID":1,"Tags":["tag:a"]}}`), peer.Invalid},
		{"an ID of half a surrogate pair", says(200, kind, `{"Node":{"StableID":"bad\ud800","Tags":["tag:a"]}}`), peer.Invalid},
		{"a tag that is none", says(200, kind, whois(`["admin"]`, "{}")), peer.Invalid},
		{"tags that are a text", says(200, kind, whois(`"tag:a"`, "{}")), peer.Invalid},
		{"capabilities that are a list", says(200, kind, whois("[]", "[]")), peer.Invalid},
		{"a capability that is an object", says(200, kind, whois("[]", `{"e.com/run":{}}`)), peer.Invalid},
		{"a capability that is no number", says(200, kind, whois("[]", `{"e.com/run":[NaN]}`)), peer.Invalid},
		{"a capability that is not UTF-8", says(200, kind, whois("[]", "{\"bad\xff\":[]}")), peer.Invalid},
		{"no capabilities", says(200, kind, whois("[]", "null")), peer.Available},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := onSocket(t, tt.answer)
			if got := p.Resolve(t.Context(), connection()); got.Status != tt.want {
				t.Errorf("got %s, want %s", got.Status, tt.want)
			}
		})
	}
}

// raw answers with bytes of its own.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
	}
}

func TestNobodyIsAskedInVain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *peer.Snapshot)
		want   peer.Status
	}{
		{"a connection without an address", func(s *peer.Snapshot) { s.Source = "" }, peer.NotApplicable},
		{"an address without a port", func(s *peer.Snapshot) { s.Source = "100.64.0.10" }, peer.Invalid},
		{"an address with more in it", func(s *peer.Snapshot) { s.Asserted = "100.64.0.10:1&addr=100.64.0.11:1" }, peer.Invalid},
		{"a service that is none", func(s *peer.Snapshot) { s.Service = "svc:not.a-dns-label" }, peer.Invalid},
		{"a service with a line break", func(s *peer.Snapshot) { s.Service = "svc:a\n" }, peer.Invalid},
		{"a destination that is a name", func(s *peer.Snapshot) { s.Destination = "localhost:80" }, peer.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, d := onSocket(t, says(200, "application/json", whois("[]", "{}")))
			s := connection()
			tt.change(s)
			if got := p.Resolve(t.Context(), s); got.Status != tt.want || len(d.seen()) != 0 {
				t.Errorf("got %s after %d questions, want %s", got.Status, len(d.seen()), tt.want)
			}
		})
	}
}

func TestADaemonThatIsNotThere(t *testing.T) {
	p := must(tailscale.LocalAPI(tailscale.LocalAPIOptions{Issuer: "x", Socket: filepath.Join(t.TempDir(), "none.sock")}))
	if got := p.Resolve(t.Context(), connection()); got.Status != peer.Unavailable {
		t.Errorf("got %s", got.Status)
	}
}

func TestADaemonThatHangs(t *testing.T) {
	asked, release := make(chan struct{}, 1), make(chan struct{})
	p, _ := onSocket(t, func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if got := p.Resolve(ctx, connection()); got.Status != peer.Unavailable {
		t.Errorf("got %s", got.Status)
	}
}

func TestADaemonOnAPort(t *testing.T) {
	d := &daemon{password: "secret", answer: says(200, "application/json", whois("[]", grants))}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	for password, want := range map[string]peer.Status{"secret": peer.Available, "": peer.PermissionDenied, "Secret": peer.PermissionDenied} {
		p := must(tailscale.LocalAPI(tailscale.LocalAPIOptions{Issuer: "x", Endpoint: server.URL, Password: password, Timeout: time.Minute}))
		if got := p.Resolve(t.Context(), connection()); got.Status != want {
			t.Errorf("got %s, want %s", got.Status, want)
		}
	}
}

func TestLocalAPIOptionsThatCannotBe(t *testing.T) {
	for name, opts := range map[string]tailscale.LocalAPIOptions{
		"no issuer":                    {},
		"a socket and an endpoint":     {Issuer: "x", Socket: "/a", Endpoint: "http://127.0.0.1:1"},
		"a password for a socket":      {Issuer: "x", Password: "p"},
		"a negative timeout":           {Issuer: "x", Timeout: -1},
		"an endpoint with TLS":         {Issuer: "x", Endpoint: "https://127.0.0.1:1"},
		"an endpoint without a scheme": {Issuer: "x", Endpoint: "127.0.0.1:1"},
		"an endpoint with a path":      {Issuer: "x", Endpoint: "http://127.0.0.1:1/a"},
		"an endpoint with a query":     {Issuer: "x", Endpoint: "http://127.0.0.1:1?a"},
		"an endpoint with a user":      {Issuer: "x", Endpoint: "http://u:p@127.0.0.1:1"},
		"an endpoint without a host":   {Issuer: "x", Endpoint: "http://"},
	} {
		if _, err := tailscale.LocalAPI(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzWhoIs: whatever the daemon says, a user is a positive number and a tagged
// node has an ID, both of which are in the answer.
func FuzzWhoIs(f *testing.F) {
	for _, seed := range []string{
		whois("[]", grants), whois(`["tag:a"]`, "null"), `{}`, `{"Node":{"Tags":["tag:a"],"StableID":"x"}}`, `{"Node":{},"UserProfile":{"ID":1e3}}`,
	} {
		f.Add(seed)
	}
	var body atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	f.Cleanup(server.Close)
	p := must(tailscale.LocalAPI(tailscale.LocalAPIOptions{Issuer: "x", Endpoint: server.URL}))
	f.Fuzz(func(t *testing.T, text string) {
		body.Store(text)
		got := p.Resolve(t.Context(), connection())
		e, err := peer.NewEvidence(map[string]peer.Result{"tailscale": got})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range e.Identities("tailscale") {
			if id, ok := strings.CutPrefix(i.Subject, "user:"); ok {
				if n, err := strconv.ParseInt(id, 10, 64); err != nil || n <= 0 || strconv.FormatInt(n, 10) != id {
					t.Errorf("%q is %q", text, i.Subject)
				}
				continue
			}
			id, ok := strings.CutPrefix(i.Subject, "node:")
			node, _ := must(peer.ParseObject([]byte(text))).Map()["Node"].(map[string]any)
			if !ok || id == "" || node["StableID"] != id {
				t.Errorf("%q is %q", text, i.Subject)
			}
		}
	})
}
