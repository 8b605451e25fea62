package tabular

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Format is how rows are written or read.
type Format string

// The formats. Table can only be written, and so can JSON.
const (
	Table Format = "table"
	JSONL Format = "jsonl"
	JSON  Format = "json"
	Arrow Format = "arrow"
	CSV   Format = "csv"
)

// OutputFormats are those that can be written.
func OutputFormats() []string {
	return []string{string(Table), string(JSONL), string(JSON), string(Arrow), string(CSV)}
}

// InputFormats are those that can be read.
func InputFormats() []string { return []string{string(Arrow), string(CSV), string(JSONL)} }

// Writer writes batches of one schema. Each Write is seen by the reader at once.
type Writer interface {
	// Write writes a batch, and keeps nothing of it.
	Write(b *wire.Batch) error
	// Close ends the output. It does not close what is written to.
	Close() error
}

// NewWriter returns a writer of the format. unpack is for every format but
// Arrow, and may be nil.
func NewWriter(w io.Writer, f Format, unpack values.Unpack) (Writer, error) {
	switch f {
	case Arrow:
		return &arrowWriter{w: wire.NewWriter(w)}, nil
	case JSONL:
		return &jsonWriter{w: bufio.NewWriter(w), unpack: unpack}, nil
	case JSON:
		return &jsonWriter{w: bufio.NewWriter(w), unpack: unpack, array: true}, nil
	case CSV:
		return &csvWriter{w: csv.NewWriter(w), raw: w, unpack: unpack}, nil
	case Table:
		return &tableWriter{w: bufio.NewWriter(w), unpack: unpack}, nil
	}
	return nil, fmt.Errorf("format %q: want one of %s", f, strings.Join(OutputFormats(), ", "))
}

// arrowWriter writes one IPC stream, without the custom metadata of batches.
type arrowWriter struct{ w *wire.Writer }

func (a *arrowWriter) Write(b *wire.Batch) error {
	if !a.w.IsOpen() {
		if err := a.w.Open(b.Schema); err != nil {
			return err
		}
	}
	plain := *b
	plain.Meta = nil
	return errors.Join(a.w.Batch(&plain), a.w.Flush())
}

func (a *arrowWriter) Close() error {
	if !a.w.IsOpen() { // a reader wants a stream all the same
		if err := a.w.Open(wire.EmptySchema()); err != nil {
			return err
		}
	}
	return errors.Join(a.w.Close(), a.w.Flush())
}

// jsonWriter writes an object for each row, and an array around them if asked.
type jsonWriter struct {
	w      *bufio.Writer
	unpack values.Unpack
	array  bool
	rows   int64
	buf    []byte
}

func (j *jsonWriter) Write(b *wire.Batch) error {
	rec, err := b.Record()
	if err != nil {
		return err
	}
	defer rec.Release()
	for i := range b.Rows {
		j.buf = j.buf[:0]
		if j.array {
			j.buf = append(j.buf, "[\n  "...)
			if j.rows > 0 {
				j.buf = append(j.buf[:0], ",\n  "...)
			}
		}
		if j.buf, err = values.AppendRow(j.buf, rec, i, j.unpack); err != nil {
			return err
		}
		if !j.array {
			j.buf = append(j.buf, '\n')
		}
		j.rows++
		if _, err := j.w.Write(j.buf); err != nil {
			return err
		}
	}
	return j.w.Flush()
}

func (j *jsonWriter) Close() error {
	switch {
	case !j.array:
	case j.rows == 0:
		_, _ = j.w.WriteString("[]\n") // Flush has the error
	default:
		_, _ = j.w.WriteString("\n]\n")
	}
	return j.w.Flush()
}

// csvWriter writes a line of names, then one for each row. Nulls are empty, and
// nested values are JSON.
type csvWriter struct {
	w      *csv.Writer
	raw    io.Writer
	unpack values.Unpack
	begun  bool
}

func (c *csvWriter) Write(b *wire.Batch) error {
	rec, err := b.Record()
	if err != nil {
		return err
	}
	defer rec.Release()
	line := make([]string, rec.NumCols())
	if !c.begun {
		c.begun = true
		for j, f := range rec.Schema().Fields() {
			line[j] = f.Name
		}
		if err := c.w.Write(line); err != nil {
			return err
		}
	}
	for i := range b.Rows {
		for j, column := range rec.Columns() {
			if line[j], err = cell(column, i, c.unpack, ""); err != nil {
				return err
			}
		}
		if err := c.line(line); err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}

// line writes a row. One of a single empty cell would be an empty line, which
// readers pass over.
func (c *csvWriter) line(cells []string) error {
	if len(cells) != 1 || cells[0] != "" {
		return c.w.Write(cells)
	}
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return err
	}
	_, err := io.WriteString(c.raw, "\"\"\n")
	return err
}

