package values_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
)

// FuzzRecord puts any JSON into a column of any type: what is accepted can be
// written, is JSON, and is accepted again with the same result.
func FuzzRecord(f *testing.F) {
	for _, seed := range [][2]string{
		{"int64", "1"},
		{"decimal128(20,4)", `"-1.5"`},
		{"decimal256(40,2)", "1e3"},
		{"timestamp(us,tz=UTC)", `"2026-11-21T13:45:00Z"`},
		{"timestamp(ns,tz=Nowhere)", `"2026-11-21T13:45:00Z"`},
		{"date64", `"2026-11-21"`},
		{"time32(ms)", `"13:45:00.5"`},
		{"duration(ns)", `"1m30s"`},
		{"fixed_size_binary(2)", `"AAE="`},
		{"list<item:struct<a:utf8?,b:float16>>", `[{"a":null,"b":"NaN"}]`},
		{"large_list<binary>", `["", null]`},
		{"struct<>", "{}"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, token, text string) {
		typ, err := values.ParseType(token)
		if err != nil {
			return
		}
		v, err := values.Parse([]byte(text))
		if err != nil {
			return
		}
		schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil)
		first, ok := write(t, schema, v)
		if !ok {
			return
		}
		if !json.Valid(first) {
			t.Fatalf("%s %s is written as %s", token, text, first)
		}
		again, err := values.ParseObject(first)
		if err != nil {
			t.Fatalf("%s %s is written as %s: %v", token, text, first, err)
		}
		value, _ := again.Get("v")
		second, ok := write(t, schema, value)
		if !ok || !bytes.Equal(first, second) {
			t.Fatalf("%s %s is written as %s, then %s", token, text, first, second)
		}
	})
}

// write makes a row of a value and writes it; false where it is refused.
func write(t *testing.T, schema *arrow.Schema, v any) ([]byte, bool) {
	t.Helper()
	row := values.NewObject()
	row.Set("v", v)
	rec, err := values.Record(schema, []*values.Object{row})
	if err != nil {
		return nil, false
	}
	text, err := values.AppendRow(nil, rec, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text, true
}
