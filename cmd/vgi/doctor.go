package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/wire"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var probe string
	args := arguments{in: a.in}
	cmd := &cobra.Command{
		Use:   "doctor URL [NAME=VALUE]…",
		Short: "Look for what is wrong with an endpoint",
		Long: `Looks at an endpoint from the outside in: whether its name resolves, whether it
can be reached, what it says of its transport, what it hosts, and, over HTTP,
what stands between here and there, whether compression and the response limit
get through, who is let in, how long the certificate lasts, and whether the
clocks agree. It calls no method of the application's own.

--probe opens a producer with the given arguments and reads two batches, to see
whether streams work through everything in between.

Every line is ok, info, warn or fail. The exit status is 0 when all is well, and
that of warnings or problems otherwise ('vgi help exit-codes').`,
		Example: `  vgi doctor https://api.example.com/rpc --bearer-file token
  vgi doctor unix:/tmp/w.sock --probe count n=10`,
		Args: func(_ *cobra.Command, words []string) error {
			switch {
			case len(words) < 1:
				return usagef("want a URL")
			case len(words) > 1 && probe == "":
				return usagef("arguments are for the method of --probe")
			}
			return nil
		},
		ValidArgsFunction: a.complete(vgirpc.TypeStream),
		RunE: a.runs(func(ctx context.Context, words []string) error {
			d := doctor{app: a, target: words[0], asJSON: asJSON, now: time.Now}
			return d.run(ctx, probe, &args, words[1:])
		}),
	}
	a.conn.register(cmd.Flags())
	args.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object for each line")
	cmd.Flags().StringVar(&probe, "probe", "", "`METHOD`, a producer, to read two batches of")
	return cmd
}

// Verdicts, from the best.
const (
	verdictOK   = "ok"
	verdictInfo = "info"
	verdictWarn = "warn"
	verdictFail = "fail"
)

// finding is one line of the doctor's.
type finding struct {
	Verdict string `json:"verdict"`
	Check   string `json:"check"`
	Text    string `json:"text"`
}

// doctor is one run of doctor.
type doctor struct {
	*app
	target string
	asJSON bool
	now    func() time.Time

	warnings, failures int
	unwritten          error // of writing lines, the first one
}

// findf writes a line.
func (d *doctor) findf(verdict, check, format string, args ...any) {
	switch verdict {
	case verdictWarn:
		d.warnings++
	case verdictFail:
		d.failures++
	}
	text := clean(fmt.Sprintf(format, args...))
	var err error
	if d.asJSON {
		enc := json.NewEncoder(d.out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(finding{verdict, check, text})
	} else {
		_, err = fmt.Fprintf(d.out, "%-4s  %-14s  %s\n", verdict, check, strings.ReplaceAll(text, "\n", "\n                      "))
	}
	if d.unwritten == nil {
		d.unwritten = err
	}
}

// verdict is the error that gives the exit status.
func (d *doctor) verdict() error {
	switch {
	case d.unwritten != nil:
		return d.unwritten
	case d.failures > 0:
		return &failure{exitProblems, errTold}
	case d.warnings > 0:
		return &failure{exitWarnings, errTold}
	}
	return nil
}

func (d *doctor) run(ctx context.Context, probe string, args *arguments, words []string) (err error) {
	opts, err := d.conn.options(d.target, d.err)
	if err != nil {
		return err
	}
	if !d.resolve(ctx) {
		return d.verdict()
	}
	var web *httpProbe
	if isHTTP(d.target) {
		if web, err = newHTTPProbe(&d.conn, d.target, opts.HTTP.Wrap); err != nil {
			return err
		}
		defer web.close()
		if !d.http(ctx, web) {
			return d.verdict()
		}
	} else if strings.HasPrefix(d.target, "tcp+tls:") {
		d.rawTLS(ctx)
	}
	start := d.now()
	c, err := d.conn.dial(ctx, d.target, opts)
	if err != nil {
		var f *failure
		if errors.As(err, &f) && f.status == exitUsage {
			return err
		}
		d.findf(verdictFail, "connect", "%s", message(err))
		return d.verdict()
	}
	d.findf(verdictOK, "connect", "%s", rounded(d.now().Sub(start)))
	d.transport(ctx, c, web)
	d.hosts(ctx, c)
	if probe != "" {
		d.probe(ctx, c, probe, args, words)
	}
	if err := c.Close(); err != nil {
		d.findf(verdictWarn, "close", "%s", message(err))
	}
	return d.verdict()
}

// message is an error for a line, with what a reason to be let in needs.
func message(err error) string {
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return string(vgirpc.CodeOf(e)) + ": " + plain(err, e)
	}
	return err.Error()
}

