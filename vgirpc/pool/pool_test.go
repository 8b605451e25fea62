package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/pool"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

var errCut = errors.New("the connection was cut")

// wires makes connections that tests look into.
type wires struct {
	mu     sync.Mutex
	opened []*fake
	log    []string      // what the pool told
	refuse error         // of the next dials
	gate   chan struct{} // what a dial waits for, nil for nothing
	check  func(context.Context, *fake) error
}

// dial opens connection number 1, 2, ….
func (w *wires) dial(ctx context.Context) (vgirpc.Transport, error) {
	w.mu.Lock()
	gate, refuse := w.gate, w.refuse
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if refuse != nil {
		return nil, refuse
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &fake{w: w, number: len(w.opened) + 1, closed: make(chan struct{})}
	w.opened = append(w.opened, f)
	return f, nil
}

func (w *wires) tellf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// told returns what the pool has told since the last time.
func (w *wires) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// at returns connection n.
func (w *wires) at(n int) *fake {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened[n-1]
}

// fake is a connection that answers with its number.
type fake struct {
	w        *wires
	number   int
	once     sync.Once
	closed   chan struct{}
	closeErr error

	mu    sync.Mutex
	next  error // of the next call
	calls int
}

func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = err
}

func (f *fake) outcome() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next
	f.next = nil
	f.calls++
	return err
}

func (f *fake) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

func (f *fake) Call(_ context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	if f.isClosed() {
		return nil, nil, errCut
	}
	if req.OnLog != nil {
		req.OnLog(nil)
	}
	if err := f.outcome(); err != nil {
		return nil, nil, err
	}
	return &wire.Batch{Rows: f.number}, func() {}, nil
}

func (f *fake) Open(context.Context, *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	if err := f.outcome(); err != nil {
		return nil, err
	}
	return &fakeStream{f}, nil
}

func (f *fake) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.closeErr
}

type fakeStream struct{ f *fake }

func (s *fakeStream) Header() *wire.Batch { return nil }

func (s *fakeStream) Turn(context.Context, *wire.Batch) (*wire.Batch, error) {
	if err := s.f.outcome(); err != nil {
		return nil, err
	}
	return &wire.Batch{Rows: s.f.number}, nil
}

func (s *fakeStream) Cancel(context.Context) error { return s.f.outcome() }
func (s *fakeStream) Close(context.Context) error  { return s.f.outcome() }

// newPool returns a pool of fakes that tells what it discards.
func newPool(t *testing.T, opts pool.Options) (*pool.Pool, *wires) {
	t.Helper()
	w := &wires{}
	opts.OnDiscard = func(why pool.Reason, err error) { w.tellf("%v %v", why, err) }
	if opts.Check == nil {
		opts.Check = func(ctx context.Context, t vgirpc.Transport) error {
			f, ok := t.(*fake)
			if !ok {
				return fmt.Errorf("checking a %T", t)
			}
			w.tellf("check %d", f.number)
			if w.check != nil {
				return w.check(ctx, f)
			}
			return nil
		}
	}
	p, err := pool.New(w.dial, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close() // tests look at its errors themselves
		for _, f := range w.opened {
			if !f.isClosed() {
				t.Errorf("connection %d is open after the pool's end", f.number)
			}
		}
	})
	return p, w
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// hold makes a call and keeps its result.
func hold(t *testing.T, p *pool.Pool) (number int, release func()) {
	t.Helper()
	b, release, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return b.Rows, release
}

// call makes a call and returns the number of the connection that it got.
func call(t *testing.T, p *pool.Pool) int {
	t.Helper()
	n, release := hold(t, p)
	release()
	return n
}

// holdAll makes n calls at once and ends them in their order.
func holdAll(t *testing.T, p *pool.Pool, n int) {
	t.Helper()
	var releases []func()
	for range n {
		_, release := hold(t, p)
		releases = append(releases, release)
	}
	for _, release := range releases {
		release()
	}
}

