// Package subprocess starts worker processes and calls them over their standard
// input and output.
//
// [New] starts a worker, waits for its first answer and returns a client for it.
// [Start] is the process alone, as a connection. Either way the process has an
// owner: it runs in a process group of its own, what it writes to standard error
// is logged and its last lines become part of the error when it dies, it is
// reaped, and whatever is left of its group is killed with it. What a terminal
// sends on Ctrl-C reaches this process alone, which is the one to close its
// workers.
//
//	client, err := subprocess.New(ctx, subprocess.Options{Command: []string{"./worker"}}, vgirpc.ClientOptions{})
//
// # Death of either side
//
// A worker that dies fails the call in progress with an [*vgirpc.Error] of code
// UNAVAILABLE and type "WorkerDied", which wraps an [*ExitError]. With
// [Options.Restart] the next call starts another process. A call is never sent
// twice: one that failed may have been received, and only the caller can know
// whether to repeat it.
//
// When this process dies without having closed its workers, a worker sees the
// end of its input. On Linux it is killed as well, by its parent-death signal:
// the kernel ties that to the thread which started the process, so that each
// worker is started, and waited for, by a thread that does nothing else. On
// Windows, closing the job object in which it runs does the same. A worker's own
// children get no such signal on Linux, nor does a set-user-ID program: those
// that should not outlive it must watch their input, or ask for the signal
// themselves.
//
// # Order of the end
//
// Closing closes both pipes, waits for [Options.CloseGrace], asks the whole
// process group to terminate, waits again, and kills it. A worker whose call was
// abandoned because its context ended is closed in the same way, while the
// caller goes on.
//
// This package does not interpret what a worker writes to standard error, and
// does not retry calls.
package subprocess
