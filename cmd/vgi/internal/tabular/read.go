package tabular

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Reader reads batches of one schema.
type Reader interface {
	// Next returns the next batch, valid until the next call, or io.EOF.
	Next() (*wire.Batch, error)
}

// ReadOptions say how input becomes batches.
type ReadOptions struct {
	// BatchRows is how many rows of CSV or JSON lines make one batch. 1000 when
	// 0. Arrow input keeps its batches.
	BatchRows int
	// Columns are the types of columns of CSV and JSON lines that must not be
	// inferred from the first batch.
	Columns []arrow.Field
	// Limits bound what is read of Arrow input.
	Limits wire.Limits
}

const defaultBatchRows = 1000

// FormatOf is the format of a file by its name.
func FormatOf(path string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".arrow", ".arrows", ".ipc", ".feather":
		return Arrow, nil
	case ".csv":
		return CSV, nil
	case ".jsonl", ".ndjson", ".json":
		return JSONL, nil
	}
	return "", fmt.Errorf("%s does not say its format: want one of %s", path, strings.Join(InputFormats(), ", "))
}

// NewReader returns a reader of the format.
func NewReader(r io.Reader, f Format, opts ReadOptions) (Reader, error) {
	if opts.BatchRows == 0 {
		opts.BatchRows = defaultBatchRows
	}
	switch f {
	case Arrow:
		return newArrowReader(r, opts)
	case JSONL:
		return newJSONReader(r, opts), nil
	case CSV:
		return newCSVReader(r, opts), nil
	default:
	}
	return nil, fmt.Errorf("format %q: want one of %s", f, strings.Join(InputFormats(), ", "))
}

// fileMagic begins the file format of Arrow, which is a stream with an index.
const fileMagic = "ARROW1"

type arrowReader struct{ r *wire.Reader }

func newArrowReader(r io.Reader, opts ReadOptions) (Reader, error) {
	buffered := bufio.NewReader(r)
	if start, _ := buffered.Peek(len(fileMagic)); string(start) == fileMagic {
		return newFileReader(buffered)
	}
	a := &arrowReader{wire.NewReader(buffered, opts.Limits, nil)}
	if _, err := a.r.NextStream(); err != nil {
		return nil, fmt.Errorf("the input is no Arrow IPC stream: %w", err)
	}
	return a, nil
}

func (a *arrowReader) Next() (*wire.Batch, error) {
	b, err := a.r.Next()
	if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("the input: %w", err)
	}
	b.Meta = nil // keys of the protocol must not come out of a file
	return b, nil
}

// fileReader reads Arrow's file format, which has its index at the end.
type fileReader struct {
	r      *ipc.FileReader
	schema *wire.Schema
	next   int
}

func newFileReader(r io.Reader) (Reader, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	file, err := ipc.NewFileReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the input is no Arrow IPC file: %w", err)
	}
	schema, err := wire.NewSchema(file.Schema())
	return &fileReader{r: file, schema: schema}, err
}

func (f *fileReader) Next() (*wire.Batch, error) {
	if f.next == f.r.NumRecords() {
		return nil, io.EOF
	}
	rec, err := f.r.RecordBatchAt(f.next)
	if err != nil {
		return nil, fmt.Errorf("the input: %w", err)
	}
	f.next++
	return wire.NewBatch(f.schema, rec, nil)
}

// jsonReader reads an object from each line.
type jsonReader struct {
	lines  *bufio.Reader
	opts   ReadOptions
	schema *wire.Schema // from the first batch on
	line   int
	ended  bool
}

func newJSONReader(r io.Reader, opts ReadOptions) *jsonReader {
	return &jsonReader{lines: bufio.NewReader(r), opts: opts}
}

