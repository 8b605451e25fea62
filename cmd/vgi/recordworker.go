package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
)

// recordedWorker is a worker process behind the standard streams.
type recordedWorker struct {
	a       *app
	command []string
}

func (r *recordedWorker) transport() string { return "stdio" }

// grace is how long a worker may take to end when the recorder is told to.
const grace = 10 * time.Second

// run starts the worker and stands between it and the client until it ends. Its
// exit status becomes the command's.
func (r *recordedWorker) run(ctx context.Context, w *recording.Writer) error {
	// Who writes to a client that is gone shall see the error, and tell the worker.
	// To ignore the signal would make the worker ignore it as well.
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	defer signal.Stop(gone)
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	cmd.Stderr = r.a.err
	if l, ok := r.a.err.(*locked); ok {
		cmd.Stderr = l.w // a file goes to the worker as it is
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	in, out, err := workerPipes(cmd)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return &failure{exitUnreachable, fmt.Errorf("record: %w", err)}
	}
	closeAll(cmd.Stdin, cmd.Stdout)
	conn := w.Open()
	client := r.a.in
	if i, ok := client.(*interruptible); ok {
		client = i.r // a worker that is told to end may still want what its client sends
	}
	go requests(conn.Tap(recording.Client), in, client)
	answers(conn, r.a.out, out)
	err = cmd.Wait()
	conn.Close()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return &failure{exitStatus(exit.ProcessState), errTold}
	}
	if err != nil {
		return fmt.Errorf("record: the worker: %w", err)
	}
	return nil
}

// workerPipes makes the pipes of a worker by hand: what package os/exec makes is
// closed when the process ends, ahead of what it has written last.
func workerPipes(cmd *exec.Cmd) (in, out *os.File, err error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		closeAll(theirIn, in)
		return nil, nil, err
	}
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	return in, out, nil
}

// closeAll closes what can be closed.
func closeAll(all ...any) {
	for _, c := range all {
		if c, ok := c.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// requests moves what the client sends. Nobody waits for it: a worker may end
// while its client says nothing.
func requests(tap *recording.Tap, in *os.File, client io.Reader) {
	readErr, _ := pump(in, client, tap) // a worker that does not read is what the client will see
	if readErr != nil {
		tap.End(readErr)
	} else {
		tap.HalfClose()
	}
	_ = in.Close()
}

// answers moves what the worker sends, until it sends nothing more.
func answers(conn *recording.Conn, client io.Writer, out *os.File) {
	tap := conn.Tap(recording.Server)
	readErr, writeErr := pump(client, out, tap)
	tap.End(errors.Join(readErr, writeErr))
	closeAll(client, out) // a worker that writes on gets the client's error
}

// exitStatus is that of a shell: 128 and the signal's number for a process that a
// signal ended.
func exitStatus(state *os.ProcessState) int {
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return state.ExitCode()
}