// resolve looks whether the target's name means something here.
func (d *doctor) resolve(ctx context.Context) bool {
	scheme, rest, _ := strings.Cut(d.target, ":")
	rest = strings.TrimPrefix(rest, "//")
	switch scheme {
	case "http", "https":
		u, err := url.Parse(d.target)
		if err != nil {
			d.findf(verdictFail, "resolve", "the URL cannot be parsed")
			return false
		}
		return d.lookup(ctx, u.Hostname())
	case "tcp", "tcp+tls":
		host, _, err := net.SplitHostPort(rest)
		if err != nil {
			d.findf(verdictFail, "resolve", "%q: want HOST:PORT", rest)
			return false
		}
		return d.lookup(ctx, host)
	case "unix":
		return d.socket(rest)
	case "stdio", "launch":
		return d.program(rest)
	}
	return true // dial knows what is wrong with it
}

func (d *doctor) lookup(ctx context.Context, host string) bool {
	switch {
	case d.conn.proxy != "":
		d.findf(verdictInfo, "resolve", "%s is looked up by way of the proxy", host)
		return true
	case net.ParseIP(host) != nil:
		d.findf(verdictOK, "resolve", "%s is an address", host)
		return true
	}
	start := d.now()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		d.findf(verdictFail, "resolve", "%v", err)
		return false
	}
	d.findf(verdictOK, "resolve", "%s is %s (%s)", host, strings.Join(addresses, ", "), rounded(d.now().Sub(start)))
	return true
}

// socket looks at a Unix socket's file.
func (d *doctor) socket(path string) bool {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		d.findf(verdictFail, "resolve", "%v", err)
		return false
	case info.Mode()&os.ModeSocket == 0:
		d.findf(verdictFail, "resolve", "%s is not a socket", path)
		return false
	case info.Mode().Perm()&0o002 != 0:
		d.findf(verdictWarn, "resolve", "%s is a socket that everybody can connect to (%v)", path, info.Mode().Perm())
		return true
	}
	d.findf(verdictOK, "resolve", "%s is a socket (%v)", path, info.Mode().Perm())
	return true
}

// program looks for the program of a worker.
func (d *doctor) program(line string) bool {
	argv, err := dial.Split(line)
	if err != nil {
		d.findf(verdictFail, "resolve", "%s", message(err))
		return false
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		d.findf(verdictFail, "resolve", "%v", err)
		return false
	}
	d.findf(verdictOK, "resolve", "the worker's program is %s", path)
	return true
}

