//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	announceTimeout = 20 * time.Second
	// connTimeout bounds everything that one socket is used for.
	connTimeout = 5 * time.Minute
	// loopback is where a worker listens, before the port.
	loopback = "127.0.0.1:"
)

// worker is a started worker process and the way to reach it.
type worker struct {
	cmd    *exec.Cmd
	dir    string // holds its socket
	stderr tail
	dial   func() (io.ReadWriteCloser, error)
}

// duplex joins the two pipes of a stdio worker.
type duplex struct {
	io.Reader
	io.WriteCloser
}

// startWorker runs command (split at spaces) with the flags that put it on the
// transport, and waits until it says where it listens. It is killed when ctx
// ends. The caller calls stop.
func startWorker(ctx context.Context, transport, command string) (*worker, error) {
	dir, err := os.MkdirTemp("", "wirebench-")
	if err != nil {
		return nil, err
	}
	w := &worker{dir: dir}
	if err := w.start(ctx, transport, strings.Fields(command)); err != nil {
		w.stop()
		return nil, fmt.Errorf("worker %q on %s: %w%s", command, transport, err, w.stderr.quoted())
	}
	return w, nil
}

func (w *worker) start(ctx context.Context, transport string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("no command")
	}
	switch transport {
	case "pipe":
	case transportUnix, transportSHM, transportView, transportFile:
		argv = append(argv, "--unix", w.socket())
	case transportExternal:
		argv = append(argv, "--store", "--unix", w.socket())
	case "tcp":
		argv = append(argv, "--tcp", loopback+"0")
	case transportHTTP:
		argv = append(argv, "--http", "0")
	default:
		return errors.New("no such transport")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = &w.stderr
	// A group of its own, so that a wrapper's children end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.cmd = cmd
	if transport == "pipe" {
		w.dial = func() (io.ReadWriteCloser, error) { return duplex{out, in}, nil }
		return nil
	}
	return w.awaitAddress(ctx, out)
}

// awaitAddress reads the announcement of a listening worker off its stdout.
func (w *worker) awaitAddress(ctx context.Context, out io.Reader) error {
	line := make(chan string, 1)
	go func() { // ends with the worker's stdout
		first, _ := bufio.NewReader(out).ReadString('\n')
		line <- strings.TrimSpace(first)
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case l := <-line:
		kind, address, _ := strings.Cut(l, ":")
		network := strings.ToLower(kind)
		switch network {
		case "unix", "tcp":
		case "port":
			network, address = "tcp", loopback+address
		default:
			return fmt.Errorf("announced %q, not UNIX:PATH, TCP:HOST:PORT or PORT:N", l)
		}
		w.dial = func() (io.ReadWriteCloser, error) { return dial(ctx, network, address) }
		return nil
	case <-time.After(announceTimeout):
		return fmt.Errorf("announced no address within %s", announceTimeout)
	}
}

func dial(ctx context.Context, network, address string) (io.ReadWriteCloser, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(connTimeout)); err != nil {
		return nil, err
	}
	return c, nil
}

// socket is where a worker on a Unix socket listens.
func (w *worker) socket() string { return filepath.Join(w.dir, "s") }

func (w *worker) pid() int { return w.cmd.Process.Pid }

// stop kills the worker and waits for its end.
func (w *worker) stop() {
	if w.cmd != nil {
		_ = w.cmd.Cancel()
		_ = w.cmd.Wait()
	}
	_ = os.RemoveAll(w.dir)
}

// tail keeps the last bytes of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 2000
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-most):]
	return len(p), nil
}

// quoted is what was kept, as an addition to an error message.
func (t *tail) quoted() string {
	if len(t.kept) == 0 {
		return ""
	}
	return "\nits stderr ends:\n" + string(t.kept)
}
