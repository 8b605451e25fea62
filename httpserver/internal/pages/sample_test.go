package pages_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/pages"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// markup is what must stay text wherever it is shown.
const markup = `<img src=x onerror="document.title='owned'">`

type shade string

func (shade) EnumNames() []string { return []string{"LIGHT", "DARK"} }

type place struct {
	Lat  float64 `vgi:"lat"`
	Lon  float64 `vgi:"lon"`
	Note *string `vgi:"note,default=null"`
}

type addParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

type greetParams struct {
	Name  string  `vgi:"name,default=World"`
	Shade shade   `vgi:"shade"`
	Title *string `vgi:"title"`
	Loud  bool    `vgi:"loud,default=false"`
}

type kindsParams struct {
	Count  int64            `vgi:"count"`
	Price  vgirpc.Decimal   `vgi:"price,type=decimal128(20,4)"`
	Data   []byte           `vgi:"data"`
	At     time.Time        `vgi:"at"`
	Wait   time.Duration    `vgi:"wait"`
	Matrix [][]int64        `vgi:"matrix"`
	Totals map[string]int64 `vgi:"totals"`
	Place  place            `vgi:"place"`
}

type kindsResult struct {
	Count  int64            `vgi:"count"`
	Price  vgirpc.Decimal   `vgi:"price,type=decimal128(20,4)"`
	Bytes  int64            `vgi:"bytes"`
	At     time.Time        `vgi:"at"`
	Wait   time.Duration    `vgi:"wait"`
	Matrix [][]int64        `vgi:"matrix"`
	Totals map[string]int64 `vgi:"totals"`
	Place  place            `vgi:"place"`
}

type (
	textParam struct {
		Text string `vgi:"text"`
	}
	limitParam struct {
		Limit int64 `vgi:"limit"`
	}
	readingRow struct {
		At    time.Time `vgi:"at"`
		Value *float64  `vgi:"value"`
		Level int64     `vgi:"echo_level"` // named as a method might be
	}
	sensorHeader struct {
		Station string `vgi:"station"`
	}
)

// ended is the state of streams that nobody opens here.
type ended struct{}

func (ended) Produce(context.Context, *vgirpc.Emitter[readingRow]) error { return io.EOF }

func (ended) Exchange(_ context.Context, in []addParams, out *vgirpc.Emitter[addParams]) error {
	return out.EmitRows(in)
}

// sampleServer hosts a method of every kind that the pages tell apart.
func sampleServer(tb testing.TB) *vgirpc.Server {
	tb.Helper()
	weather := vgirpc.NewProtocol("acme.Weather.v1", "1.4.0")
	add := vgirpc.NewUnary[addParams, float64](weather, "add", vgirpc.MethodOptions{
		Doc: "Adds two numbers.", Idempotency: vgirpc.NoSideEffects,
	})
	greet := vgirpc.NewUnary[greetParams, string](weather, "greet", vgirpc.MethodOptions{
		Doc: "Greets somebody, and logs that it did.\nThe text is " + markup + ".", Idempotency: vgirpc.Idempotent,
	})
	kinds := vgirpc.NewUnary[kindsParams, kindsResult](weather, "echo_kinds", vgirpc.MethodOptions{Doc: "Returns what it gets."})
	fail := vgirpc.NewUnary[textParam, vgirpc.None](weather, "fail", vgirpc.MethodOptions{Doc: "Fails with the text."})
	readings := vgirpc.NewHeaderProducer[limitParam, sensorHeader, readingRow](weather, "readings",
		vgirpc.MethodOptions{Doc: "Streams readings, newest first."})
	scale := vgirpc.NewExchange[vgirpc.None, addParams, addParams](weather, "scale", vgirpc.MethodOptions{Deprecated: "Call add instead."})

	legacy := vgirpc.NewProtocol("acme.Legacy", "", vgirpc.ProtocolOptions{Deprecated: "Move to acme.Weather.v1."})
	ping := vgirpc.NewUnary[vgirpc.None, vgirpc.None](legacy, "ping")

	s, err := vgirpc.NewServer(vgirpc.ServerOptions{ServerID: "cafe01cafe02", Logger: slog.New(slog.DiscardHandler)}, weather, legacy)
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(s, add, func(_ context.Context, p addParams) (float64, error) { return p.A + p.B, nil })
	vgirpc.HandleUnary(s, greet, func(ctx context.Context, p greetParams) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "greeting "+p.Name)
		title := "nobody in particular"
		if p.Title != nil {
			title = *p.Title
		}
		return fmt.Sprintf("Hello %s (%s, %s, loud %t)", p.Name, p.Shade, title, p.Loud), nil
	})
	vgirpc.HandleUnary(s, kinds, func(_ context.Context, p kindsParams) (kindsResult, error) {
		return kindsResult{p.Count, p.Price, int64(len(p.Data)), p.At, p.Wait, p.Matrix, p.Totals, p.Place}, nil
	})
	vgirpc.HandleUnary(s, fail, func(_ context.Context, p textParam) (vgirpc.None, error) {
		return vgirpc.None{}, vgirpc.Errorf(vgirpc.FailedPrecondition, "%s", p.Text).WithKind("on_request")
	})
	vgirpc.HandleHeaderProducer(s, readings, func(context.Context, limitParam) (ended, sensorHeader, error) {
		return ended{}, sensorHeader{}, nil
	})
	vgirpc.HandleExchange(s, scale, func(context.Context, vgirpc.None) (ended, error) { return ended{}, nil })
	vgirpc.HandleUnary(s, ping, func(context.Context, vgirpc.None) (vgirpc.None, error) { return vgirpc.None{}, nil })
	return s
}

