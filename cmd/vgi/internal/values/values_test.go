package values_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
)

// record makes rows of JSON objects on columns that are written as for --columns.
func record(t *testing.T, columns string, rows ...string) (arrow.RecordBatch, error) {
	t.Helper()
	fields, err := values.ParseColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	objects := make([]*values.Object, len(rows))
	for i, row := range rows {
		if objects[i], err = values.ParseObject([]byte(row)); err != nil {
			return nil, err
		}
	}
	return values.Record(arrow.NewSchema(fields, nil), objects)
}

func TestValuesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, tt := range []struct{ columns, row, want string }{
		{"a:int8,b:uint64,c:float16", `{"a":-128,"b":18446744073709551615,"c":1.5}`, ""},
		{"a:int64", `{"a":"12"}`, `{"a":12}`},
		{"a:float64", `{"a":"Inf"}`, ""},
		{"a:utf8", `{"a":"\u001b[2J\u0085\n\t\"\\é😀"}`, `{"a":"\u001b[2J\u0085\n\t\"\\é😀"}`},
		{"a:large_utf8,b:large_binary,c:fixed_size_binary(2)", `{"a":"x","b":"AAE=","c":"AAE="}`, ""},
		{"a:decimal128(20,4),b:decimal256(50,2)", `{"a":-12.5,"b":"1.50"}`, `{"a":"-12.5","b":"1.5"}`},
		{"a:decimal128(3,1)", `{"a":"1e1"}`, `{"a":"10"}`},
		{"a:date32,b:date64", `{"a":"2026-11-21","b":"2026-11-21"}`, ""},
		{"a:timestamp(us,tz=UTC),b:timestamp(s)", `{"a":"2026-11-21T13:45:00.5Z","b":"2026-11-21T13:45:00"}`, ""},
		{"a:time32(ms),b:time64(us),c:duration(ms)", `{"a":"13:45:00.5","b":"13:45:00.25","c":"1500ms"}`, ""},
		{"a:list<int64>,b:large_list<utf8>", `{"a":[1,null,3],"b":[]}`, ""},
		{"a:list<item:int64>", `{"a":[1]}`, ""},
		{"a:struct<z:int64,b:list<utf8>>", `{"a":{"z":1,"b":["x"]}}`, ""},
		{"a:int64?,b:utf8?", `{"b":null}`, `{"a":null,"b":null}`},
	} {
		rec, err := record(t, tt.columns, tt.row)
		if err != nil {
			t.Errorf("%s %s: %v", tt.columns, tt.row, err)
			continue
		}
		got, err := values.AppendRow(nil, rec, 0, nil)
		want := tt.want
		if want == "" {
			want = tt.row
		}
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.columns, err, diff)
		}
	}
}

func TestRefusalsNameThePlaceAndTheType(t *testing.T) {
	for _, tt := range []struct {
		columns string
		rows    []string
		want    string
	}{
		{"a:int8", []string{`{"a":128}`}, "a: 128 is not of type int8"},
		{"a:int8", []string{`{"a":1}`, `{"a":1.5}`}, "row 2.a: 1.5 is not of type int8"},
		{"a:int8", []string{`{}`}, "a: missing: it is required, of type int8"},
		{"a:int8?", []string{`{"b":1}`}, `unknown name "b" (did you mean a?): want a`},
		{"a:bool", []string{`{"a":"true"}`}, `a: "true" is not of type bool`},
		{"a:float16", []string{`{"a":70000}`}, "a: 70000 is not of type float16"},
		{"a:float32", []string{`{"a":1e60}`}, "a: 1e60 is not of type float32"},
		{"a:date32", []string{`{"a":20261121}`}, "a: 20261121 is not of type date32"},
		{"a:date32", []string{`{"a":"2026-11-21"}`, `{"a":"x"}`}, `row 2.a: "x" is not of type date32`},
		{"a:duration(s)", []string{`{"a":5}`}, `a: 5 is not of type duration(s): want a string such as "90.5s"`},
		{"a:duration(s)", []string{`{"a":"soon"}`}, `a: "soon" is not of type duration(s)`},
		{"a:decimal128(3,1)", []string{`{"a":1000.5}`}, `a: 1000.5 is not of type decimal128(3,1)`},
		{"a:decimal128(3,1)", []string{`{"a":"ten"}`}, `a: "ten" is not of type decimal128(3,1): want digits such as 12.50`},
		{"a:decimal128(3,1)", []string{`{"a":"1.25"}`}, `a: "1.25" has 2 digits behind the point: a decimal128(3,1) has 1`},
		{"a:binary", []string{`{"a":"***"}`}, `a: "***" is not base64, as a binary is written`},
		{"a:binary", []string{`{"a":[0]}`}, "a: an array is not of type binary: want a string of base64"},
		{"a:fixed_size_binary(2)", []string{`{"a":"AA=="}`}, "a: 1 bytes are not of type fixed_size_binary(2)"},
		{"a:utf8", []string{`{"a":""}{}`}, "not JSON: something follows the value at byte 9"},
		{"a:utf8", []string{`{"a":x}`}, "not JSON: invalid character 'x' looking for beginning of value"},
		{"a:utf8", []string{`[]`}, "want a JSON object, got an array"},
		{"a:binary", []string{`{"a":{}}`}, "a: an object is not of type binary: want a string of base64, and its description does not say which fields are packed into it (see --pack)"},
		{"a:list<item:int64>", []string{`{"a":[1,null]}`}, "a[1]: null is not of type int64: it is required"},
		{"a:list<int64>", []string{`{"a":{}}`}, "a: an object is not of type list<item?:int64>"},
		{"a:struct<x:int64>", []string{`{"a":{"y":1}}`}, `a: unknown name "y" (did you mean x?): want x`},
		{"a:struct<x:list<int8>>", []string{`{"a":{"x":[1,true]}}`}, "a.x[1]: true is not of type int8"},
		{"a:struct<x:int64>", []string{`{"a":{}}`}, "a.x: missing: it is required, of type int64"},
		{"a:utf8", []string{`{"a":"` + strings.Repeat("x", 100) + `","a":1}`}, `"a" is given twice`},
		{"a:int8", []string{`{"a":"` + strings.Repeat("x", 100) + `"}`}, `a: "` + strings.Repeat("x", 40) + `…" is not of type int8`},
		{"a:int8", []string{`{"a":1`}, "not JSON: it ends too early"},
		{"a:int8", []string{strings.Repeat("[", 300)}, "nested more than 200 deep"},
	} {
		_, err := record(t, tt.columns, tt.rows...)
		var typed *values.Error
		if !errors.As(err, &typed) || err.Error() != tt.want {
			t.Errorf("%s %s: got %v\nwant %s", tt.columns, tt.rows, err, tt.want)
		}
	}
}

