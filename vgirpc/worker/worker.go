package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// envValidation names how thoroughly received batches are checked.
const envValidation = "VGI_RPC_IPC_VALIDATION"

// Exit statuses.
const (
	statusOK     = 0
	statusFailed = 1
	statusUsage  = 2
	statusSignal = 128 // plus the signal's number
)

// Main serves s as the command line says and exits. It is the last thing that a
// worker's main function does: register handlers before.
func Main(s *vgirpc.Server, opts ...Option) {
	os.Exit(Run(context.Background(), s, os.Args[1:], opts...))
}

// Run is [Main] without the exit: it serves s as args say until there is
// nothing more to serve, a signal arrives or ctx ends, and returns the exit
// status. Like Main it takes over standard input and output and the signals of
// the process, for good: call it once. After a second signal it returns while
// calls are still in progress.
func Run(ctx context.Context, s *vgirpc.Server, args []string, opts ...Option) int {
	w := newWorker(s, opts)
	if done, err := w.parse(args, os.Stdout); done {
		return statusOK
	} else if err != nil {
		return usageError(err)
	}
	terminal := isTerminal(os.Stdin)
	out, err := vgirpc.TakeStdio()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
		return statusFailed
	}
	w.stdio = out
	if err := w.apply(ctx); err != nil {
		return usageError(err)
	}
	if w.setup.transport == nil {
		if terminal {
			fmt.Fprintf(os.Stderr, "%[1]s speaks vgi-rpc on standard input and output, to a client that starts it. See '%[1]s --help'.\n", programName())
		}
		w.setup.transport = newStdio(w.setup.server, w.stdio)
	}
	rest := make([]byte, heapRest)
	defer runtime.KeepAlive(rest)
	return w.supervise(ctx)
}

// heapRest is how much heap a worker sets aside without touching it, in bytes.
// The collector runs when the heap has doubled: a worker whose own heap is tiny
// would collect after every 4 MiB of messages. The pages are never written, so
// they take no memory, and in a worker that holds much they make no difference.
const heapRest = 16 << 20

func usageError(err error) int {
	fmt.Fprintf(os.Stderr, "%[1]s: %[2]v\nTry '%[1]s --help'.\n", programName(), err)
	return statusUsage
}

func programName() string { return filepath.Base(os.Args[0]) }

// worker is one run of a server.
type worker struct {
	setup *Setup
	opts  []Option
	stdio *vgirpc.Stdio
	log   *slog.Logger
	drain time.Duration // negative: without limit
}

// newWorker returns a worker with the flags of every worker and those of opts.
// The logger is set up first; the access log last, when the server's
// identifier is settled.
func newWorker(s *vgirpc.Server, opts []Option) *worker {
	return &worker{
		setup: &Setup{server: s},
		opts:  slices.Concat([]Option{&logging{}}, opts, []Option{&byteStreams{}, &accessLog{}}),
	}
}