// remote is an error that a server has sent.
func remote(t *testing.T) error {
	t.Helper()
	c := vgitest.NewContract()
	client, err := vgirpc.DialServer(t.Context(), vgitest.NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "thing"})
	if !vgirpc.IsRemote(err) {
		t.Fatalf("got %v", err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	return err
}

func TestReuse(t *testing.T) {
	for _, test := range []struct {
		name  string
		order pool.Reuse
		want  []int
	}{
		{"the connection that was idle for longest comes first", pool.LeastRecent, []int{1, 2, 3, 1, 2, 3}},
		{"the connection that was used last comes first", pool.MostRecent, []int{3, 3, 3, 3, 3, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, _ := newPool(t, pool.Options{Reuse: test.order})
			holdAll(t, p, 3)
			var got []int
			for range 6 {
				got = append(got, call(t, p))
			}
			equal(t, got, test.want)
			equal(t, p.Stats(), pool.Stats{Open: 3, Idle: 3, Dials: 3, Reuses: 6})
		})
	}
}

func TestOutcomes(t *testing.T) {
	refusal := remote(t)
	lost := &vgirpc.Error{Code: vgirpc.Unavailable, Type: "ConnectionLost", Message: "gone", Cause: io.EOF}
	use := func(p *pool.Pool) error {
		_, release, err := p.Call(context.Background(), &vgirpc.ClientRequest{})
		if err == nil {
			release()
		}
		return err
	}
	open := func(p *pool.Pool, then func(vgirpc.TurnStream) error) error {
		s, err := p.Open(context.Background(), &vgirpc.ClientRequest{})
		if err != nil {
			return err
		}
		return then(s)
	}
	ctx := context.Background()
	turn := func(s vgirpc.TurnStream) error {
		_, err := s.Turn(ctx, nil)
		return err
	}
	for _, test := range []struct {
		name   string
		run    func(p *pool.Pool, f *fake) error
		want   error
		broken bool
	}{
		{"a call that the server refused keeps its connection", func(p *pool.Pool, f *fake) error {
			f.fail(refusal)
			return use(p)
		}, refusal, false},
		{"a call that failed otherwise costs its connection", func(p *pool.Pool, f *fake) error {
			f.fail(errCut)
			return use(p)
		}, errCut, true},
		{"a stream that the server refused keeps its connection", func(p *pool.Pool, f *fake) error {
			f.fail(refusal)
			return open(p, turn)
		}, refusal, false},
		{"a stream that could not be opened costs its connection", func(p *pool.Pool, f *fake) error {
			f.fail(errCut)
			return open(p, turn)
		}, errCut, true},
		{"a stream that has ended frees its connection", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(io.EOF)
				return turn(s)
			})
		}, io.EOF, false},
		{"a stream whose turn was refused frees its connection", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(refusal)
				return turn(s)
			})
		}, refusal, false},
		{"a stream whose connection was lost costs it, even if that looks like an end", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(lost)
				return turn(s)
			})
		}, lost, true},
		{"a stream that is closed, twice, frees its connection once", func(p *pool.Pool, _ *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				return errors.Join(turn(s), s.Close(ctx), s.Close(ctx), s.Cancel(ctx))
			})
		}, nil, false},
		{"a stream that is cancelled frees its connection", func(p *pool.Pool, _ *fake) error {
			return open(p, func(s vgirpc.TurnStream) error { return errors.Join(s.Cancel(ctx), s.Close(ctx)) })
		}, nil, false},
		{"a stream that is closed in vain costs its connection", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(errCut)
				return s.Close(ctx)
			})
		}, errCut, true},
		{"a stream whose end is refused frees its connection", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(refusal)
				return s.Cancel(ctx)
			})
		}, refusal, false},
		{"a stream that has ended says so again", func(p *pool.Pool, f *fake) error {
			return open(p, func(s vgirpc.TurnStream) error {
				f.fail(io.EOF)
				_ = turn(s)
				return turn(s)
			})
		}, io.EOF, false},
		{"a call that panics costs its connection", func(p *pool.Pool, _ *fake) (err error) {
			defer func() { err, _ = recover().(error) }()
			_, _, _ = p.Call(ctx, &vgirpc.ClientRequest{OnLog: func(wire.Metadata) { panic(errCut) }})
			return nil
		}, errCut, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 1})
			call(t, p)
			if err := test.run(p, w.at(1)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			want := 1
			if test.broken {
				want = 2
			}
			equal(t, call(t, p), want)
			s := p.Stats()
			equal(t, []int{s.Open, s.Idle, s.InUse, s.Dialing, int(s.Discards.Broken)}, []int{1, 1, 0, 0, want - 1})
		})
	}
}

