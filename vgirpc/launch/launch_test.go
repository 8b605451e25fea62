//go:build unix

package launch_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
	"github.com/vgirpc/vgirpc-go/vgirpc/pool"
)

func TestStartAndAttach(t *testing.T) {
	t.Run("the first caller starts the worker and the others find it", func(t *testing.T) {
		b := newBench(t)
		first := ask(t, b.launcher(t, "serve", launch.Options{}))
		equal(t, ask(t, b.launcher(t, "serve", launch.Options{})), first)
		equal(t, b.started(t), []int{int(first.PID)})
		equal(t, first.Idle, "300")
		equal(t, first.Session, first.PID)
	})
	t.Run("what differs in command, directory or settings is another worker", func(t *testing.T) {
		b := newBench(t)
		dir := shortDir(t)
		env := append(os.Environ(), "VGI_RPC_LAUNCH_TEST=a", "VGI_RPC_LAUNCH_TEST=b")
		workers := []about{
			ask(t, b.launcher(t, "serve", launch.Options{IdleTimeout: 90 * time.Second})),
			ask(t, b.launcher(t, "noisy", launch.Options{IdleTimeout: -1})),
			ask(t, b.launcher(t, "serve", launch.Options{Dir: dir, IdleTimeout: 1500 * time.Millisecond})),
			ask(t, b.launcher(t, "serve", launch.Options{Env: env})),
		}
		equal(t, len(b.started(t)), 4)
		equal(t, []string{workers[0].Idle, workers[1].Idle, workers[2].Idle}, []string{"90", "0", "1.5"})
		equal(t, []string{workers[2].Dir, workers[3].Setting}, []string{dir, "b"})
	})
	t.Run("what a worker says after it listens does not stop it", func(t *testing.T) {
		b := newBench(t)
		stderr := filepath.Join(shortDir(t), "stderr")
		l := b.launcher(t, "chatty", launch.Options{Stderr: stderr})
		ask(t, l)
		eventually(t, "everything is said", func() bool {
			text, _ := os.ReadFile(stderr)
			return string(text) == "all said\n"
		})
		ask(t, l)
		equal(t, len(b.started(t)), 1)
	})
	t.Run("a worker on a socket of its own is not listed", func(t *testing.T) {
		b := newBench(t)
		socket := filepath.Join(shortDir(t), "own.sock")
		l := b.launcher(t, "plain", launch.Options{Socket: socket})
		path, err := l.Launch(t.Context())
		noError(t, err)
		equal(t, []string{path, l.Socket(), l.Key()}, []string{socket, socket, ""})
		first := ask(t, l)
		equal(t, ask(t, l), first)
		_, err = os.Stat(b.dir)
		equal(t, errors.Is(err, fs.ErrNotExist), true)
		_, err = os.Stat(socket + ".lock")
		noError(t, err)
	})
	t.Run("the files are the user's alone", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		_, err := l.Launch(t.Context())
		noError(t, err)
		modes := map[string]fs.FileMode{}
		for _, path := range []string{"", l.Key() + ".sock", l.Key() + ".lock", l.Key() + ".meta"} {
			info, err := os.Lstat(filepath.Join(b.dir, path))
			noError(t, err)
			modes[filepath.Ext(path)] = info.Mode()
		}
		equal(t, modes, map[string]fs.FileMode{
			"": fs.ModeDir | 0o700, ".sock": fs.ModeSocket | 0o600, ".lock": 0o600, ".meta": 0o600,
		})
	})
}