// parse reads the command line. It reports whether that is all there is to do,
// because help or the version was asked for and written to out.
func (w *worker) parse(args []string, out io.Writer) (done bool, err error) {
	flags := pflag.NewFlagSet(programName(), pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	for _, o := range w.opts {
		o.AddFlags(flags)
	}
	version := flags.Bool("version", false, "print the version")
	help := flags.BoolP("help", "h", false, "print this text")
	if err := flags.Parse(JoinOptionalValues(flags, args)); err != nil {
		return false, err
	}
	switch {
	case flags.NArg() > 0:
		return false, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *help:
		w.help(out, flags)
	case *version:
		opts, err := w.setup.options()
		if err != nil {
			return false, err
		}
		fmt.Fprintln(out, programName(), buildVersion(opts.Version))
	}
	return *help || *version, nil
}

// help writes the usage.
func (w *worker) help(out io.Writer, flags *pflag.FlagSet) {
	var hosted []string
	for _, p := range w.setup.server.Protocols() {
		if !strings.HasPrefix(p.Name(), wire.ReservedNamePrefix) {
			hosted = append(hosted, strings.TrimSpace(p.Name()+" "+p.Version()))
		}
	}
	fmt.Fprintf(out, "Usage: %s [flags]\n\nServes %s with vgi-rpc, over standard input and output unless a flag says otherwise.\n\nFlags:\n%s\n"+
		"Environment:\n  %s  how thoroughly received batches are checked: none, standard or full (default full)\n",
		programName(), strings.Join(hosted, ", "), flags.FlagUsages(), envValidation)
}

// buildVersion is the declared version, or else that of the main module.
func buildVersion(declared string) string {
	if declared != "" {
		return declared
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown version)"
}

// apply puts the worker together.
func (w *worker) apply(ctx context.Context) error {
	if text, ok := os.LookupEnv(envValidation); ok {
		level, err := wire.ParseValidation(text)
		if err != nil {
			return fmt.Errorf("%s: %w", envValidation, err)
		}
		err = w.setup.server.Configure(func(o *vgirpc.ServerOptions) { o.Limits.Validation = level })
		if err != nil {
			return err
		}
	}
	for _, o := range w.opts {
		if err := o.Apply(ctx, w.setup); err != nil {
			return err
		}
	}
	opts, err := w.setup.options()
	if err != nil {
		return err
	}
	if w.log = opts.Logger; w.log == nil {
		w.log = slog.New(slog.DiscardHandler) // an option took it away
	}
	w.drain = opts.Conns.DrainTimeout
	if w.drain == 0 {
		w.drain = defaultDrain
	}
	for _, f := range w.setup.beforeServing {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Times of the end, beside ConnOptions.DrainTimeout.
const (
	defaultDrain = vgirpc.DefaultDrainTimeout
	cutGrace     = 500 * time.Millisecond // for calls that were cut off to end
	exitGrace    = time.Second            // for what has to be done at the exit
)

// supervise lets the worker live until a signal, or what there is to serve,
// ends it.
func (w *worker) supervise(ctx context.Context) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	// Whoever reads standard error may go away without ending the worker.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	status := make(chan int, 1)
	go func() { status <- w.live(ctx) }()
	for stopping := false; ; stopping = true {
		select {
		case s := <-status:
			return s
		case sig := <-signals:
			if number, ok := sig.(syscall.Signal); ok && stopping {
				return statusSignal + int(number)
			}
			w.log.LogAttrs(ctx, slog.LevelInfo, "stopping: calls in progress may finish", slog.String("signal", sig.String()))
			stop()
		}
	}
}

// live serves until ctx ends or serving does, and cleans up.
func (w *worker) live(ctx context.Context) int {
	status := statusOK
	if err := w.serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
		status = statusFailed
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), exitGrace)
	defer cancel()
	for _, f := range slices.Backward(w.setup.atExit) {
		if err := f(last); err != nil {
			w.log.LogAttrs(last, slog.LevelWarn, "at exit", slog.Any("error", err))
		}
	}
	return status
}

// serve announces and serves the transport until it ends, or until ctx ends and
// the calls in progress have finished or were cut off.
func (w *worker) serve(ctx context.Context) error {
	t := w.setup.transport
	line, err := t.Listen(ctx)
	if err != nil {
		return err
	}
	if line != "" {
		if _, err := fmt.Fprintln(w.stdio, line); err != nil {
			return fmt.Errorf("announcing %s: %w", line, err)
		}
	}
	serving, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	done := make(chan error, 1)
	go func() { done <- t.Serve(serving) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if err := w.shutdown(ctx); err != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "calls in progress were cut off", slog.Any("error", err))
	}
	cut()
	select {
	case err := <-done:
		return err
	case <-time.After(cutGrace):
		w.log.LogAttrs(ctx, slog.LevelWarn, "a handler does not end: leaving it behind")
		return nil
	}
}

// shutdown waits for the calls in progress, for as long as they have.
func (w *worker) shutdown(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if w.drain > 0 {
		limited, cancel := context.WithTimeout(ctx, w.drain)
		defer cancel()
		ctx = limited
	}
	err := w.setup.transport.Shutdown(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not done within %v", w.drain)
	}
	return err
}
