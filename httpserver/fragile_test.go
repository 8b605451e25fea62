package httpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The protocol of a program whose code breaks outside its handlers.
var (
	fragileProtocol = vgirpc.NewProtocol("test.Fragile", "1.0.0")
	fragileEnter    = vgirpc.NewUnary[vgirpc.None, bool](fragileProtocol, "enter")
	fragilePing     = vgirpc.NewUnary[vgirpc.None, string](fragileProtocol, "ping")
	fragileOpen     = vgirpc.NewExchange[vgirpc.None, fragileRow, fragileRow](fragileProtocol, "break")
)

type fragileRow struct {
	Value float64 `vgi:"value"`
}

// secretState is what the stored stream remembers: no log may have it.
const secretState = "a-secret-in-the-state"

// fragile is a program with what of it breaks, changed by the test between two
// requests.
type fragile struct {
	drawer
	storing, placing bool // panic
	taking           bool // a stream opened now panics when it is taken up
	refusing         bool // a stream opened now refuses that
}

// Place panics when it has to.
func (f *fragile) Place(ctx context.Context, s *wire.Schema, cycle []wire.Batch, budget int64) ([]wire.Batch, int64, error) {
	if f.placing {
		panic("the store breaks")
	}
	return f.drawer.Place(ctx, s, cycle, budget)
}

// fragileState is the state of a stream of f: what of it breaks is stored.
type fragileState struct{ storing, taking, refusing bool }

func (s *fragileState) MarshalBinary() ([]byte, error) {
	if s.storing {
		panic("storing breaks")
	}
	return fmt.Appendf(nil, "%s %t %t", secretState, s.taking, s.refusing), nil
}

func (s *fragileState) UnmarshalBinary(stored []byte) error {
	switch string(stored) {
	case secretState + " true false":
		panic("taking up breaks")
	case secretState + " false true":
		return errors.New("the state is of another age")
	}
	return nil
}

func (s *fragileState) Exchange(_ context.Context, in []fragileRow, out *vgirpc.Emitter[fragileRow]) error {
	return out.EmitRows(in)
}

func newFragile(t *testing.T, log *slog.Logger) (*fragile, *httpserver.Handler) {
	t.Helper()
	f := &fragile{}
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: log, Offload: f}, fragileProtocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, fragileEnter, func(ctx context.Context, _ vgirpc.None) (bool, error) {
		return true, httpserver.OpenSession(ctx, f, 0)
	})
	vgirpc.HandleUnary(s, fragilePing, func(context.Context, vgirpc.None) (string, error) { return "pong", nil })
	vgirpc.HandleExchange(s, fragileOpen, func(context.Context, vgirpc.None) (*fragileState, error) {
		return &fragileState{f.storing, f.taking, f.refusing}, nil
	})
	h, err := httpserver.New(s, httpserver.Options{Sticky: &httpserver.Sticky{}})
	if err != nil {
		t.Fatal(err)
	}
	return f, h
}

// Bodies of the requests.
func pingBody(t *testing.T) []byte {
	t.Helper()
	return requestOf(t, func(c *vgirpc.Client) error {
		_, err := fragilePing.Call(t.Context(), c, vgirpc.None{})
		return err
	})
}

func breakBody(t *testing.T) []byte {
	t.Helper()
	return requestOf(t, func(c *vgirpc.Client) error {
		_, err := fragileOpen.Open(t.Context(), c, vgirpc.None{})
		return err
	})
}

// enterFragile opens a session and returns the header that goes back to it.
func enterFragile(t *testing.T, h http.Handler) []string {
	t.Helper()
	w := post(t, h, "/test.Fragile/enter", requestOf(t, func(c *vgirpc.Client) error {
		_, err := fragileEnter.Call(t.Context(), c, vgirpc.None{})
		return err
	}), "VGI-Session-Accept", "true")
	token := w.header.Get("Vgi-Session")
	if token == "" {
		t.Fatalf("status %d, no session: %q", w.status, w.body)
	}
	return []string{"VGI-Session", token}
}

func TestAPanicOutsideAHandlerGivesTheTurnOfItsSessionBack(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		breaks     func(*fragile)
		turn       bool // the request takes a stream further
	}{
		{"while a stream is stored", "/test.Fragile/break/init", func(f *fragile) { f.storing = true }, false},
		{"while a stream is taken up", "/test.Fragile/break/exchange", func(f *fragile) { f.taking = true }, true},
		{"while an answer leaves for a store", "/test.Fragile/ping", func(f *fragile) { f.placing = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, h := newFragile(t, silent)
			session := enterFragile(t, h)
			tt.breaks(f)
			body := pingBody(t)
			switch {
			case tt.turn:
				w := post(t, h, "/test.Fragile/break/init", breakBody(t), session...)
				body = floats(t, last(t, w.body).Meta, 1)
			case strings.HasSuffix(tt.path, "/init"):
				body = breakBody(t)
			}
			if w := post(t, h, tt.path, body, session...); last(t, w.body).Kind() != wire.KindError {
				t.Errorf("it was answered with status %d and no error: %q", w.status, w.body)
			}
			f.storing, f.taking, f.placing = false, false, false

			// The next call of the session waits for its turn no longer than this.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			r := newUnaryRequest(t, "/test.Fragile/ping", pingBody(t))
			r.Request = r.WithContext(ctx)
			r.Header.Set(session[0], session[1])
			w := &canned{header: http.Header{}}
			r.serve(h, w)
			if w.status != http.StatusOK || w.header.Get("X-Vgi-Rpc-Error") != "" {
				t.Errorf("the session's next call: status %d: %q", w.status, w.body)
			}
		})
	}
}

func TestAStateWhoseStoringPanicsIsAnErrorOfTheCall(t *testing.T) {
	f, h := newFragile(t, silent)
	f.storing = true
	w := post(t, h, "/test.Fragile/break/init", breakBody(t))
	s := wire.ParseStatus(last(t, w.body).Meta)
	if w.status != http.StatusOK || s.Type != "PanicError" || !strings.Contains(s.Message, "storing breaks") {
		t.Errorf("status %d, %s %s %q", w.status, s.Code, s.Type, s.Message)
	}
}

func TestWhyAStreamCannotBeTakenUpIsLogged(t *testing.T) {
	var log bytes.Buffer
	f, h := newFragile(t, slog.New(slog.NewTextHandler(&log, nil)))
	f.refusing = true
	tokens := last(t, post(t, h, "/test.Fragile/break/init", breakBody(t)).body).Meta
	log.Reset()
	w := post(t, h, "/test.Fragile/break/exchange", floats(t, tokens, 1))
	if s := wire.ParseStatus(last(t, w.body).Meta); w.status != http.StatusBadRequest || s.Type != "StateTokenError" ||
		strings.Contains(s.Message, "another age") {
		t.Errorf("the caller is told %d %s %q", w.status, s.Type, s.Message)
	}
	for _, want := range []string{"level=WARN", "a stream cannot be taken up", "method=test.Fragile/break", "another age"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, &log)
		}
	}
	for _, secret := range []string{secretState, tokens.Value(wire.KeyStreamState), tokens.Value(wire.KeyCallState)} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has what it must not: %s", &log)
		}
	}
}
