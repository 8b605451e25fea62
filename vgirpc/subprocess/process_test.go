//go:build unix

package subprocess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// patience is how long a test waits before it fails instead of hanging.
const patience = 30 * time.Second

// eventually waits until ok says so.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			tb.Fatalf("after %v still not so: %s\n%s", patience, what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// returnsEverything checks when the test is over that goroutines, descriptors
// and children are as many as now. It comes before what the test starts.
func returnsEverything(t *testing.T) {
	t.Helper()
	goroutines, files, children := runtime.NumGoroutine(), descriptors(t), offspring()
	t.Cleanup(func() {
		eventually(t, "goroutines, descriptors and children return to their number", func() bool {
			return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files && offspring() <= children
		})
	})
}

// descriptors is how many this process has open, without those that the runtime
// keeps for itself; 0 where nobody can tell.
func descriptors(tb testing.TB) int {
	tb.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, name := range names {
		if to, err := os.Readlink("/proc/self/fd/" + name.Name()); err == nil && !strings.Contains(to, "anon_inode:[event") {
			n++
		}
	}
	if n == 0 {
		tb.Fatal("no descriptors")
	}
	return n
}

// offspring is how many children this process has, zombies as well; 0 where
// nobody can tell.
func offspring() int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	n := 0
	for _, path := range stats {
		if _, parent := status(path); parent == os.Getpid() {
			n++
		}
	}
	return n
}

// status is the state and the parent that a stat file of /proc tells.
func status(path string) (state string, parent int) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// gone reports whether a process runs no more. Somebody else's zombie is as good
// as gone.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	state, _ := status(fmt.Sprintf("/proc/%d/stat", pid))
	return state == "Z"
}

// workerIn returns options for a worker of this binary.
func workerIn(mode, arg string, env ...string) Options {
	return Options{
		Command: []string{os.Args[0]}, exitWait: patience,
		// The race detector, where it is on, would sleep for a second at each exit.
		Env: append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", envMode+"="+mode, envArg+"="+arg), env...),
	}
}

// line waits for a line that begins with prefix, and returns the rest.
func (w *words) line(tb testing.TB, prefix string) string {
	tb.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-w.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-timeout:
			tb.Fatalf("the worker never said %q", prefix)
		}
	}
}

// pid waits for a line with a process's number.
func (w *words) pid(tb testing.TB, prefix string) int {
	tb.Helper()
	n, err := strconv.Atoi(w.line(tb, prefix))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// begin starts a transport, which ends with the test.
func begin(tb testing.TB, opts Options) (*transport, *vgirpc.Client) {
	tb.Helper()
	t, err := newTransport(tb.Context(), opts, vgirpc.ClientOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	c := vgirpc.NewClientOn(t, vgirpc.ClientOptions{})
	tb.Cleanup(func() { _ = c.Close() })
	return t, c
}

// current is the process that t calls.
func (t *transport) current() *Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.worker.process
}

// murder kills a process and waits until this package knows.
func murder(tb testing.TB, p *Process) {
	tb.Helper()
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		tb.Fatal(err)
	}
	<-p.Exited()
}

func adds(tb testing.TB, c *vgirpc.Client) {
	tb.Helper()
	got, err := vgitest.NewContract().Add.Call(tb.Context(), c, vgitest.AddParams{A: 1, B: 2})
	if err != nil || got != 3 {
		tb.Errorf("add: %v, %v", got, err)
	}
}

// failure is what a test looks at in an error.
type failure struct {
	Code   vgirpc.Code
	Type   string
	Says   string // part of the message
	Exit   string
	Stderr string
}

func fails(tb testing.TB, err error, want failure) {
	tb.Helper()
	var e *vgirpc.Error
	if !errors.As(err, &e) {
		tb.Fatalf("got %v (%T), want %+v", err, err, want)
	}
	got := failure{Code: e.Code, Type: e.Type}
	if got.Says = e.Message; strings.Contains(e.Message, want.Says) {
		got.Says = want.Says
	}
	if exit, ok := errors.AsType[*ExitError](err); ok {
		got.Exit, got.Stderr = exit.Error(), exit.Stderr
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("(-want +got):\n%s", diff)
	}
	if vgirpc.IsRemote(err) {
		tb.Error("the error claims to come from the server")
	}
}

