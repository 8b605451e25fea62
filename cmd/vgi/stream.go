package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// streamFlags are the flags of stream alone.
type streamFlags struct {
	input, inputFormat string
	columns            string
	batchSize          int
	limit              int64
	header             string
	progress           string
}

func (f *streamFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.input, "input", "i", "", "`FILE` with the rows to send to an exchange: .arrow, .csv or .jsonl; - is standard input")
	fs.StringVar(&f.inputFormat, "input-format", "", "`FORMAT` of the input: "+strings.Join(tabular.InputFormats(), ", ")+" (default by the file's name)")
	fs.StringVar(&f.columns, "columns", "", "`NAME:TYPE,...` of the input's columns (default inferred from the first batch)")
	fs.IntVar(&f.batchSize, "batch-size", 1000, "`ROWS` of CSV and JSON lines to send at once")
	fs.Int64VarP(&f.limit, "limit", "n", 0, "stop after so many `ROWS` of output (default none)")
	fs.StringVar(&f.header, "stream-header", "stderr", "`WHERE` the header of the stream goes: stderr, stdout (a first line of JSON) or none")
	fs.StringVar(&f.progress, "progress", "auto", "`WHEN` progress is shown on stderr: auto (after a second, to terminals), always or never")
}

// check refuses what does not go together.
func (f *streamFlags) check(out *output) error {
	switch {
	case f.batchSize < 1:
		return usagef("--batch-size %d: want 1 or more", f.batchSize)
	case f.limit < 0:
		return usagef("--limit %d: want 0 or more", f.limit)
	case f.header != "stderr" && f.header != "stdout" && f.header != "none":
		return usagef("--stream-header %q: want stderr, stdout or none", f.header)
	case f.header == "stdout" && out.format != string(tabular.JSONL):
		return usagef("--stream-header stdout: want the output as jsonl")
	case f.progress != "auto" && f.progress != "always" && f.progress != "never":
		return usagef("--progress %q: want auto, always or never", f.progress)
	case f.input == "" && (f.inputFormat != "" || f.columns != ""):
		return usagef("--input-format and --columns: want an --input")
	}
	return nil
}

func (a *app) streamCommand() *cobra.Command {
	s := streaming{app: a, args: arguments{in: a.in}}
	cmd := &cobra.Command{
		Use:   "stream URL METHOD [NAME=VALUE]…",
		Short: "Read a producer, or feed an exchange",
		Long: `Opens a stream and writes the rows that it sends, each batch as it comes.

A producer sends until it is done, or --limit is reached. An exchange answers
each batch of --input with one of its own. Interrupting tells the server to
stop. 'vgi help values' says how arguments and columns are written.`,
		Example: `  vgi stream stdio:./worker count n=1000 -o csv
  vgi stream https://api.example.com demo.Calc/scale factor=2 --input rows.jsonl
  seq 1 5 | jq -c '{value: .}' | vgi stream tcp:localhost:9000 scale factor=2 -i - --input-format jsonl --columns value:float64`,
		Args:              atLeast(2, "a URL and a method"),
		ValidArgsFunction: a.complete(vgirpc.TypeStream),
		RunE: a.runs(func(ctx context.Context, words []string) error {
			standard := tabular.JSONL
			if a.outTerminal {
				standard = tabular.Table
			}
			if err := s.out.check(standard); err != nil {
				return err
			}
			if err := s.check(&s.out); err != nil {
				return err
			}
			return a.withMethod(ctx, words[0], words[1], func(c *vgirpc.Client, m *vgirpc.Method) error {
				return s.run(ctx, c, m, words[2:])
			})
		}),
	}
	a.conn.register(cmd.Flags())
	s.args.register(cmd.Flags())
	s.register(cmd.Flags())
	s.out.register(cmd.Flags(), "table on terminals, else jsonl")
	return cmd
}

// streaming is one run of stream.
type streaming struct {
	*app
	streamFlags
	args arguments
	out  output

	stream   vgirpc.TurnStream
	writer   tabular.Writer
	progress *progress
	rows     int64 // written so far
}

