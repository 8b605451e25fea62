package vgirpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// patient is a protocol whose methods take their time.
type patient struct {
	protocol *vgirpc.Protocol
	wait     *vgirpc.Unary[vgirpc.None, string]
	count    *vgirpc.Exchange[vgirpc.None, one, one]
	left     chan time.Duration // that a handler sees on entry
}

type one struct {
	N int64 `vgi:"n"`
}

type counting struct{ N int64 }

// Exchange counts.
func (c *counting) Exchange(_ context.Context, in []one, out *vgirpc.Emitter[one]) error {
	c.N += in[0].N
	return out.Emit(one{c.N})
}

func newPatient(t *testing.T) (*patient, *vgirpc.Server) {
	t.Helper()
	protocol := vgirpc.NewProtocol("test.Patient", "")
	p := &patient{
		protocol: protocol, left: make(chan time.Duration, 1),
		wait:  vgirpc.NewUnary[vgirpc.None, string](protocol, "wait"),
		count: vgirpc.NewExchange[vgirpc.None, one, one](protocol, "count"),
	}
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, protocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, p.wait, func(ctx context.Context, _ vgirpc.None) (string, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			p.left <- 0
			return "no hurry", nil
		}
		p.left <- time.Until(deadline)
		<-ctx.Done()
		return "", ctx.Err()
	})
	vgirpc.HandleExchange(s, p.count, func(context.Context, vgirpc.None) (*counting, error) { return &counting{}, nil })
	return p, s
}

// dialPatient connects with a client whose contexts do not break the
// connection: the server alone watches the time.
func dialPatient(t *testing.T, s *vgirpc.Server) *vgirpc.Client {
	t.Helper()
	c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func timeout(value string) context.Context {
	return vgirpc.WithMetadata(context.Background(), wire.Pair{Key: wire.KeyTimeout, Value: value})
}

func TestTheServerKeepsTheCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPatient(t)
		c := dialPatient(t, s)
		_, err := p.wait.Call(timeout("20"), c, vgirpc.None{})
		if vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded || !vgirpc.IsRemote(err) {
			t.Errorf("a call that takes too long: %v", err)
		}
		if left := <-p.left; left != 20*time.Millisecond {
			t.Errorf("the handler had %v", left)
		}
		if got, err := p.wait.Call(t.Context(), c, vgirpc.None{}); got != "no hurry" || err != nil {
			t.Errorf("the next call: %q, %v", got, err)
		}
		<-p.left
	})
}

func TestATimeThatIsNoneIsRefused(t *testing.T) {
	p, s := newPatient(t)
	c := dialPatient(t, s)
	for _, value := range []string{"", "0", "-5", "soon", "1.5", "99999999999999999999"} {
		_, err := p.wait.Call(timeout(value), c, vgirpc.None{})
		if vgirpc.CodeOf(err) != vgirpc.InvalidArgument || !vgirpc.IsRemote(err) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestAContextsDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPatient(t)
		c := dialPatient(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := p.wait.Call(ctx, c, vgirpc.None{})
		if !errors.Is(err, context.DeadlineExceeded) && vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		if left := <-p.left; left != 1500*time.Millisecond {
			t.Errorf("the handler had %v", left)
		}
	})
}

func TestAStreamEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPatient(t)
		c := dialPatient(t, s)
		x, err := p.count.Open(timeout("1000"), c, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Exchange(context.Background(), one{1}); err != nil || got[0].N != 1 {
			t.Fatalf("in time: %v, %v", got, err)
		}
		time.Sleep(time.Second)
		_, err = x.Exchange(context.Background(), one{1})
		if vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded || !vgirpc.IsRemote(err) {
			t.Errorf("too late: %v", err)
		}
		if _, err := p.wait.Call(context.Background(), c, vgirpc.None{}); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

func TestAContextThatEndsBetweenTurnsCancelsTheStream(t *testing.T) {
	p, s := newPatient(t)
	c := dialPatient(t, s)
	x, err := p.count.Open(t.Context(), c, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := x.Exchange(ctx, one{1}); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("enough")
	cancel(reason)
	if _, err := x.Exchange(ctx, one{1}); !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || vgirpc.CodeOf(err) != vgirpc.Cancelled {
		t.Errorf("error %v", err)
	}
	if _, err := x.Exchange(t.Context(), one{1}); !errors.Is(err, io.EOF) {
		t.Errorf("a turn after it: %v", err)
	}
	if _, err := p.wait.Call(t.Context(), c, vgirpc.None{}); err != nil {
		t.Errorf("the connection does not go on: %v", err)
	}
}

func TestTheHalvesOfATurnAlternate(t *testing.T) {
	p, s := newPatient(t)
	c := dialPatient(t, s)
	ctx := t.Context()
	x, err := p.count.Open(ctx, c, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Recv(ctx); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
		t.Errorf("an answer to nothing: %v", err)
	}
	if err := x.Send(ctx, one{2}); err != nil {
		t.Fatal(err)
	}
	if err := x.Send(ctx, one{3}); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
		t.Errorf("a second input: %v", err)
	}
	if _, err := x.Exchange(ctx, one{3}); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
		t.Errorf("a whole turn in the middle of one: %v", err)
	}
	if got, err := x.Recv(ctx); err != nil || got[0].N != 2 {
		t.Errorf("the answer: %v, %v", got, err)
	}
	if err := x.Send(ctx, one{1}); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Errorf("closing in the middle of a turn: %v", err)
	}
	if _, err := p.wait.Call(ctx, c, vgirpc.None{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestCallsThatWereStartedAreCollectedLater(t *testing.T) {
	p, s := newPatient(t)
	c := dialPatient(t, s)
	var pending []*vgirpc.Pending[string]
	for range 10 {
		pending = append(pending, p.wait.Start(t.Context(), c, vgirpc.None{}))
	}
	for range pending {
		<-p.left
	}
	for _, call := range pending {
		for range 2 {
			if got, err := call.Wait(); got != "no hurry" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
}
