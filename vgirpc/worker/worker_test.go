package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

// incomplete is the role of a worker with a method that it has no handler for.
const incomplete = "incomplete"

type echoParams struct {
	Text string `vgi:"text"`
}

type napParams struct {
	Seconds float64 `vgi:"seconds"`
	Deaf    bool    `vgi:"deaf"` // to the end of the context
}

type number struct {
	N int64 `vgi:"n"`
}

var (
	contract = vgirpc.NewProtocol("test.Worker", "1.0.0")
	echo     = vgirpc.NewUnary[echoParams, string](contract, "echo")
	nap      = vgirpc.NewUnary[napParams, string](contract, "nap")
	who      = vgirpc.NewUnary[vgirpc.None, int64](contract, "who") // which process answers
	count    = vgirpc.NewProducer[vgirpc.None, number](contract, "count")
)

type counter struct{ N int64 }

func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[number]) error {
	c.N++
	return out.Emit(number{c.N})
}

// workerMain is what a user's main function looks like, but for a program that
// prints where it must not.
func workerMain(role string) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Version: "9.8.7",
		OnServeStart: func(context.Context, vgirpc.TransportKind) error {
			fmt.Println("stray print of OnServeStart")
			return door()
		},
	}, contract)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, echo, func(_ context.Context, p echoParams) (string, error) {
		fmt.Println("stray print of a handler")
		return p.Text, nil
	})
	vgirpc.HandleUnary(server, who, func(context.Context, vgirpc.None) (int64, error) { return int64(os.Getpid()), nil })
	vgirpc.HandleUnary(server, nap, func(ctx context.Context, p napParams) (string, error) {
		fmt.Fprintln(os.Stderr, "napping")
		done := ctx.Done()
		if p.Deaf {
			done = nil
		}
		select {
		case <-time.After(time.Duration(p.Seconds * float64(time.Second))):
			return "rested", nil
		case <-done:
			return "", ctx.Err()
		}
	})
	vgirpc.HandleProducer(server, count, func(context.Context, vgirpc.None) (*counter, error) { return &counter{}, nil })
	if role == incomplete {
		vgirpc.NewUnary[vgirpc.None, string](contract, "unhandled")
	}
	worker.Main(server, &probe{})
}

// doorFile names the environment variable with the path of a file that says what
// OnServeStart of the worker under test does: "refuse", or "hold" for as long as it
// says so. Without the file, the worker serves.
const doorFile = "VGIRPC_TEST_DOOR"

func door() error {
	says := func() string {
		text, _ := os.ReadFile(os.Getenv(doorFile)) // there may be none
		return string(text)
	}
	if says() == "hold" {
		fmt.Fprintf(os.Stderr, "held as process %d\n", os.Getpid())
		for says() == "hold" {
			time.Sleep(time.Millisecond)
		}
	}
	if says() == "refuse" {
		return errors.New("refused at the door")
	}
	return nil
}

// probe is an option as another package would write it.
type probe struct {
	drain  time.Duration
	socket string
}

func (o *probe) AddFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&o.drain, "probe-drain", 0, "time for calls in progress")
	flags.StringVar(&o.socket, "probe-socket", "", "a Unix socket beside the transport")
}

func (o *probe) Apply(_ context.Context, setup *worker.Setup) error {
	if o.drain == time.Hour {
		return errors.New("--probe-drain: too long")
	}
	if o.socket != "" {
		setup.BeforeServing(func(ctx context.Context) error {
			l, err := setup.Listen(ctx, "unix", o.socket)
			if err == nil {
				setup.AtExit(func(context.Context) error { return l.Close() })
			}
			return err
		})
	}
	setup.AtExit(func(context.Context) error { fmt.Fprintln(os.Stderr, "exit hook 1"); return nil })
	setup.AtExit(func(context.Context) error { fmt.Fprintln(os.Stderr, "exit hook 2"); return nil })
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) { opts.Conns.DrainTimeout = o.drain })
}

// start starts the worker.
func start(t *testing.T, args ...string) *workertest.Process {
	t.Helper()
	return workertest.Start(t, workertest.Command(nil, args...))
}

