package vgirpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The contract of the tests.
type addParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

type countParams struct {
	N int64 `vgi:"n"`
}

type number struct {
	Value int64 `vgi:"value"`
}

type header struct {
	Total int64  `vgi:"total"`
	Note  string `vgi:"note"`
}

type textParams struct {
	Text string `vgi:"text"`
}

type contract struct {
	protocol *vgirpc.Protocol
	add      *vgirpc.Unary[addParams, float64]
	echo     *vgirpc.Unary[textParams, string]
	fail     *vgirpc.Unary[textParams, vgirpc.None]
	count    *vgirpc.Producer[countParams, number]
	headed   *vgirpc.HeaderProducer[countParams, header, number]
	sum      *vgirpc.Exchange[vgirpc.None, number, number]
}

func newContract() *contract {
	p := vgirpc.NewProtocol("test.Calc.v1", "1.2.3")
	return &contract{
		protocol: p,
		add:      vgirpc.NewUnary[addParams, float64](p, "add"),
		echo:     vgirpc.NewUnary[textParams, string](p, "echo"),
		fail:     vgirpc.NewUnary[textParams, vgirpc.None](p, "fail"),
		count:    vgirpc.NewProducer[countParams, number](p, "count"),
		headed:   vgirpc.NewHeaderProducer[countParams, header, number](p, "headed"),
		sum:      vgirpc.NewExchange[vgirpc.None, number, number](p, "sum"),
	}
}

// counter counts to N.
type counter struct{ N, At int64 }

func (c *counter) Produce(ctx context.Context, out *vgirpc.Emitter[number]) error {
	if c.At >= c.N {
		return io.EOF
	}
	if c.At == 1 {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "one done", "at", c.At)
	}
	c.At++
	return out.Emit(number{c.At})
}

// summer adds up what it is sent.
type summer struct{ Sum int64 }

func (s *summer) Exchange(_ context.Context, in []number, out *vgirpc.Emitter[number]) error {
	for _, n := range in {
		if n.Value < 0 {
			return vgirpc.Errorf(vgirpc.OutOfRange, "negative").WithKind("negative")
		}
		s.Sum += n.Value
	}
	return out.Emit(number{s.Sum})
}

func (s *summer) OnCancel(ctx context.Context) {
	if probe, ok := ctx.Value(cancelKey{}).(*int); ok {
		*probe++
	}
}

type cancelKey struct{}

func newServer(t testing.TB, c *contract, opts vgirpc.ServerOptions) *vgirpc.Server {
	t.Helper()
	s, err := vgirpc.NewServer(opts, c.protocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, c.add, func(_ context.Context, p addParams) (float64, error) { return p.A + p.B, nil })
	vgirpc.HandleUnary(s, c.echo, func(ctx context.Context, p textParams) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelDebug, "echoing", "length", len(p.Text))
		return p.Text, nil
	})
	vgirpc.HandleUnary(s, c.fail, func(_ context.Context, p textParams) (vgirpc.None, error) {
		if p.Text == "panic" {
			panic("on purpose")
		}
		return vgirpc.None{}, vgirpc.Errorf(vgirpc.NotFound, "no %s", p.Text).WithKind("missing").
			WithDetails(vgirpc.ResourceInfo{ResourceName: p.Text})
	})
	vgirpc.HandleProducer(s, c.count, func(_ context.Context, p countParams) (*counter, error) {
		if p.N < 0 {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "n is %d: want 0 or more", p.N)
		}
		return &counter{N: p.N}, nil
	})
	vgirpc.HandleHeaderProducer(s, c.headed, func(ctx context.Context, p countParams) (*counter, header, error) {
		if p.N < 0 {
			return nil, header{}, errors.New("no header today")
		}
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "opening")
		return &counter{N: p.N}, header{p.N, "so many"}, nil
	})
	vgirpc.HandleExchange(s, c.sum, func(context.Context, vgirpc.None) (*summer, error) { return &summer{}, nil })
	return s
}

