package conformance_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// What a process that was started from this test binary is.
const (
	roleVariable = "VGI_CONFORMANCE_TEST_ROLE"
	roleWorker   = "worker"
	roleCounter  = "counter"
)

// quickRace keeps the race detector from sleeping at the end of a process.
const quickRace = "GORACE=atexit_sleep_ms=0"

// command is the conformance worker as a process. Its standard error goes to
// the test's log.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+roleWorker, quickRace), env...)
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("stderr of the worker: %s", stderr)
		}
	})
	return cmd
}

// started is a listening worker.
type started struct {
	*exec.Cmd
	line string // the announcement
	rest *bufio.Reader
}

// start starts a listening worker and waits for its announcement.
func start(t *testing.T, env []string, args ...string) *started {
	t.Helper()
	w := &started{Cmd: command(t, env, args...)}
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.rest = bufio.NewReader(out)
	line, err := w.rest.ReadString('\n')
	if err != nil {
		t.Fatalf("announcement %q: %v", line, err)
	}
	w.line = strings.TrimSuffix(line, "\n")
	return w
}

// stop ends the worker with a signal. It must end well, and must not have
// written anything after its announcement.
func (w *started) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := w.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	more, err := io.ReadAll(w.rest)
	if err != nil || len(more) > 0 {
		t.Errorf("after the announcement: %q, %v", more, err)
	}
	if err := w.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

// socketPath is short enough for a Unix socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "vgi-c-") //nolint:usetesting // t.TempDir has the name of the test in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestTheWorkerRefusesACommandLineThatMakesNoSense(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--no-such-option", "no-such-option"},
		{"--pipe --http 0", "exclude each other"},
		{"--http --http-auth", "excludes the other"},
		{"--http-proof --proof-secrets nonsense", "--proof-secrets"},
		{"--http --identity sometimes", "introspect-only"},
		{"--http-proof --identity both", "excludes --http-auth"},
		{"--pipe --fake-storage ftp://x", "--fake-storage"},
		{"--http --fake-storage ftp://x", "--fake-storage"},
		{"--pipe --tcp 0", "exclude each other"},
		{"--unix /tmp/x --tcp 0", "exclude each other"},
		{"--tcp 70000", "65535"},
		{"--max-connections 0", "at least 1"},
		{"--idle-timeout soon", "seconds"},
		{"something", "something"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			cmd := command(t, nil, strings.Fields(tt.args)...)
			stdout, stderr := new(bytes.Buffer), new(bytes.Buffer)
			cmd.Stdout, cmd.Stderr = stdout, stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("ended with %v, want exit status 2", err)
			}
			if stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("stdout %q, stderr %q: want nothing, and something with %q", stdout, stderr, tt.want)
			}
		})
	}
}

