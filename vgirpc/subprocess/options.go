package subprocess

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options say how a worker process is started, watched and ended. Command is
// needed; everything else has a default.
type Options struct {
	// Command is the program, looked up in PATH where it has no slash, and its
	// arguments.
	Command []string
	// Env is the environment, "KEY=value" each; nil is that of this process.
	Env []string
	// Dir is the working directory; "" is that of this process.
	Dir string
	// Files are the process's descriptors from 3 on. They stay the caller's, and
	// open as long as a process may be started. With any, [New] starts no process
	// with shared memory, whose place they have: it gets a named segment. Not on
	// Windows.
	Files []*os.File

	// Logger gets each line that the worker writes to standard error, at level
	// Info, with the process's number. Nil logs nothing.
	Logger *slog.Logger
	// Stderr gets the same as it was written. It is used by one goroutine at a
	// time for each process. Nil writes nothing. A Logger or a Stderr that
	// blocks makes the worker wait.
	Stderr io.Writer
	// StderrTail is how many bytes of standard error are kept for the error
	// when the worker dies: the last whole lines. 4096 when 0, none when
	// negative.
	StderrTail int

	// StartTimeout is how long [New], and each restart, waits for the worker's
	// first answer. A worker that is silent for so long is killed. 10 seconds
	// when 0, without limit when negative.
	StartTimeout time.Duration
	// CloseGrace is how long a worker has to end after its pipes were closed,
	// and again after it was asked to terminate, before it is killed. 10
	// seconds when 0; negative asks and kills at once.
	CloseGrace time.Duration

	// Restart says whether [New]'s client starts another process when the
	// worker has died. It does not by default.
	Restart Restart

	// exitWait is how long a process whose pipe broke has to end, so that its exit
	// status can be told. Tests make it longer.
	exitWait time.Duration
}

// Restart says how a worker that died is replaced. The next call starts the new
// process, and waits for it as long as its context allows.
type Restart struct {
	// Attempts is how many times in a row a worker may be restarted without
	// having been healthy in between. 0 never restarts, negative always does.
	Attempts int
	// MinDelay is the delay before the first restart of a worker that was not
	// healthy; it doubles with each further one in a row, up to MaxDelay, and
	// is shortened at random by up to a half. A worker that was healthy is
	// replaced without delay. 100 milliseconds and 30 seconds when 0.
	MinDelay, MaxDelay time.Duration
	// HealthyAfter is how long a worker must have run to count as healthy. 10
	// seconds when 0.
	HealthyAfter time.Duration
}

// Defaults of [Options] and [Restart].
const (
	defaultStderrTail   = 4 << 10
	defaultStartTimeout = 10 * time.Second
	defaultCloseGrace   = 10 * time.Second
	defaultMinDelay     = 100 * time.Millisecond
	defaultMaxDelay     = 30 * time.Second
	defaultHealthyAfter = 10 * time.Second
	defaultExitWait     = time.Second
)

// valid is o with its defaults, or an INVALID_ARGUMENT error.
func (o Options) valid() (*Options, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "subprocess: Options.Command is empty: name the worker's program")
	}
	r := &o.Restart
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&o.StartTimeout, defaultStartTimeout},
		{&o.CloseGrace, defaultCloseGrace},
		{&o.exitWait, defaultExitWait},
		{&r.MinDelay, defaultMinDelay},
		{&r.MaxDelay, defaultMaxDelay},
		{&r.HealthyAfter, defaultHealthyAfter},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if r.MinDelay < 0 || r.MaxDelay < 0 || r.HealthyAfter < 0 {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "subprocess: a duration of Options.Restart is negative")
	}
	r.MaxDelay = max(r.MaxDelay, r.MinDelay)
	if o.StderrTail == 0 {
		o.StderrTail = defaultStderrTail
	}
	return &o, nil
}

// allows reports whether a worker may be restarted after so many failures in a
// row.
func (r *Restart) allows(failures int) bool { return r.Attempts < 0 || failures <= r.Attempts }

// delay is how long after the last of so many failures in a row the next
// process starts.
func (r *Restart) delay(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	d := r.MinDelay
	for i := 1; i < failures && d < r.MaxDelay; i++ {
		d *= 2
	}
	d = min(d, r.MaxDelay)
	return d - rand.N(d/2+1) //nolint:gosec // spreads load, keeps no secret
}