// transport asks for the transport's options.
func (d *doctor) transport(ctx context.Context, c *vgirpc.Client, web *httpProbe) {
	ask, err := transportOptions(c)
	if err == nil && web != nil {
		ask = web.transportOptions
	}
	var meta wire.Metadata
	start := d.now()
	if err == nil {
		meta, err = ask(ctx)
	}
	switch {
	case err != nil && web != nil:
		d.findf(verdictInfo, "transport", "no transport options: %s", message(err))
	case err != nil:
		d.findf(verdictWarn, "transport", "no transport options: %s", message(err))
	default:
		d.findf(verdictOK, "transport", "shared memory %s, framing %s (%s)",
			orElse(meta.Value(wire.KeyTransportSHM), "unknown"), orElse(meta.Value(wire.KeyRequestVersion), "unknown"),
			rounded(d.now().Sub(start)))
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// hosts asks what the server hosts.
func (d *doctor) hosts(ctx context.Context, c *vgirpc.Client) {
	list, err := c.Describe(ctx)
	if err != nil {
		d.findf(verdictFail, "server", "%s", message(err))
		return
	}
	d.findf(verdictOK, "server", "%s%s", orElse(list.ServerID, "without an id"), prefixed(", version ", list.ServerVersion))
	if list.RequestVersion != wire.RequestVersion {
		d.findf(verdictFail, "framing", "the server speaks version %q, and this is %s", list.RequestVersion, wire.RequestVersion)
	}
	application := 0
	for _, s := range list.Protocols {
		if framework(s.Protocol) {
			continue
		}
		application++
		d.protocol(ctx, c, s)
	}
	if application == 0 {
		d.findf(verdictWarn, "protocols", "the server hosts nothing but the framework's own")
	}
}

// protocol compares what a server says of a protocol with what it is.
func (d *doctor) protocol(ctx context.Context, c *vgirpc.Client, s vgirpc.ProtocolSummary) {
	name := s.Protocol + prefixed(" ", s.ProtocolVersion)
	p, err := c.Discover(ctx, s.Protocol)
	if err != nil {
		d.findf(verdictFail, "protocol", "%s: %s", name, message(err))
		return
	}
	deprecated := 0
	for _, m := range p.Methods() {
		if m.Options().Deprecated != "" {
			deprecated++
		}
	}
	count := len(p.Methods())
	hash, err := p.Hash()
	switch {
	case err != nil:
		d.findf(verdictWarn, "protocol", "%s: its hash cannot be computed here: %v", name, err)
	case s.ProtocolHash == "":
		d.findf(verdictWarn, "protocol", "%s: the server gives no hash", name)
	case hash != s.ProtocolHash:
		d.findf(verdictWarn, "protocol", "%s: hash %s does not fit its description, which has %s: the two sides count types differently", name, s.ProtocolHash, hash)
	default:
		d.findf(verdictOK, "protocol", "%s: %d methods, hash %.12s… as computed here", name, count, hash)
	}
	if p.Version() == "" {
		d.findf(verdictInfo, "protocol", "%s has no version: a client of another one is not told", name)
	}
	if s.DeprecationMessage != "" || s.Deprecated {
		d.findf(verdictWarn, "protocol", "%s is deprecated: %s", name, orElse(s.DeprecationMessage, "without a reason"))
	}
	if deprecated > 0 {
		d.findf(verdictInfo, "protocol", "%s: %d of its methods are deprecated", name, deprecated)
	}
}

// probe reads two batches of a producer.
func (d *doctor) probe(ctx context.Context, c *vgirpc.Client, name string, args *arguments, words []string) {
	fail := func(err error) { d.findf(verdictFail, "stream", "%s: %s", name, message(err)) }
	m, err := findMethod(ctx, c, name)
	if err != nil {
		fail(err)
		return
	}
	if m.Kind() != vgirpc.KindProducer {
		fail(errors.New("not a producer"))
		return
	}
	params, err := args.row(m.ParamsSchema(), words)
	if err != nil {
		fail(err)
		return
	}
	s, err := c.OpenBatches(ctx, m, params)
	if err != nil {
		fail(err)
		return
	}
	tick := wire.EmptyBatch(wire.EmptySchema(), nil)
	var took []string
	for range 2 {
		start := d.now()
		_, err = s.Turn(ctx, &tick)
		if err != nil {
			break
		}
		took = append(took, rounded(d.now().Sub(start)).String())
	}
	switch {
	case err == nil:
		err = s.Cancel(ctx)
	case errors.Is(err, io.EOF):
		err = s.Close(ctx)
	}
	if err != nil {
		fail(err)
		return
	}
	d.findf(verdictOK, "stream", "%s: batches after %s", name, orElse(strings.Join(took, " and "), "none: it ended at once"))
}