func (c *csvWriter) Close() error {
	c.w.Flush()
	return c.w.Error()
}

// cell is a value as text: JSON, but strings without quotes and escapes.
func cell(column arrow.Array, i int, unpack values.Unpack, null string) (string, error) {
	if column.IsNull(i) {
		return null, nil
	}
	text, err := values.AppendJSON(nil, column, i, unpack)
	if err != nil {
		return "", err
	}
	if len(text) > 0 && text[0] == '"' {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return "", err
		}
		return s, nil
	}
	return string(text), nil
}

// maxWidth is how wide a column of a table is made by its values, in characters.
const maxWidth = 60

// tableWriter aligns columns by the names and the rows of the first batch: later
// ones may stand out, since a stream has no end that could be waited for.
type tableWriter struct {
	w      *bufio.Writer
	unpack values.Unpack
	widths []int
	right  []bool
}

func (t *tableWriter) Write(b *wire.Batch) error {
	rec, err := b.Record()
	if err != nil {
		return err
	}
	defer rec.Release()
	lines := make([][]string, b.Rows)
	for i := range lines {
		lines[i] = make([]string, rec.NumCols())
		for j, column := range rec.Columns() {
			text, err := cell(column, i, t.unpack, "NULL")
			if err != nil {
				return err
			}
			lines[i][j] = printable(text)
		}
	}
	if t.widths == nil {
		t.begin(rec.Schema(), lines)
	}
	for _, line := range lines {
		t.line(line)
	}
	return t.w.Flush()
}

// begin settles the widths, and writes the names.
func (t *tableWriter) begin(schema *arrow.Schema, lines [][]string) {
	t.widths, t.right = make([]int, schema.NumFields()), make([]bool, schema.NumFields())
	names, rules := make([]string, schema.NumFields()), make([]string, schema.NumFields())
	for j, f := range schema.Fields() {
		id := f.Type.ID()
		t.right[j] = arrow.IsInteger(id) || arrow.IsFloating(id) || arrow.IsDecimal(id)
		names[j] = printable(f.Name)
		t.widths[j] = utf8.RuneCountInString(names[j])
		for _, line := range lines {
			t.widths[j] = max(t.widths[j], min(maxWidth, utf8.RuneCountInString(line[j])))
		}
		rules[j] = strings.Repeat("-", t.widths[j])
	}
	t.line(names)
	t.line(rules)
}

func (t *tableWriter) line(cells []string) {
	var b bytes.Buffer
	for j, text := range cells {
		if j > 0 {
			b.WriteString("  ")
		}
		space := strings.Repeat(" ", max(0, t.widths[j]-utf8.RuneCountInString(text)))
		if t.right[j] {
			b.WriteString(space + text)
		} else {
			b.WriteString(text + space)
		}
	}
	_, _ = t.w.Write(append(bytes.TrimRight(b.Bytes(), " "), '\n')) // Flush has the error
}

func (t *tableWriter) Close() error { return t.w.Flush() }

// printable is text on one line that does not steer a terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || (r >= 0x7F && r < 0xA0) || r == utf8.RuneError }) {
		return s
	}
	quoted := values.AppendString(nil, s)
	return string(quoted[1 : len(quoted)-1])
}

// Aligned writes lines of text as a table with a line of names, columns two
// spaces apart.
func Aligned(w io.Writer, names []string, lines [][]string) error {
	t := &tableWriter{w: bufio.NewWriter(w), widths: make([]int, len(names)), right: make([]bool, len(names))}
	for _, line := range slices.Concat([][]string{names}, lines) {
		for j, text := range line {
			t.widths[j] = max(t.widths[j], utf8.RuneCountInString(printable(text)))
		}
	}
	for _, line := range slices.Concat([][]string{names}, lines) {
		shown := make([]string, len(line))
		for j, text := range line {
			shown[j] = printable(text)
		}
		t.line(shown)
	}
	return t.w.Flush()
}