func (j *jsonReader) Next() (*wire.Batch, error) {
	var rows []*values.Object
	first := j.line + 1
	for len(rows) < j.opts.BatchRows && !j.ended {
		line, err := j.lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		j.ended = err != nil
		j.line++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		row, err := values.ParseObject(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the input: %w", j.line, err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, io.EOF
	}
	if j.schema == nil {
		inferred, err := values.Infer(rows, j.opts.Columns)
		if err != nil {
			return nil, fmt.Errorf("the input: %w", err)
		}
		if j.schema, err = wire.NewSchema(inferred); err != nil {
			return nil, err
		}
	}
	rec, err := values.Record(j.schema.Arrow(), rows)
	if err != nil {
		return nil, fmt.Errorf("the input from line %d: %w", first, err)
	}
	return wire.NewBatch(j.schema, rec, nil)
}

// csvReader reads rows below a line of names.
type csvReader struct {
	r      *csv.Reader
	opts   ReadOptions
	names  []string
	schema *wire.Schema // from the first batch on
	line   int          // of the last row
}

func newCSVReader(r io.Reader, opts ReadOptions) *csvReader {
	c := &csvReader{r: csv.NewReader(r), opts: opts}
	c.r.ReuseRecord = true
	return c
}

func (c *csvReader) Next() (*wire.Batch, error) {
	if c.names == nil {
		if err := c.readNames(); err != nil {
			return nil, err
		}
	}
	var lines [][]string
	first := c.line + 1
	for len(lines) < c.opts.BatchRows {
		line, err := c.r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the input: %w", err)
		}
		c.line, _ = c.r.FieldPos(0)
		if len(lines) == 0 {
			first = c.line
		}
		lines = append(lines, slices.Clone(line))
	}
	if len(lines) == 0 {
		return nil, io.EOF
	}
	if c.schema == nil {
		if err := c.infer(lines); err != nil {
			return nil, err
		}
	}
	rec, err := c.record(lines)
	if err != nil {
		return nil, fmt.Errorf("the input from line %d: %w", first, err)
	}
	return wire.NewBatch(c.schema, rec, nil)
}

func (c *csvReader) readNames() error {
	line, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("the input: %w", err)
	}
	c.line = 1
	c.names = slices.Clone(line)
	c.names[0] = strings.TrimPrefix(c.names[0], "\uFEFF") // as spreadsheets write it
	for i, name := range c.names {
		if slices.Contains(c.names[:i], name) {
			return fmt.Errorf("the input has two columns %q", name)
		}
	}
	for _, f := range c.opts.Columns {
		if !slices.Contains(c.names, f.Name) {
			return fmt.Errorf("the input has no column %q: it has %s", f.Name, strings.Join(c.names, ", "))
		}
	}
	return nil
}

// infer settles the types of columns that are not declared.
func (c *csvReader) infer(lines [][]string) error {
	fields := make([]arrow.Field, len(c.names))
	for j, name := range c.names {
		if i := slices.IndexFunc(c.opts.Columns, func(f arrow.Field) bool { return f.Name == name }); i >= 0 {
			fields[j] = c.opts.Columns[i]
			continue
		}
		column := make([]string, len(lines))
		for i, line := range lines {
			column[i] = line[j]
		}
		fields[j] = arrow.Field{Name: name, Type: inferText(column), Nullable: true}
	}
	var err error
	c.schema, err = wire.NewSchema(arrow.NewSchema(fields, nil))
	return err
}

// isNull reports whether a cell has no value.
func isNull(cell string) bool { return cell == "" || cell == "null" || cell == "NULL" }

// inferText is the type that every cell can be read as: int64, float64 or bool,
// and utf8 where there is none, or nothing to tell by.
func inferText(column []string) arrow.DataType {
	given := slices.DeleteFunc(slices.Clone(column), isNull)
	every := func(is func(string) bool) bool {
		return len(given) > 0 && !slices.ContainsFunc(given, func(cell string) bool { return !is(cell) })
	}
	switch {
	case every(func(s string) bool { _, err := strconv.ParseInt(s, 10, 64); return err == nil }):
		return arrow.PrimitiveTypes.Int64
	case every(func(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }):
		return arrow.PrimitiveTypes.Float64
	case every(func(s string) bool { return s == "true" || s == "false" }):
		return arrow.FixedWidthTypes.Boolean
	}
	return arrow.BinaryTypes.String
}

// record makes a batch of lines. A cell without a value is null, but text is
// text.
func (c *csvReader) record(lines [][]string) (arrow.RecordBatch, error) {
	fields := c.schema.Arrow().Fields()
	rows := make([]*values.Object, len(lines))
	for i, line := range lines {
		rows[i] = values.NewObject()
		for j, f := range fields {
			var v any
			if f.Type.ID() == arrow.STRING || f.Type.ID() == arrow.LARGE_STRING || !isNull(line[j]) {
				var err error
				if v, err = values.FromText(f, line[j]); err != nil {
					return nil, fmt.Errorf("row %d: %s: %w", i+1, f.Name, err)
				}
			}
			rows[i].Set(f.Name, v)
		}
	}
	return values.Record(c.schema.Arrow(), rows)
}
