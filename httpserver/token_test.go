package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Paths of the streams under test.
const (
	accumulate  = "/ConformanceService/exchange_accumulate"
	scale       = "/ConformanceService/exchange_scale"
	callerField = "X-Caller"
)

// byName takes the caller's word for who it is.
func byName(r *http.Request) (vgirpc.Identity, error) {
	name := r.Header.Get(callerField)
	return vgirpc.Identity{Principal: name, Domain: "test", Authenticated: name != ""}, nil
}

// post sends body to h and returns the answer.
func post(t *testing.T, h http.Handler, path string, body []byte, fields ...string) *canned {
	t.Helper()
	r := newUnaryRequest(t, path, body)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := &canned{header: http.Header{}}
	r.serve(h, w)
	return w
}

// open opens exchange_accumulate and returns its tokens.
func open(t *testing.T, h http.Handler, fields ...string) wire.Metadata {
	t.Helper()
	w := post(t, h, accumulate+"/init", openAccumulate(t), fields...)
	tokens := last(t, w.body)
	if w.status != http.StatusOK || !tokens.Meta.Has(wire.KeyStreamState) || !tokens.Meta.Has(wire.KeyCallState) {
		t.Fatalf("status %d, metadata %v", w.status, tokens.Meta)
	}
	return tokens.Meta
}

// refusal is the answer to a token that is not honoured: its status and its
// error.
func refusal(t *testing.T, w *canned) string {
	t.Helper()
	b := last(t, w.body)
	s := wire.ParseStatus(b.Meta)
	return strings.Join([]string{http.StatusText(w.status), s.Type, s.Code, s.Message}, "|")
}

