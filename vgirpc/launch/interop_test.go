//go:build unix

package launch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
)

// program makes Python's launcher do what its first argument says.
const program = `
import json, os, sys
from pathlib import Path
from vgi_rpc import launcher
what, state, args = sys.argv[1], sys.argv[2], sys.argv[3:]
if what == "launch":
    print(launcher.launch(launcher.LaunchConfig(tuple(args), state_dir=state, idle_timeout=60)))
elif what == "hash":
    print(launcher.compute_hash(args))
elif what == "default":
    print(launcher.default_state_dir())
elif what == "status":
    print(json.dumps([[r.hash_id, r.cmd, r.cwd, r.socket, r.alive, r.started_at is not None] for r in launcher.status_rows(Path(state))]))
elif what == "gc":
    r = launcher.gc_state_dir(Path(state))
    print(json.dumps([r.cleaned, r.skipped_in_use]))
elif what == "hold":
    from filelock import FileLock
    with FileLock(state):
        print("held", flush=True)
        sys.stdin.read()
elif what == "try":
    from filelock import FileLock, Timeout
    try:
        FileLock(state, timeout=0).acquire()
        print("free")
    except Timeout:
        print("held")
`

// script prepares a run of Python's launcher.
func script(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, pyref.Python(t), append([]string{"-W", "ignore", "-c", program}, args...)...)
	cmd.Stderr = new(bytes.Buffer)
	return cmd
}

// run runs Python's launcher and returns what it prints.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("python: %v\n%s", err, cmd.Stderr)
	}
	return strings.TrimSpace(string(out))
}

// referenceWorker is the command of a worker in Python, which says that it was
// started as those of this package do.
func referenceWorker(t *testing.T) []string {
	t.Helper()
	return []string{pyref.Python(t), "-W", "ignore", "-c", `
import os
from typing import Protocol
from vgi_rpc.rpc import RpcServer, run_server
with open(os.environ["LAUNCH_TEST_STARTS"], "a") as f: print(os.getpid(), file=f)
class Process(Protocol):
    def pid(self) -> int: ...
class Impl:
    def pid(self) -> int: return os.getpid()
run_server(RpcServer(Process, Impl(), enable_describe=True))
`}
}

// describe connects and asks the worker what it hosts.
func describe(t *testing.T, l *launch.Launcher) {
	t.Helper()
	c, err := l.Connect(t.Context(), vgirpc.ClientOptions{})
	noError(t, err)
	list, err := c.Describe(t.Context())
	noError(t, err)
	if len(list.Protocols) < 1 {
		t.Error("it hosts nothing")
	}
	noError(t, c.Close())
}