// client calls the worker over its standard input and output.
func client(t *testing.T, p *workertest.Process) *vgirpc.Client {
	t.Helper()
	c := vgirpc.NewClient(p.Conn(), vgirpc.ClientOptions{})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// connect connects to what a worker has announced.
func connect(ctx context.Context, announcement string) (*vgirpc.Client, error) {
	kind, address, _ := strings.Cut(announcement, ":")
	switch kind {
	case "UNIX":
		return vgirpc.DialUnix(ctx, address, vgirpc.ClientOptions{})
	case "TCP":
		return vgirpc.DialTCP(ctx, address, vgirpc.ClientOptions{})
	}
	return nil, fmt.Errorf("announcement %q", announcement)
}

func dial(t *testing.T, announcement string) *vgirpc.Client {
	t.Helper()
	c, err := connect(t.Context(), announcement)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustEcho(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	if got, err := echo.Call(t.Context(), c, echoParams{"hello"}); err != nil || got != "hello" {
		t.Fatalf("echo answers %q, %v", got, err)
	}
}

// duringACall runs f while a call is in progress, which has to go on after it, as the
// one that it was.
func duringACall(t *testing.T, c *vgirpc.Client, f func()) {
	t.Helper()
	stream, err := count.Open(t.Context(), c, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for rows, err := range stream.All() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; rows[0].N != n {
			t.Fatalf("number %d is %d", n, rows[0].N)
		}
		switch n {
		case 1:
			f()
		case 5:
			return
		}
	}
	t.Error("the call has ended by itself")
}

// untilRefused connects and calls until the worker takes no calls any more.
func untilRefused(t *testing.T, announcement string) {
	t.Helper()
	for end := time.Now().Add(workertest.Patience); ; {
		c, err := connect(t.Context(), announcement)
		if err != nil {
			return
		}
		_, err = echo.Call(t.Context(), c, echoParams{"hello"})
		_ = c.Close()
		if err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it still takes calls")
		}
	}
}

// listeningModes are the flags of the modes that announce themselves.
func listeningModes(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{
		"unix": {"--unix", filepath.Join(t.TempDir(), "s")},
		"tcp":  {"--tcp", "0"},
	}
}

func TestStdio(t *testing.T) {
	t.Run("carries nothing but the protocol and ends with its input", func(t *testing.T) {
		p := start(t)
		mustEcho(t, client(t, p))
		if err := p.Stdin.Close(); err != nil {
			t.Fatal(err)
		}
		if status := p.Wait(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
		if rest := p.Rest(t); rest != "" {
			t.Errorf("left on standard output: %q", rest)
		}
		for _, stray := range []string{"stray print of OnServeStart", "stray print of a handler"} {
			if !strings.Contains(p.Said(), stray) {
				t.Errorf("%q is not on standard error", stray)
			}
		}
	})

	for _, tt := range []struct {
		name string
		use  func(*testing.T, *workertest.Process)
	}{
		{"a signal ends a worker that was never called", func(t *testing.T, p *workertest.Process) { t.Helper(); p.Says(t, "OnServeStart") }},
		{"a signal ends a worker that waits for a call", func(t *testing.T, p *workertest.Process) { t.Helper(); mustEcho(t, client(t, p)) }},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(tt.name+"/"+sig.String(), func(t *testing.T) {
				p := start(t, "--probe-drain", "10m")
				tt.use(t, p)
				p.Signal(t, sig)
				if status := p.Wait(t); status != 0 { // long before the calls' time is over: there are none
					t.Errorf("exit status %d", status)
				}
			})
		}
	}

	t.Run("a signal lets the call in progress finish", func(t *testing.T) {
		p := start(t, "--probe-drain", "10m")
		duringACall(t, client(t, p), func() {
			p.Signal(t, syscall.SIGTERM)
			p.Says(t, "stopping")
		})
		if status := p.Wait(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})

	t.Run("a stream that its caller leaves open is cut off at the deadline", func(t *testing.T) {
		p := start(t, "--probe-drain", "300ms")
		stream, err := count.Open(t.Context(), client(t, p), vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range stream.All() {
			if err != nil {
				t.Fatal(err)
			}
			p.Signal(t, syscall.SIGTERM)
			if status := p.Wait(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			break
		}
		p.Says(t, "cut off")
	})

	t.Run("an interrupted client leaves a worker that ends", func(t *testing.T) {
		p := start(t)
		if _, err := p.Stdin.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x10}); err != nil {
			t.Fatal(err)
		}
		_ = p.Stdin.Close()
		if status := p.Wait(t); status != 1 {
			t.Errorf("exit status %d, want 1: a request was lost", status)
		}
	})
}

func TestListening(t *testing.T) {
	for mode, flags := range listeningModes(t) {
		t.Run(mode, func(t *testing.T) {
			t.Run("announces itself with one line and serves until a signal", func(t *testing.T) {
				p := start(t, append(flags, "--probe-drain", "10m")...)
				line := p.Announcement(t)
				mustEcho(t, dial(t, line))
				mustEcho(t, dial(t, line))
				if mode == "unix" && line != "UNIX:"+flags[1] {
					t.Errorf("announcement %q", line)
				}
				if mode == "tcp" && !regexp.MustCompile(`^TCP:127\.0\.0\.1:[1-9][0-9]*$`).MatchString(line) {
					t.Errorf("announcement %q", line)
				}
				p.Signal(t, syscall.SIGTERM)
				if status := p.Wait(t); status != 0 { // likewise
					t.Errorf("exit status %d", status)
				}
				if rest := p.Rest(t); rest != "" {
					t.Errorf("more on standard output: %q", rest)
				}
				if _, err := os.Stat(flags[1]); mode == "unix" && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the socket is still there: %v", err)
				}
			})

			t.Run("a signal lets calls finish, takes no others, and runs the exit hooks", func(t *testing.T) {
				p := start(t, append(flags, "--probe-drain", "10m")...)
				line := p.Announcement(t)
				duringACall(t, dial(t, line), func() {
					p.Signal(t, syscall.SIGINT)
					p.Says(t, "stopping")
					untilRefused(t, line)
				})
				if status := p.Wait(t); status != 0 {
					t.Errorf("exit status %d", status)
				}
				if !strings.HasSuffix(p.Said(), "exit hook 2\nexit hook 1\n") {
					t.Error("the exit hooks did not run, last one first")
				}
			})

			t.Run("a call that outlasts the deadline is cut off", func(t *testing.T) {
				for _, deaf := range []bool{false, true} {
					p := start(t, append(flags, "--probe-drain", "200ms")...)
					c := dial(t, p.Announcement(t))
					answer := make(chan error, 1)
					go func() {
						_, err := nap.Call(context.Background(), c, napParams{Seconds: 30, Deaf: deaf})
						answer <- err
					}()
					p.Says(t, "napping")
					p.Signal(t, syscall.SIGTERM)
					if status := p.Wait(t); status != 0 {
						t.Errorf("exit status %d", status)
					}
					if err := <-answer; err == nil {
						t.Error("the call succeeded")
					}
				}
			})

			for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
				t.Run("a second signal waits for nothing/"+sig.String(), func(t *testing.T) {
					p := start(t, flags...)
					c := dial(t, p.Announcement(t))
					go func() { _, _ = nap.Call(context.Background(), c, napParams{Seconds: 30, Deaf: true}) }()
					p.Says(t, "napping")
					p.Signal(t, syscall.SIGTERM)
					p.Says(t, "stopping")
					p.Signal(t, sig)
					if status := p.Wait(t); status != want {
						t.Errorf("exit status %d, want %d", status, want)
					}
				})
			}

			t.Run("survives whoever reads standard error", func(t *testing.T) {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd := workertest.Command([]string{"GOTRACEBACK=none"}, flags...)
				cmd.Stderr = w
				p := workertest.Start(t, cmd)
				_ = w.Close()
				line := p.Announcement(t)
				_ = r.Close()
				mustEcho(t, dial(t, line)) // it prints
				mustEcho(t, dial(t, line))
			})
		})
	}
}

