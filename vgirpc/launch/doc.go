// Package launch finds or starts a warm worker on a Unix socket, as the launcher
// of the Python implementation does, and shares workers with it in both
// directions.
//
// A [Launcher] is for one worker command. The first caller on the machine starts
// the worker, every further one, in whatever process, connects to it, and the
// worker ends by itself when nobody was connected for a while:
//
//	l, err := launch.New(launch.Options{Command: []string{"./worker"}})
//	client, err := l.Connect(ctx, vgirpc.ClientOptions{})
//
// For calls that run at once, make a pool of it:
//
//	p, err := pool.New(func(ctx context.Context) (vgirpc.Transport, error) {
//		c, err := l.Dial(ctx)
//		if err != nil {
//			return nil, err
//		}
//		return vgirpc.NewStreamTransport(c, vgirpc.ClientOptions{}), nil
//	}, pool.Options{})
//
// # On disk
//
// A worker is known by its key: 16 hexadecimal digits of a hash over its
// command, its working directory, and those variables of its environment whose
// names begin with VGI_RPC_. A directory of the user's own, with mode 0700, holds
// three files for each key: KEY.sock, the socket; KEY.lock, whose flock is held
// by whoever starts the worker or clears up after it; and KEY.meta, which says in
// JSON what was started and when. [Status] lists the workers, [GC] removes what
// dead ones have left.
//
// The directory is $XDG_RUNTIME_DIR/vgi-rpc, or vgi-rpc-UID in the directory for
// temporary files. Whoever can write into it can take the place of a worker: a
// directory that belongs, or is open, to others is refused.
//
// # What a worker must do
//
// It takes --unix PATH and --idle-timeout SECONDS after its own arguments, writes
// the line UNIX:PATH to standard output when it listens there, and nothing after
// it. Every worker on package worker does.
//
// A worker outlives the process that started it, and runs in a session of its
// own, so that what a terminal sends to its owner's job does not end a worker
// that others use. It writes its standard error to [Options.Stderr] or nowhere.
//
// The package is for systems with Unix sockets and flock; on others it has
// nothing to offer. It does not retry calls.
package launch
