package main

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"
)

// app is one run of the command.
type app struct {
	streams
	conn       connection
	jsonErrors bool
	began      bool // the command line was understood
}

// run runs the command line, and returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	s.err = &locked{w: s.err}
	s.in = &interruptible{ctx: ctx, r: s.in}
	// A command line that makes no sense is an error like others.
	a := &app{streams: s, jsonErrors: slices.Contains(args, "--json-errors")}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var f *failure
	if !a.began && !errors.As(err, &f) {
		err = &failure{exitUsage, err}
	}
	status := statusOf(ctx, err)
	if !errors.Is(err, errTold) {
		writeError(s.err, status, err, a.jsonErrors, a.conn.verbose)
	}
	return status
}

// errTold is the error of a command that has written what is wrong already.
var errTold = errors.New("told already")

// command is the tree of commands.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "vgi",
		Short: "Call vgi-rpc servers",
		Long: `vgi asks vgi-rpc servers what they host, calls their methods, and looks for
what is wrong between here and there. It needs no types: schemas come from the
server.

A URL is one of

  stdio:COMMAND [ARGUMENT]…  a worker process, started for this one command
  launch:COMMAND […]         a worker that is shared, see 'vgi launch'
  unix:PATH                  a Unix socket
  tcp:HOST:PORT              raw TCP
  tcp+tls:HOST:PORT          TLS over TCP
  http://…, https://…        HTTP, with the server's prefix`,
		Example: `  vgi describe 'stdio:./worker'
  vgi call http://localhost:8080 add a=1 b=2
  vgi stream unix:/tmp/w.sock demo.Calc/count n=1000 -o csv
  vgi stream tcp:localhost:9000 scale factor=2 --input rows.csv
  vgi doctor https://api.example.com/rpc`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolVar(&a.jsonErrors, "json-errors", a.jsonErrors, "write errors as one line of JSON")
	root.AddCommand(a.describeCommand(), a.callCommand(), a.streamCommand(), a.benchCommand(), a.doctorCommand(), a.signCommand(),
		a.loginCommand(), a.logoutCommand())
	root.AddCommand(a.recordCommand(), a.recordingCommand(), a.replayCommand())
	root.AddCommand(a.launchCommands()...)
	root.AddCommand(
		&cobra.Command{Use: "exit-codes", Short: "What the exit status means", Long: exitCodesHelp()},
		&cobra.Command{Use: "values", Short: "How arguments and results are written", Long: valuesHelp},
	)
	return root
}

// runs makes the body of a command: from here on an error is not the command
// line's, unless it says so.
func (a *app) runs(body func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		ctx, cancel, err := a.conn.context(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		return body(ctx, args)
	}
}

// version is that of the module the command was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

const valuesHelp = `Arguments of a method are given as NAME=VALUE, in any order. VALUE is read by
the type that the method declares:

  utf8, enums            the text as it is
  bool                   true, false
  integers, floats       digits; NaN, Inf and -Inf
  decimals               12.50
  binary                 base64
  timestamp              2026-11-21T13:45:00Z
  date, time             2026-11-21, 13:45:00.5
  duration               90.5s, 1m30s, 1500us
  lists, structs, maps   JSON; a map is an object or an array of [key, value]

  NAME=null              null, where the parameter may be (but text for utf8)
  NAME=@FILE             the content of a file: text, or the bytes of a binary
  NAME:=JSON             JSON, for text that begins with @, or null as text
  NAME:=@FILE            JSON from a file

-d '{"a":1}' gives all arguments as one JSON object, -d @FILE takes it from a
file and -d - from standard input. NAME=VALUE may stand beside it.

A parameter that may be null may be left out, and is null. Defaults are not part
of a server's description.

A dataclass travels packed into a binary column, and the description does not
say which fields it has. Results say it themselves, and are shown as objects
(--raw-bytes shows them in base64). Arguments need --pack NAME=FIELD:TYPE,…:

  vgi call URL inspect_point --pack point=x:float64,y:float64 'point:={"x":1,"y":2}'

Types are written as describe shows them; a question mark behind a type lets
values be null. In CSV and JSON lines, types are inferred from the first batch
of rows, and --columns NAME:TYPE,… says otherwise.`
