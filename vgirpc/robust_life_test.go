package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// brief is a timeout of the server that tests wait for. Good peers live under it as
// well: it is longer than a busy machine keeps one of them waiting.
const brief = 2 * time.Second

// largeText is more than the buffers of a socket take.
const largeText = 16 << 20

// largeEcho is a request whose answer does not fit into a socket.
func largeEcho(t *testing.T) []byte {
	t.Helper()
	return bombOf(t, largeText)
}

// endings tells how calls ended.
type endings chan string

func (e endings) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (e endings) CallEnded(_ context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	how := call.Method().Name()
	if end.Err != nil {
		how += " " + end.Err.TypeName()
	}
	e <- how
}

// next waits for the next call to end.
func (e endings) next(t *testing.T) string {
	t.Helper()
	select {
	case how := <-e:
		return how
	case <-time.After(patience):
		t.Fatal("no call ended")
		return ""
	}
}

func TestAClientThatDiesInTheMiddleTakesNothingWithIt(t *testing.T) {
	add := forge(t, addSchema, row(1, 2), callOf("add"))
	open := forge(t, countSchema, `[{"n":1000000}]`, callOf("count"))
	sum := forge(t, noColumns, `[{}]`, callOf("sum"))
	tick := forge(t, noColumns, ``, wire.Metadata{})
	tick = tick[:len(tick)-8]
	value := forge(t, valueSchema, `[{"value":1}]`, nil)
	large := largeEcho(t)
	for _, tt := range []struct {
		name  string
		sends [][]byte
		reads int // bytes of the answer, before it dies
	}{
		{"before it says anything", nil, 0},
		{"in the schema of a request", [][]byte{add[:20]}, 0},
		{"after the schema of a request", [][]byte{add[:batchStart(add)]}, 0},
		{"in the header of a request", [][]byte{add[:batchStart(add)+20]}, 0},
		{"in the body of a request", [][]byte{add[:headerEnd(add)+4]}, 0},
		{"in a large body", [][]byte{large[:largeText/2]}, 0},
		{"before the end of a request", [][]byte{add[:len(add)-8]}, 0},
		{"before it reads the answer", [][]byte{add}, 0},
		{"while a large answer is written", [][]byte{large}, 1},
		{"after it opened a stream", [][]byte{open}, 0},
		{"after it opened a stream's input", [][]byte{open, tick[:batchStart(tick)]}, 0},
		{"in a tick", [][]byte{open, tick[:len(tick)-4]}, 0},
		{"after a turn", [][]byte{open, tick}, 64},
		{"with ticks under way", [][]byte{open, tick, bytes.Repeat(tick[batchStart(tick):], 100)}, 1},
		{"in an input batch", [][]byte{sum, value[:headerEnd(value)+4]}, 0},
		{"after an input batch", [][]byte{sum, value[:len(value)-8]}, 64},
		{"in the input of a refused stream", [][]byte{forge(t, textSchema, `[{"text":"x"}]`, callOf("count")), tick[:len(tick)-4]}, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEveryNetwork(t, func(t *testing.T, network string) {
				s := newTarget(t, network, vgirpc.ServerOptions{})
				for range 3 {
					p := s.dial(t)
					p.send(tt.sends...)
					if _, err := io.ReadFull(p.Conn, make([]byte, tt.reads)); err != nil {
						t.Fatal(err)
					}
					if err := p.Close(); err != nil {
						t.Fatal(err)
					}
				}
				s.dial(t).works(2)
			})
		})
	}
}

func TestAReaderThatStallsIsCutOff(t *testing.T) {
	large := largeEcho(t)
	onEveryNetwork(t, func(t *testing.T, network string) {
		ended := make(endings, 8)
		s := newTarget(t, network, vgirpc.ServerOptions{
			Observers: []vgirpc.Observer{ended}, Conns: vgirpc.ConnOptions{ProgressTimeout: brief},
		})
		p := s.dial(t)
		p.send(large)
		if how := ended.next(t); how != "echo ConnectionLost" {
			t.Errorf("the call ended as %q", how)
		}
		// The client holds its end open: the server has let go on its own.
		eventually(t, "the budget is whole", func() bool { return s.budget.Held() == 0 })
		n, err := io.Copy(io.Discard, p.Conn)
		if n >= largeText || (err != nil && !hungUp(err)) {
			t.Errorf("the rest is %d bytes, %v: want part of the answer, then the end", n, err)
		}
		s.dial(t).works(1)
	})
}