func keys(t *testing.T, secrets ...string) *httpserver.KeyRing {
	t.Helper()
	raw := make([][]byte, len(secrets))
	for i, s := range secrets {
		raw[i] = []byte(strings.Repeat(s, 32))
	}
	ring, err := httpserver.NewKeyRing(raw...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// with returns metadata with a value changed.
func with(meta wire.Metadata, key string, change func(string) string) wire.Metadata {
	out := slices.Clone(meta)
	for i := range out {
		if out[i].Key == key {
			out[i].Value = change(out[i].Value)
		}
	}
	return out
}

func flip(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

func TestEveryTokenThatIsNotHonouredIsRefusedAlike(t *testing.T) {
	ring := keys(t, "a")
	opts := httpserver.Options{Keys: ring, Auth: auth.Func(byName), CallCache: -1}
	h := newHandler(t, opts)
	mine := open(t, h, callerField, "ada")
	other := open(t, h, callerField, "ada")
	stranger := newHandler(t, httpserver.Options{Keys: keys(t, "b"), Auth: auth.Func(byName), CallCache: -1})

	good := post(t, h, accumulate+"/exchange", floats(t, mine, 1), callerField, "ada")
	if good.status != http.StatusOK || good.header.Get("X-Vgi-Rpc-Error") != "" {
		t.Fatalf("the tokens are good, yet: %d %q", good.status, good.body)
	}
	const want = "Bad Request|StateTokenError|INVALID_ARGUMENT|the stream's state token is not valid here, or no longer: open the stream again"
	swap := func(key string) wire.Metadata {
		return with(mine, key, func(string) string { return other.Value(key) })
	}
	for _, tt := range []struct {
		name   string
		h      http.Handler
		path   string
		meta   wire.Metadata
		caller string
	}{
		{"a cursor that was changed", h, accumulate, with(mine, wire.KeyStreamState, flip), "ada"},
		{"a call token that was changed", h, accumulate, with(mine, wire.KeyCallState, flip), "ada"},
		{"a call token of another stream", h, accumulate, swap(wire.KeyCallState), "ada"},
		{"a cursor of another stream", h, accumulate, swap(wire.KeyStreamState), "ada"},
		{"a call token for a cursor", h, accumulate, with(mine, wire.KeyStreamState, func(string) string { return mine.Value(wire.KeyCallState) }), "ada"},
		{"a cursor for a call token", h, accumulate, with(mine, wire.KeyCallState, func(string) string { return mine.Value(wire.KeyStreamState) }), "ada"},
		{"no call token", h, accumulate, mine.Without(func(k string) bool { return k == wire.KeyCallState }), "ada"},
		{"what is no base64", h, accumulate, with(mine, wire.KeyStreamState, func(string) string { return "%%%" }), "ada"},
		{"nothing at all", h, accumulate, with(mine, wire.KeyStreamState, func(string) string { return "" }), "ada"},
		{"another caller", h, accumulate, mine, "eve"},
		{"nobody", h, accumulate, mine, ""},
		{"another method", h, scale, mine, "ada"},
		{"another key", stranger, accumulate, mine, "ada"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, tt.h, tt.path+"/exchange", floats(t, tt.meta, 1), callerField, tt.caller)
			if got := refusal(t, w); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestAWarmCacheHonoursNoMoreThanAColdOne(t *testing.T) {
	h := newHandler(t, httpserver.Options{Auth: auth.Func(byName)})
	mine := open(t, h, callerField, "ada")
	for _, tt := range []struct {
		name, caller string
		meta         wire.Metadata
		want         int
	}{
		{"the caller itself", "ada", mine, http.StatusOK},
		{"the caller without the call token, which is at hand", "ada", mine.Without(func(k string) bool { return k == wire.KeyCallState }), http.StatusOK},
		{"another caller", "eve", mine, http.StatusBadRequest},
		{"a cursor that was changed", "ada", with(mine, wire.KeyStreamState, flip), http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if w := post(t, h, accumulate+"/exchange", floats(t, tt.meta, 1), callerField, tt.caller); w.status != tt.want {
				t.Errorf("status %d, want %d", w.status, tt.want)
			}
		})
	}
}

func TestKeysRotateWithoutAnOutage(t *testing.T) {
	before := newHandler(t, httpserver.Options{Keys: keys(t, "a")})
	during := newHandler(t, httpserver.Options{Keys: keys(t, "b", "a")})
	after := newHandler(t, httpserver.Options{Keys: keys(t, "b")})
	tokens := open(t, before)
	step := func(h http.Handler, want int) {
		t.Helper()
		w := post(t, h, accumulate+"/exchange", floats(t, tokens, 1))
		if w.status != want {
			t.Fatalf("status %d, want %d", w.status, want)
		}
		if want == http.StatusOK {
			cursor := last(t, w.body).Meta.Value(wire.KeyStreamState)
			tokens = with(tokens, wire.KeyStreamState, func(string) string { return cursor })
		}
	}
	step(before, http.StatusOK)
	step(during, http.StatusOK) // opened with the old key, sealed with the new one
	step(before, http.StatusBadRequest)
	step(during, http.StatusOK)
	step(after, http.StatusBadRequest) // its call token is still of the old key
	tokens = open(t, during)
	step(after, http.StatusOK)
}

func TestTokensEndWithTheirTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		cache int
		want  int
	}{
		{"after an hour by default", 0, 0, http.StatusBadRequest},
		{"also with a cold cache", 0, -1, http.StatusBadRequest},
		{"later where it says so", 3 * time.Hour, 0, http.StatusOK},
		{"never where it is off", -1, -1, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler(t, httpserver.Options{TokenTTL: tt.ttl, CallCache: tt.cache})
			tokens := open(t, h)
			h.SetClock(func() time.Time { return time.Now().Add(time.Hour + 2*time.Second) })
			if w := post(t, h, accumulate+"/exchange", floats(t, tokens, 1)); w.status != tt.want {
				t.Errorf("status %d, want %d", w.status, tt.want)
			}
		})
	}
}

func TestACursorDoesNotRepeatTheCall(t *testing.T) {
	h := newHandler(t, httpserver.Options{CallCache: -1})
	tokens := open(t, h)
	w := post(t, h, accumulate+"/exchange", floats(t, tokens, 2, 3))
	out := last(t, w.body)
	if out.Meta.Has(wire.KeyCallState) || !out.Meta.Has(wire.KeyStreamState) {
		t.Errorf("a continuation carries %v", out.Meta)
	}
}

func TestReplicasWithoutACommonKeyDoNotStart(t *testing.T) {
	s := newServer(t)
	if _, err := httpserver.New(s, httpserver.Options{Replicas: 2}); err == nil || !strings.Contains(err.Error(), "Replicas") {
		t.Errorf("error %v", err)
	}
	if _, err := httpserver.New(s, httpserver.Options{Replicas: 2, Keys: keys(t, "a")}); err != nil {
		t.Error(err)
	}
}

func TestAStreamEndsWithItsCallersTimeAtEveryReplica(t *testing.T) {
	ring := keys(t, "a")
	first := newHandler(t, httpserver.Options{Keys: ring})
	b := last(t, openAccumulate(t))
	hurried := *b
	hurried.Meta = b.Meta.With(wire.KeyTimeout, "1")
	w := post(t, first, accumulate+"/init", encode(t, b.Schema, hurried))
	tokens := last(t, w.body).Meta
	if !tokens.Has(wire.KeyStreamState) {
		t.Fatalf("status %d %q", w.status, w.body)
	}
	<-time.After(2 * time.Millisecond) // the time is over
	for name, h := range map[string]http.Handler{
		"where it was opened": first,
		"elsewhere":           newHandler(t, httpserver.Options{Keys: ring}),
	} {
		w := post(t, h, accumulate+"/exchange", floats(t, tokens, 1))
		if s := wire.ParseStatus(last(t, w.body).Meta); w.status != http.StatusOK || s.Code != string(vgirpc.DeadlineExceeded) {
			t.Errorf("%s: status %d, %s %q", name, w.status, s.Code, s.Message)
		}
	}
}

// turnEnds keeps how calls ended.
type turnEnds struct{ of []vgirpc.CallEnd }

func (*turnEnds) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (e *turnEnds) CallEnded(_ context.Context, _ *vgirpc.Call, end *vgirpc.CallEnd) {
	e.of = append(e.of, *end)
}

func TestATurnWhoseInputIsRefusedEndsWithWhatTheCallerIsTold(t *testing.T) {
	ends := &turnEnds{}
	h := newHandlerOf(t, httpserver.Options{MaxRequestBytes: 16 << 10}, vgirpc.ServerOptions{Observers: []vgirpc.Observer{ends}})
	r := newUnaryRequest(t, accumulate+"/exchange", floats(t, open(t, h), make([]float64, 4<<10)...))
	r.ContentLength = -1 // how long it is shows while it is read
	w := &canned{header: http.Header{}}
	r.serve(h, w)
	last := ends.of[len(ends.of)-1]
	if w.status != http.StatusRequestEntityTooLarge || last.Delivery.HTTPStatus != w.status || last.Err == nil || last.Err.Code != vgirpc.ResourceExhausted {
		t.Errorf("the caller is told %d; the call ended with %d and %v", w.status, last.Delivery.HTTPStatus, last.Err)
	}
}

func TestATurnWhoseInputStandsStillEndsWithWhatTheCallerIsTold(t *testing.T) {
	ends := &turnEnds{}
	h := newHandlerOf(t, httpserver.Options{}, vgirpc.ServerOptions{Observers: []vgirpc.Observer{ends}})
	body := floats(t, open(t, h), make([]float64, 4<<10)...)
	_, address := serve(t, h, httpserver.ServeOptions{ProgressTimeout: time.Second}) // what has arrived must be read in time
	c := dial(t, address)
	_, err := fmt.Fprintf(c, "POST %s/exchange HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		accumulate, arrowType, len(body), body[:len(body)-1])
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	last := ends.of[len(ends.of)-1]
	if res.StatusCode != http.StatusRequestTimeout || last.Delivery.HTTPStatus != res.StatusCode || last.Err == nil || last.Err.Code != vgirpc.DeadlineExceeded {
		t.Errorf("the caller is told %s; the call ended with %d and %v", res.Status, last.Delivery.HTTPStatus, last.Err)
	}
}
