package vgirpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// admit is a function as an admitter.
type admit func(context.Context, *vgirpc.Admission) error

func (f admit) Admit(ctx context.Context, a *vgirpc.Admission) error { return f(ctx, a) }

func admitting(admitters ...vgirpc.Admitter) vgirpc.ServerOptions {
	return vgirpc.ServerOptions{
		Conns: vgirpc.ConnOptions{Admit: admitters}, OmitTracebacks: true, ServerID: "fixed", Logger: slog.New(slog.DiscardHandler),
	}
}

func TestARefusedClientLearnsWhatIsMeantForIt(t *testing.T) {
	fails := func(err error) vgirpc.Admitter {
		return admit(func(context.Context, *vgirpc.Admission) error { return err })
	}
	typed := &vgirpc.Error{
		Code: vgirpc.ResourceExhausted, Kind: "full", Type: "Full", Message: "come later", Cause: errors.New("the inside"),
		Details: []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: 3}},
	}
	type told struct {
		Code                vgirpc.Code
		Kind, Type, Message string
		Remote              bool
	}
	refused := told{vgirpc.PermissionDenied, "", "ConnectionRefused", "the connection is refused", true}
	for _, tt := range []struct {
		name     string
		admitter vgirpc.Admitter
		want     told
	}{
		{"an error of the protocol", fails(typed), told{vgirpc.ResourceExhausted, "full", "Full", "come later", true}},
		{"one inside another error", fails(errors.Join(errors.New("secret"), typed)), told{vgirpc.ResourceExhausted, "full", "Full", "come later", true}},
		{"an error that is for the log", fails(errors.New("secret")), refused},
		{
			"a panic", admit(func(context.Context, *vgirpc.Admission) error { panic("secret") }),
			told{vgirpc.Unavailable, "", "ConnectionLost", "", false},
		},
		{"somebody who was told already", admit(func(_ context.Context, a *vgirpc.Admission) error {
			a.Told = true
			return errors.New("secret")
		}), told{vgirpc.Unavailable, "", "ConnectionLost", "", false}},
	} {
		for _, network := range []string{"unix", "tcp"} {
			t.Run(tt.name+" over "+network, func(t *testing.T) {
				s := newTarget(t, network, admitting(tt.admitter))
				conn, err := net.Dial(network, s.addr.String())
				if err != nil {
					t.Fatal(err)
				}
				client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
				defer func() { _ = client.Close() }()
				_, err = vgitest.NewContract().Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2})
				var e *vgirpc.Error
				if !errors.As(err, &e) {
					t.Fatalf("error %v", err)
				}
				got := told{e.Code, e.Kind, e.TypeName(), e.Message, vgirpc.IsRemote(err)}
				if !got.Remote {
					got.Message = "" // the operating system's
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if strings.Contains(e.Error()+e.Traceback, "secret") {
					t.Errorf("the client learns %q", e.Error()+e.Traceback)
				}
			})
		}
	}
}

// listenerOf gives out the connections that it is sent.
type listenerOf struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListenerOf() *listenerOf {
	return &listenerOf{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listenerOf) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listenerOf) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listenerOf) Addr() net.Addr { return &net.TCPAddr{} }

func (l *listenerOf) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// waitForBytes admits whoever sends n bytes.
func waitForBytes(n int) vgirpc.Admitter {
	return admit(func(_ context.Context, a *vgirpc.Admission) error {
		_, err := io.ReadFull(a.Conn, make([]byte, n))
		return err
	})
}

func TestAnAdmissionEndsWithItsDeadlineHoweverSlowlyThePeerSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListenerOf()
		opts := admitting(waitForBytes(1000))
		opts.Conns.AdmitTimeout = 5 * time.Second
		s := vgitest.NewServer(t, vgitest.NewContract(), opts)
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background(), l) }()
		c := l.dial()
		began := time.Now()
		var writing sync.WaitGroup
		writing.Go(func() {
			for range 1000 { // far longer than the deadline, and never silent for long
				if _, err := c.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		err := vgirpc.ReadRefusal(c)
		if e, ok := errors.AsType[*vgirpc.Error](err); !ok || e.Code != vgirpc.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		if after := time.Since(began); after != opts.Conns.AdmitTimeout {
			t.Errorf("after %v", after)
		}
		_ = c.Close()
		writing.Wait()
		_ = l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestAListenerThatIsClosedCutsAdmissionsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListenerOf()
		s := vgitest.NewServer(t, vgitest.NewContract(), admitting(waitForBytes(1)))
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background(), l) }()
		c := l.dial()
		synctest.Wait()
		began := time.Now()
		_ = l.Close()
		if err := <-served; err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read %d, %v", n, err)
		}
		_ = c.Close()
	})
}

// whoami is a contract whose method tells the peer.
var (
	whoamiProtocol = vgirpc.NewProtocol("test.Whoami", "1.0.0")
	whoami         = vgirpc.NewUnary[vgirpc.None, string](whoamiProtocol, "whoami")
)