func TestAWriterThatStallsIsCutOff(t *testing.T) {
	add := forge(t, addSchema, row(1, 2), callOf("add"))
	claimed := claim(add, wire.DefaultMaxMessageBytes)
	sum := forge(t, noColumns, `[{}]`, callOf("sum"))
	value := forge(t, valueSchema, `[{"value":1}]`, nil)
	refused := forge(t, countSchema, `[{"n":-1}]`, callOf("count"))
	cases := []struct {
		name    string
		bytes   []byte
		answers int
	}{
		{"in the prefix of a message", add[:3], 0},
		{"in a schema", add[:20], 0},
		{"between the schema and the batch of a request", add[:batchStart(add)], 0},
		{"in a header", add[:batchStart(add)+20], 0},
		{"in a body", add[:headerEnd(add)+4], 0},
		{"before a body that it announced", claimed[:headerEnd(claimed)], 0},
		{"before the end of a request", add[:len(add)-8], 0},
		{"in the next request", append(bytes.Clone(add), add[:40]...), 1},
		{"in an input batch", append(bytes.Clone(sum), value[:headerEnd(value)+4]...), 0},
		{"in the input of a refused stream", append(bytes.Clone(refused), value[:headerEnd(value)+4]...), 1},
	}
	// All of them stall at once, on one server.
	s := newTarget(t, "unix", vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{ProgressTimeout: brief}})
	peers := make([]*bytePeer, len(cases))
	for i, tt := range cases {
		peers[i] = s.dial(t)
		peers[i].send(tt.bytes)
	}
	for i, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			p := &bytePeer{t, peers[i].Conn, peers[i].r}
			for range tt.answers {
				if p.answer() == nil {
					t.Fatal("closed too early")
				}
			}
			p.closed()
			s.dial(t).works(1)
		})
	}
}

func TestAConnectionThatIsSilentForTooLongIsClosed(t *testing.T) {
	for name, conns := range map[string]vgirpc.ConnOptions{
		"from the first": {FirstByteTimeout: brief},
		"after a call":   {IdleTimeout: brief},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryNetwork(t, func(t *testing.T, network string) {
				s := newTarget(t, network, vgirpc.ServerOptions{Conns: conns})
				p := s.dial(t)
				if conns.IdleTimeout > 0 {
					p.works(1)
				}
				p.closed()
				// Good peers under it are quick, unless the machine keeps them waiting.
				eventually(t, "others are served", func() bool {
					p := s.dial(t)
					defer func() { _ = p.Close() }()
					p.send(forge(t, addSchema, row(1, 2), callOf("add")))
					a := p.answer()
					return a != nil && a.status == nil && a.sum == 3
				})
			})
		})
	}
}

func TestACallerMayTakeItsTimeInsideAStream(t *testing.T) {
	open := func(method string, n string) []byte { return forge(t, countSchema, `[{"n":`+n+`}]`, callOf(method)) }
	tick := forge(t, noColumns, ``, wire.Metadata{})
	unknown := forge(t, countSchema, `[{"n":1}]`, callOf("absent"))
	cases := []struct {
		name    string
		before  []byte // then it waits, longer than all timeouts
		answers int
		after   []byte
	}{
		{"before the input", open("count", "0"), 0, tick},
		{"before the first tick", append(open("count", "0"), tick[:batchStart(tick)]...), 0, tick[batchStart(tick):]},
		{"after the end of the output", append(open("count", "0"), tick[:len(tick)-8]...), 1, tick[len(tick)-8:]},
		{"before the input of a refused stream", open("count", "-1"), 1, tick},
		{"in the input of a refused stream", append(open("count", "-1"), tick[:len(tick)-8]...), 1, tick[len(tick)-8:]},
		{"in the input of an unknown stream", append(bytes.Clone(unknown), tick[:len(tick)-8]...), 1, tick[len(tick)-8:]},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			v := newVictim(t, vgirpc.ConnOptions{ProgressTimeout: brief, FirstByteTimeout: brief})
			synctest.Test(t, func(t *testing.T) {
				near, far := vgirpc.NewPair()
				v.serve(t, far)
				p := &bytePeer{t, pairConn{rw: near}, wire.NewReader(near, wire.Limits{}, nil)}
				p.send(tt.before)
				for range tt.answers {
					p.answer()
				}
				time.Sleep(time.Hour)
				p.send(tt.after)
				if tt.answers == 0 {
					if a := p.answer(); a == nil || a.status != nil {
						t.Fatalf("got %+v", a)
					}
				}
				p.works(1)
				_ = p.Close()
				v.whole(t, 0)
			})
		})
	}
}

// pairConn is one end of a pair, for those who want a net.Conn of which they read,
// write and close alone.
type pairConn struct {
	net.Conn
	rw io.ReadWriteCloser
}

// Read reads what the other end wrote.
func (c pairConn) Read(b []byte) (int, error) { return c.rw.Read(b) }

// Write writes for the other end to read.
func (c pairConn) Write(b []byte) (int, error) { return c.rw.Write(b) }

// Close closes both directions.
func (c pairConn) Close() error { return c.rw.Close() }

// gate is an interceptor that holds calls of a method until it is opened, or
// their connection ends.
type gate struct {
	method        string
	entered, open chan struct{}
	cut           atomic.Int64 // calls whose context ended
}