func TestStreamsHoldTheirConnection(t *testing.T) {
	p, _ := newPool(t, pool.Options{})
	s, err := p.Open(t.Context(), &vgirpc.ClientRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, err := s.Turn(t.Context(), nil)
		if err != nil || b.Rows != 1 {
			t.Fatal(b, err)
		}
		equal(t, call(t, p), 2)
	}
	equal(t, p.Stats().InUse, 1)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, p.Stats().InUse, 0)
}

func TestWaiting(t *testing.T) {
	t.Run("calls over the maximum are served in their order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := newPool(t, pool.Options{Max: 2})
			_, first := hold(t, p)
			_, second := hold(t, p)
			order := make(chan int, 5)
			for i := range 5 {
				go func() {
					n, release := hold(t, p)
					order <- i*10 + n
					release()
				}()
				synctest.Wait()
			}
			equal(t, p.Stats().Waiting, 5)
			time.Sleep(time.Second)
			second()
			synctest.Wait()
			var got []int
			for range 5 {
				got = append(got, <-order)
			}
			equal(t, got, []int{2, 12, 22, 32, 42})
			first()
			equal(t, p.Stats(), pool.Stats{Open: 2, Idle: 2, Dials: 2, Reuses: 5, Waits: 5, WaitTime: 5 * time.Second})
		})
	})
	t.Run("a call whose context ends leaves the queue", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := newPool(t, pool.Options{Max: 1})
			_, release := hold(t, p)
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errCut)
			defer cancel()
			_, _, err := p.Call(ctx, &vgirpc.ClientRequest{})
			equal(t, errors.Is(err, errCut), true)
			equal(t, p.Stats().Waiting, 0)
			release()
			_, _, err = p.Call(ctx, &vgirpc.ClientRequest{})
			equal(t, errors.Is(err, errCut), true)
			equal(t, p.Stats(), pool.Stats{Open: 1, Idle: 1, Dials: 1, Waits: 1, WaitTime: time.Second})
		})
	})
	t.Run("the place of a broken connection goes to who waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 1})
			s, err := p.Open(t.Context(), &vgirpc.ClientRequest{})
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan int)
			go func() { got <- call(t, p) }()
			synctest.Wait()
			w.at(1).fail(errCut)
			_ = s.Cancel(t.Context())
			equal(t, <-got, 2)
			equal(t, w.told(), []string{"broken the connection was cut"})
		})
	})
	t.Run("the place of a failed dial goes to who waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 1})
			w.gate, w.refuse = make(chan struct{}), errCut
			errs := make(chan error, 2)
			for range 2 {
				go func() {
					_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
					errs <- err
				}()
				synctest.Wait()
			}
			s := p.Stats()
			equal(t, []int{s.Dialing, s.Waiting}, []int{1, 1})
			close(w.gate)
			equal(t, []bool{errors.Is(<-errs, errCut), errors.Is(<-errs, errCut)}, []bool{true, true})
			equal(t, p.Stats().DialErrors, uint64(2))
		})
	})
	t.Run("a dial ends with the context of its call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 1})
			w.gate = make(chan struct{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _, err := p.Call(ctx, &vgirpc.ClientRequest{})
			equal(t, errors.Is(err, context.DeadlineExceeded), true)
			equal(t, p.Stats().Dialing, 0)
		})
	})
}

