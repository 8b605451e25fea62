package vgirpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// refusals sends what it is told.
type refusals chan vgirpc.Refused

func (o refusals) RequestRefused(_ context.Context, r *vgirpc.Refused) { o <- *r }

func TestAConnectionThatIsRefusedIsReportedOnce(t *testing.T) {
	fails := func(err error) vgirpc.Admitter {
		return admit(func(context.Context, *vgirpc.Admission) error { return err })
	}
	typed := &vgirpc.Error{Code: vgirpc.Unauthenticated, Kind: "handshake_failed", Message: "no"}
	for _, tt := range []struct {
		name string
		opts vgirpc.ServerOptions
		want vgirpc.Refused
	}{
		{"an error", admitting(fails(errors.New("secret"))), vgirpc.Refused{Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unknown}},
		{"an error of the protocol", admitting(fails(typed)), vgirpc.Refused{Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unauthenticated, Kind: "handshake_failed"}},
		{
			"one that has a reason", admitting(fails(fmt.Errorf("admitter: %w", vgirpc.RefusedFor(vgirpc.RefusedHandshake, typed)))),
			vgirpc.Refused{Reason: vgirpc.RefusedHandshake, Code: vgirpc.Unauthenticated, Kind: "handshake_failed"},
		},
		{"a caller who is known", admitting(admit(func(_ context.Context, a *vgirpc.Admission) error {
			a.Vouch(vgirpc.Identity{Principal: "alice", Domain: "test", Authenticated: true, Claims: map[string]any{"k": "secret"}})
			return errors.New("secret")
		})), vgirpc.Refused{Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unknown, Principal: "alice", Domain: "test"}},
		{"a client behind a proxy", admitting(admit(func(_ context.Context, a *vgirpc.Admission) error {
			a.Peer.Addr = "203.0.113.7:5"
			return errors.New("secret")
		})), vgirpc.Refused{Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unknown, Client: "203.0.113.7:5"}},
		{"OnConnect", vgirpc.ServerOptions{OnConnect: func(context.Context, *vgirpc.Peer) (context.Context, error) {
			return nil, errors.New("secret")
		}}, vgirpc.Refused{Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unknown}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := make(refusals, 10)
			tt.opts.RefusalObservers = []vgirpc.RefusalObserver{told}
			s := newTarget(t, "tcp", tt.opts)
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Transport, tt.want.Peer, tt.want.UID, tt.want.PID = vgirpc.TransportTCP, conn.LocalAddr().String(), -1, -1
			client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
			defer func() { _ = client.Close() }()
			if _, err = vgitest.NewContract().Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2}); err == nil {
				t.Error("it is served")
			}
			got := <-told
			if got.Duration < 0 {
				t.Errorf("duration %v", got.Duration)
			}
			got.Duration = 0
			if diff := cmp.Diff(tt.want, got); diff != "" || len(told) != 0 {
				t.Errorf("and %d more (-want +got):\n%s", len(told), diff)
			}
		})
	}
}

func TestAConnectionThatIsServedIsNotReported(t *testing.T) {
	told := make(refusals, 10)
	s := newTarget(t, "unix", vgirpc.ServerOptions{RefusalObservers: []vgirpc.RefusalObserver{told}})
	client, err := vgirpc.DialUnix(t.Context(), s.addr.String(), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vgitest.NewContract().Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2}); err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil || len(told) != 0 {
		t.Errorf("%v, %d reports", err, len(told))
	}
}

