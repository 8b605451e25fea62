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
	if done, err := w.parse(args, os.Stdout); err != nil {
		return usageError(err)
	} else if done {
		return statusOK
	}
	if w.check {
		if err := w.tryOut(ctx); err != nil {
			return usageError(err)
		}
		fmt.Fprintf(os.Stdout, "%s: the configuration makes sense\n", programName())
		return statusOK
	}
	terminal := isTerminal(os.Stdin)
	out, err := vgirpc.TakeStdio()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
		return statusFailed
	}
	w.stdio = out
	if w.before, err = w.setup.sockets.inherit(); err == nil {
		err = w.setup.sockets.activate()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
		return statusFailed
	}
	if err := w.apply(ctx); err != nil {
		return usageError(err)
	}
	if w.setup.transport == nil {
		if terminal {
			fmt.Fprintf(os.Stderr, "%[1]s speaks vgi-rpc on standard input and output, to a client that starts it. See '%[1]s --help'.\n", programName())
		}
		w.setup.transport = newStdio(w.setup.server, w.stdio)
		forgetServiceManager()
	} else {
		w.program = thisProgram()
		if w.before == nil && !startedByServiceManager() {
			forgetServiceManager()
		}
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
	setup   *Setup
	config  *configuration
	opts    []Option
	check   bool // the configuration, and no more
	program program
	before  *predecessor // nil without
	stdio   *vgirpc.Stdio
	log     *slog.Logger
	drain   time.Duration // negative: without limit
}

// newWorker returns a worker with the flags of every worker and those of opts.
// The logger is set up first, then the server's identifier; the logs of calls and
// refusals last, when an option can no longer change that.
func newWorker(s *vgirpc.Server, opts []Option) *worker {
	flags := pflag.NewFlagSet(programName(), pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	config := &configuration{flags: flags, environ: os.Environ()}
	return &worker{
		setup:  &Setup{server: s, config: config, exitTimeout: defaultExit},
		config: config,
		opts:   slices.Concat([]Option{&logging{}, &serverID{}, &limits{}, &rateLimits{}}, opts, []Option{&byteStreams{}, &accessLog{}, &requestLog{}, newMemory()}),
	}
}

// parse reads the command line, the environment and the configuration file. It
// reports whether that is all there is to do, because something was asked for
// that is written to out.
func (w *worker) parse(args []string, out io.Writer) (done bool, err error) {
	flags := w.config.flags
	for _, o := range w.opts {
		o.AddFlags(flags)
	}
	file := flags.String("config", "", "read settings from the YAML file at `PATH` (environment "+envConfig+")")
	check := flags.Bool("check", false, "check the configuration and exit")
	show := flags.Bool("print-config", false, "print the configuration, which can be used as a file, and exit")
	version := flags.Bool("version", false, "print the version")
	help := flags.BoolP("help", "h", false, "print this text")
	for _, name := range []string{"config", "check", "print-config", "version", "help"} {
		annotate(flags.Lookup(name), typedFlag, "true")
	}
	if err := w.config.parse(args); err != nil {
		return false, err
	}
	switch {
	case flags.NArg() > 0:
		return false, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *help:
		w.help(out, flags)
		return true, nil
	case *version:
		opts, err := w.setup.options()
		if err != nil {
			return false, err
		}
		fmt.Fprintln(out, programName(), buildVersion(opts.Version))
		return true, nil
	}
	if !flags.Changed("config") {
		*file = w.config.variables().values[envConfig]
	} else if *file == "" {
		return false, errors.New("--config: want a path")
	}
	if err := w.config.fill(*file); err != nil {
		return false, err
	}
	opts, err := w.setup.options()
	if err != nil {
		return false, err
	}
	w.config.programs = limitsOf(&opts)
	if *show {
		if err := w.config.write(out); err != nil {
			return false, err
		}
	}
	w.check = *check
	return *show && !*check, nil
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
		"Environment and configuration file:\n  --max-message-bytes is also %s in the environment and max-message-bytes in the file of --config,\n"+
		"  and so is every other flag but the last ones. Flags go before the environment, and that before the file.\n",
		programName(), strings.Join(hosted, ", "), flags.FlagUsages(), envName("max-message-bytes"))
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

// tryOut puts the worker together as far as that is possible without serving.
func (w *worker) tryOut(ctx context.Context) error {
	err := w.apply(ctx)
	if t, ok := w.setup.transport.(Checker); ok && err == nil {
		if err = t.Check(ctx); err != nil {
			err = w.config.explain(fmt.Errorf("%s: %w", w.setup.chosenBy, err))
		}
	}
	if err == nil {
		err = w.setup.server.Seal()
	}
	w.atExit(ctx)
	return err
}

// apply puts the worker together.
func (w *worker) apply(ctx context.Context) error {
	w.log = slog.New(slog.DiscardHandler)
	for _, o := range w.opts {
		if err := o.Apply(ctx, w.setup); err != nil {
			return w.config.explain(err)
		}
	}
	opts, err := w.setup.options()
	if err != nil {
		return err
	}
	if opts.Logger != nil { // or an option took it away
		w.log = opts.Logger
	}
	w.drain = opts.Conns.DrainTimeout
	if w.drain == 0 {
		w.drain = defaultDrain
	}
	for _, f := range w.setup.beforeServing {
		if err := f(ctx); err != nil {
			return w.config.explain(err)
		}
	}
	if len(w.config.unknown) > 0 {
		w.log.LogAttrs(ctx, slog.LevelWarn, "this worker does not read some variables whose names look as if it did",
			slog.String("variables", strings.Join(w.config.unknown, " ")))
	}
	return nil
}

// Times of the end, beside ConnOptions.DrainTimeout.
const (
	defaultDrain = vgirpc.DefaultDrainTimeout
	cutGrace     = 500 * time.Millisecond // for calls that were cut off to end
	defaultExit  = 2 * time.Second        // for what has to be done at the exit
)

// errSucceeded is why a worker ends that another process has taken over from.
var errSucceeded = errors.New("worker: another process has taken over")

// supervise lets the worker live until a signal, or what there is to serve,
// ends it.
func (w *worker) supervise(ctx context.Context) int {
	signals := listenForSignals()
	defer signal.Stop(signals)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hurry, rush := context.WithCancel(context.WithoutCancel(ctx))
	defer rush()
	status := make(chan int, 1)
	go func() { status <- w.live(ctx) }()
	var (
		result    int
		handover  chan error      // has the result of one that is in progress, else nil
		succeeded bool            // another process has taken over
		stopping  bool            // the next signal ends this one at once
		gone      <-chan struct{} // when the handover was recalled
		over      <-chan struct{} // gone, once there is nothing to wait for but that
	)
	end := func() {
		stopping = true
		stop(nil)
		if gone == nil {
			gone = w.recall(hurry, handover)
			handover = nil
		}
	}
	for {
		select {
		case result = <-status:
			end()
			over = gone
		case <-over:
			return result
		case err := <-handover:
			if handover = nil; err != nil {
				w.log.LogAttrs(ctx, slog.LevelError, "nothing was handed over: this process goes on", slog.Any("error", err))
				continue
			}
			succeeded = true
			stop(errSucceeded)
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				go w.reload(ctx)
			case sig == syscall.SIGUSR2:
				if handover == nil && !succeeded && !stopping {
					handover = make(chan error, 1)
					go func(result chan<- error) { result <- w.handOver(ctx) }(handover)
				}
			case stopping:
				rush()
				end()
				<-gone
				return statusSignal + int(sig.(syscall.Signal))
			default:
				w.log.LogAttrs(ctx, slog.LevelInfo, "stopping: calls in progress may finish", slog.String("signal", sig.String()))
				end()
			}
		}
	}
}