func TestAWorkerIsATransport(t *testing.T) {
	returnsEverything(t)
	vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
		t.Helper()
		path := filepath.Join(t.TempDir(), "socket")
		l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.Serve(ctx, l) })
		c, err := New(t.Context(), workerIn("relay", path), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			cancel()
			_ = l.Close()
			serving.Wait()
		})
		return c
	})
}

func TestAStartThatFailsSaysWhy(t *testing.T) {
	brief := func(o Options, timeout time.Duration) Options {
		o.StartTimeout = timeout
		return o
	}
	for _, tt := range []struct {
		name string
		opts Options
		want failure
	}{
		{"without a command", Options{}, failure{Code: vgirpc.InvalidArgument, Says: "Options.Command is empty"}},
		{
			"with a negative delay",
			Options{Command: []string{"x"}, Restart: Restart{MinDelay: -1}},
			failure{Code: vgirpc.InvalidArgument, Says: "Options.Restart"},
		},
		{
			"of a program that does not exist",
			Options{Command: []string{"/nowhere/worker"}},
			failure{Code: vgirpc.FailedPrecondition, Type: "WorkerNotStarted", Says: "/nowhere/worker"},
		},
		{
			"of a worker that ends at once", workerIn("complain", ""),
			failure{
				Code: vgirpc.Unavailable, Type: "WorkerDied", Says: "exit status 3; its standard error ends with:\nreading the configuration\nno such table: accounts",
				Exit: "exit status 3", Stderr: "reading the configuration\nno such table: accounts",
			},
		},
		{
			"of a worker that never answers", brief(workerIn("deaf", ""), 500*time.Millisecond),
			failure{Code: vgirpc.Unavailable, Type: "WorkerSilent", Says: "within 500ms"},
		},
		{
			"of a program that prints", workerIn("babble", ""),
			failure{Code: vgirpc.FailedPrecondition, Type: "ProtocolError", Says: "does not speak vgi-rpc"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			_, err := New(t.Context(), tt.opts, vgirpc.ClientOptions{})
			fails(t, err, tt.want)
		})
	}
}

func TestAStartEndsWithItsContext(t *testing.T) {
	returnsEverything(t)
	ctx, cancel := context.WithCancel(t.Context())
	said := newWords()
	opts := workerIn("silent", "")
	opts.Stderr = said
	done := make(chan error)
	go func() {
		_, err := New(ctx, opts, vgirpc.ClientOptions{})
		done <- err
	}()
	said.line(t, "listening")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := Start(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("a start in a context that has ended: %v", err)
	}
}

func TestAWorkerThatDiesFailsItsCall(t *testing.T) {
	contract := vgitest.NewContract()
	collect := func(ctx context.Context, c *vgirpc.Client, n int64) (int, error) {
		s, err := contract.Count.Open(ctx, c, vgitest.CountParams{N: n})
		if err != nil {
			return 0, err
		}
		rows := 0
		for got, err := range s.All() {
			if err != nil {
				return rows, err
			}
			rows += len(got)
		}
		return rows, nil
	}
	unary := func(ctx context.Context, c *vgirpc.Client) (int, error) {
		_, err := contract.Echo.Call(ctx, c, vgitest.TextParams{Text: strings.Repeat("x", 300_000)})
		return 0, err
	}
	stream := func(ctx context.Context, c *vgirpc.Client) (int, error) { return collect(ctx, c, 10) }
	headed := func(ctx context.Context, c *vgirpc.Client) (int, error) {
		s, _, err := contract.Headed.OpenHeader(ctx, c, vgitest.CountParams{N: 3})
		if err == nil {
			_ = s.Close()
		}
		return 0, err
	}
	exchange := func(ctx context.Context, c *vgirpc.Client) (int, error) {
		s, err := contract.Sum.Open(ctx, c, vgirpc.None{})
		if err != nil {
			return 0, err
		}
		for n := 0; ; n++ {
			if _, err := s.Exchange(ctx, vgitest.Number{Value: 1}); err != nil {
				return n, err
			}
		}
	}
	for _, tt := range []struct {
		name  string
		write int // that is cut; the first is the answer to the greeting
		call  func(context.Context, *vgirpc.Client) (int, error)
		rows  int // that arrive before
	}{
		{"in a unary reply", 2, unary, 0},
		{"in a header", 2, headed, 0},
		{"in the first turn of a stream", 2, stream, 0},
		{"in a later turn of a stream", 5, stream, 3},
		{"in the first turn of an exchange", 2, exchange, 0},
		{"in a later turn of an exchange", 4, exchange, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			_, c := begin(t, workerIn("cut", strconv.Itoa(tt.write)))
			rows, err := tt.call(t.Context(), c)
			want := failure{Code: vgirpc.Unavailable, Type: "WorkerDied", Says: "signal: killed", Exit: "signal: killed"}
			fails(t, err, want)
			if rows != tt.rows {
				t.Errorf("%d rows arrived, want %d", rows, tt.rows)
			}
			var e *vgirpc.Error
			if !errors.As(err, &e) || !e.Retryable() {
				t.Errorf("%v is not retryable", err)
			}
			_, err = contract.Add.Call(t.Context(), c, vgitest.AddParams{})
			fails(t, err, want)
			if err := c.Close(); err != nil {
				t.Errorf("Close tells again what a call has told: %v", err)
			}
		})
	}
}