func newGate(method string) *gate {
	return &gate{method: method, entered: make(chan struct{}, 8), open: make(chan struct{})}
}

func (g *gate) hold(ctx context.Context, call *vgirpc.Call, next func(context.Context) error) error {
	if call.Method().Name() == g.method {
		g.entered <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
			g.cut.Add(1)
		}
	}
	return next(ctx)
}

func TestAShutdownClosesWhoWaitsAndLetsCallsFinish(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, network string) {
		g := newGate("fail")
		s := newTarget(t, network, vgirpc.ServerOptions{Interceptors: []vgirpc.Interceptor{g.hold}})
		silent, idle, busy := s.dial(t), s.dial(t), s.dial(t)
		idle.works(1)
		busy.send(forge(t, textSchema, `[{"text":"thing"}]`, callOf("fail")))
		<-g.entered
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			done <- s.Shutdown(ctx)
		}()
		idle.closed()
		silent.closed() // accepted before, or turned away now
		close(g.open)
		busy.refusal(refusal{vgirpc.NotFound, "Error", "no thing"})
		busy.closed()
		if err := <-done; err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if g.cut.Load() != 0 {
			t.Error("a call in progress was cut off")
		}
	})
}

func TestAShutdownCutsWhatIsStuckAtItsDeadline(t *testing.T) {
	open := forge(t, noColumns, `[{}]`, callOf("sum"))
	for name, stuck := range map[string]func(t *testing.T, p *bytePeer, g *gate){
		"a handler": func(t *testing.T, p *bytePeer, g *gate) {
			t.Helper()
			p.send(forge(t, textSchema, `[{"text":"thing"}]`, callOf("fail")))
			<-g.entered
		},
		"an open stream": func(t *testing.T, p *bytePeer, _ *gate) {
			t.Helper()
			value := forge(t, valueSchema, `[{"value":1}]`, nil)
			p.send(open, value[:len(value)-8])
			if _, err := io.ReadFull(p.Conn, make([]byte, 64)); err != nil {
				t.Fatal(err)
			}
		},
		"a reader": func(t *testing.T, p *bytePeer, _ *gate) {
			t.Helper()
			p.send(largeEcho(t))
		},
		"a writer": func(t *testing.T, p *bytePeer, _ *gate) {
			t.Helper()
			p.works(1)
			p.send(largeEcho(t)[:largeText/2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate("fail")
			s := newTarget(t, "unix", vgirpc.ServerOptions{Interceptors: []vgirpc.Interceptor{g.hold}})
			p := s.dial(t)
			stuck(t, p, g)
			ctx, cancel := context.WithTimeout(context.Background(), brief)
			defer cancel()
			if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("shutdown: %v, want the deadline's error", err)
			}
			if _, err := io.Copy(io.Discard, p.Conn); err != nil && !hungUp(err) {
				t.Errorf("the connection: %v, want it closed", err)
			}
			if name == "a handler" {
				eventually(t, "the call's context ends", func() bool { return g.cut.Load() == 1 })
			}
		})
	}
}

func TestAShutdownNeverMissesAConnectionThatGoesIdle(t *testing.T) {
	returnsEverything(t)
	c := vgitest.NewContract()
	for range 100 {
		s := vgitest.NewServer(t, c, vgirpc.ServerOptions{})
		client, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var calling sync.WaitGroup
		started := make(chan struct{})
		calling.Go(func() {
			for i := 0; ; i++ {
				if _, err := c.Add.Call(context.Background(), client, vgitest.AddParams{A: 1, B: 2}); err != nil {
					return
				}
				if i == 3 {
					close(started)
				}
			}
		})
		<-started
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = s.Shutdown(ctx)
		cancel()
		if err != nil {
			t.Fatalf("shutdown: %v", err)
		}
		calling.Wait()
		_ = client.Close()
	}
}

func TestSilentConnectionsDoNotKeepOthersOut(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{
			Conns: vgirpc.ConnOptions{MaxConns: 64, FirstByteTimeout: brief},
		})
		silent := make([]*bytePeer, 64)
		for i := range silent {
			silent[i] = s.dial(t)
		}
		s.dial(t).works(2) // once there is room
		for _, p := range silent {
			p.closed()
		}
	})
}

func TestAThousandConnectionsOpenedAndDroppedLeaveNothing(t *testing.T) {
	add := forge(t, addSchema, row(1, 2), callOf("add"))
	open := forge(t, countSchema, `[{"n":5}]`, callOf("count"))
	parts := [][]byte{nil, add[:1], add[:batchStart(add)], add[:len(add)-8], add, append(bytes.Clone(add), add...), open, {0, 1, 2, 3, 4, 5, 6, 7}}
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{})
		for i := range 1000 {
			p := s.dial(t)
			p.send(parts[i%len(parts)])
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s.dial(t).works(3)
	})
}
