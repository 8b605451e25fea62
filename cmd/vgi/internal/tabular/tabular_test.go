package tabular_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
)

// convert reads input and writes it in another format; rows are those of each
// batch that was read.
func convert(in io.Reader, from, to tabular.Format, opts tabular.ReadOptions) (out string, rows []int, err error) {
	r, err := tabular.NewReader(in, from, opts)
	if err != nil {
		return "", nil, err
	}
	var text bytes.Buffer
	w, err := tabular.NewWriter(&text, to, nil)
	if err != nil {
		return "", nil, err
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			err = w.Close()
			return text.String(), rows, err
		}
		if err != nil {
			return text.String(), rows, err
		}
		rows = append(rows, b.Rows)
		if err := w.Write(b); err != nil {
			return "", nil, err
		}
	}
}

func columns(t *testing.T, text string) []arrow.Field {
	t.Helper()
	if text == "" {
		return nil
	}
	fields, err := values.ParseColumns(text)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestCSVBecomesTypedRows(t *testing.T) {
	for _, tt := range []struct{ name, in, columns, want string }{
		{"numbers, booleans and text", "i,f,b,s\n1,1.5,true,x\n2,2,false,7\n", "", `{"i":1,"f":1.5,"b":true,"s":"x"}` + "\n" + `{"i":2,"f":2,"b":false,"s":"7"}` + "\n"},
		{"cells without a value", "i,s\n1,\n,x\nNULL,null\n", "", `{"i":1,"s":""}` + "\n" + `{"i":null,"s":"x"}` + "\n" + `{"i":null,"s":"null"}` + "\n"},
		{"a mark of the byte order", "\uFEFFa\n1\n", "", `{"a":1}` + "\n"},
		{"quotes and line breaks", "a\n\"x \"\"y\"\"\nz\"\n", "", `{"a":"x \"y\"\nz"}` + "\n"},
		{"a column of nothing", "a,b\n,1\n", "", `{"a":"","b":1}` + "\n"},
		{"declared types", "d,l\n2026-11-21,\"[1,2]\"\n", "d:date32,l:list<int8>", `{"d":"2026-11-21","l":[1,2]}` + "\n"},
		{"nothing at all", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := convert(strings.NewReader(tt.in), tabular.CSV, tabular.JSONL, tabular.ReadOptions{Columns: columns(t, tt.columns)})
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestFormatsAgree(t *testing.T) {
	const lines = `{"i":1,"s":"a,\"b\"","n":null}` + "\n" + `{"i":2,"s":"","n":2.5}` + "\n" + `{"i":3,"s":"x","n":-1}` + "\n"
	opts := tabular.ReadOptions{Columns: columns(t, "n:float64?"), BatchRows: 2}
	for _, f := range []tabular.Format{tabular.Arrow, tabular.CSV, tabular.JSONL} {
		written, rows, err := convert(strings.NewReader(lines), tabular.JSONL, f, opts)
		if diff := cmp.Diff([]int{2, 1}, rows); diff != "" || err != nil {
			t.Errorf("%s: %v, batches (-want +got):\n%s", f, err, diff)
		}
		back, _, err := convert(strings.NewReader(written), f, tabular.JSONL, opts)
		if diff := cmp.Diff(lines, back); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", f, err, diff)
		}
	}
}

func TestARowOfOneEmptyCellIsARow(t *testing.T) {
	const lines = `{"a":null}` + "\n" + `{"a":1}` + "\n" + `{"a":null}` + "\n"
	written, _, err := convert(strings.NewReader(lines), tabular.JSONL, tabular.CSV, tabular.ReadOptions{})
	if err != nil || written != "a\n\"\"\n1\n\"\"\n" {
		t.Fatalf("%v: %q", err, written)
	}
	back, _, err := convert(strings.NewReader(written), tabular.CSV, tabular.JSONL, tabular.ReadOptions{})
	if diff := cmp.Diff(lines, back); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestArrowFilesAreReadLikeStreams(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil)
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range [][]int64{{1, 2}, {3}} {
		b := array.NewInt64Builder(memory.DefaultAllocator)
		b.AppendValues(batch, nil)
		if err := w.Write(array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, int64(len(batch)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, rows, err := convert(&out, tabular.Arrow, tabular.CSV, tabular.ReadOptions{})
	if diff := cmp.Diff("a\n1\n2\n3\n", got); diff != "" || err != nil || len(rows) != 2 {
		t.Errorf("%v, %d batches (-want +got):\n%s", err, len(rows), diff)
	}
	for name, in := range map[string]string{"a stream that ends too early": "\xff\xff\xff\xff\x10\x00\x00\x00", "a file of nothing but its mark": "ARROW1\x00\x00"} {
		if _, _, err := convert(strings.NewReader(in), tabular.Arrow, tabular.CSV, tabular.ReadOptions{}); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestTablesKeepTheirColumns(t *testing.T) {
	long := strings.Repeat("x", 70)
	in := `{"name":"é","n":1}` + "\n" + `{"name":"` + long + `","n":2}` + "\n" + `{"name":"a\nb","n":100}` + "\n"
	got, _, err := convert(strings.NewReader(in), tabular.JSONL, tabular.Table, tabular.ReadOptions{BatchRows: 2})
	space := strings.Repeat(" ", 57)
	want := "name" + strings.Repeat(" ", 56) + "  n\n" + strings.Repeat("-", 60) + "  -\n" +
		"é" + space + "    1\n" + long + "  2\n" + `a\nb` + strings.Repeat(" ", 56) + "  100\n"
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestFormatsAreNamedByFiles(t *testing.T) {
	for path, want := range map[string]tabular.Format{
		"a.arrow": tabular.Arrow, "a.ARROWS": tabular.Arrow, "a.b.csv": tabular.CSV, "a.jsonl": tabular.JSONL, "a.ndjson": tabular.JSONL,
		"a": "", "a.parquet": "", "csv": "",
	} {
		if got, err := tabular.FormatOf(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", path, got, err)
		}
	}
}