func TestTimes(t *testing.T) {
	tests := []struct {
		name string
		opts pool.Options
		run  func(t *testing.T, p *pool.Pool, w *wires)
		want []string
	}{
		{
			"a connection that nobody uses is closed",
			pool.Options{IdleTimeout: time.Minute},
			func(t *testing.T, p *pool.Pool, w *wires) {
				holdAll(t, p, 2)
				time.Sleep(50 * time.Second)
				equal(t, call(t, p), 1)
				time.Sleep(11 * time.Second)
				synctest.Wait()
				equal(t, []bool{w.at(1).isClosed(), w.at(2).isClosed()}, []bool{false, true})
				time.Sleep(50 * time.Second)
				synctest.Wait()
				equal(t, p.Stats(), pool.Stats{Dials: 2, Reuses: 1, Discards: pool.Discards{Idle: 2}})
				equal(t, call(t, p), 3)
				time.Sleep(61 * time.Second)
			},
			[]string{"check 1", "idle <nil>", "idle <nil>", "idle <nil>"},
		},
		{
			"a connection in use is not idle",
			pool.Options{IdleTimeout: time.Minute},
			func(t *testing.T, p *pool.Pool, _ *wires) {
				_, release := hold(t, p)
				time.Sleep(time.Hour)
				release()
				time.Sleep(29 * time.Second)
				equal(t, call(t, p), 1)
			}, nil,
		},
		{
			"the idle timeout leaves so many",
			pool.Options{IdleTimeout: time.Minute, MinIdle: 1, CheckAfter: -1},
			func(t *testing.T, p *pool.Pool, _ *wires) {
				holdAll(t, p, 3)
				time.Sleep(time.Hour)
				synctest.Wait()
				equal(t, p.Stats().Idle, 1)
				equal(t, call(t, p), 3)
			},
			[]string{"idle <nil>", "idle <nil>"},
		},
		{
			"without timeouts a connection stays",
			pool.Options{IdleTimeout: -1, CheckAfter: -1},
			func(t *testing.T, p *pool.Pool, _ *wires) {
				call(t, p)
				time.Sleep(1000 * time.Hour)
				equal(t, call(t, p), 1)
			}, nil,
		},
		{
			"an old connection is closed when its call is over",
			pool.Options{MaxAge: time.Hour, AgeJitter: -1},
			func(t *testing.T, p *pool.Pool, w *wires) {
				_, release := hold(t, p)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				equal(t, w.at(1).isClosed(), false)
				release()
				equal(t, call(t, p), 2)
			},
			[]string{"aged <nil>"},
		},
		{
			"an old connection is closed while it is idle",
			pool.Options{MaxAge: time.Hour, AgeJitter: -1, IdleTimeout: -1},
			func(t *testing.T, p *pool.Pool, w *wires) {
				call(t, p)
				time.Sleep(time.Hour - 1)
				synctest.Wait()
				equal(t, w.at(1).isClosed(), false)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				equal(t, w.at(1).isClosed(), true)
			},
			[]string{"aged <nil>"},
		},
		{
			"a connection that was idle for a while is checked, and once",
			pool.Options{CheckAfter: 10 * time.Second},
			func(t *testing.T, p *pool.Pool, _ *wires) {
				call(t, p)
				time.Sleep(9 * time.Second)
				call(t, p)
				time.Sleep(10 * time.Second)
				equal(t, call(t, p), 1)
				equal(t, call(t, p), 1)
			},
			[]string{"check 1"},
		},
		{
			"after a loss each idle connection is checked once",
			pool.Options{},
			func(t *testing.T, p *pool.Pool, w *wires) {
				holdAll(t, p, 3)
				w.at(1).fail(errCut)
				_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
				equal(t, errors.Is(err, errCut), true)
				equal(t, []int{call(t, p), call(t, p), call(t, p)}, []int{2, 3, 2})
			},
			[]string{"broken the connection was cut", "check 2", "check 3"},
		},
		{
			"a call that was given up casts no doubt on others",
			pool.Options{},
			func(t *testing.T, p *pool.Pool, w *wires) {
				holdAll(t, p, 2)
				w.at(1).fail(context.Canceled)
				_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
				equal(t, errors.Is(err, context.Canceled), true)
				equal(t, call(t, p), 2)
			},
			[]string{"broken context canceled"},
		},
		{
			"a connection found dead is replaced before anything is sent",
			pool.Options{Max: 1, CheckAfter: time.Second},
			func(t *testing.T, p *pool.Pool, w *wires) {
				call(t, p)
				time.Sleep(time.Second)
				w.check = func(context.Context, *fake) error { return errCut }
				equal(t, call(t, p), 2)
				synctest.Wait()
				equal(t, []any{w.at(1).calls, w.at(1).isClosed()}, []any{1, true})
			},
			[]string{"check 1", "unhealthy the connection was cut"},
		},
		{
			"a check that takes too long has failed",
			pool.Options{CheckAfter: time.Second, CheckTimeout: 3 * time.Second},
			func(t *testing.T, p *pool.Pool, w *wires) {
				call(t, p)
				time.Sleep(time.Second)
				w.check = func(ctx context.Context, _ *fake) error {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				start := time.Now()
				equal(t, call(t, p), 2)
				equal(t, time.Since(start), 3*time.Second)
			},
			[]string{"check 1", "unhealthy context deadline exceeded"},
		},
		{
			"a check that takes too long casts doubt on all that were idle then",
			pool.Options{CheckAfter: 10 * time.Second, CheckTimeout: 3 * time.Second},
			func(t *testing.T, p *pool.Pool, w *wires) {
				_, release := hold(t, p)
				holdAll(t, p, 2) // connections 2 and 3
				time.Sleep(9 * time.Second)
				release() // connection 1 is idle for the shortest time
				time.Sleep(time.Second)
				w.check = func(ctx context.Context, f *fake) error {
					if f.number == 2 {
						<-ctx.Done()
					}
					return context.Cause(ctx)
				}
				equal(t, call(t, p), 4)
				equal(t, call(t, p), 3) // idle for long enough
				equal(t, call(t, p), 1) // not idle for long, but doubted
				equal(t, call(t, p), 4) // opened since
			},
			[]string{"check 2", "unhealthy context deadline exceeded", "check 3", "check 1"},
		},
		{
			"a check that panics costs its connection and no place",
			pool.Options{Max: 1, CheckAfter: time.Second},
			func(t *testing.T, p *pool.Pool, w *wires) {
				call(t, p)
				time.Sleep(time.Second)
				w.check = func(context.Context, *fake) error { panic(errCut) }
				equal(t, panics(p) == any(errCut), true)
				equal(t, call(t, p), 2)
			},
			[]string{"check 1", "unhealthy vgirpc: pool: a function of the caller's has panicked"},
		},
		{
			"a check ends with the context of its call",
			pool.Options{CheckAfter: time.Second},
			func(t *testing.T, p *pool.Pool, w *wires) {
				call(t, p)
				time.Sleep(time.Second)
				w.check = func(ctx context.Context, _ *fake) error {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, io.ErrNoProgress)
				defer cancel()
				_, _, err := p.Call(ctx, &vgirpc.ClientRequest{})
				equal(t, errors.Is(err, io.ErrNoProgress), true)
				equal(t, p.Stats().Open, 0)
			},
			[]string{"check 1", "unhealthy multiple Read calls return no data or error"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, w := newPool(t, test.opts)
				test.run(t, p, w)
				synctest.Wait()
				equal(t, w.told(), test.want)
			})
		})
	}
}

