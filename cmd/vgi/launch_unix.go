//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
)

// launchCommands are launch and what belongs to it.
func (a *app) launchCommands() []*cobra.Command {
	var opts launch.Options
	var dir string
	cmd := &cobra.Command{
		Use:   "launch [flags] -- COMMAND [ARGUMENT]…",
		Short: "Find or start a worker that others share",
		Long: `Makes sure that a worker runs on a Unix socket, and writes its URL. The first
one on the machine starts the worker, every further one finds it, and it ends by
itself when nobody was connected for a while. Launchers of other implementations
share workers with this one.

The command is known by its words, the working directory, and the variables of
the environment whose names begin with VGI_RPC_.`,
		Example: `  vgi call "$(vgi launch -- ./worker)" add a=1 b=2
  vgi launch status
  vgi launch gc`,
		Args: atLeast(1, "a command, behind --"),
		RunE: a.runs(func(ctx context.Context, words []string) error {
			opts.Command, opts.StateDir = words, dir
			return a.launch(ctx, opts)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.Socket, "socket", "", "`PATH` of the socket (default one by the command)")
	fs.StringVar(&opts.Dir, "dir", "", "`DIRECTORY` to start the worker in (default this one)")
	fs.StringVar(&opts.Stderr, "stderr", "", "`FILE` to append the worker's standard error to (default none)")
	fs.DurationVar(&opts.IdleTimeout, "idle-timeout", 5*time.Minute, "`DURATION` without a connection after which the worker ends; negative is never")
	fs.DurationVar(&opts.StartTimeout, "start-timeout", time.Minute, "`DURATION` that the worker has to start; negative is any")
	fs.DurationVar(&opts.LockTimeout, "lock-timeout", 30*time.Second, "`DURATION` to wait while somebody else starts it; negative is any")

	var asJSON bool
	none := func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("want no arguments")
		}
		return nil
	}
	status := &cobra.Command{
		Use: "status", Short: "List the workers that were launched", Args: none,
		RunE: a.runs(func(ctx context.Context, _ []string) error { return a.launchStatus(ctx, dir, asJSON) }),
	}
	gc := &cobra.Command{
		Use: "gc", Short: "Remove what dead workers have left", Args: none,
		RunE: a.runs(func(ctx context.Context, _ []string) error { return a.launchGC(ctx, dir, asJSON) }),
	}
	for _, c := range []*cobra.Command{status, gc} {
		c.Flags().BoolVar(&asJSON, "json", false, "write one JSON object for each worker")
	}
	cmd.PersistentFlags().StringVar(&dir, "state-dir", "", "`DIRECTORY` of sockets and locks (default the user's own)")
	cmd.AddCommand(status, gc)
	return []*cobra.Command{cmd}
}

func (a *app) launch(ctx context.Context, opts launch.Options) error {
	l, err := launch.New(opts)
	if err != nil {
		return unreachable(err)
	}
	socket, err := l.Launch(ctx)
	if err != nil {
		return unreachable(err)
	}
	_, err = fmt.Fprintln(a.out, "unix:"+socket)
	return err
}

func (a *app) launchStatus(ctx context.Context, dir string, asJSON bool) error {
	workers, err := launch.Status(ctx, dir)
	if err != nil {
		return unreachable(err)
	}
	lines := make([][]string, len(workers))
	for i, w := range workers {
		if asJSON {
			if err := json.NewEncoder(a.out).Encode(w); err != nil {
				return err
			}
			continue
		}
		state, started := "dead", ""
		if w.Alive {
			state = "alive"
		}
		if !w.Started.IsZero() {
			started = w.Started.Local().Format(time.DateTime) //nolint:gosmopolitan // for the one who reads it
		}
		lines[i] = []string{state, started, "unix:" + w.Socket, strings.Join(w.Command, " ")}
	}
	if asJSON {
		return nil
	}
	return tabular.Aligned(a.out, []string{"STATE", "STARTED", "URL", "COMMAND"}, lines)
}

func (a *app) launchGC(ctx context.Context, dir string, asJSON bool) error {
	c, err := launch.GC(ctx, dir)
	if asJSON {
		if jsonErr := json.NewEncoder(a.out).Encode(c); err == nil {
			err = jsonErr
		}
	} else {
		for _, key := range c.Removed {
			fmt.Fprintln(a.out, "removed", key)
		}
		for _, key := range c.Busy {
			fmt.Fprintln(a.out, "busy", key)
		}
	}
	return unreachable(err)
}