func TestAdmittersRunInTurnAndTheirWordIsTheCalls(t *testing.T) {
	returnsEverything(t)
	var mu sync.Mutex
	var steps []string
	step := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, text)
	}
	says := func(name string, id vgirpc.Identity) vgirpc.Admitter {
		return admit(func(_ context.Context, a *vgirpc.Admission) error {
			step("in " + name)
			a.AtEnd(func() { step("out " + name) })
			a.Vouch(id)
			return nil
		})
	}
	opts := admitting(
		admit(func(_ context.Context, a *vgirpc.Admission) error { // reads ahead, and leaves the first byte of it
			a.Peer.Addr = "192.0.2.1:5"
			first := make([]byte, 3)
			if _, err := io.ReadFull(a.Conn, first); err != nil {
				return err
			}
			a.Conn = &ahead{a.Conn, first[2:]}
			return nil
		}),
		says("one", vgirpc.Identity{Principal: "p1", Domain: "d1", Authenticated: true, Claims: map[string]any{"a": 1, "b": 1}}),
		says("two", vgirpc.Identity{Principal: "p2", Domain: "d2", Authenticated: true, Claims: map[string]any{"b": 2}}),
	)
	var peer vgirpc.Peer
	s, err := vgirpc.NewServer(opts, whoamiProtocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		peer = *vgirpc.CallFrom(ctx).Peer()
		return "done", nil
	})
	l, err := vgirpc.ListenTCP(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("xx")); err != nil {
		t.Fatal(err)
	}
	client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
	if _, err := whoami.Call(t.Context(), client, vgirpc.None{}); err != nil {
		t.Fatal(err)
	}
	want := vgirpc.Peer{
		Kind: vgirpc.TransportTCP, Addr: "192.0.2.1:5", UID: -1, GID: -1, PID: -1,
		Identity: vgirpc.Identity{Principal: "p2", Domain: "d2", Authenticated: true, Claims: map[string]any{"a": 1, "b": 2}},
	}
	if diff := cmp.Diff(want, peer); diff != "" {
		t.Errorf("peer (-want +got):\n%s", diff)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the admitters learn of the end", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(steps, []string{"in one", "in two", "out two", "out one"})
	})
}

// ahead gives back what was read ahead.
type ahead struct {
	net.Conn
	first []byte
}

func (c *ahead) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func TestTheKernelSaysWhoIsAtTheOtherEndOfAUnixSocket(t *testing.T) {
	got := make(chan vgirpc.Peer, 1)
	s := newTarget(t, "unix", admitting(admit(func(_ context.Context, a *vgirpc.Admission) error {
		got <- *a.Peer
		return nil
	})))
	_ = s.dial(t)
	want := vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// requestIDs are what differs from one time to the next.
var requestIDs = regexp.MustCompile(`(vgi_rpc\.request_id\x00\x00\x10\x00\x00\x00)[0-9a-f]{16}`)

func TestWithoutWordsOfTheirOwnAdmittersDoNotChangeAByte(t *testing.T) {
	silent := admit(func(_ context.Context, a *vgirpc.Admission) error {
		a.Vouch(vgirpc.Identity{Principal: "p", Domain: "d", Authenticated: true})
		return nil
	})
	for _, conversation := range conversations(t) {
		t.Run(conversation.name, func(t *testing.T) {
			var replies [][]byte
			for _, opts := range []vgirpc.ServerOptions{admitting(), admitting(silent)} {
				s := newTarget(t, "unix", opts)
				p := s.dial(t)
				go func() {
					_, _ = p.Write(conversation.requests)
					_ = p.Conn.(*net.UnixConn).CloseWrite()
				}()
				reply, err := io.ReadAll(p)
				if err != nil || len(reply) == 0 {
					t.Fatalf("%d bytes, %v", len(reply), err)
				}
				replies = append(replies, requestIDs.ReplaceAll(reply, []byte("$1")))
			}
			if diff := cmp.Diff(replies[0], replies[1]); diff != "" {
				t.Errorf("(-without +with):\n%s", diff)
			}
		})
	}
}

func TestConnectionOptionsThatMakeNoSenseForAdmissions(t *testing.T) {
	for name, conns := range map[string]vgirpc.ConnOptions{
		"Admit":        {Admit: []vgirpc.Admitter{nil}},
		"AdmitTimeout": {AdmitTimeout: time.Nanosecond},
	} {
		_, err := vgirpc.NewServer(vgirpc.ServerOptions{Conns: conns}, whoamiProtocol)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARefusalIsReadAndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want vgirpc.Code
	}{
		{"nothing", "", vgirpc.Unavailable},
		{"something else", "HTTP/1.1 400 Bad Request\r\n\r\n", vgirpc.Internal},
		{"a schema of a GB", "\xff\xff\xff\xff\x00\x00\x00\x40", vgirpc.ResourceExhausted},
	} {
		if err := vgirpc.ReadRefusal(strings.NewReader(tt.text)); vgirpc.CodeOf(err) != tt.want || vgirpc.IsRemote(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	var quiet strings.Builder
	w := wire.NewWriter(&quiet)
	if err := errors.Join(w.Open(wire.EmptySchema()), w.Close(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := vgirpc.ReadRefusal(strings.NewReader(quiet.String())); err == nil || vgirpc.IsRemote(err) {
		t.Errorf("a stream without an error: %v", err)
	}
}