// panics is what a call panics with.
func panics(p *pool.Pool) (value any) {
	defer func() { value = recover() }()
	_, release, err := p.Call(context.Background(), &vgirpc.ClientRequest{})
	if err == nil {
		release()
	}
	return nil
}

func TestObserversThatPanicCostNoPlace(t *testing.T) {
	t.Run("of a connection that was opened", func(t *testing.T) {
		once := true
		p, w := newPool(t, pool.Options{Max: 1, OnOpen: func(time.Duration, error) {
			if once {
				once = false
				panic("opened")
			}
		}})
		equal(t, panics(p), any("opened"))
		<-w.at(1).closed
		equal(t, call(t, p), 2)
		equal(t, p.Stats().Dialing, 0)
	})
	t.Run("of a connection that was replaced", func(t *testing.T) {
		w := &wires{}
		once := true
		p, err := pool.New(w.dial, pool.Options{
			Max: 1, CheckAfter: 1,
			Check: func(context.Context, vgirpc.Transport) error { return errCut },
			OnDiscard: func(pool.Reason, error) {
				if once {
					once = false
					panic("discarded")
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		call(t, p)
		equal(t, panics(p), any("discarded"))
		equal(t, call(t, p), 2)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		p, w := newPool(t, pool.Options{Max: n, MaxAge: 100 * time.Minute, AgeJitter: 0.5, IdleTimeout: -1})
		holdAll(t, p, n)
		time.Sleep(50*time.Minute - 1)
		synctest.Wait()
		equal(t, p.Stats().Open, n)
		time.Sleep(25 * time.Minute)
		synctest.Wait()
		if half := p.Stats().Open; half == 0 || half == n {
			t.Errorf("%d of %d connections ended at once", n-half, n)
		}
		time.Sleep(25*time.Minute + 1)
		synctest.Wait()
		equal(t, p.Stats().Discards, pool.Discards{Aged: n})
		equal(t, len(w.told()), n)
	})
}

func TestClose(t *testing.T) {
	t.Run("it closes everything, wakes who waits, and waits for dials", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 2})
			held, release := hold(t, p)
			equal(t, held, 1)
			w.gate = make(chan struct{})
			errs := make(chan error, 3)
			for range 3 { // one opens a connection, two wait
				go func() {
					_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
					errs <- err
				}()
				synctest.Wait()
			}
			w.at(1).closeErr = errCut
			equal(t, errors.Is(p.Close(), errCut), true)
			for range 3 {
				equal(t, errors.Is(<-errs, os.ErrClosed), true)
			}
			equal(t, w.at(1).isClosed(), true)
			release()
			_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
			equal(t, errors.Is(err, os.ErrClosed), true)
			equal(t, errors.Is(p.Close(), errCut), true)
			equal(t, w.told(), []string{"closed <nil>"})
			s := p.Stats()
			equal(t, []any{s.Open, s.InUse, s.Dialing, s.Waiting, s.Discards}, []any{0, 0, 0, 0, pool.Discards{Closed: 1}})
		})
	})
	t.Run("a call in progress fails and its connection is given up once", func(t *testing.T) {
		p, w := newPool(t, pool.Options{})
		s, err := p.Open(t.Context(), &vgirpc.ClientRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		w.at(1).fail(errCut)
		_, err = s.Turn(t.Context(), nil)
		equal(t, errors.Is(err, errCut), true)
		equal(t, w.told(), []string{"closed <nil>"})
	})
	t.Run("a shutdown lets the calls end that have begun or wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := newPool(t, pool.Options{Max: 1})
			_, release := hold(t, p)
			got := make(chan int, 1)
			go func() { got <- call(t, p) }()
			synctest.Wait()
			done := make(chan error, 1)
			go func() { done <- p.Shutdown(t.Context()) }()
			synctest.Wait()
			_, _, err := p.Call(t.Context(), &vgirpc.ClientRequest{})
			equal(t, errors.Is(err, os.ErrClosed), true)
			equal(t, len(done), 0)
			release()
			equal(t, <-got, 1)
			equal(t, <-done, nil)
			equal(t, p.Shutdown(t.Context()), nil)
		})
	})
	t.Run("a shutdown whose context ends cuts the calls off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, w := newPool(t, pool.Options{Max: 1})
			hold(t, p)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			equal(t, errors.Is(p.Shutdown(ctx), context.DeadlineExceeded), true)
			equal(t, w.at(1).isClosed(), true)
		})
	})
	t.Run("a shutdown without anything in use ends at once", func(t *testing.T) {
		p, _ := newPool(t, pool.Options{})
		call(t, p)
		equal(t, p.Shutdown(t.Context()), nil)
	})
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		opts pool.Options
		want string
	}{
		{"a negative maximum", pool.Options{Max: -1}, "Options.Max is -1"},
		{"a negative number of idle connections", pool.Options{MinIdle: -1}, "Options.MinIdle is -1"},
		{"a jitter over the whole age", pool.Options{AgeJitter: 1.5}, "Options.AgeJitter is 1.5"},
		{"an order that is none", pool.Options{Reuse: 7}, "Options.Reuse is 7"},
	} {
		t.Run(test.name+" is refused", func(t *testing.T) {
			_, err := pool.New((&wires{}).dial, test.opts)
			if vgirpc.CodeOf(err) != vgirpc.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a pool without a dial function is refused", func(t *testing.T) {
		_, err := pool.New(nil, pool.Options{})
		equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
	})
	t.Run("a dial function that returns nothing is an error", func(t *testing.T) {
		p, err := pool.New(func(context.Context) (vgirpc.Transport, error) { return nil, nil }, pool.Options{}) //nolint:nilnil // the mistake of the test
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = p.Call(t.Context(), &vgirpc.ClientRequest{})
		equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
		equal(t, p.Close(), nil)
	})
	t.Run("reasons have names", func(t *testing.T) {
		var names []string
		for r := pool.Broken; r <= pool.Closed+1; r++ {
			names = append(names, r.String())
		}
		equal(t, names, []string{"broken", "unhealthy", "idle", "aged", "closed", "unknown"})
	})
	t.Run("each dial is told", func(t *testing.T) {
		w := &wires{}
		var told []string
		p, err := pool.New(w.dial, pool.Options{OnOpen: func(_ time.Duration, err error) { told = append(told, fmt.Sprint(err)) }})
		if err != nil {
			t.Fatal(err)
		}
		call(t, p)
		holdAll(t, p, 1)
		w.refuse = errCut
		_, release := hold(t, p)
		_, _, err = p.Call(t.Context(), &vgirpc.ClientRequest{})
		equal(t, errors.Is(err, errCut), true)
		release()
		equal(t, told, []string{"<nil>", errCut.Error()})
		equal(t, p.Close(), nil)
	})
}

