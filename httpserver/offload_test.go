package httpserver_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// drawer is a store that knows one object, and says how it was used.
type drawer struct {
	batch   *wire.Batch
	err     error // of every use
	budgets []int64
	given   int // back
}

// Place keeps everything in band.
func (d *drawer) Place(_ context.Context, _ *wire.Schema, cycle []wire.Batch, budget int64) ([]wire.Batch, int64, error) {
	d.budgets = append(d.budgets, budget)
	return cycle, 0, d.err
}

// Resolve returns the object.
func (d *drawer) Resolve(context.Context, *wire.Batch, *wire.Schema, func(wire.Metadata)) (*wire.Batch, func(), error) {
	return d.batch, func() { d.given++ }, d.err
}

// pointing is the body of a request whose batch is somewhere else.
func pointing(t *testing.T, body []byte) []byte {
	t.Helper()
	b := last(t, body)
	meta := b.Meta.With(wire.KeyLocation, "https://store.example/object")
	return encode(t, b.Schema, wire.EmptyBatch(b.Schema, meta))
}

func TestWhatARequestPointsToIsGivenBack(t *testing.T) {
	store := &drawer{batch: last(t, echoFloat(t))}
	store.batch.Meta = nil
	h := newHandlerOf(t, httpserver.Options{MaxExternalizedResponseBytes: 1 << 20}, vgirpc.ServerOptions{Offload: store})
	w := post(t, h, "/ConformanceService/echo_float", pointing(t, echoFloat(t)))
	if w.status != http.StatusOK || w.header.Get("X-Vgi-Rpc-Error") != "" {
		t.Fatalf("status %d: %q", w.status, w.body)
	}
	if store.given != 1 {
		t.Errorf("it was given back %d times", store.given)
	}
	if len(store.budgets) != 1 || store.budgets[0] != 1<<20 {
		t.Errorf("budgets of what may leave: %v", store.budgets)
	}
}

func TestAStoreThatFailsIsAnErrorOfTheCall(t *testing.T) {
	store := &drawer{err: vgirpc.Errorf(vgirpc.Unavailable, "the store is down")}
	h := newHandlerOf(t, httpserver.Options{}, vgirpc.ServerOptions{Offload: store})
	for _, tt := range []struct {
		name, path string
		body       []byte
	}{
		{"what a request points to", "/ConformanceService/echo_float", pointing(t, echoFloat(t))},
		{"a result", "/ConformanceService/echo_float", echoFloat(t)},
		{"a turn of an exchange", accumulate + "/exchange", floats(t, open(t, h), 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, h, tt.path, tt.body)
			s := wire.ParseStatus(last(t, w.body).Meta)
			if w.status != http.StatusOK || w.header.Get("X-Vgi-Rpc-Error") != "true" || s.Message != "the store is down" {
				t.Errorf("status %d, %q", w.status, s.Message)
			}
		})
	}
}

func TestAnInputThatCannotBeReadIsNoTurn(t *testing.T) {
	s, err := newServerWith(vgirpc.ServerOptions{Limits: wire.Limits{MaxMessageBytes: 1 << 16}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(s, httpserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := open(t, h)
	// The body of the input ends with the column's values.
	forged := floats(t, tokens, 1)
	at := bytes.LastIndex(forged, []byte{0, 0, 0, 0, 0, 0, 0xF0, 0x3F})
	if at < 0 {
		t.Fatal("the value 1.0 is not in the body")
	}
	for _, tt := range []struct {
		name string
		body []byte
		want int
	}{
		{"a batch beyond the limit", floats(t, tokens, make([]float64, 1<<14)...), http.StatusRequestEntityTooLarge},
		{"a body that ends early", forged[:at], http.StatusBadRequest},
		{"two batches", twice(t, tokens), http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, h, accumulate+"/exchange", tt.body)
			if w.status != tt.want || w.header.Get("X-Vgi-Rpc-Error") != "" || last(t, w.body).Kind() != wire.KindError {
				t.Errorf("status %d, want %d: %q", w.status, tt.want, w.body)
			}
			if w := post(t, h, accumulate+"/exchange", floats(t, tokens, 1)); w.status != http.StatusOK {
				t.Errorf("the same turn in good order: status %d %q", w.status, w.body)
			}
		})
	}
}

// twice is an input stream of two batches.
func twice(t *testing.T, meta wire.Metadata) []byte {
	t.Helper()
	b := last(t, floats(t, meta, 1))
	return encode(t, b.Schema, *b, *b)
}

// places hands out the same place again and again.
type places struct{}

// NewUploadURL returns the place.
func (places) NewUploadURL(context.Context) (external.UploadURL, error) {
	return external.UploadURL{Upload: "https://store.example/up", Download: "https://store.example/down"}, nil
}

// MaxUploadBytes is without limit.
func (places) MaxUploadBytes() int64 { return 0 }

func TestHandlersOfOneServerHandOutPlacesEach(t *testing.T) {
	s := newServer(t)
	for range 2 {
		h, err := httpserver.New(s, httpserver.Options{Uploads: places{}})
		if err != nil {
			t.Fatal(err)
		}
		count := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
			{Key: wire.KeyMethod, Value: "__upload_url__"}, {Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
		})
		w := post(t, h, "/__upload_url__/init", encode(t, wire.EmptySchema(), count))
		if w.status != http.StatusBadRequest || !strings.Contains(wire.ParseStatus(last(t, w.body).Meta).Message, "count") {
			t.Errorf("without a count: status %d %q", w.status, w.body)
		}
	}
}