func TestDeadWorkers(t *testing.T) {
	t.Run("a worker that was killed while it was warm is replaced", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		first := ask(t, l)
		kill(t, int(first.PID))
		second := ask(t, l)
		equal(t, b.started(t), []int{int(first.PID), int(second.PID)})
		equal(t, first.PID != second.PID, true)
	})
	t.Run("a connection that is closed unanswered is another worker's affair", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		stale := listenAt(t, l.Socket())
		var ending sync.WaitGroup
		ending.Go(func() { // a worker that is about to end
			c, err := stale.Accept()
			if err == nil {
				_ = stale.Close()
				_ = c.Close()
			}
		})
		ask(t, l)
		ending.Wait()
		equal(t, len(b.started(t)), 1)
	})
	t.Run("a socket on which nobody listens is replaced", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		leave(t, l.Socket())
		ask(t, l)
	})
	for _, entry := range []struct {
		name string
		make func(path, target string) error
	}{
		{"a file", func(path, _ string) error { return os.WriteFile(path, []byte("mine"), 0o600) }},
		{"a symbolic link", func(path, target string) error { return os.Symlink(target, path) }},
	} {
		t.Run(entry.name+" in the place of a socket is left alone", func(t *testing.T) {
			b := newBench(t)
			l := b.launcher(t, "serve", launch.Options{})
			target := filepath.Join(b.dir, "target")
			noError(t, os.WriteFile(target, nil, 0o600))
			noError(t, entry.make(l.Socket(), target))
			_, err := l.Dial(t.Context())
			equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
			_, err = os.Lstat(l.Socket())
			noError(t, err)
			equal(t, b.started(t), nilPIDs)
		})
	}
}

var nilPIDs []int

// listenAt listens on a path without removing it in the end.
func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	noError(t, err)
	l.SetUnlinkOnClose(false)
	return l
}

// leave leaves a socket as a worker does that was killed.
func leave(t *testing.T, path string) {
	t.Helper()
	noError(t, listenAt(t, path).Close())
}

