//go:build linux

package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
)

// patience bounds the wait for another process.
const patience = 30 * time.Second

// built is where the tests of this run have built programs.
var built struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		faultyWorker()
	}
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// root is the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// read is a file of this directory.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write makes a file in a directory of the test's own.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// setup installs what is missing, once, on a machine of the gate.
var setup = sync.OnceValue(func() error {
	if out, err := exec.Command("./setup.sh").CombinedOutput(); err != nil {
		return fmt.Errorf("setup.sh: %w\n%s", err, out)
	}
	return nil
})

// find returns a program's path. Without the program the test is skipped for a
// contributor and fails in the gate, which sets CI.
func find(t *testing.T, name string) string {
	t.Helper()
	look := func() (string, error) {
		for _, dir := range []string{filepath.Join(root(t), ".cache/deploy/bin"), "/usr/sbin", "/usr/local/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
		return exec.LookPath(name)
	}
	path, err := look()
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "" {
		t.Skipf("%s is not installed: run deploy/setup.sh", name)
	}
	if err := setup(); err != nil {
		t.Error(err)
	}
	if path, err = look(); err != nil {
		t.Fatalf("%s is not installed, and this is the gate", name)
	}
	return path
}

// output runs a command and returns what it wrote. When it fails, so does the test.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(t, name, args...)
	if err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

// command runs a command and returns what it wrote.
func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// start runs cmd until the test ends, and returns a function that ends it before.
func start(t *testing.T, cmd *exec.Cmd) (kill func()) {
	t.Helper()
	var said safeBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), said.String())
		}
	})
	return kill
}

// safeBuffer takes the output of a process while a test reads it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buf.Bytes()
	return string(text[max(0, len(text)-8<<10):])
}

// poll asks until ready says yes: other processes have no channel to tell it by.
func poll(t *testing.T, what string, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("not asked")
	for {
		if err := ready(ctx); err == nil {
			return
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s: %v", what, last)
		}
	}
}

// freePort is a port for a program, as it is written in command lines.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(freeport.Port(t))
}