func TestFlags(t *testing.T) {
	t.Run("--unix-mode sets the socket's permissions", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		for mode, want := range map[string]fs.FileMode{"": 0o600, "660": 0o660, "0666": 0o666} {
			args := []string{"--unix", path}
			if mode != "" {
				args = append(args, "--unix-mode", mode)
			}
			p := start(t, args...)
			p.Announcement(t)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("mode %q gives %o", mode, got)
			}
			p.Signal(t, syscall.SIGTERM)
			p.Wait(t)
		}
	})

	t.Run("--max-connections lets further connections wait", func(t *testing.T) {
		p := start(t, "--tcp", "0", "--max-connections", "1")
		line := p.Announcement(t)
		first := dial(t, line)
		mustEcho(t, first)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := echo.Call(ctx, dial(t, line), echoParams{"x"}); vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded {
			t.Errorf("the second connection beside the first: %v", err)
		}
		_ = first.Close()
		mustEcho(t, dial(t, line))
	})

	t.Run("--idle-timeout ends a worker that nobody is connected to", func(t *testing.T) {
		p := start(t, "--tcp", "0", "--idle-timeout", "2")
		c := dial(t, p.Announcement(t))
		mustEcho(t, c)
		time.Sleep(3 * time.Second) // of the worker's own clock, which no test can hold
		mustEcho(t, c)              // a silent connection is still a connection
		_ = c.Close()
		if status := p.Wait(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})

	t.Run("--access-log writes a record for each call, before the next one is answered", func(t *testing.T) {
		dir := t.TempDir()
		p := start(t, "--access-log", filepath.Join(dir, "access-{pid}.jsonl"))
		c := client(t, p)
		mustEcho(t, c)
		mustEcho(t, c)
		_ = p.Stdin.Close()
		p.Wait(t)
		path := filepath.Join(dir, fmt.Sprintf("access-%d.jsonl", p.PID()))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(lines) != 2 {
			t.Fatalf("%d records, want 2:\n%s", len(lines), text)
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(lines[1]), &record); err != nil {
			t.Fatal(err)
		}
		if record["method"] != "echo" || record["server_version"] != "9.8.7" || record["status"] != "ok" {
			t.Errorf("record %v", record)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("file %v, %v", info.Mode(), err)
		}
	})

	t.Run("--log-level decides what the worker says", func(t *testing.T) {
		for level, want := range map[string]bool{"debug": true, "warn": false} {
			p := start(t, "--log-level", level)
			mustEcho(t, client(t, p))
			_ = p.Stdin.Close()
			p.Wait(t)
			if got := strings.Contains(p.Said(), "level=DEBUG"); got != want {
				t.Errorf("at level %s there are debug messages: %v", level, got)
			}
		}
	})

	t.Run("--help and --version print and exit", func(t *testing.T) {
		for flag, want := range map[string]string{
			"--help":    "Serves test.Worker 1.0.0 with vgi-rpc",
			"-h":        "--idle-timeout SECONDS",
			"--version": " 9.8.7\n",
		} {
			end := workertest.Run(t, workertest.Command(nil, flag))
			if end.Status != 0 || !strings.Contains(end.Stdout, want) {
				t.Errorf("%s: %+v", flag, end)
			}
			if strings.Contains(end.Stdout, "Reflection") {
				t.Errorf("%s names the framework's own protocol", flag)
			}
		}
	})
}

