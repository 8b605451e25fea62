package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func (a *app) describeCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "describe URL [PROTOCOL[/METHOD]]",
		Short: "Say what a server hosts",
		Long: `Lists the protocols of a server with their methods, or the methods of one
protocol, or all that is known of one method. A method may stand alone where
only one protocol has it.`,
		Example: `  vgi describe stdio:./worker
  vgi describe https://api.example.com demo.Calc/add
  vgi describe unix:/tmp/w.sock --json | jq '.protocols[].name'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("want a URL, and perhaps a protocol or a method")
			}
			return nil
		},
		ValidArgsFunction: a.complete(""),
		RunE: a.runs(func(ctx context.Context, args []string) error {
			d := describer{app: a, asJSON: asJSON, all: all}
			return d.run(ctx, args)
		}),
	}
	a.conn.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object")
	cmd.Flags().BoolVar(&all, "all", false, "list the framework's own protocols, too")
	return cmd
}

// The description as --json writes it.
type (
	serverJSON struct {
		ServerID       string         `json:"server_id"`
		ServerVersion  string         `json:"server_version"`
		RequestVersion string         `json:"request_version"`
		Protocols      []protocolJSON `json:"protocols"`
	}
	protocolJSON struct {
		Name       string       `json:"name"`
		Version    string       `json:"version"`
		Hash       string       `json:"hash"`
		Deprecated string       `json:"deprecated,omitempty"`
		Methods    []methodJSON `json:"methods"`
	}
	methodJSON struct {
		Name        string             `json:"name"`
		Protocol    string             `json:"protocol"`
		Kind        string             `json:"kind"`
		Idempotency vgirpc.Idempotency `json:"idempotency"`
		Deprecated  string             `json:"deprecated,omitempty"`
		Signature   string             `json:"signature"`
		Params      []fieldJSON        `json:"params"`
		Result      []fieldJSON        `json:"result,omitempty"`
		Header      []fieldJSON        `json:"header,omitempty"`
	}
	fieldJSON struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Nullable bool   `json:"nullable"`
	}
)

type describer struct {
	*app
	asJSON, all bool
}

func (d *describer) run(ctx context.Context, args []string) (err error) {
	opts, err := d.conn.options(args[0], d.err)
	if err != nil {
		return err
	}
	c, err := d.conn.dial(ctx, args[0], opts)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := c.Close(); err == nil {
			err = closeErr
		}
	}()
	list, err := c.Describe(ctx)
	if err != nil {
		return noReflection(err)
	}
	if len(args) == 1 {
		return d.server(ctx, c, list)
	}
	for _, s := range list.Protocols {
		if s.Protocol == args[1] {
			return d.protocol(ctx, c, s)
		}
	}
	m, err := findMethod(ctx, c, args[1])
	if err != nil {
		return d.neither(err, args[1], list)
	}
	return d.method(m)
}

// neither is the error for a name that is no protocol, and no method.
func (d *describer) neither(err error, name string, list vgirpc.ProtocolList) error {
	var names []string
	for _, s := range list.Protocols {
		names = append(names, s.Protocol)
	}
	if near := values.Near(name, names); len(near) > 0 && !strings.Contains(name, "/") {
		return usagef("unknown protocol or method %q (did you mean %s?)", name, strings.Join(near, ", "))
	}
	return err
}

func (d *describer) writeJSON(v any) error {
	enc := json.NewEncoder(d.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// load asks for the methods of a protocol.
func (d *describer) load(ctx context.Context, c *vgirpc.Client, s vgirpc.ProtocolSummary) (protocolJSON, error) {
	p := protocolJSON{
		Name: s.Protocol, Version: s.ProtocolVersion, Hash: s.ProtocolHash, Deprecated: s.DeprecationMessage,
		Methods: []methodJSON{},
	}
	found, err := c.Discover(ctx, s.Protocol)
	if err != nil {
		return p, err
	}
	for _, m := range found.Methods() {
		p.Methods = append(p.Methods, describeMethod(m))
	}
	return p, nil
}

func describeMethod(m *vgirpc.Method) methodJSON {
	return methodJSON{
		Name: m.Name(), Protocol: m.Protocol().Name(), Kind: kindName(m), Idempotency: m.Options().Idempotency,
		Deprecated: m.Options().Deprecated, Signature: signature(m),
		Params: describeFields(m.ParamsSchema()), Result: describeFields(m.ResultSchema()), Header: describeFields(m.HeaderSchema()),
	}
}

func describeFields(s *wire.Schema) []fieldJSON {
	if s == nil {
		return nil
	}
	out := make([]fieldJSON, 0, s.NumFields())
	for _, f := range s.Arrow().Fields() {
		out = append(out, fieldJSON{f.Name, values.TypeName(f.Type), f.Nullable})
	}
	return out
}

func kindName(m *vgirpc.Method) string {
	if m.Kind() == vgirpc.KindUnary {
		return string(vgirpc.TypeUnary)
	}
	return string(m.Kind())
}

// fieldType is a field's type, with a question mark where it may be null.
func fieldType(f arrow.Field) string {
	if f.Nullable {
		return values.TypeName(f.Type) + "?"
	}
	return values.TypeName(f.Type)
}

// signature is a method in one line.
func signature(m *vgirpc.Method) string {
	var b strings.Builder
	b.WriteString(m.Name() + "(")
	for i, f := range m.ParamsSchema().Arrow().Fields() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.Name + ": " + fieldType(f))
	}
	b.WriteByte(')')
	if m.HasReturn() {
		b.WriteString(" -> " + fieldType(m.ResultSchema().Arrow().Field(0)))
	}
	return b.String()
}

func (d *describer) server(ctx context.Context, c *vgirpc.Client, list vgirpc.ProtocolList) error {
	s := serverJSON{
		ServerID: list.ServerID, ServerVersion: list.ServerVersion, RequestVersion: list.RequestVersion,
		Protocols: []protocolJSON{},
	}
	for _, summary := range list.Protocols {
		if framework(summary.Protocol) && !d.all {
			continue
		}
		p, err := d.load(ctx, c, summary)
		if err != nil {
			return err
		}
		s.Protocols = append(s.Protocols, p)
	}
	if d.asJSON {
		return d.writeJSON(s)
	}
	fmt.Fprintf(d.out, "server %s%s\n", clean(s.ServerID), prefixed(", version ", s.ServerVersion))
	for i := range s.Protocols {
		fmt.Fprintln(d.out)
		if err := d.table(&s.Protocols[i]); err != nil {
			return err
		}
	}
	return nil
}

// prefixed is text behind a prefix, or nothing.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + clean(text)
}

func (d *describer) protocol(ctx context.Context, c *vgirpc.Client, s vgirpc.ProtocolSummary) error {
	p, err := d.load(ctx, c, s)
	if err != nil {
		return err
	}
	if d.asJSON {
		return d.writeJSON(p)
	}
	return d.table(&p)
}

func (d *describer) table(p *protocolJSON) error {
	fmt.Fprintf(d.out, "%s%s\n", clean(p.Name), prefixed(" ", p.Version))
	if p.Hash != "" {
		fmt.Fprintf(d.out, "hash %s\n", clean(p.Hash))
	}
	if p.Deprecated != "" {
		fmt.Fprintf(d.out, "deprecated: %s\n", clean(p.Deprecated))
	}
	lines := make([][]string, len(p.Methods))
	for i := range p.Methods {
		m := &p.Methods[i]
		text := m.Signature
		if m.Deprecated != "" {
			text += "  (deprecated)"
		}
		lines[i] = []string{m.Kind, text}
	}
	return tabular.Aligned(d.out, []string{"KIND", "METHOD"}, lines)
}

func (d *describer) method(m *vgirpc.Method) error {
	j := describeMethod(m)
	if d.asJSON {
		return d.writeJSON(j)
	}
	fmt.Fprintf(d.out, "%s\n\n  kind         %s\n  idempotency  %s\n", clean(m.String()), j.Kind, clean(string(j.Idempotency)))
	if j.Deprecated != "" {
		fmt.Fprintf(d.out, "  deprecated   %s\n", clean(j.Deprecated))
	}
	var errs []error
	for _, part := range []struct {
		title  string
		fields []fieldJSON
	}{{"PARAMETER", j.Params}, {"RESULT", j.Result}, {"HEADER", j.Header}} {
		if len(part.fields) == 0 {
			continue
		}
		lines := make([][]string, len(part.fields))
		for i, f := range part.fields {
			lines[i] = []string{f.Name, f.Type, strconv.FormatBool(f.Nullable)}
		}
		fmt.Fprintln(d.out)
		errs = append(errs, tabular.Aligned(d.out, []string{part.title, "TYPE", "NULLABLE"}, lines))
	}
	if m.Kind() != vgirpc.KindUnary {
		fmt.Fprint(d.out, "\nThe rows that a stream takes and sends are not part of a server's description.\n")
	}
	return errors.Join(errs...)
}
