package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/observability/admin"
)

const token = "correct-horse-battery"

func newServer(tb testing.TB, opts admin.Options) *admin.Server {
	tb.Helper()
	s, err := admin.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// request is one to the listener, with a name of the server's unless it has
// another one.
func request(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:9090"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func answer(h http.Handler, r *http.Request) (status int, body string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func TestWhoGetsThrough(t *testing.T) {
	var level slog.LevelVar
	open := newServer(t, admin.Options{Hosts: []string{"worker.example"}, Level: &level})
	closed := newServer(t, admin.Options{Token: token, Level: &level})
	for _, tt := range []struct {
		name string
		s    *admin.Server
		r    *http.Request
		want int
	}{
		{"a request to an address", open, request("GET", "/livez", ""), 200},
		{"one of IPv6", open, request("GET", "/livez", "", "Host", "[::1]:9090"), 200},
		{"one of IPv6 without a port", open, request("GET", "/livez", "", "Host", "[::1]"), 200},
		{"localhost", open, request("GET", "/livez", "", "Host", "LocalHost.:9090"), 200},
		{"a name of its own", open, request("GET", "/livez", "", "Host", "Worker.Example"), 200},
		{"a name that somebody had resolved to it", open, request("GET", "/livez", "", "Host", "evil.example:9090"), 421},
		{"a name that begins like an address", open, request("GET", "/livez", "", "Host", "127.0.0.1.evil.example"), 421},
		{"no name, as probes have it", open, request("GET", "/livez", "", "Host", ""), 200},
		{"a link of another site", open, request("GET", "/debug/pprof/heap", "", "Sec-Fetch-Site", "cross-site"), 403},
		{"somebody who types the address", open, request("GET", "/livez", "", "Sec-Fetch-Site", "none"), 200},
		{"a form of another site", open, request("PUT", "/loglevel", "debug", "Origin", "https://evil.example"), 403},
		{"nobody without the token", closed, request("GET", "/buildinfo", ""), 401},
		{"nobody with another one", closed, request("GET", "/buildinfo", "", "Authorization", "Bearer correct-horse-battery2"), 401},
		{"nobody with it in another scheme", closed, request("GET", "/buildinfo", "", "Authorization", "Basic "+token), 401},
		{"who has the token", closed, request("GET", "/buildinfo", "", "Authorization", "bearer "+token), 200},
		{"probes", closed, request("GET", "/livez", ""), 200},
		{"the other probe", closed, request("GET", "/readyz", ""), 200},
		{"its reasons are not for everybody", closed, request("GET", "/readyz?verbose", ""), 401},
		{"no change without the token", closed, request("PUT", "/loglevel", "debug"), 401},
		{"no path that there is not", open, request("GET", "/etc/passwd", ""), 404},
		{"no figures where there are none", open, request("GET", "/metrics", ""), 404},
		{"no command line", open, request("GET", "/debug/pprof/cmdline", ""), 404},
		{"no other verb", open, request("POST", "/livez", ""), 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, body := answer(tt.s, tt.r); got != tt.want {
				t.Errorf("status %d, want %d: %s", got, tt.want, body)
			}
		})
	}
	if level.Level() != slog.LevelInfo {
		t.Errorf("the level is %v", level.Level())
	}
}