func TestTypesAreReadAsTheyAreNamed(t *testing.T) {
	for _, token := range []string{
		"bool", "int8", "uint16", "float16", "float64", "utf8", "large_utf8", "binary", "large_binary", "date32", "date64",
		"timestamp(us)", "timestamp(ns,tz=Europe/Berlin)", "time32(s)", "time64(ns)", "duration(us)", "decimal128(20,4)", "decimal256(76,2)",
		"fixed_size_binary(8)", "list<item?:int64>", "list<item:list<item?:utf8>>", "large_list<item?:int8>", "struct<a:int64,b:list<item?:decimal128(3,1)>>",
	} {
		got, err := values.ParseType(token)
		if err != nil || values.TypeName(got) != token {
			t.Errorf("%s is %v, %v", token, got, err)
		}
	}
	for _, token := range []string{
		"", "int", "list<>", "list<int>", "decimal128(39,1)", "decimal128(3,4)", "decimal128(3)", "decimal256(77,1)", "time32(us)", "time64(s)",
		"timestamp(m)", "duration(us,tz=UTC)", "fixed_size_binary(-1)", "struct<a>", "map<utf8,int64>", "list<int64", "union<a:int8>",
	} {
		if got, err := values.ParseType(token); err == nil {
			t.Errorf("%s is %v", token, got)
		}
	}
}

func TestTypesAreInferredFromRows(t *testing.T) {
	for _, tt := range []struct {
		rows []string
		want string // "" for an error
	}{
		{[]string{`{"a":1,"b":"x"}`, `{"a":2,"c":true}`}, "a:int64 b:utf8 c:bool"},
		{[]string{`{"a":1}`, `{"a":2.5}`, `{"a":3}`}, "a:float64"},
		{[]string{`{"a":9223372036854775808}`}, "a:float64"},
		{[]string{`{"a":null}`}, "a:utf8"},
		{[]string{`{"a":[1,2.5]}`, `{"a":[]}`}, "a:list<item?:float64>"},
		{[]string{`{"a":{"x":1}}`, `{"a":{"y":["z"]}}`}, "a:struct<x?:int64,y?:list<item?:utf8>>"},
		{[]string{`{"a":1}`, `{"a":"x"}`}, ""},
		{[]string{`{"a":[1,"x"]}`}, ""},
	} {
		objects := make([]*values.Object, len(tt.rows))
		for i, row := range tt.rows {
			var err error
			if objects[i], err = values.ParseObject([]byte(row)); err != nil {
				t.Fatal(err)
			}
		}
		schema, err := values.Infer(objects, nil)
		var got []string
		if err == nil {
			for _, f := range schema.Fields() {
				got = append(got, f.Name+":"+values.TypeName(f.Type))
			}
			if _, err := values.Record(schema, objects); err != nil {
				t.Errorf("%s do not fit what was inferred of them: %v", tt.rows, err)
			}
		}
		if text := strings.Join(got, " "); text != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %s, %v", tt.rows, text, err)
		}
	}
}

func TestNamesThatAreClose(t *testing.T) {
	names := []string{"add_floats", "echo_int", "echo_int8", "count"}
	for name, want := range map[string][]string{
		"add_float": {"add_floats"}, "floats": {"add_floats"}, "ADD_FLOATS": {"add_floats"}, "echo_int": {"echo_int", "echo_int8"},
		"cuont": {}, "conut": {}, "coun": {"count"}, "zzz": {}, "": {},
	} {
		if diff := cmp.Diff(want, values.Near(name, names)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}
