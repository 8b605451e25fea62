package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func (a *app) callCommand() *cobra.Command {
	args := arguments{in: a.in}
	var out output
	cmd := &cobra.Command{
		Use:   "call URL METHOD [NAME=VALUE]…",
		Short: "Call a unary method",
		Long: `Calls a method that answers once, and writes its result.

METHOD is PROTOCOL/METHOD, or the method alone where only one of the server's
protocols has it. As JSON the result is the value itself, null for a void
method; in the other formats it is a row. 'vgi help values' says how arguments
are written.`,
		Example: `  vgi call stdio:./worker add a=1 b=2
  vgi call https://api.example.com demo.Calc/add -d '{"a":1,"b":2}' --bearer-file token
  vgi call unix:/tmp/w.sock echo_list 'values:=["a","b"]' -o arrow >result.arrows`,
		Args:              atLeast(2, "a URL and a method"),
		ValidArgsFunction: a.complete(vgirpc.TypeUnary),
		RunE: a.runs(func(ctx context.Context, words []string) error {
			if err := out.check(tabular.JSON); err != nil {
				return err
			}
			return a.withMethod(ctx, words[0], words[1], func(c *vgirpc.Client, m *vgirpc.Method) error {
				return a.call(ctx, c, m, &args, words[2:], &out)
			})
		}),
	}
	a.conn.register(cmd.Flags())
	args.register(cmd.Flags())
	out.register(cmd.Flags(), string(tabular.JSON))
	return cmd
}

// withMethod connects, finds a method, and closes the connection at the end.
func (a *app) withMethod(ctx context.Context, target, name string, do func(*vgirpc.Client, *vgirpc.Method) error) (err error) {
	opts, err := a.conn.options(target, a.err)
	if err != nil {
		return err
	}
	c, err := a.conn.dial(ctx, target, opts)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := c.Close(); err == nil {
			err = closeErr
		}
	}()
	m, err := findMethod(ctx, c, name)
	if err != nil {
		return err
	}
	return do(c, m)
}

func (a *app) call(ctx context.Context, c *vgirpc.Client, m *vgirpc.Method, args *arguments, words []string, out *output) error {
	if m.Kind() != vgirpc.KindUnary {
		return usagef("%s is a stream (%s): use 'vgi stream'", m, m.Kind())
	}
	params, err := args.row(m.ParamsSchema(), words)
	if err != nil {
		return err
	}
	result, release, err := c.CallBatch(ctx, m, params)
	if err != nil {
		return err
	}
	defer release()
	return a.writeResult(result, out)
}

// writeResult writes a result: in JSON the value, else the batch.
func (a *app) writeResult(b *wire.Batch, out *output) error {
	format := tabular.Format(out.format)
	fields := b.Schema.Arrow().Fields()
	bare := len(fields) == 0 || (b.Rows == 1 && len(fields) == 1 && fields[0].Name == wire.ResultColumn)
	if len(fields) == 0 && (format == tabular.Table || format == tabular.CSV) {
		return nil // void: there is no column to show
	}
	if !bare || (format != tabular.JSON && format != tabular.JSONL) {
		w, err := out.writer(a.out)
		if err != nil {
			return err
		}
		return errors.Join(w.Write(b), w.Close())
	}
	text := []byte("null")
	if len(fields) == 1 {
		rec, err := b.Record()
		if err != nil {
			return err
		}
		defer rec.Release()
		if text, err = values.AppendJSON(nil, rec.Column(0), 0, out.unpack()); err != nil {
			return err
		}
	}
	if format == tabular.JSON {
		text = values.Indent(text)
	}
	_, err := a.out.Write(append(text, '\n'))
	return err
}