func TestNoAnswerIsForPagesOfOthers(t *testing.T) {
	rec := httptest.NewRecorder()
	newServer(t, admin.Options{}).ServeHTTP(rec, request("GET", "/buildinfo", "", "Origin", "http://127.0.0.1:9090"))
	got := map[string]string{}
	for name := range rec.Header() {
		got[name] = rec.Header().Get(name)
	}
	want := map[string]string{
		"Cache-Control": "no-store", "Content-Type": "application/json", "Cross-Origin-Resource-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestReadiness(t *testing.T) {
	for _, tt := range []struct {
		name           string
		state, storage error
		want           int
		plain, verbose string
	}{
		{"all is well", nil, nil, 200, "ready\n", `{"ready":true,"checks":[{"name":"state","ok":true},{"name":"keys","ok":true},{"name":"storage","ok":true}]}`},
		{
			"the worker ends", errors.New("the worker is draining"), nil, 503, "not ready\n",
			`{"ready":false,"checks":[{"name":"state","ok":false,"error":"the worker is draining"},{"name":"keys","ok":true},{"name":"storage","ok":true}]}`,
		},
		{
			"storage is down", nil, errors.New("no route to host"), 503, "not ready\n",
			`{"ready":false,"checks":[{"name":"state","ok":true},{"name":"keys","ok":true},{"name":"storage","ok":false,"error":"no route to host"}]}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, admin.Options{
				State: func() error { return tt.state },
				Checks: func(context.Context) []admin.Check {
					return []admin.Check{{Name: "keys"}, {Name: "storage", Err: tt.storage}}
				},
			})
			status, body := answer(s, request("GET", "/readyz", ""))
			if status != tt.want || body != tt.plain {
				t.Errorf("status %d, body %q", status, body)
			}
			status, body = answer(s, request("GET", "/readyz?verbose", ""))
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(body)); err != nil {
				t.Fatal(err)
			}
			if status != tt.want || compact.String() != tt.verbose {
				t.Errorf("status %d, body %s, want %s", status, &compact, tt.verbose)
			}
		})
	}
}

func TestChecksAreAskedOnceInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := newServer(t, admin.Options{Checks: func(context.Context) []admin.Check {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond)
			return nil
		}})
		done := make(chan struct{})
		for range 10 {
			go func() {
				answer(s, request("GET", "/readyz", ""))
				done <- struct{}{}
			}()
		}
		for range 10 {
			<-done
		}
		answer(s, request("GET", "/readyz", ""))
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(time.Second)
		answer(s, request("GET", "/readyz", ""))
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times, want another one a second later", n)
		}
	})
}

func TestACheckThatDoesNotAnswerIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		s := newServer(t, admin.Options{Checks: func(context.Context) []admin.Check {
			<-leave // whatever its context says
			return nil
		}})
		began := time.Now()
		if status, body := answer(s, request("GET", "/readyz?verbose", "")); status != 503 || !strings.Contains(body, "no answer within 2s") {
			t.Errorf("status %d: %s", status, body)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("after %v", took)
		}
		if status, _ := answer(s, request("GET", "/readyz", "")); status != 503 || time.Since(began) != 2*time.Second {
			t.Errorf("the next one: status %d after %v", status, time.Since(began))
		}
		close(leave)
		synctest.Wait()
		if status, _ := answer(s, request("GET", "/readyz", "")); status != 200 {
			t.Errorf("status %d once it has", status)
		}
	})
}

func TestACheckThatPanicsIsNotThere(t *testing.T) {
	s := newServer(t, admin.Options{Checks: func(context.Context) []admin.Check { panic("nil map") }})
	if status, body := answer(s, request("GET", "/readyz?verbose", "")); status != 503 || !strings.Contains(body, "nil map") {
		t.Errorf("status %d: %s", status, body)
	}
}

func TestTheLogLevelChanges(t *testing.T) {
	var level slog.LevelVar
	var log bytes.Buffer
	s := newServer(t, admin.Options{Level: &level, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, tt := range []struct {
		name, body string
		status     int
		want       slog.Level
	}{
		{"a word", "debug\n", 200, slog.LevelDebug},
		{"what GET answers with", `{"level": "WARN"}`, 200, slog.LevelWarn},
		{"no other word", "loud", 400, slog.LevelWarn},
		{"nothing", "", 400, slog.LevelWarn},
		{"not too much of anything", strings.Repeat("debug", 1000), 413, slog.LevelWarn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, body := answer(s, request("PUT", "/loglevel", tt.body)); status != tt.status || level.Level() != tt.want {
				t.Errorf("status %d, level %v: %s", status, level.Level(), body)
			}
		})
	}
	if _, body := answer(s, request("GET", "/loglevel", "")); !strings.Contains(body, `"WARN"`) {
		t.Errorf("the level is %s", body)
	}
	if !strings.Contains(log.String(), "from=INFO to=DEBUG") {
		t.Errorf("the log has %s", &log)
	}
}

func TestProfiles(t *testing.T) {
	s := newServer(t, admin.Options{})
	if _, body := answer(s, request("GET", "/debug/pprof/", "")); !strings.Contains(body, "goroutine (") {
		t.Errorf("the list is %s", body)
	}
	if _, body := answer(s, request("GET", "/debug/pprof/goroutine?debug=2", "")); !strings.Contains(body, "TestProfiles") {
		t.Errorf("goroutines: %.200s", body)
	}
	for _, path := range []string{"/debug/pprof/heap?gc=1", "/debug/pprof/profile?seconds=0.05", "/debug/pprof/trace?seconds=0.05"} {
		status, body := answer(s, request("GET", path, ""))
		gzipped, traced := strings.HasPrefix(body, "\x1f\x8b"), strings.HasPrefix(body, "go 1.")
		if status != 200 || !gzipped && !traced {
			t.Errorf("%s: status %d, %.20q", path, status, body)
		}
	}
	for _, path := range []string{"/debug/pprof/profile?seconds=301", "/debug/pprof/trace?seconds=NaN", "/debug/pprof/profile?seconds=-1"} {
		if status, _ := answer(s, request("GET", path, "")); status != 400 {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

// deadlines is a response that tells when it gets a deadline.
type deadlines struct {
	*httptest.ResponseRecorder

	set chan time.Time
}

// SetWriteDeadline is for http.ResponseController.
func (d deadlines) SetWriteDeadline(at time.Time) error {
	d.set <- at
	return nil
}

func TestAProfileEndsWithItsReader(t *testing.T) {
	s := newServer(t, admin.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w, done := deadlines{httptest.NewRecorder(), make(chan time.Time, 1)}, make(chan struct{})
	go func() {
		defer close(done)
		s.ServeHTTP(w, request("GET", "/debug/pprof/profile?seconds=300", "").WithContext(ctx))
	}()
	if left := time.Until(<-w.set); left < 300*time.Second {
		t.Errorf("the connection is closed in %v", left)
	}
	cancel()
	<-done
	if status, body := answer(s, request("GET", "/debug/pprof/profile?seconds=0.01", "")); status != 200 {
		t.Errorf("the profile goes on: status %d: %s", status, body)
	}
}

func TestTheBuildAndTheConfiguration(t *testing.T) {
	s := newServer(t, admin.Options{ServerID: "srv", Version: "1.2.3", Config: func() any { return map[string]int{"a": 1} }})
	var build struct {
		ServerID string `json:"server_id"`
		Version  string `json:"version"`
		Go       string `json:"go"`
	}
	_, body := answer(s, request("GET", "/buildinfo", ""))
	if err := json.Unmarshal([]byte(body), &build); err != nil || build.ServerID != "srv" || build.Version != "1.2.3" || !strings.HasPrefix(build.Go, "go1.") {
		t.Errorf("%s (%v)", body, err)
	}
	if _, body := answer(s, request("GET", "/config", "")); body != "{\n  \"a\": 1\n}\n" {
		t.Errorf("configuration %q", body)
	}
}

func TestOthersThanThisMachineAreKeptOut(t *testing.T) {
	everywhere, here := &net.TCPAddr{IP: net.IPv4zero, Port: 1}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 1}
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	for _, tt := range []struct {
		name string
		addr net.Addr
		opts admin.Options
		want error
	}{
		{"loopback", here, admin.Options{}, nil},
		{"loopback of IPv6", &net.TCPAddr{IP: net.IPv6loopback}, admin.Options{}, nil},
		{"a Unix socket", &net.UnixAddr{Name: "/x", Net: "unix"}, admin.Options{}, nil},
		{"every address", everywhere, admin.Options{}, admin.ErrPublic},
		{"a token alone, which all on the way can read", everywhere, admin.Options{Token: token}, admin.ErrPublic},
		{"TLS alone, which lets everybody in", everywhere, admin.Options{TLS: secure}, admin.ErrPublic},
		{"both", everywhere, admin.Options{Token: token, TLS: secure}, nil},
		{"an operator who knows", everywhere, admin.Options{Public: true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := newServer(t, tt.opts).Allows(tt.addr); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestServing(t *testing.T) {
	s := newServer(t, admin.Options{})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "ok\n" {
		t.Errorf("body %q", body)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	public, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := newServer(t, admin.Options{}).Serve(public); !errors.Is(err, admin.ErrPublic) {
		t.Errorf("error %v", err)
	}
}

func TestARequestThatIsUnderWayIsAnsweredAtTheEnd(t *testing.T) {
	s := newServer(t, admin.Options{})
	admin.GiveFirst(s, time.Minute)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := &telling{Listener: l, accepted: make(chan struct{}), closed: make(chan struct{})}
	done, down := make(chan error, 1), make(chan error, 1)
	go func() { done <- s.Serve(accepted) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	<-accepted.accepted
	go func() { down <- s.Shutdown(t.Context()) }()
	<-accepted.closed
	if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("%q, %v", answer, err)
	}
	if err := errors.Join(<-down, <-done); err != nil {
		t.Error(err)
	}
}

// telling is a listener that tells what happens to it.
type telling struct {
	net.Listener

	accepted, closed chan struct{}
	once             sync.Once
	first            bool
}

// Accept tells of the next call after a connection: that is being served then.
func (l *telling) Accept() (net.Conn, error) {
	if l.first {
		close(l.accepted)
	}
	l.first = true
	return l.Listener.Accept()
}

// Close tells that it was called.
func (l *telling) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func TestImpossibleOptions(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		opts       admin.Options
	}{
		{"a token that can be guessed", "16 characters", admin.Options{Token: "short"}},
		{"a token that is no header", "printable", admin.Options{Token: "with a space in it"}},
		{"a host with a port", "worker:80", admin.Options{Hosts: []string{"worker:80"}}},
		{"any host", `"*"`, admin.Options{Hosts: []string{"*"}}},
		{"a time that was", "CheckTimeout", admin.Options{CheckTimeout: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := admin.New(tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if tt.opts.Token != "" && strings.Contains(err.Error(), tt.opts.Token) {
				t.Errorf("error %v tells the token", err)
			}
		})
	}
}