func newClient(t testing.TB, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
	t.Helper()
	c, err := vgirpc.DialServer(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func TestAUnaryCallReturnsItsResultAndItsLogs(t *testing.T) {
	c := newContract()
	var logs []string
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{
		OnLog: func(_ context.Context, l vgirpc.LogMessage) {
			logs = append(logs, fmt.Sprintf("%s %s %s", l.Level, l.Message, l.Extra))
		},
	})
	for range 3 {
		if got, err := c.add.Call(t.Context(), client, addParams{1.5, 2}); err != nil || got != 3.5 {
			t.Fatalf("add: %v, %v", got, err)
		}
	}
	long := strings.Repeat("ünïcode-λ ", 100_000)
	for _, text := range []string{"", "hello", long} {
		if got, err := c.echo.Call(t.Context(), client, textParams{text}); err != nil || got != text {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(got), err)
		}
	}
	want := []string{`DEBUG echoing {"length":0}`, `DEBUG echoing {"length":5}`, fmt.Sprintf(`DEBUG echoing {"length":%d}`, len(long))}
	if diff := cmp.Diff(want, logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

func TestAnErrorArrivesWithEverythingItCarries(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	_, err := c.fail.Call(t.Context(), client, textParams{"thing"})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Code != vgirpc.NotFound || e.Kind != "missing" || e.Message != "no thing" || !vgirpc.IsRemote(err) {
		t.Fatalf("got %#v", err)
	}
	if d, ok := vgirpc.DetailOf[vgirpc.ResourceInfo](err); !ok || d.ResourceName != "thing" {
		t.Errorf("details: %+v", e.Details)
	}
	if !strings.Contains(e.Traceback, "test.Calc.v1/fail") {
		t.Errorf("traceback without the method: %q", e.Traceback)
	}
	if !errors.Is(err, &vgirpc.Error{Kind: "missing"}) || errors.Is(err, &vgirpc.Error{Kind: "other"}) {
		t.Errorf("errors.Is does not go by kind")
	}
	if _, err = c.fail.Call(t.Context(), client, textParams{"panic"}); !errors.As(err, &e) || e.Type != "PanicError" || e.Code != vgirpc.Unknown {
		t.Errorf("a panic arrives as %v", err)
	}
	if got, err := c.add.Call(t.Context(), client, addParams{1, 1}); err != nil || got != 2 {
		t.Errorf("after the failures: %v, %v", got, err)
	}
}

func TestTracebacksCanBeKeptInTheProcess(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{OmitTracebacks: true}), vgirpc.ClientOptions{})
	_, err := c.fail.Call(t.Context(), client, textParams{"thing"})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Traceback != "" || e.Kind != "missing" {
		t.Errorf("got %#v", err)
	}
}