// sampleSite serves the pages of the sample below /vgi, and its calls as JSON.
func sampleSite(tb testing.TB) http.Handler {
	tb.Helper()
	s := sampleServer(tb)
	p, err := pages.New(pages.Options{
		Server: s, Prefix: "/vgi", RepositoryURL: "https://example.com/acme/weather", TryIt: true, Version: "1.2.3",
	})
	if err != nil {
		tb.Fatal(err)
	}
	calls, err := jsoncall.Guard(jsoncall.GuardOptions{}, jsonCalls{s})
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /vgi", p.Landing)
	mux.HandleFunc("GET /vgi/describe", p.Describe)
	mux.HandleFunc("GET /vgi/_assets/{name}", p.Asset)
	mux.HandleFunc("GET /vgi/private", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", pages.CSP)
		w.WriteHeader(http.StatusUnauthorized)
		_ = p.Unauthorized(w, "missing_credential", "authentication rejected "+markup, "Set X-User at the proxy.")
	})
	mux.Handle("POST /vgi/{protocol}/{method}", calls)
	mux.HandleFunc("/", p.NotFound)
	return mux
}

// jsonCalls calls unary methods.
type jsonCalls struct{ server *vgirpc.Server }

func (j jsonCalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := j.call(r)
	status := http.StatusOK
	if err != nil {
		answer, status = jsoncall.Fail(err), http.StatusBadRequest
	}
	body, err := answer.Append(nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (j jsonCalls) call(r *http.Request) (*jsoncall.Answer, error) {
	route, err := j.server.Lookup(r.PathValue("protocol"), r.PathValue("method"))
	if err != nil {
		return nil, err
	}
	m := route.Method()
	codec, err := jsoncall.New(m)
	if err != nil {
		return nil, err
	}
	params, err := codec.Params(r.Body, 0)
	if err != nil {
		return nil, err
	}
	params.Meta = wire.Metadata{
		{Key: wire.KeyMethod, Value: m.Name()},
		{Key: wire.KeyProtocol, Value: m.Protocol().Name()},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
		{Key: wire.KeyProtocolVersion, Value: m.Protocol().Version()},
	}
	var reply vgirpc.Reply
	d := j.server.Begin(r.Context(), route, &vgirpc.Request{Meta: params.Meta, Batch: params}, &reply)
	defer d.End(vgirpc.Delivery{})
	return codec.Answer(reply.Batches)
}