func TestRaces(t *testing.T) {
	t.Run("twenty goroutines with launchers of their own start one worker", func(t *testing.T) {
		b := newBench(t)
		var callers sync.WaitGroup
		var launchers []*launch.Launcher
		for range 20 {
			launchers = append(launchers, b.launcher(t, "serve", launch.Options{}))
		}
		answers := make([]about, len(launchers))
		for i, l := range launchers {
			callers.Go(func() {
				c, err := l.Connect(t.Context(), vgirpc.ClientOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if answers[i], err = newProcess().about.Call(t.Context(), c, vgirpc.None{}); err != nil {
					t.Error(err)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		equal(t, len(b.started(t)), 1)
		for _, a := range answers {
			equal(t, a, answers[0])
		}
	})
	t.Run("clearing up and killing do not disturb those who call", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		ask(t, l)
		var callers sync.WaitGroup
		for range 5 {
			callers.Go(func() {
				for range 10 {
					c, err := l.Dial(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.Close()
					if _, err := launch.GC(t.Context(), b.dir); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 3 {
			pids := b.started(t)
			kill(t, pids[len(pids)-1])
			ask(t, l) // whoever has started a worker twice that is killed before it answers gives up
		}
		callers.Wait()
		alive := 0
		for _, pid := range b.started(t) {
			if !gone(pid) {
				alive++
			}
		}
		equal(t, alive, 1)
	})
	t.Run("two workers that end are not one that does so for long", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "shy at first", launch.Options{})
		launch.GiveEnding(l, 1)
		before := listenAt(t, l.Socket())
		ended := make(chan error, 1)
		go func() {
			c, err := before.Accept()
			if err == nil {
				err = errors.Join(before.Close(), c.Close())
			}
			ended <- err
		}()
		ask(t, l)
		noError(t, <-ended)
		equal(t, len(b.started(t)), 2)
	})
	t.Run("whoever comes while the lock is held waits for it", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{LockTimeout: time.Millisecond})
		held := lockAt(t, lockOf(l))
		_, err := l.Dial(t.Context())
		equal(t, typeOf(err), "LauncherBusy")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(syscall.ECANCELED)
		_, err = b.launcher(t, "serve", launch.Options{}).Dial(ctx)
		equal(t, errors.Is(err, syscall.ECANCELED), true)
		got := make(chan error, 1)
		patient := b.launcher(t, "serve", launch.Options{LockTimeout: -1})
		go func() {
			_, err := patient.Launch(t.Context())
			got <- err
		}()
		noError(t, held.Close())
		noError(t, <-got)
	})
	t.Run("a pool of connections calls at once", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		p, err := pool.New(func(ctx context.Context) (vgirpc.Transport, error) {
			c, err := l.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return vgirpc.NewStreamTransport(c, vgirpc.ClientOptions{}), nil
		}, pool.Options{Max: 4, CheckAfter: 1})
		noError(t, err)
		client, about := vgirpc.NewClientOn(p, vgirpc.ClientOptions{}), newProcess().about
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if _, err := about.Call(t.Context(), client, vgirpc.None{}); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		kill(t, b.started(t)[0]) // while everything is idle
		_, err = about.Call(t.Context(), client, vgirpc.None{})
		noError(t, err)
		noError(t, client.Close())
		equal(t, len(b.started(t)), 2)
	})
}

// lockOf is the lock file of a worker with a key.
func lockOf(l *launch.Launcher) string { return strings.TrimSuffix(l.Socket(), ".sock") + ".lock" }

// lockAt locks a file as another launcher does.
func lockAt(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	noError(t, err)
	noError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	return f
}

func typeOf(err error) string {
	var e *vgirpc.Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Type
}

func TestFailedStarts(t *testing.T) {
	stderr := filepath.Join(shortDir(t), "stderr")
	noError(t, os.WriteFile(stderr, []byte("of an earlier worker\n"), 0o600))
	for _, test := range []struct {
		name     string
		mode     string
		opts     launch.Options
		code     vgirpc.Code
		typeName string
		text     string
	}{
		{
			"a worker that ends tells why, with its last words", "complain",
			launch.Options{Stderr: stderr},
			vgirpc.Unavailable, "WorkerDied", "exit status 3; its standard error ends with:\nreading the configuration\nno such table: accounts (",
		},
		{"a worker that ends says where its words could have gone", "complain", launch.Options{}, vgirpc.Unavailable, "WorkerDied", "Options.Stderr"},
		{"a worker on another socket is refused", "elsewhere", launch.Options{}, vgirpc.FailedPrecondition, "ProtocolError", `"/somewhere/else.sock"`},
		{"a worker that says nothing is ended", "silent", launch.Options{StartTimeout: 200 * time.Millisecond}, vgirpc.Unavailable, "WorkerSilent", "200ms"},
		{"a worker that only says that it listens is refused", "liar", launch.Options{}, vgirpc.Unavailable, "WorkerDied", "and does not"},
		{"a program that is not there is refused", "", launch.Options{Command: []string{"/no/such/program"}}, vgirpc.FailedPrecondition, "WorkerNotStarted", "/no/such/program"},
		{"a worker that closes every connection is given up", "curt", launch.Options{}, vgirpc.Unavailable, "WorkerDied", "without an answer"},
		{"a worker that ends with every connection is given up", "shy", launch.Options{}, vgirpc.Unavailable, "WorkerDied", "without an answer"},
		{"a worker that listens and never answers is given up", "mute", launch.Options{StartTimeout: 10 * time.Second}, vgirpc.Unavailable, "WorkerSilent", "has not answered within 10s (StartTimeout)"},
		{"what speaks otherwise is refused", "babble", launch.Options{}, vgirpc.FailedPrecondition, "ProtocolError", "does not speak vgi-rpc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			l := b.launcher(t, test.mode, test.opts)
			_, err := l.Dial(t.Context())
			equal(t, []any{vgirpc.CodeOf(err), typeOf(err)}, []any{test.code, test.typeName})
			if err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "earlier") {
				t.Errorf("got %v, want %q in it", err, test.text)
			}
			if len(b.started(t)) > 2 {
				t.Error("it was started again and again")
			}
			if slices.Contains([]string{"babble", "curt", "mute", "shy"}, test.mode) {
				return // they had listened
			}
			for _, pid := range b.started(t) {
				equal(t, gone(pid), true)
			}
			rows, err := launch.Status(t.Context(), b.dir)
			noError(t, err)
			equal(t, len(rows), 0)
		})
	}
	t.Run("a start ends with the context", func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		l := b.launcher(t, "silent", launch.Options{})
		got := make(chan error, 1)
		go func() {
			_, err := l.Dial(ctx)
			got <- err
		}()
		eventually(t, "the worker has started", func() bool { return len(b.started(t)) == 1 })
		cancel(syscall.ECANCELED)
		equal(t, errors.Is(<-got, syscall.ECANCELED), true)
		equal(t, gone(b.started(t)[0]), true)
	})
}

func TestStatusAndGC(t *testing.T) {
	b := newBench(t)
	rows, err := launch.Status(t.Context(), b.dir)
	noError(t, err)
	equal(t, len(rows), 0)
	l := b.launcher(t, "serve", launch.Options{})
	before := time.Now().Add(-time.Second)
	_, err = l.Launch(t.Context())
	noError(t, err)

	at := func(name string) string { return filepath.Join(b.dir, name) }
	const dead, damaged, busy, foreign = "00000000000000aa", "00000000000000bb", "00000000000000cc", "00000000000000dd"
	for _, key := range []string{dead, damaged, busy, foreign} {
		text := `{"cmd": ["x", "y"], "cwd": "/", "started_at": 1.5, "socket": "/elsewhere", "more": 1}`
		if key == damaged {
			text = `{"cmd": 7, "cwd"`
		}
		noError(t, os.WriteFile(at(key+".meta"), []byte(text), 0o600))
	}
	leave(t, at(dead+".sock"))
	leave(t, at(busy+".sock"))
	noError(t, os.WriteFile(at(foreign+".sock"), []byte("mine"), 0o600))
	noError(t, os.WriteFile(at("notes.meta"), []byte("mine"), 0o600))
	held := lockAt(t, at(busy+".lock"))

	t.Run("the status lists what is known of each worker", func(t *testing.T) {
		rows, err := launch.Status(t.Context(), b.dir)
		noError(t, err)
		i := slices.IndexFunc(rows, func(w launch.Worker) bool { return w.Key == l.Key() })
		if i < 0 || rows[i].Started.Before(before) || rows[i].Started.After(time.Now()) {
			t.Fatalf("got %+v", rows)
		}
		wd, err := syscall.Getwd()
		noError(t, err)
		rows[i].Started = time.Time{}
		equal(t, rows[i], launch.Worker{Key: l.Key(), Command: command("serve"), Dir: wd, Socket: l.Socket(), Alive: true})
		equal(t, slices.Delete(rows, i, i+1), []launch.Worker{
			{Key: dead, Command: []string{"x", "y"}, Dir: "/", Socket: at(dead + ".sock"), Started: time.Unix(1, 5e8)},
			{Key: damaged, Socket: at(damaged + ".sock")},
			{Key: busy, Command: []string{"x", "y"}, Dir: "/", Socket: at(busy + ".sock"), Started: time.Unix(1, 5e8)},
			{Key: foreign, Command: []string{"x", "y"}, Dir: "/", Socket: at(foreign + ".sock"), Started: time.Unix(1, 5e8)},
		})
	})
	t.Run("clearing up removes what is dead and nothing else", func(t *testing.T) {
		got, err := launch.GC(t.Context(), b.dir)
		equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
		equal(t, got, launch.Collected{Removed: []string{dead, damaged}, Busy: []string{busy}})
		entries, err := os.ReadDir(b.dir)
		noError(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		want := []string{
			busy + ".lock", busy + ".meta", busy + ".sock", foreign + ".lock", foreign + ".meta", foreign + ".sock",
			l.Key() + ".lock", l.Key() + ".meta", l.Key() + ".sock", "notes.meta",
		}
		slices.Sort(want)
		equal(t, names, want)
	})
	t.Run("a start clears up on its side", func(t *testing.T) {
		noError(t, held.Close())
		_, err := b.launcher(t, "noisy", launch.Options{}).Launch(t.Context())
		noError(t, err)
		_, err = os.Stat(at(busy + ".meta"))
		equal(t, errors.Is(err, fs.ErrNotExist), true)
	})
	t.Run("the description is JSON as other launchers write it", func(t *testing.T) {
		text, err := os.ReadFile(at(l.Key() + ".meta"))
		noError(t, err)
		var meta struct {
			Cmd         []string `json:"cmd"`
			Cwd         string   `json:"cwd"`
			Socket      string   `json:"socket"`
			StartedAt   float64  `json:"started_at"`
			LauncherPID int      `json:"launcher_pid"`
		}
		noError(t, json.Unmarshal(text, &meta))
		equal(t, []any{meta.Cmd, meta.Socket, meta.LauncherPID, meta.StartedAt > 1.6e9}, []any{command("serve"), l.Socket(), os.Getpid(), true})
	})
}

func TestDirectories(t *testing.T) {
	t.Run("the default is the user's alone", func(t *testing.T) {
		base := shortDir(t)
		for _, env := range []struct{ xdg, tmp, want string }{
			{base, "", filepath.Join(base, "vgi-rpc")},
			{"", base, filepath.Join(base, "vgi-rpc-"+strconv.Itoa(os.Geteuid()))},
			{"", "/no/such/directory", filepath.Join("/tmp", "vgi-rpc-"+strconv.Itoa(os.Geteuid()))},
		} {
			t.Setenv("XDG_RUNTIME_DIR", env.xdg)
			t.Setenv("TMPDIR", env.tmp)
			t.Setenv("TEMP", "")
			t.Setenv("TMP", "")
			got, err := launch.StateDir()
			noError(t, err)
			equal(t, got, env.want)
		}
		t.Setenv("XDG_RUNTIME_DIR", base)
		dir := filepath.Join(base, "vgi-rpc")
		noError(t, os.Chmod(dir, 0o777))
		_, err := launch.StateDir()
		noError(t, err)
		info, err := os.Stat(dir)
		noError(t, err)
		equal(t, info.Mode(), fs.ModeDir|0o700)
		t.Run("and is no link to somewhere else", func(t *testing.T) {
			noError(t, os.Remove(dir))
			noError(t, os.Symlink(base, dir))
			_, err := launch.New(launch.Options{Command: []string{"x"}})
			equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
			_, err = launch.Status(t.Context(), "")
			equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
		})
	})
	t.Run("one that others can write into is refused", func(t *testing.T) {
		dir := shortDir(t)
		l, err := launch.New(launch.Options{Command: []string{"x"}, StateDir: dir})
		noError(t, err)
		noError(t, os.Chmod(dir, 0o770))
		_, err = l.Dial(t.Context())
		equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
		_, err = launch.GC(t.Context(), dir)
		equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
	})
	t.Run("somebody else's is refused", func(t *testing.T) {
		_, err := launch.New(launch.Options{Command: []string{"x"}, StateDir: foreignDir(t)})
		equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
	})
	t.Run("one that was removed meanwhile is made again", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		noError(t, os.RemoveAll(b.dir))
		ask(t, l)
	})
	t.Run("one whose sockets would have too long names is refused", func(t *testing.T) {
		_, err := launch.New(launch.Options{Command: []string{"x"}, StateDir: filepath.Join(shortDir(t), strings.Repeat("d", 90))})
		equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
	})
	t.Run("a worker without a command is refused", func(t *testing.T) {
		for _, command := range [][]string{nil, {""}} {
			_, err := launch.New(launch.Options{Command: command})
			equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
		}
	})
	t.Run("a working directory that is not there is refused", func(t *testing.T) {
		_, err := launch.New(launch.Options{Command: []string{"x"}, StateDir: shortDir(t), Dir: "/no/such/directory"})
		equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
	})
}

// foreignDir is a directory of another user.
func foreignDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return "/usr" // root's
	}
	dir := shortDir(t)
	noError(t, os.Chown(dir, 12345, 12345))
	return dir
}

func BenchmarkDial(b *testing.B) {
	dir, err := os.MkdirTemp("", "launch") //nolint:usetesting // its name is too long for a socket's path
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := launch.New(launch.Options{Command: command("serve"), StateDir: dir, IdleTimeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	c, err := l.Connect(b.Context(), vgirpc.ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("a warm worker", func(b *testing.B) {
		for b.Loop() {
			c, err := l.Dial(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			_ = c.Close()
		}
	})
	who, err := newProcess().about.Call(b.Context(), c, vgirpc.None{})
	if err != nil {
		b.Fatal(err)
	}
	_ = c.Close()
	_ = syscall.Kill(int(who.PID), syscall.SIGKILL)
	l.Wait()
}
