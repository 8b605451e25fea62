//go:build unix

package launch_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// The test binary is its own worker: the mode is the first argument after this
// word.
const workerWord = "worker-of-the-tests"

// TestMain runs the tests, or a worker in one of its modes.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != workerWord {
		os.Exit(m.Run())
	}
	mode, args := os.Args[2], os.Args[3:]
	run, ok := modes[mode]
	if !ok {
		fmt.Fprintln(os.Stderr, "no mode", mode)
		os.Exit(2)
	}
	if starts := os.Getenv("LAUNCH_TEST_STARTS"); starts != "" {
		f, err := os.OpenFile(starts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		check(err)
		fmt.Fprintln(f, os.Getpid())
		check(f.Close())
	}
	run(args)
}

// modes are the ways in which a worker behaves.
var modes = map[string]func(args []string){
	"serve": serve,
	// It says other things before it listens, as libraries do.
	"noisy": func(args []string) {
		fmt.Print("loading…\r\n", strings.Repeat("x", 200_000), "\nUNI\n")
		serve(args)
	},
	// It says other things after it listens.
	"chatty": func(args []string) {
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		go func() {
			for range 1000 {
				fmt.Println(strings.Repeat("y", 1000))
			}
			fmt.Fprintln(os.Stderr, "all said")
		}()
		serveListener(l)
	},
	// It has another way to listen.
	"plain": func(args []string) {
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		serveListener(l)
	},
	"complain": func([]string) {
		fmt.Fprintln(os.Stderr, "reading the configuration")
		fmt.Fprintln(os.Stderr, "no such table: accounts")
		os.Exit(3)
	},
	"elsewhere": func([]string) {
		fmt.Println("UNIX:/somewhere/else.sock")
		forever()
	},
	// It closes every connection.
	"curt": func(args []string) {
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		for {
			c, err := l.Accept()
			check(err)
			check(c.Close())
		}
	},
	// It listens, and that is all.
	"mute": func(args []string) {
		listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		forever()
	},
	// It ends when somebody comes.
	"shy": func(args []string) {
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		_, err := l.Accept()
		check(err)
	},
	// The first process of a socket ends when somebody comes, the next one serves.
	"shy at first": func(args []string) {
		first, err := os.OpenFile(flag(args, "--unix")+".first", os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			serve(args)
			return
		}
		check(first.Close())
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		c, err := l.Accept()
		check(err)
		check(l.Close()) // nobody else comes to this one
		check(c.Close())
	},
	"silent": func([]string) {
		fmt.Fprintln(os.Stderr, os.Getpid())
		forever()
	},
	"liar": func(args []string) {
		fmt.Println("UNIX:" + flag(args, "--unix"))
		forever()
	},
	// What listens answers with something else.
	"babble": func(args []string) {
		l := listen(args)
		fmt.Println("UNIX:" + flag(args, "--unix"))
		for {
			c, err := l.Accept()
			check(err)
			_, _ = fmt.Fprint(c, "220 Welcome to the mail server of this machine, and have a nice day.\r\n")
		}
	},
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func forever() { <-make(chan os.Signal) }

// flag is the value of a flag.
func flag(args []string, name string) string {
	for i, a := range args {
		if a == name {
			return args[i+1]
		}
	}
	return ""
}

func listen(args []string) net.Listener {
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", flag(args, "--unix"))
	check(err)
	return l
}

// process is a protocol of a process that says who it is.
type process struct {
	protocol *vgirpc.Protocol
	about    *vgirpc.Unary[vgirpc.None, about]
}

type about struct {
	PID     int64  `vgi:"pid"`
	Dir     string `vgi:"dir"`
	Setting string `vgi:"setting"` // of VGI_RPC_LAUNCH_TEST
	Idle    string `vgi:"idle"`    // --idle-timeout as it came
	Session int64  `vgi:"session"`
}

func newProcess() process {
	p := vgirpc.NewProtocol("test.Process.v1", "1.0.0")
	return process{p, vgirpc.NewUnary[vgirpc.None, about](p, "about")}
}

func newServer() *vgirpc.Server {
	p := newProcess()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, p.protocol)
	check(err)
	vgirpc.HandleUnary(s, p.about, func(context.Context, vgirpc.None) (about, error) {
		dir, err := os.Getwd()
		session, _ := unix.Getsid(0)
		return about{
			PID: int64(os.Getpid()), Dir: dir, Setting: os.Getenv("VGI_RPC_LAUNCH_TEST"),
			Idle: flag(os.Args, "--idle-timeout"), Session: int64(session),
		}, err
	})
	return s
}

// serve is a worker as users have it.
func serve(args []string) { os.Exit(worker.Run(context.Background(), newServer(), args)) }

func serveListener(l net.Listener) { check(newServer().Serve(context.Background(), l)) }

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

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "launch") //nolint:usetesting // its name is too long for a socket's path
	noError(t, err)
	dir, err = filepath.EvalSymlinks(dir)
	noError(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// bench is a state directory and a record of the workers that were started.
type bench struct {
	dir    string
	starts string
}

// newBench prepares a test. Its workers end with it.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := shortDir(t)
	b := &bench{dir: filepath.Join(dir, "state"), starts: filepath.Join(dir, "starts")}
	t.Setenv("LAUNCH_TEST_STARTS", b.starts) // for workers of other launchers as well
	t.Cleanup(func() {
		for _, pid := range b.started(t) {
			kill(t, pid)
		}
	})
	return b
}

// started lists the workers that were started, by their processes.
func (b *bench) started(t *testing.T) []int {
	t.Helper()
	f, err := os.Open(b.starts)
	if os.IsNotExist(err) {
		return nil
	}
	noError(t, err)
	defer func() { _ = f.Close() }()
	var pids []int
	for lines := bufio.NewScanner(f); lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		noError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// kill ends a worker of this test, and waits for that.
func kill(t *testing.T, pid int) {
	t.Helper()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "a killed worker is gone", func() bool { return gone(pid) })
}

// gone reports whether a process has ended, reaped or not.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	return strings.HasPrefix(state, "Z") && (err != nil || len(threads) <= 1) // the last thread closes the files
}

// command is a worker in a mode.
func command(mode string) []string { return []string{os.Args[0], workerWord, mode} }

// launcher returns a launcher of a worker in a mode, or as opts say.
func (b *bench) launcher(t *testing.T, mode string, opts launch.Options) *launch.Launcher {
	t.Helper()
	if opts.Command == nil {
		opts.Command = command(mode)
	}
	if opts.StateDir == "" {
		opts.StateDir = b.dir
	}
	l, err := launch.New(opts)
	noError(t, err)
	t.Cleanup(func() {
		for _, pid := range b.started(t) {
			kill(t, pid)
		}
		l.Wait()
	})
	return l
}

// ask connects and asks the worker who it is.
func ask(t *testing.T, l *launch.Launcher) about {
	t.Helper()
	c, err := l.Connect(t.Context(), vgirpc.ClientOptions{})
	noError(t, err)
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	who, err := newProcess().about.Call(t.Context(), c, vgirpc.None{})
	noError(t, err)
	return who
}
