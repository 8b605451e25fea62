//go:build unix

package launch

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options say which worker a [Launcher] is for. Command is needed; everything
// else has a default.
type Options struct {
	// Command is the program, looked up in PATH where it has no slash, and its
	// arguments. The launcher appends those that every worker takes.
	Command []string
	// Dir is the worker's working directory; "" is that of this process.
	Dir string
	// Env is the worker's environment, "KEY=value" each; nil is that of this
	// process. Of workers with the same command and directory, those are the
	// same whose VGI_RPC_ variables are.
	Env []string

	// Socket is the path of the socket. "" is one by the worker's key. A
	// worker on a socket of its own has no key: Status does not list it.
	Socket string
	// StateDir is the directory of sockets and locks; it is made when there is
	// none. "" is that of [StateDir].
	StateDir string

	// IdleTimeout is how long a worker that is started goes on without any
	// connection; the first one has at least 60 s. 300 s when 0, without limit
	// when negative. A worker that runs already has its own.
	IdleTimeout time.Duration
	// LockTimeout is how long to wait while somebody else starts the worker.
	// 30 s when 0, without limit when negative.
	LockTimeout time.Duration
	// StartTimeout is how long a worker has to say that it listens, and as long
	// again for its first answer. One that does not listen is ended; one that
	// does not answer is left to others who may be connected to it. 60 s when
	// 0, without limit when negative.
	StartTimeout time.Duration
	// Stderr is a file to which a worker that is started appends its standard
	// error. It is discarded when "".
	Stderr string
}

// Defaults of [Options].
const (
	defaultIdleTimeout  = 300 * time.Second
	defaultLockTimeout  = 30 * time.Second
	defaultStartTimeout = 60 * time.Second
)

// valid is o with its defaults and absolute paths, or an INVALID_ARGUMENT error.
func (o Options) valid() (Options, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "launch: Options.Command is empty: name the worker's program")
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&o.IdleTimeout, defaultIdleTimeout}, {&o.LockTimeout, defaultLockTimeout}, {&o.StartTimeout, defaultStartTimeout}} {
		switch {
		case *d.value == 0:
			*d.value = d.standard
		case *d.value < 0:
			*d.value = 0
		}
	}
	for _, path := range []*string{&o.Socket, &o.StateDir, &o.Stderr} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return o, vgirpc.Errorf(vgirpc.InvalidArgument, "launch: %w", err)
		}
		*path = abs
	}
	return o, nil
}

// maxSocketPath is the longest path of a socket, in bytes.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

func checkSocketPath(path string) error {
	if len(path) > maxSocketPath {
		return vgirpc.Errorf(vgirpc.InvalidArgument,
			"launch: the socket's path %s has %d bytes, and the system takes %d: choose a shorter StateDir or Socket", path, len(path), maxSocketPath)
	}
	return nil
}