func TestTheWorkerExplainsItsOptions(t *testing.T) {
	out, err := command(t, nil, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ConformanceService 2.0.0", "--unix PATH", "--hosted-reverse", "--access-log PATH", "--proof-mode require|allow|off"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestTheWorkerServesWhatItAnnounces(t *testing.T) {
	unixPath := socketPath(t)
	for _, tt := range []struct {
		name string
		args []string
		dial func(line string) (*vgirpc.Client, error)
		sig  os.Signal
	}{
		{"Unix socket", []string{"--unix", unixPath, "--threaded"}, func(line string) (*vgirpc.Client, error) {
			path, ok := strings.CutPrefix(line, "UNIX:")
			if !ok || path != unixPath {
				t.Errorf("announced %q", line)
			}
			return vgirpc.DialUnix(t.Context(), path, vgirpc.ClientOptions{})
		}, syscall.SIGTERM},
		{"TCP", []string{"--tcp", "0", "--prefix", "/ignored"}, func(line string) (*vgirpc.Client, error) {
			address, ok := strings.CutPrefix(line, "TCP:127.0.0.1:")
			if !ok || address == "0" {
				t.Errorf("announced %q", line)
			}
			return vgirpc.DialTCP(t.Context(), "127.0.0.1:"+address, vgirpc.ClientOptions{})
		}, os.Interrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "access.jsonl")
			w := start(t, nil, append(tt.args, "--access-log", log, "--access-log-debug", "--server-id", "the-one")...)
			c, err := tt.dial(w.line)
			if err != nil {
				t.Fatal(err)
			}
			tryOut(t, c)
			list, err := vgirpc.NewReflection().ListProtocols.Call(t.Context(), c, vgirpc.None{})
			if err != nil || list.ServerID != "the-one" {
				t.Errorf("server %q, %v", list.ServerID, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			w.stop(t, tt.sig)
			text, err := os.ReadFile(log)
			if n := bytes.Count(text, []byte("\n")); err != nil || n != 4 {
				t.Errorf("%d lines in the access log, want 4; %v\n%s", n, err, text)
			}
		})
	}
	if _, err := os.Stat(unixPath); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// tryOut makes one call of each kind.
func tryOut(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	ctx := t.Context()
	status, err := conformance.EchoEnum.Call(ctx, c, conformance.StatusParams{Status: conformance.Closed})
	if err != nil || status != conformance.Closed {
		t.Errorf("echo_enum: %v, %v", status, err)
	}
	s, header, err := conformance.ProduceWithHeader.OpenHeader(ctx, c, conformance.CountParams{Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	var rows []conformance.CounterRow
	for batch, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, batch...)
	}
	if diff := cmp.Diff([]conformance.CounterRow{{0, 0}, {1, 10}, {2, 20}}, rows); diff != "" || header.TotalExpected != 3 {
		t.Errorf("header %+v, rows (-want +got):\n%s", header, diff)
	}
	x, err := conformance.ExchangeScale.Open(ctx, c, conformance.FactorParams{Factor: 3})
	if err != nil {
		t.Fatal(err)
	}
	scaled, err := x.Exchange(ctx, conformance.FloatRow{Value: 1}, conformance.FloatRow{Value: 2})
	if diff := cmp.Diff([]conformance.FloatRow{{3}, {6}}, scaled); diff != "" || err != nil {
		t.Errorf("%v, scaled (-want +got):\n%s", err, diff)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// overStdio starts a worker and returns a client of its standard input and
// output.
func overStdio(t *testing.T, env []string, args ...string) (*vgirpc.Client, error) {
	t.Helper()
	cmd := command(t, env, args...)
	return subprocess.New(t.Context(), subprocess.Options{Command: cmd.Args, Env: cmd.Env, Stderr: cmd.Stderr}, vgirpc.ClientOptions{})
}

func TestTheWorkerTellsItsTransportKind(t *testing.T) {
	ask := func(c *vgirpc.Client, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return must(conformance.ReportTransportKind.Call(t.Context(), c, vgirpc.None{}))
	}
	if got := ask(overStdio(t, nil, "--transport-kind-probe")); got != "pipe" {
		t.Errorf("over stdio it is %q", got)
	}
	path := socketPath(t)
	w := start(t, nil, "--unix", path, "--transport-kind-probe")
	if got := ask(vgirpc.DialUnix(t.Context(), path, vgirpc.ClientOptions{})); got != "unix" {
		t.Errorf("over a Unix socket it is %q", got)
	}
	w.stop(t, syscall.SIGTERM)
	w = start(t, nil, "--tcp", "127.0.0.1:0", "--transport-kind-probe")
	if got := ask(vgirpc.DialTCP(t.Context(), strings.TrimPrefix(w.line, "TCP:"), vgirpc.ClientOptions{})); got != "tcp" {
		t.Errorf("over TCP it is %q", got)
	}
	w.stop(t, syscall.SIGTERM)
}

func TestWorkersCountCancellationsTogether(t *testing.T) {
	env := []string{conformance.ProbeFileVariable + "=" + filepath.Join(t.TempDir(), "probe")}
	var clients []*vgirpc.Client
	for range 2 {
		c, err := overStdio(t, env)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		clients = append(clients, c)
		s, err := conformance.CancellableExchange.Open(t.Context(), c, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Exchange(t.Context(), conformance.FloatRow{Value: 1}); err != nil {
			t.Fatal(err)
		}
		if err := s.Cancel(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		got := must(conformance.CancelProbeCounters.Call(t.Context(), c, vgirpc.None{}))
		if diff := cmp.Diff([]int64{0, 2, 2}, got); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
	}
}

func TestASignalEndsAWorkerThatWaitsOnStdio(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := command(t, nil)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = in.Close() }()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// One call shows that it is up.
			c := vgirpc.NewClient(&pipes{out, in}, vgirpc.ClientOptions{})
			must(conformance.VoidNoop.Call(t.Context(), c, vgirpc.None{}))
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			ends(t, cmd)
		})
	}
}

// ends waits for a process that has no reason to go on.
func ends(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-done
		t.Error("still there")
	}
}

// pipes are the two ends that lead to a process.
type pipes struct {
	io.Reader
	io.WriteCloser
}

func TestAWorkerEndsWhenNobodyIsConnectedForLong(t *testing.T) {
	path := socketPath(t)
	w := start(t, nil, "--unix", path, "--idle-timeout", "0.2")
	c, err := vgirpc.DialUnix(t.Context(), path, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must(conformance.VoidNoop.Call(t.Context(), c, vgirpc.None{}))
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	ends(t, w.Cmd)
}

func TestMethodsThatCountCancellationsSayWhatTheyMiss(t *testing.T) {
	s, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vgirpc.DialServer(context.Background(), s, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = conformance.CancelProbeCounters.Call(t.Context(), c, vgirpc.None{})
	if vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
		t.Errorf("error %v", err)
	}
}