// TestChurn lets many goroutines call, give up and break connections at once.
func TestChurn(t *testing.T) {
	p, w := newPool(t, pool.Options{Max: 3, CheckAfter: time.Nanosecond, Check: func(_ context.Context, t vgirpc.Transport) error {
		if f, ok := t.(*fake); !ok || f.number%5 == 0 {
			return errCut
		}
		return nil
	}})
	var calls sync.WaitGroup
	for g := range 20 {
		calls.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if (g+i)%3 == 0 {
					go cancel() // while it waits, opens, or has been granted
				}
				b, release, err := p.Call(ctx, &vgirpc.ClientRequest{})
				runtime.Gosched() // others find it taken, also on one core
				switch {
				case err != nil:
				case i%7 == 0:
					w.at(b.Rows).fail(errCut)
					fallthrough
				default:
					release()
				}
				cancel()
			}
		})
	}
	calls.Wait()
	s := p.Stats()
	equal(t, []int{s.InUse, s.Dialing, s.Waiting}, []int{0, 0, 0})
	if s.Open > 3 {
		t.Errorf("%d connections of 3", s.Open)
	}
	lost := s.Discards.Broken + s.Discards.Unhealthy
	equal(t, s.Dials-lost, uint64(s.Open))
	if lost == 0 || s.Waits == 0 {
		t.Errorf("nothing was lost, or nobody has waited: %+v", s)
	}
	holdAll(t, p, 3)
	numbers := []int{call(t, p), call(t, p), call(t, p)}
	slices.Sort(numbers)
	equal(t, len(slices.Compact(numbers)), 3)
}

func TestAllocations(t *testing.T) {
	req := &vgirpc.ClientRequest{}
	constant := constantTransport{&wire.Batch{}, func() {}}
	p, err := pool.New(func(context.Context) (vgirpc.Transport, error) { return constant, nil }, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		_, release, err := p.Call(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
	equal(t, n, 0.0)
	equal(t, p.Close(), nil)
}

// constantTransport answers every call in the same way.
type constantTransport struct {
	b       *wire.Batch
	release func()
}

func (c constantTransport) Call(context.Context, *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	return c.b, c.release, nil
}

func (constantTransport) Open(context.Context, *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return nil, errCut
}

func (constantTransport) Close() error { return nil }
