package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestTracebacksCanBeKeptInTheProcess(t *testing.T) {
	c := vgitest.NewContract()
	client := newClient(t, vgitest.NewServer(t, c, vgirpc.ServerOptions{OmitTracebacks: true}), vgirpc.ClientOptions{})
	_, err := c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "thing"})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Traceback != "" || e.Kind != "missing" {
		t.Errorf("got %#v", err)
	}
}

func TestAServerThatLacksAHandlerDoesNotServe(t *testing.T) {
	c := vgitest.NewContract()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, c.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{}); err == nil || !strings.Contains(err.Error(), "test.Calc.v1/add") {
		t.Errorf("got %v, want an error that names the method", err)
	}
}

func TestInterceptorsWrapAndObserversWatch(t *testing.T) {
	c := vgitest.NewContract()
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
	client, err := vgirpc.DialServer(t.Context(), vgitest.NewServer(t, c, opts), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2}); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "x"})
	if err := client.Close(); err != nil { // the serving loop is over: the observer was told
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"outer add", "inner add", "outer fail", "inner fail"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	want := []string{"add <nil>", "fail NOT_FOUND"}
	if diff := cmp.Diff(want, watch.ended); diff != "" {
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
	if end.Delivery.WireIn == 0 || end.Delivery.WireOut == 0 {
		code += " without wire bytes"
	}
	r.ended = append(r.ended, call.Method().Name()+" "+code)
}

var _ vgirpc.Observer = (*recorder)(nil)

func TestALargeRequestIsRefusedByNameAndTheConnectionGoesOn(t *testing.T) {
	c := vgitest.NewContract()
	opts := vgirpc.ServerOptions{Limits: wire.Limits{MaxMessageBytes: 64 << 10}}
	client := newClient(t, vgitest.NewServer(t, c, opts), vgirpc.ClientOptions{})
	_, err := c.Echo.Call(t.Context(), client, vgitest.TextParams{Text: strings.Repeat("x", 5<<20)})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Code != vgirpc.ResourceExhausted || !strings.Contains(e.Message, "MaxMessageBytes") {
		t.Fatalf("got %v, want RESOURCE_EXHAUSTED naming MaxMessageBytes", err)
	}
	if got, err := c.Echo.Call(t.Context(), client, vgitest.TextParams{Text: "small"}); err != nil || got != "small" {
		t.Errorf("after: %q, %v", got, err)
	}
}

// deaf is a connection whose peer sends and never reads.
type deaf struct{ io.Reader }

func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (deaf) Close() error              { return nil }

func TestAStreamWhoseHeaderCannotBeSentHasFailed(t *testing.T) {
	c, watch := vgitest.NewContract(), &recorder{}
	server := vgitest.NewServer(t, c, vgirpc.ServerOptions{Observers: []vgirpc.Observer{watch}})
	var sent bytes.Buffer
	client := vgirpc.NewClient(struct {
		io.Reader
		io.Writer
		io.Closer
	}{strings.NewReader(""), &sent, io.NopCloser(nil)}, vgirpc.ClientOptions{})
	if _, _, err := c.Headed.OpenHeader(t.Context(), client, vgitest.CountParams{N: 1}); err == nil {
		t.Fatal("a stream was opened with nobody there")
	}
	_ = server.ServePipe(t.Context(), deaf{&sent}) // what became of the connection is not the point
	if len(watch.ended) != 1 || !strings.HasPrefix(watch.ended[0], "headed CANCELLED") {
		t.Errorf("it ended as %q, want CANCELLED: the caller went away", watch.ended)
	}
}