func TestReferenceShares(t *testing.T) {
	pyref.Python(t)
	for _, worker := range []struct {
		name    string
		command func(*testing.T) []string
	}{
		{"a worker of ours", func(*testing.T) []string { return command("serve") }},
		{"a worker in Python", referenceWorker},
	} {
		t.Run(worker.name+" that we started is found by Python", func(t *testing.T) {
			b := newBench(t)
			l := b.launcher(t, "", launch.Options{Command: worker.command(t)})
			describe(t, l)
			equal(t, run(t, script(t, append([]string{"launch", b.dir}, worker.command(t)...)...)), l.Socket())
			equal(t, len(b.started(t)), 1)
		})
		t.Run(worker.name+" that Python started is found by us", func(t *testing.T) {
			b := newBench(t)
			l := b.launcher(t, "", launch.Options{Command: worker.command(t)})
			equal(t, run(t, script(t, append([]string{"launch", b.dir}, worker.command(t)...)...)), l.Socket())
			describe(t, l)
			equal(t, len(b.started(t)), 1)
			rows, err := launch.Status(t.Context(), b.dir)
			noError(t, err)
			wd, err := syscall.Getwd()
			noError(t, err)
			if len(rows) != 1 || time.Since(rows[0].Started) > patience {
				t.Fatalf("got %+v", rows)
			}
			rows[0].Started = time.Time{}
			equal(t, rows[0], launch.Worker{Key: l.Key(), Command: worker.command(t), Dir: wd, Socket: l.Socket(), Alive: true})
		})
	}
	t.Run("of both starting at once one starts", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		var starters sync.WaitGroup
		for range 2 {
			cmd := script(t, append([]string{"launch", b.dir}, command("serve")...)...)
			starters.Go(func() { equal(t, run(t, cmd), l.Socket()) })
		}
		for range 5 {
			starters.Go(func() {
				if _, err := l.Launch(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		starters.Wait()
		equal(t, len(b.started(t)), 1)
	})
}

func TestReferenceAgrees(t *testing.T) {
	pyref.Python(t)
	t.Run("on keys", func(t *testing.T) {
		dir := shortDir(t)
		named := filepath.Join(dir, "wörk \"dir\"")
		noError(t, os.Mkdir(named, 0o700))
		link := filepath.Join(dir, "link")
		noError(t, os.Symlink(named, link))
		for _, argv := range [][]string{{"x"}, {"a b", "\xff\xfe", "😀", "\x7f\n", "<&>"}} {
			t.Setenv("VGI_RPC_LAUNCH_TEST", "Ä \xc3\x28")
			cmd := script(t, append([]string{"hash", ""}, argv...)...)
			cmd.Dir = link
			l, err := launch.New(launch.Options{Command: argv, Dir: link, StateDir: filepath.Join(dir, "s")})
			noError(t, err)
			equal(t, run(t, cmd), l.Key())
		}
	})
	t.Run("on the directory", func(t *testing.T) {
		base := shortDir(t)
		for _, env := range [][2]string{{"XDG_RUNTIME_DIR", base}, {"TMPDIR", base}, {"TEMP", base}, {"TMPDIR", "/no/such/directory"}} {
			for _, name := range []string{"XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP"} {
				t.Setenv(name, "")
			}
			t.Setenv(env[0], env[1])
			got, err := launch.StateDir()
			noError(t, err)
			equal(t, got, run(t, script(t, "default", "")))
		}
	})
	t.Run("on the status and on what is dead", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{})
		ask(t, l)
		wd, err := syscall.Getwd()
		noError(t, err)
		var rows []any
		noError(t, json.Unmarshal([]byte(run(t, script(t, "status", b.dir))), &rows))
		var argv []any
		for _, a := range command("serve") {
			argv = append(argv, a)
		}
		equal(t, rows, []any{[]any{l.Key(), argv, wd, l.Socket(), true, true}})
		equal(t, run(t, script(t, "gc", b.dir)), "[[], []]")
		kill(t, b.started(t)[0])
		equal(t, run(t, script(t, "gc", b.dir)), `[["`+l.Key()+`"], []]`)
		_, err = os.Stat(l.Socket())
		equal(t, errors.Is(err, fs.ErrNotExist), true)

		run(t, script(t, append([]string{"launch", b.dir}, command("serve")...)...))
		got, err := launch.GC(t.Context(), b.dir)
		noError(t, err)
		equal(t, got, launch.Collected{})
		kill(t, b.started(t)[1])
		got, err = launch.GC(t.Context(), b.dir)
		noError(t, err)
		equal(t, got, launch.Collected{Removed: []string{l.Key()}})
	})
	t.Run("on who holds a lock", func(t *testing.T) {
		b := newBench(t)
		l := b.launcher(t, "serve", launch.Options{LockTimeout: time.Millisecond})
		holder := script(t, "hold", lockOf(l))
		in, err := holder.StdinPipe()
		noError(t, err)
		out, err := holder.StdoutPipe()
		noError(t, err)
		noError(t, holder.Start())
		_, err = out.Read(make([]byte, 5))
		noError(t, err)
		_, err = l.Dial(t.Context())
		equal(t, typeOf(err), "LauncherBusy")
		noError(t, in.Close())
		noError(t, holder.Wait())

		held := lockAt(t, lockOf(l))
		equal(t, run(t, script(t, "try", lockOf(l))), "held")
		noError(t, held.Close())
		equal(t, run(t, script(t, "try", lockOf(l))), "free")
		ask(t, l)
	})
}