// refused runs a worker that must not start, and returns what it says.
func refused(t *testing.T, status int, want string, args ...string) string {
	t.Helper()
	return workertest.Refused(t, status, workertest.Command(nil, args...), want)
}

func TestMistakesOnTheCommandLineAreRefusedWithStatus2(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"an unknown flag", []string{"--no-such-flag"}, "", "no-such-flag"},
		{"an argument", []string{"serve"}, "", `"serve"`},
		{"two transports", []string{"--unix", "/tmp/x", "--tcp", "0"}, "", "--unix and --tcp exclude each other"},
		{"a flag without its value", []string{"--unix"}, "", "unix"},
		{"an empty path of a socket", []string{"--unix", ""}, "", "want a path"},
		{"an empty path of an access log", []string{"--access-log", ""}, "", "want a path"},
		{"an access log that cannot be opened", []string{"--access-log", "/nowhere/at/all"}, "", "no such file"},
		{"a port that is none", []string{"--tcp", "http"}, "", "[HOST:]PORT"},
		{"a port that is too large", []string{"--tcp", "127.0.0.1:65536"}, "", "65535"},
		{"no connections", []string{"--max-connections", "0"}, "", "at least 1"},
		{"a time that is none", []string{"--idle-timeout", "soon"}, "", "number of seconds"},
		{"a negative time", []string{"--idle-timeout=-1"}, "", "number of seconds"},
		{"a time that is not a number", []string{"--idle-timeout", "NaN"}, "", "number of seconds"},
		{"a time that is too short to be meant", []string{"--idle-timeout", "0.0000001"}, "", "QuietTimeout"},
		{"a mode that is not octal", []string{"--unix-mode", "rw"}, "", "octal"},
		{"a mode with more than permissions", []string{"--unix-mode", "4755"}, "", "octal"},
		{"a level that is none", []string{"--log-level", "loud"}, "", "debug, info, warn or error"},
		{"what an option refuses", []string{"--probe-drain", "1h"}, "", "too long"},
		{"a validation level that is none", nil, "VGI_RPC_IPC_VALIDATION=some", "VGI_RPC_IPC_VALIDATION"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			workertest.Refused(t, 2, workertest.Command([]string{tt.env}, tt.args...), tt.want)
		})
	}
}