// listenForSignals subscribes to what a worker does something about.
func listenForSignals() chan os.Signal {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR2)
	// Whoever reads standard error may go away without ending the worker.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return signals
}

// live serves until ctx ends or serving does, and cleans up.
func (w *worker) live(ctx context.Context) int {
	status := statusOK
	if err := w.serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
		status = statusFailed
	}
	w.setup.enter(Draining)
	w.atExit(ctx)
	return status
}

// atExit does what is left to do. Each part has an equal share of the time that is
// left, so that what hangs takes it from nobody behind it.
func (w *worker) atExit(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	share := func(int) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }
	if limit := w.setup.exitTimeout; limit > 0 {
		end := time.Now().Add(limit)
		share = func(parts int) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
		}
	}
	for i, f := range slices.Backward(w.setup.atExit) {
		ctx, cancel := share(i + 1)
		if err := f(ctx); err != nil {
			w.log.LogAttrs(ctx, slog.LevelWarn, "at exit", slog.Any("error", err))
		}
		cancel()
	}
}

// serve announces and serves the transport until it ends, or until ctx ends and
// the calls in progress have finished or were cut off.
func (w *worker) serve(ctx context.Context) error {
	t := w.setup.transport
	line, err := t.Listen(ctx)
	if err != nil {
		return err
	}
	if unused := w.setup.sockets.dropRest(); len(unused) > 0 {
		w.log.LogAttrs(ctx, slog.LevelWarn, "listeners that were passed to this process are not used by it", slog.String("addresses", strings.Join(unused, " ")))
	}
	serving, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	done := make(chan error, 1)
	go func() { done <- t.Serve(serving) }()
	w.setup.enter(Serving)
	if line != "" && w.before == nil { // whose callers know where it is
		if _, err := fmt.Fprintln(w.stdio, line); err != nil {
			return fmt.Errorf("announcing %s: %w", line, err)
		}
	}
	w.setup.tell("READY=1")
	go w.keepWatch(serving)
	if err := w.before.ready(&w.setup.sockets); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	w.end(ctx, done)
	cut()
	select {
	case err := <-done:
		return err
	case <-time.After(cutGrace):
		w.log.LogAttrs(ctx, slog.LevelWarn, "a handler does not end: leaving it behind")
		return nil
	}
}
