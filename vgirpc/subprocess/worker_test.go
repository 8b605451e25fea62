//go:build unix

package subprocess

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// The test binary is its own worker: these variables tell it how to behave.
const (
	envMode   = "SUBPROCESS_TEST_MODE"   // a key of modes
	envArg    = "SUBPROCESS_TEST_ARG"    // of the mode
	envOnce   = "SUBPROCESS_TEST_ONCE"   // a file: the mode is serve when it has gone, and it goes
	envCalled = "SUBPROCESS_TEST_CALLED" // a file that gets a line for each call
)

func TestMain(m *testing.M) {
	mode := os.Getenv(envMode)
	if mode == "" {
		os.Exit(m.Run())
	}
	if once := os.Getenv(envOnce); once != "" && os.Remove(once) != nil {
		mode = "serve"
	}
	run, ok := modes[mode]
	if !ok {
		sayf("no mode %q", mode)
		os.Exit(2)
	}
	run(os.Getenv(envArg))
	os.Exit(0)
}

// modes are the ways in which a worker behaves.
var modes = map[string]func(arg string){
	"serve": func(string) { serve(nil) },
	"complain": func(string) {
		sayf("reading the configuration")
		sayf("no such table: accounts")
		os.Exit(3)
	},
	"babble": func(string) {
		fmt.Println("Welcome to the worker! It prints this where the protocol belongs.")
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	"silent": func(string) {
		sayf("listening")
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	// It reads nothing and heeds nothing but SIGKILL.
	"deaf": func(string) {
		signal.Ignore(syscall.SIGTERM)
		sayf("listening")
		forever()
	},
	// As deaf, and says who it is.
	"child": func(string) {
		signal.Ignore(syscall.SIGTERM)
		sayf("child %d", os.Getpid())
		forever()
	},
	// It serves, and then heeds nothing but a signal.
	"lingering": func(string) {
		serve(nil)
		forever()
	},
	// It serves, and then heeds nothing but SIGKILL.
	"stubborn": func(string) {
		signal.Ignore(syscall.SIGTERM)
		serve(nil)
		forever()
	},
	// It dies in the middle of its write number arg.
	"cut": func(arg string) {
		serve(func(n int, b []byte, out io.Writer) {
			if strconv.Itoa(n) == arg {
				_, _ = out.Write(b[:len(b)/2])
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		})
	},
	// It keeps its write number arg to itself.
	"stall": func(arg string) {
		serve(func(n int, _ []byte, _ io.Writer) {
			if strconv.Itoa(n) == arg {
				sayf("stalled")
				forever()
			}
		})
	},
	// It has a child that holds its pipes.
	"parent": func(string) {
		bear(&syscall.SysProcAttr{})
		serve(nil)
	},
	// It has a child that holds its pipes and has left the group.
	"escaped": func(string) {
		bear(&syscall.SysProcAttr{Setsid: true})
		serve(nil)
	},
	// It passes everything on to a socket.
	"relay": func(socket string) {
		c, err := net.Dial("unix", socket)
		check(err)
		go func() {
			_, _ = io.Copy(c, os.Stdin)
			_ = c.(*net.UnixConn).CloseWrite()
		}()
		_, _ = io.Copy(os.Stdout, c)
	},
	// It owns a deaf worker and says which.
	"owner": func(string) {
		check(os.Setenv(envMode, "deaf"))
		p, err := Start(context.Background(), Options{Command: []string{os.Args[0]}})
		check(err)
		fmt.Println(p.PID())
		forever()
	},
}

func sayf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func check(err error) {
	if err != nil {
		sayf("%v", err)
		os.Exit(2)
	}
}

// forever waits for a signal that ends the process.
func forever() { <-make(chan os.Signal) }

// bear starts a deaf child that inherits all pipes.
func bear(attr *syscall.SysProcAttr) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envMode+"=child", envOnce+"=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	check(cmd.Start())
}

// serve serves the contract of vgitest until the peer has enough. before is told
// of each write, from 1.
func serve(before func(n int, b []byte, out io.Writer)) {
	stdio, err := vgirpc.TakeStdio()
	check(err)
	var opts vgirpc.ServerOptions
	if path := os.Getenv(envCalled); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		check(err)
		opts.Observers = []vgirpc.Observer{calls{f}}
	}
	s, err := vgitest.NewContract().NewServer(opts)
	check(err)
	check(s.Start(context.Background(), vgirpc.TransportPipe))
	_ = s.ServePipe(context.Background(), &tapped{Stdio: stdio, before: before})
}

// tapped tells of writes.
type tapped struct {
	*vgirpc.Stdio
	before func(n int, b []byte, out io.Writer)
	n      int
}

func (w *tapped) Write(b []byte) (int, error) {
	w.n++
	if w.before != nil {
		w.before(w.n, b, w.Stdio)
	}
	return w.Stdio.Write(b)
}

// calls writes a line for each call.
type calls struct{ f *os.File }

func (c calls) CallStarted(ctx context.Context, call *vgirpc.Call) context.Context {
	fmt.Fprintln(c.f, call.Method().Name())
	return ctx
}

func (calls) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) {}

// words collects what a worker says and tells of lines.
type words struct {
	lines chan string
	rest  []byte
}

func newWords() *words { return &words{lines: make(chan string, 100)} }

func (w *words) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		w.lines <- string(line)
		w.rest = rest
	}
}