func TestAProducerSendsItsBatchesInOrder(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for _, n := range []int64{0, 1, 5} {
		stream, err := c.count.Open(t.Context(), client, countParams{n})
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for rows, err := range stream.All() {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.Value)
			}
		}
		if int64(len(got)) != n {
			t.Errorf("count(%d) sent %v", n, got)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestLeavingAProducerEarlyFreesTheConnection(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for range 3 {
		stream, err := c.count.Open(t.Context(), client, countParams{1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		for rows, err := range stream.All() {
			if err != nil || rows[0].Value > 3 {
				break
			}
		}
		if got, err := c.add.Call(t.Context(), client, addParams{1, 2}); err != nil || got != 3 {
			t.Fatalf("after leaving: %v, %v", got, err)
		}
	}
}

func TestAHeaderComesBeforeTheFirstTurn(t *testing.T) {
	c := newContract()
	var logs int
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{
		OnLog: func(context.Context, vgirpc.LogMessage) { logs++ },
	})
	stream, head, err := c.headed.OpenHeader(t.Context(), client, countParams{2})
	if err != nil {
		t.Fatal(err)
	}
	if head != (header{2, "so many"}) || logs != 1 {
		t.Errorf("header %+v with %d logs", head, logs)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.headed.OpenHeader(t.Context(), client, countParams{-1}); !vgirpc.IsRemote(err) {
		t.Errorf("a header that fails: %v", err)
	}
	if got, err := c.add.Call(t.Context(), client, addParams{1, 2}); err != nil || got != 3 {
		t.Errorf("after a header that failed: %v, %v", got, err)
	}
}

func TestAnExchangeAnswersEveryInputUntilItFails(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	stream, err := c.sum.Open(t.Context(), client, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		in   []number
		want int64
	}{{[]number{{1}, {2}}, 3}, {nil, 3}, {[]number{{4}}, 7}} {
		out, err := stream.Exchange(t.Context(), step.in...)
		if err != nil || len(out) != 1 || out[0].Value != step.want {
			t.Fatalf("%v: %v, %v, want %d", step.in, out, err, step.want)
		}
	}
	if _, err := stream.Exchange(t.Context(), number{-1}); !errors.Is(err, &vgirpc.Error{Kind: "negative"}) {
		t.Errorf("got %v", err)
	}
	if _, err := stream.Exchange(t.Context(), number{1}); !errors.Is(err, io.EOF) {
		t.Errorf("after the failure: %v, want io.EOF", err)
	}
	if got, err := c.add.Call(t.Context(), client, addParams{1, 2}); err != nil || got != 3 {
		t.Errorf("after the stream: %v, %v", got, err)
	}
}

func TestCancelRunsTheHookOnce(t *testing.T) {
	c := newContract()
	cancelled := 0
	opts := vgirpc.ServerOptions{OnConnect: func(ctx context.Context, _ *vgirpc.Peer) (context.Context, error) {
		return context.WithValue(ctx, cancelKey{}, &cancelled), nil
	}}
	client := newClient(t, newServer(t, c, opts), vgirpc.ClientOptions{})
	for _, turns := range []int{0, 2} {
		cancelled = 0
		stream, err := c.sum.Open(t.Context(), client, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		for range turns {
			if _, err := stream.Exchange(t.Context(), number{1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(stream.Cancel(), stream.Cancel(), stream.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.add.Call(t.Context(), client, addParams{}); err != nil {
			t.Fatal(err)
		}
		if cancelled != 1 {
			t.Errorf("after %d turns the hook ran %d times", turns, cancelled)
		}
	}
}

func TestARefusedStreamLeavesTheConnectionInStep(t *testing.T) {
	c, other := newContract(), newContract()
	_ = vgirpc.NewProducer[textParams, number](other.protocol, "absent")
	unknown := vgirpc.NewProtocol("test.Unknown.v1", "")
	absent := vgirpc.NewProducer[countParams, number](unknown, "count")
	drifted := vgirpc.NewProtocol("test.Calc.v1", "1.2.9")
	wrong := vgirpc.NewProducer[textParams, number](drifted, "count")
	old := vgirpc.NewProducer[countParams, number](vgirpc.NewProtocol("test.Calc.v1", "1.0.0"), "count")
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for name, open := range map[string]func() (*vgirpc.ProducerStream[number], error){
		"an unknown protocol": func() (*vgirpc.ProducerStream[number], error) {
			return absent.Open(t.Context(), client, countParams{1})
		},
		"wrong parameters": func() (*vgirpc.ProducerStream[number], error) {
			return wrong.Open(t.Context(), client, textParams{"x"})
		},
		"an old version": func() (*vgirpc.ProducerStream[number], error) {
			return old.Open(t.Context(), client, countParams{1})
		},
		"a failing handler": func() (*vgirpc.ProducerStream[number], error) {
			return c.count.Open(t.Context(), client, countParams{-1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := open()
			if err != nil {
				t.Fatal(err)
			}
			failed := false
			for _, err := range stream.All() {
				failed = vgirpc.IsRemote(err)
			}
			if !failed {
				t.Error("the stream was not refused")
			}
			for i := range 3 {
				if got, err := c.add.Call(t.Context(), client, addParams{float64(i), 1}); err != nil || got != float64(i)+1 {
					t.Fatalf("call %d after: %v, %v", i, got, err)
				}
			}
		})
	}
}

func TestRoutingGivesThreeDistinctAnswers(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	sameName := vgirpc.NewProtocol("test.Calc.v1", "1.2.0")
	for _, tt := range []struct {
		name string
		call func() error
		kind string
		code vgirpc.Code
	}{
		{"a protocol that is not hosted", func() error {
			m := vgirpc.NewUnary[addParams, float64](vgirpc.NewProtocol("test.Other.v1", ""), "add")
			_, err := m.Call(t.Context(), client, addParams{})
			return err
		}, vgirpc.KindProtocolNotSupported, vgirpc.Unimplemented},
		{"a method that is absent", func() error {
			m := vgirpc.NewUnary[addParams, float64](sameName, "subtract")
			_, err := m.Call(t.Context(), client, addParams{})
			return err
		}, vgirpc.KindMethodNotImplemented, vgirpc.Unimplemented},
		{"another version", func() error {
			m := vgirpc.NewUnary[addParams, float64](vgirpc.NewProtocol("test.Calc.v1", "2.0.0"), "add")
			_, err := m.Call(t.Context(), client, addParams{})
			return err
		}, vgirpc.KindProtocolVersionMismatch, vgirpc.FailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e *vgirpc.Error
			if err := tt.call(); !errors.As(err, &e) || e.Kind != tt.kind || e.Code != tt.code {
				t.Errorf("got %v, want %s", err, tt.kind)
			}
		})
	}
}

func TestReflectionDescribesWhatIsHosted(t *testing.T) {
	c := newContract()
	client := newClient(t, newServer(t, c, vgirpc.ServerOptions{ServerID: "abc", Version: "9"}), vgirpc.ClientOptions{})
	list, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list.ServerID != "abc" || list.ServerVersion != "9" || len(list.Protocols) != 2 ||
		list.Protocols[0].Protocol != "test.Calc.v1" || list.Protocols[1].Protocol != vgirpc.ReflectionName {
		t.Fatalf("got %+v", list)
	}
	hash, err := c.protocol.Hash()
	if err != nil || list.Protocols[0].ProtocolHash != hash || len(hash) != 64 {
		t.Errorf("hash %q, %v; listed %q", hash, err, list.Protocols[0].ProtocolHash)
	}
	d, err := vgirpc.NewReflection().Describe.Call(t.Context(), client, vgirpc.DescribeParams{Protocol: "test.Calc.v1"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range d.Methods {
		names = append(names, m.Name+" "+m.MethodType+" "+m.StreamKind)
	}
	want := []string{"add unary ", "count stream producer", "echo unary ", "fail unary ", "headed stream producer", "sum stream exchange"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

func TestAServerThatLacksAHandlerDoesNotServe(t *testing.T) {
	c := newContract()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, c.protocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{}); err == nil || !strings.Contains(err.Error(), "test.Calc.v1/add") {
		t.Errorf("got %v, want an error that names the method", err)
	}
}

func TestInterceptorsWrapAndObserversWatch(t *testing.T) {
	c := newContract()
	var order []string
	wrap := func(name string) vgirpc.Interceptor {
		return func(ctx context.Context, call *vgirpc.Call, next func(context.Context) error) error {
			order = append(order, name+" "+call.Method().Name())
			return next(ctx)
		}
	}
	watch := &recorder{}
	opts := vgirpc.ServerOptions{
		Interceptors: []vgirpc.Interceptor{wrap("outer"), wrap("inner")},
		Observers:    []vgirpc.Observer{watch},
	}
	client := newClient(t, newServer(t, c, opts), vgirpc.ClientOptions{})
	if _, err := c.add.Call(t.Context(), client, addParams{1, 2}); err != nil {
		t.Fatal(err)
	}
	_, _ = c.fail.Call(t.Context(), client, textParams{"x"})
	if _, err := client.Describe(t.Context()); err != nil { // its end orders the observer's writes before the reads below
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"outer add", "inner add", "outer fail", "inner fail"}, order[:4]); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	want := []string{"add <nil>", "fail NOT_FOUND"}
	if diff := cmp.Diff(want, watch.ended[:2]); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}

type recorder struct{ ended []string }

func (r *recorder) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (r *recorder) CallEnded(_ context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	code := "<nil>"
	if end.Err != nil {
		code = string(end.Err.Code)
	}
	if end.Stats.WireIn == 0 || end.Stats.WireOut == 0 {
		code += " without wire bytes"
	}
	r.ended = append(r.ended, call.Method().Name()+" "+code)
}

var _ vgirpc.Observer = (*recorder)(nil)

func TestALargeRequestIsRefusedByNameAndTheConnectionGoesOn(t *testing.T) {
	c := newContract()
	opts := vgirpc.ServerOptions{Limits: wire.Limits{MaxMessageBytes: 64 << 10}}
	client := newClient(t, newServer(t, c, opts), vgirpc.ClientOptions{})
	_, err := c.echo.Call(t.Context(), client, textParams{strings.Repeat("x", 5<<20)})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Code != vgirpc.ResourceExhausted || !strings.Contains(e.Message, "MaxMessageBytes") {
		t.Fatalf("got %v, want RESOURCE_EXHAUSTED naming MaxMessageBytes", err)
	}
	if got, err := c.echo.Call(t.Context(), client, textParams{"small"}); err != nil || got != "small" {
		t.Errorf("after: %q, %v", got, err)
	}
}
