package subprocess

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// errClosed answers uses of a process after its Close.
var errClosed = fmt.Errorf("vgirpc: worker process: %w", os.ErrClosed)

// An ExitError tells how a worker process ended. It is the cause of the
// [*vgirpc.Error] of type "WorkerDied".
type ExitError struct {
	// State is the process's exit status; nil when it could not be had.
	State *os.ProcessState
	// Stderr is the end of what the process wrote to standard error, as far as
	// [Options.StderrTail] goes.
	Stderr string
}

// Error is the exit status: "exit status 3", or "signal: killed".
func (e *ExitError) Error() string {
	if e.State == nil {
		return "exit status unknown"
	}
	return e.State.String()
}

// success reports whether the process said that all was well.
func (e *ExitError) success() bool { return e.State != nil && e.State.Success() }

// died is the error of everything that was under way when the process ended.
func died(exit *ExitError) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerDied", Cause: exit,
		Message: "the worker process ended: " + exit.Error() + lastWords(exit.Stderr),
	}
}

// lastWords is the part of an error's message that quotes standard error.
func lastWords(stderr string) string {
	if stderr == "" {
		return ""
	}
	return "; its standard error ends with:\n" + stderr
}

// deaf is the error when the worker has closed a pipe and runs on.
func deaf() *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "ConnectionLost",
		Message: "the worker closed its standard input or output, but has not ended",
	}
}

// notStarted is the error when there is no process. Only a shortage passes by
// itself.
func notStarted(program string, err error) *vgirpc.Error {
	e := &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerNotStarted", Cause: err,
		Message: fmt.Sprintf("the worker %s could not be started: %v", program, err),
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound) {
		e.Code = vgirpc.FailedPrecondition
	}
	return e
}

// silent is the error of a worker that has not answered in time.
func silent(timeout time.Duration, stderr string) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerSilent",
		Message: fmt.Sprintf("the worker has not answered within %v of its start (StartTimeout), and was killed", timeout) + lastWords(stderr),
	}
}

// nonsense is the error of a worker whose first answer is not the protocol's.
func nonsense(err error, stderr string) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.FailedPrecondition, Type: "ProtocolError", Cause: err,
		Message: "the worker does not speak vgi-rpc on its standard output: " + err.Error() + lastWords(stderr),
	}
}

// givenUp is the error when the worker has died too often.
func givenUp(attempts int, last error) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerGivenUp", Cause: last,
		Message: fmt.Sprintf("the worker is not restarted any more after %d restarts in a row (Restart.Attempts): %v", attempts, last),
	}
}