func TestClosingEndsAWorker(t *testing.T) {
	for _, tt := range []struct {
		name, mode string
		grace      time.Duration
		want       string // the exit status, "" for success
	}{
		{"that notices", "serve", patience, ""},
		{"that must be asked", "lingering", 2 * time.Second, "signal: terminated"},
		{"that must be killed", "stubborn", 50 * time.Millisecond, "signal: killed"},
		{"without mercy", "stubborn", -1, "signal: killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			opts := workerIn(tt.mode, "")
			opts.CloseGrace = tt.grace
			tr, c := begin(t, opts)
			adds(t, c)
			p := tr.current()
			err := c.Close()
			got := ""
			if exit, ok := errors.AsType[*ExitError](err); ok {
				got = exit.Error()
			}
			if got != tt.want || (err != nil) != (tt.want != "") {
				t.Errorf("closed with %q, %v; want %q", got, err, tt.want)
			}
			if !gone(p.PID()) {
				t.Error("the worker is still there")
			}
			if err := c.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
			if _, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{}); !errors.Is(err, os.ErrClosed) {
				t.Errorf("a call after Close: %v", err)
			}
		})
	}
}

func TestAChildThatHoldsThePipesHoldsUpNobody(t *testing.T) {
	for _, tt := range []struct {
		name, mode string
		escapes    bool
	}{
		{"in the group", "parent", false},
		{"outside the group", "escaped", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			said := newWords()
			opts := workerIn(tt.mode, "")
			opts.Stderr = said
			tr, c := begin(t, opts)
			child := said.pid(t, "child ")
			t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
			adds(t, c)
			s, err := vgitest.NewContract().Count.Open(t.Context(), c, vgitest.CountParams{N: 1 << 40})
			if err != nil {
				t.Fatal(err)
			}
			turns := 0
			for _, err = range s.All() {
				if turns++; turns == 3 {
					murder(t, tr.current())
				}
			}
			fails(t, err, failure{
				Code: vgirpc.Unavailable, Type: "WorkerDied", Exit: "signal: killed",
				Stderr: fmt.Sprintf("child %d", child),
			})
			if tt.escapes {
				if gone(child) {
					t.Error("the child outside the group was killed")
				}
				return
			}
			eventually(t, "the child is gone", func() bool { return gone(child) })
		})
	}
}

func TestClosingUnblocks(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(p *Process) error
	}{
		{"a read", func(p *Process) error {
			_, err := p.Read(make([]byte, 1))
			return err
		}},
		{"a write", func(p *Process) error {
			_, err := p.Write(make([]byte, 8<<20))
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			said := newWords()
			opts := workerIn("deaf", "")
			opts.Stderr, opts.CloseGrace = said, -1
			p, err := Start(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- tt.do(p) }()
			said.line(t, "listening")
			if err := p.Err(); err != nil {
				t.Errorf("while it runs: %v", err)
			}
			closeErr := p.Close()
			if err := <-done; !errors.Is(err, os.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
			fails(t, closeErr, failure{Code: vgirpc.Unavailable, Type: "WorkerDied", Exit: "signal: killed", Stderr: "listening"})
			if again := p.Close(); !errors.Is(again, closeErr) || !errors.Is(p.Err(), closeErr) {
				t.Errorf("closing again: %v, %v", again, p.Err())
			}
		})
	}
}