func TestFailuresToServeAreStatus1(t *testing.T) {
	t.Run("a method without a handler", func(t *testing.T) {
		workertest.Refused(t, 1, workertest.Command([]string{workertest.Role(incomplete)}, "--tcp", "0"), "unhandled")
	})
	t.Run("a socket that another worker serves", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		p := start(t, "--unix", path)
		p.Announcement(t)
		refused(t, 1, "in use", "--unix", path)
		mustEcho(t, dial(t, "UNIX:"+path))
	})
}

// fixtureFlags are the options of the conformance worker that a user's worker
// must not have: sections 3 to 5 of its contract, and two of section 2.
func fixtureFlags(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../conformance/CONTRACT.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?s)\n## 3\. .*\n## 6\. `).Find(text)
	flags := regexp.MustCompile(`--[a-z][a-z-]*[a-z]`).FindAllString(string(sections), -1)
	flags = append(flags, "--transport-kind-probe", "--hosted-reverse")
	slices.Sort(flags)
	flags = slices.Compact(flags)
	if len(flags) < 30 || !slices.Contains(flags, "--fake-storage") || !slices.Contains(flags, "--otel-export") {
		t.Fatalf("the contract is not what this test reads: %q", flags)
	}
	return flags
}

func TestFixturesOfTheConformanceWorkerAreRefused(t *testing.T) {
	for _, flag := range fixtureFlags(t) {
		t.Run(flag, func(t *testing.T) {
			for _, args := range [][]string{{flag}, {flag, "1"}, {flag + "=1"}, {"--tcp", "0", flag, "1"}} {
				refused(t, 2, "unknown flag: "+flag, args...)
			}
		})
	}
}

func TestValidationLevelComesFromTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        wire.Validation
	}{
		{"none turns it off", "none", wire.ValidateOff},
		{"standard", "standard", wire.ValidateStandard},
		{"full", "full", wire.ValidateFull},
		{"an empty value is the default", "", wire.ValidateFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("VGI_RPC_IPC_VALIDATION", tt.value)
			got, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{}))
			if err != nil {
				t.Fatal(err)
			}
			if got.Limits.Validation != tt.want {
				t.Errorf("level %v", got.Limits.Validation)
			}
		})
	}
}

func TestLoggerOfTheProgramIsKept(t *testing.T) {
	var out bytes.Buffer
	mine := slog.New(slog.NewJSONHandler(&out, nil))
	for _, tt := range []struct {
		name    string
		args    []string
		debug   bool
		warning bool
	}{
		{"with its own level", nil, false, true},
		{"with a lower level when it is asked for", []string{"--log-level", "debug"}, true, true},
		{"with a higher level when it is asked for", []string{"--log-level", "error"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out.Reset()
			got, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{Logger: mine}), tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			log := got.Logger.With("a", 1).WithGroup("g")
			log.Debug("low", "b", 2)
			log.Warn("high", "b", 2)
			text := out.String()
			if got := strings.Contains(text, `"msg":"low","a":1,"g":{"b":2}`); got != tt.debug {
				t.Errorf("debug message logged: %v\n%s", got, text)
			}
			if got := strings.Contains(text, `"msg":"high","a":1,"g":{"b":2}`); got != tt.warning {
				t.Errorf("warning logged: %v\n%s", got, text)
			}
		})
	}
}

func newServer(t *testing.T, opts vgirpc.ServerOptions) *vgirpc.Server {
	t.Helper()
	s, err := vgirpc.NewServer(opts, contract)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