// What is refused on a byte stream is reported once, whether its method was found
// or not; what a handler says is not.
func TestACallThatIsRefusedIsReportedOnce(t *testing.T) {
	const calc, two = "test.Calc.v1", `[{"n":1},{"n":2}]`
	count := callOf("count")
	opened := forge(t, noColumns, `[{}]`, callOf("sum"))
	input := forge(t, valueSchema, `[{"value":1}]`, nil)
	malformed := vgirpc.Refused{Reason: vgirpc.RefusedMalformed, Code: vgirpc.InvalidArgument}
	of := func(r vgirpc.Refused, method string) vgirpc.Refused { r.Protocol, r.Method = calc, method; return r }
	for _, tt := range []struct {
		name string
		sent []byte
		want []vgirpc.Refused
	}{
		{"a method that is not hosted", forge(t, countSchema, `[{"n":1}]`, callOf("absent")), []vgirpc.Refused{
			{Protocol: calc, Reason: vgirpc.RefusedNotFound, Code: vgirpc.Unimplemented, Kind: vgirpc.KindMethodNotImplemented},
		}},
		{"a protocol that is not hosted", forge(t, countSchema, `[{"n":1}]`, count.With(wire.KeyProtocol, "x.Y")), []vgirpc.Refused{
			{Reason: vgirpc.RefusedNotFound, Code: vgirpc.Unimplemented, Kind: vgirpc.KindProtocolNotSupported},
		}},
		{"another version", forge(t, countSchema, `[{"n":1}]`, count.With(wire.KeyProtocolVersion, "2.0.0")), []vgirpc.Refused{
			of(vgirpc.Refused{Reason: vgirpc.RefusedVersion, Code: vgirpc.FailedPrecondition, Kind: vgirpc.KindProtocolVersionMismatch}, "count"),
		}},
		{"parameters of another schema", forge(t, textSchema, `[{"text":"x"}]`, callOf("add")), []vgirpc.Refused{of(malformed, "add")}},
		{"two rows", forge(t, countSchema, two, count), []vgirpc.Refused{of(malformed, "count")}},
		{"a batch that is too large", oversized(t, countSchema, count), []vgirpc.Refused{
			of(vgirpc.Refused{Reason: vgirpc.RefusedTooLarge, Code: vgirpc.ResourceExhausted}, "count"),
		}},
		{"bytes that are no request", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []vgirpc.Refused{malformed}},
		{"an input that is too large", slices.Concat(opened, oversized(t, valueSchema, nil)), []vgirpc.Refused{
			of(vgirpc.Refused{Reason: vgirpc.RefusedTooLarge, Code: vgirpc.ResourceExhausted}, "sum"),
		}},
		{"a handler's error", forge(t, countSchema, `[{"n":-1}]`, count), nil},
		{"a request whose sender is gone", opened[:len(opened)-20], nil},
		{"an input whose sender is gone", slices.Concat(opened, input[:len(input)-20]), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := make(refusals, 10)
			s := newTarget(t, "tcp", vgirpc.ServerOptions{
				RefusalObservers: []vgirpc.RefusalObserver{told}, Limits: wire.Limits{MaxMessageBytes: 64 << 10},
			})
			p := s.dial(t)
			p.send(tt.sent)
			p.endInput()
			if a := p.answer(); a == nil || a.status == nil {
				t.Errorf("the answer is %+v", a)
			}
			_ = p.Close()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			close(told)
			var got []vgirpc.Refused
			for r := range told {
				if r.Transport != vgirpc.TransportTCP || r.Peer != p.LocalAddr().String() || r.BytesIn < 0 || r.BytesIn > int64(len(tt.sent)) {
					t.Errorf("got %+v", r)
				}
				got = append(got, vgirpc.Refused{Reason: r.Reason, Code: r.Code, Kind: r.Kind, Protocol: r.Protocol, Method: r.Method})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAConnectionThatIsNotAdmittedInTimeIsReportedAsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(refusals, 10)
		opts := admitting(admit(func(ctx context.Context, _ *vgirpc.Admission) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		opts.Conns.AdmitTimeout, opts.RefusalObservers = 3*time.Second, []vgirpc.RefusalObserver{told}
		s, err := vgirpc.NewServer(opts, vgirpc.NewProtocol("test.Refused", ""))
		if err != nil {
			t.Fatal(err)
		}
		l := newListenerOf()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, socketless{l}) }()
		near, far := net.Pipe()
		l.conns <- far
		want := vgirpc.Refused{
			Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAdmissionTimeout, Code: vgirpc.DeadlineExceeded, UID: -1, PID: -1, Duration: 3 * time.Second,
		}
		if diff := cmp.Diff(want, <-told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_ = near.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// socketless is a listener in memory with an address of TCP.
type socketless struct{ *listenerOf }

func (socketless) Addr() net.Addr { return &net.TCPAddr{} }

func TestTheReasonOfAnError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want vgirpc.RefusedReason
	}{
		{errors.New("x"), vgirpc.RefusedOther},
		{&vgirpc.Error{Code: vgirpc.Unauthenticated}, vgirpc.RefusedUnauthorized},
		{&vgirpc.Error{Code: vgirpc.PermissionDenied}, vgirpc.RefusedInsufficientScope},
		{&vgirpc.Error{Code: vgirpc.Unimplemented}, vgirpc.RefusedNotFound},
		{&vgirpc.Error{Code: vgirpc.InvalidArgument, Kind: vgirpc.KindMethodNotImplemented}, vgirpc.RefusedNotFound},
		{&vgirpc.Error{Code: vgirpc.FailedPrecondition, Kind: vgirpc.KindProtocolVersionMismatch}, vgirpc.RefusedVersion},
		{&vgirpc.Error{Code: vgirpc.Unavailable, Kind: vgirpc.KindServerDraining}, vgirpc.RefusedDraining},
		{&vgirpc.Error{Code: vgirpc.ResourceExhausted}, vgirpc.RefusedTooLarge},
		{&vgirpc.Error{Code: vgirpc.ResourceExhausted, Details: []vgirpc.Detail{vgirpc.RetryInfo{}}}, vgirpc.RefusedBusy},
		{&vgirpc.Error{Code: vgirpc.Unavailable}, vgirpc.RefusedBusy},
		{&vgirpc.Error{Code: vgirpc.InvalidArgument}, vgirpc.RefusedMalformed},
		{&vgirpc.Error{Code: vgirpc.DataLoss}, vgirpc.RefusedOther},
		{vgirpc.RefusedFor(vgirpc.RefusedProxyHeader, &vgirpc.Error{Code: vgirpc.Unavailable}), vgirpc.RefusedProxyHeader},
	} {
		if got := vgirpc.ReasonRefused(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
	if err := vgirpc.RefusedFor(vgirpc.RefusedHandshake, nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