func TestWhatAWorkerWroteBeforeItDiedIsRead(t *testing.T) {
	returnsEverything(t)
	p, err := Start(t.Context(), Options{Command: []string{"/bin/sh", "-c", "printf 'the last words'"}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	got, err := io.ReadAll(p)
	if string(got) != "the last words" {
		t.Errorf("read %q", got)
	}
	fails(t, err, failure{Code: vgirpc.Unavailable, Type: "WorkerDied", Says: "exit status 0", Exit: "exit status 0"})
	if _, err := p.Write([]byte("hello?")); !errors.Is(err, p.Err()) {
		t.Errorf("a write: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestAWorkerThatClosesItsOutputIsNotWaitedFor(t *testing.T) {
	returnsEverything(t)
	p, err := Start(t.Context(), Options{Command: []string{"/bin/sh", "-c", "exec >&-; read line"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Read(make([]byte, 1))
	fails(t, err, failure{Code: vgirpc.Unavailable, Type: "ConnectionLost", Says: "has not ended"})
	_ = p.Close() // read fails, and the shell with it
}

func TestCommandsGetTheirEnvironmentAndDirectory(t *testing.T) {
	returnsEverything(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), Options{
		Command: []string{"/bin/sh", "-c", `printf '%s %s' "$GREETING" "$(pwd)"`}, Env: []string{"GREETING=hello"}, Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(p)
	if want := "hello " + dir; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestStandardErrorIsLoggedByTheLine(t *testing.T) {
	returnsEverything(t)
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "pid" {
			return slog.Attr{}
		}
		return a
	}})
	p, err := Start(t.Context(), Options{
		Command: []string{"/bin/sh", "-c", `printf 'one\n\ntwo words\r\nno end' >&2`}, Logger: slog.New(handler),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	want := `level=INFO msg="worker stderr" line=one
level=INFO msg="worker stderr" line=""
level=INFO msg="worker stderr" line="two words"
level=INFO msg="worker stderr" line="no end"
`
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheEndOfStandardErrorIsKept(t *testing.T) {
	long := strings.Repeat("x", maxLine+10)
	for _, tt := range []struct {
		name string
		keep int
		text string
		want string
	}{
		{"whole when it is short", 100, "a\nb\n", "a\nb"},
		{"in whole lines", 10, "first\nsecond\nthird\n", "third"},
		{"in whole lines that fit exactly", 13, "first\nsecond\nthird\n", "second\nthird"},
		{"in part when a line is too long", 4, "abcdefgh\n", "fgh"},
		{"in part when the line has no end", 4, "abcdefgh", "efgh"},
		{"across pieces of a long line", 16, long + "\nend\n", "end"},
		{"after much of it", 12, strings.Repeat("again and again\n", 10_000) + "the end\n", "the end"},
		{"not at all when nobody wants it", -1, "a\nb\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &stderr{keep: tt.keep}
			s.copy(strings.NewReader(tt.text), 1)
			if got := s.text(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if most := 2*max(tt.keep, 0) + maxLine; cap(s.tail) > 2*most {
				t.Errorf("%d bytes are held for %d", cap(s.tail), tt.keep)
			}
		})
	}
}

func TestNothingIsLeftOfManyWorkers(t *testing.T) {
	returnsEverything(t)
	cycles := 200
	switch {
	case os.Getenv("VGI_SOAK") != "":
		cycles = 1000
	case testing.Short():
		cycles = 12
	}
	contract := vgitest.NewContract()
	for i := range cycles {
		tr, err := newTransport(t.Context(), workerIn("serve", ""), vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := vgirpc.NewClientOn(tr, vgirpc.ClientOptions{})
		died := failure{Code: vgirpc.Unavailable, Type: "WorkerDied", Exit: "signal: killed"}
		switch i % 4 {
		case 0: // closed in good order
			adds(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		case 1: // killed while idle
			murder(t, tr.current())
			_, err := contract.Add.Call(t.Context(), c, vgitest.AddParams{})
			fails(t, err, died)
		case 2: // killed in a stream
			s, err := contract.Count.Open(t.Context(), c, vgitest.CountParams{N: 1 << 40})
			if err != nil {
				t.Fatal(err)
			}
			for _, err = range s.All() {
				if err == nil {
					_ = syscall.Kill(tr.current().PID(), syscall.SIGKILL)
				}
			}
			fails(t, err, died)
		case 3: // killed and closed
			_ = syscall.Kill(tr.current().PID(), syscall.SIGKILL)
		}
		_ = c.Close()
	}
}