func (s *streaming) run(ctx context.Context, c *vgirpc.Client, m *vgirpc.Method, words []string) (err error) {
	input, err := s.openInput(m)
	if err != nil {
		return err
	}
	params, err := s.args.row(m.ParamsSchema(), words)
	if err != nil {
		return err
	}
	if s.writer, err = s.out.writer(s.app.out); err != nil {
		return err
	}
	if s.streamFlags.progress == "always" || s.streamFlags.progress == "auto" && s.errTerminal && !s.outTerminal {
		s.progress = newProgress(s.err, s.limit, time.Now)
		defer s.progress.clear()
	}
	if s.stream, err = c.OpenBatches(ctx, m, params); err != nil {
		return err
	}
	if err = s.writeHeader(); err == nil {
		err = s.turns(ctx, input)
	}
	if err != nil {
		_ = s.stream.Cancel(context.WithoutCancel(ctx)) // err says what went wrong
		return errors.Join(err, s.writer.Close())
	}
	return errors.Join(s.stream.Close(ctx), s.writer.Close())
}

// openInput opens the rows for an exchange; nil for a producer.
func (s *streaming) openInput(m *vgirpc.Method) (tabular.Reader, error) {
	switch {
	case m.Kind() == vgirpc.KindUnary:
		return nil, usagef("%s is a unary method: use 'vgi call'", m)
	case m.Kind() == vgirpc.KindProducer && s.input != "":
		return nil, usagef("%s is a producer: it takes no --input", m)
	case m.Kind() == vgirpc.KindProducer:
		return nil, nil //nolint:nilnil // ticks have no rows
	case s.input == "":
		return nil, usagef("%s is an exchange: give the rows to send as --input FILE", m)
	case s.input == "-" && s.inputFormat == "":
		return nil, usagef("--input -: say what comes as --input-format arrow, csv or jsonl")
	case s.input == "-" && s.args.data == "-":
		return nil, usagef("--input - and --data -: there is one standard input")
	}
	opts := tabular.ReadOptions{BatchRows: s.batchSize}
	var err error
	if s.columns != "" {
		if opts.Columns, err = values.ParseColumns(s.columns); err != nil {
			return nil, usagef("--columns: %w", err)
		}
	}
	format := tabular.Format(s.inputFormat)
	if format == "" {
		if format, err = tabular.FormatOf(s.input); err != nil {
			return nil, usagef("--input: %w", err)
		}
	}
	from := s.in
	if s.input != "-" {
		f, err := os.Open(s.input)
		if err != nil {
			return nil, fmt.Errorf("--input: %w", err)
		}
		from = f // open until the process ends
	}
	r, err := tabular.NewReader(from, format, opts)
	if err != nil && strings.HasPrefix(err.Error(), "format ") {
		return nil, usagef("--input-format: %w", err)
	}
	return r, err
}

// writeHeader writes the header of the stream, when it has one.
func (s *streaming) writeHeader() error {
	h := s.stream.Header()
	if h == nil || s.header == "none" {
		return nil
	}
	rec, err := h.Record()
	if err != nil {
		return err
	}
	defer rec.Release()
	if h.Rows != 1 {
		return fmt.Errorf("the stream's header has %d rows", h.Rows)
	}
	text, err := values.AppendRow([]byte(`{"header":`), rec, 0, s.out.unpack())
	if err != nil {
		return err
	}
	w := s.err
	if s.header == "stdout" {
		w = s.app.out
	}
	_, err = w.Write(append(text, '}', '\n'))
	return err
}

// turns takes turn after turn until the input, the stream or the limit ends.
func (s *streaming) turns(ctx context.Context, input tabular.Reader) error {
	tick := wire.EmptyBatch(wire.EmptySchema(), nil)
	for s.limit == 0 || s.rows < s.limit {
		in := &tick
		if input != nil {
			var err error
			if in, err = input.Next(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
		out, err := s.stream.Turn(ctx, in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.write(out); err != nil {
			return err
		}
	}
	return s.stream.Cancel(ctx)
}

// write writes a batch, or what the limit leaves of it.
func (s *streaming) write(b *wire.Batch) error {
	if b.Kind() == wire.KindExternal {
		return errors.New("a batch is in external storage")
	}
	if left := s.limit - s.rows; s.limit > 0 && int64(b.Rows) > left {
		rec, err := b.Record()
		if err != nil {
			return err
		}
		defer rec.Release()
		part := rec.NewSlice(0, left)
		defer part.Release()
		if b, err = wire.NewBatch(b.Schema, part, nil); err != nil {
			return err
		}
	}
	s.rows += int64(b.Rows)
	if s.progress != nil && s.progress.width > 0 && s.outTerminal {
		s.progress.clear()
	}
	s.progress.add(b.Rows, b.Bytes())
	return s.writer.Write(b)
}
