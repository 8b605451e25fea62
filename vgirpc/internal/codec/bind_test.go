package codec

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

func TestForeignSchemasAreReadByName(t *testing.T) {
	type newItem struct {
		Added []string
		Y, X  float64
	}
	type newer struct {
		Extra  map[string]string
		Items  []newItem
		ByName map[string]newItem
		Text   string `vgi:",type=large_utf8"`
		Word   string `vgi:",type=dictionary<int32,utf8>"`
		Data   []byte `vgi:",type=large_binary"`
		Status string
		N      *int64
	}
	type item struct {
		X    float64
		Y    float64
		Note string `vgi:"note,default=none"`
	}
	type older struct {
		N      int64
		Text   string
		Word   string
		Status Status
		Data   []byte
		Items  []item
		ByName map[string]*item
		Absent int      `vgi:"absent,default=7"`
		List   []string `vgi:"list,default=[]"`
	}
	b := encodeAs(t, Row, newer{
		Items: []newItem{{[]string{"a"}, 2, 1}}, ByName: map[string]newItem{"k": {nil, 4, 3}}, Text: "text", Word: "word",
		Data: []byte("data"), Status: "CLOSED", N: new(int64(5)),
	}, newer{N: new(int64(6)), Status: "ACTIVE"})
	got, err := decodeAs[older](t, Row, b)
	if err != nil {
		t.Fatal(err)
	}
	want := []older{{
		N: 5, Text: "text", Word: "word", Status: "CLOSED", Data: []byte("data"), Items: []item{{1, 2, "none"}},
		ByName: map[string]*item{"k": {3, 4, "none"}}, Absent: 7, List: []string{},
	}, {N: 6, Status: "ACTIVE", Data: []byte{}, Items: []item{}, ByName: map[string]*item{}, Absent: 7, List: []string{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestColumnsThatCannotBeReadAreSchemaErrors(t *testing.T) {
	type row struct {
		A int64
		T time.Time
		P *struct{ X float64 }
	}
	type point struct{ X float64 }
	for _, tc := range []struct {
		batch *wire.Batch
		want  string
	}{
		{encodeAs(t, Row, struct {
			T time.Time
			P point
		}{}), `row.A: column "a" is absent and has no default`},
		{encodeAs(t, Row, struct {
			A int32
			T time.Time
			P point
		}{}), `row.A: column "a" is int32, which cannot be read as int64`},
		{encodeAs(t, Row, struct {
			A int64
			T time.Time `vgi:",type=timestamp(us)"`
			P point
		}{}), `row.T: column "t" is timestamp(us), which cannot be read as timestamp(us,tz=UTC)`},
		{encodeAs(t, Row, struct {
			A int64
			T time.Time
			P struct{ Y float64 }
		}{}), `.X: column "x" is absent and has no default`},
		{encodeAs(t, Row, struct {
			A int64
			T time.Time
			P []float64
		}{}), `row.P: column "p" is list<item?:float64>, which cannot be read as struct<x:float64>`},
	} {
		_, err := decodeAs[row](t, Row, tc.batch)
		var schema *SchemaError
		if !errors.As(err, &schema) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

func TestTwoColumnsOfOneNameAreRefusedWhereTheNameCounts(t *testing.T) {
	f := func(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64} }
	s, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{f("a"), f("x"), f("x")}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := planOf(t, &struct{ A int64 }{}).Bind(s); err != nil {
		t.Error(err)
	}
	if _, err := planOf(t, &struct{ X int64 }{}).Bind(s); err == nil || !strings.Contains(err.Error(), "two columns are called x") {
		t.Errorf("got %v", err)
	}
}

func TestAPlanRemembersTheSchemasThatItWasBoundTo(t *testing.T) {
	p := planOf(t, &struct {
		A int64
		B int64 `vgi:",default=1"`
	}{})
	b := encodeAs(t, Row, struct{ A int64 }{5})
	first, err := p.Bind(b.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := p.Bind(b.Schema); second != first {
		t.Error("the schema was resolved twice")
	}
	for range 10 {
		other := encodeAs(t, Row, struct{ A int64 }{5})
		if _, err := p.Bind(other.Schema); err != nil {
			t.Fatal(err)
		}
	}
	var got struct{ A, B int64 }
	if err := first.Decode(b, 0, pointer(&got)); err != nil || got.A != 5 || got.B != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	var rows [1]struct{ A, B int64 }
	if err := first.DecodeRows(b, pointer(&rows[0]), 1); err != nil || rows[0] != got {
		t.Errorf("got %+v, %v", rows, err)
	}
	if _, err := p.Bind(nil); err == nil {
		t.Error("no schema at all is bound")
	}
}

func TestStreamsOfAStructAreReadLeniently(t *testing.T) {
	type row struct {
		A int64 `vgi:"a,default=9"`
	}
	p := planOf(t, &row{})
	one, err := p.Marshal(pointer(&row{5}))
	if err != nil {
		t.Fatal(err)
	}
	two := encodeAs(t, Row, row{1}, row{2})
	none := encodeAs[row](t, Row)
	bare := encodeAs(t, Row, struct{}{})
	for _, tc := range []struct {
		name string
		data []byte
		want int64
		err  string
	}{
		{"as written", one, 5, ""},
		{"without an end", one[:len(one)-8], 5, ""},
		{"with more behind it", append(append([]byte{}, one...), "more"...), 5, ""},
		{"nothing", nil, 9, ""},
		{"no columns", streamOf(t, bare), 9, ""},
		{"schema alone, without columns", bare.Schema.Message(), 9, ""},
		{"schema alone", p.Schema().Message(), 0, "field: a struct of 0 rows: exactly one is required"},
		{"no rows", streamOf(t, none), 0, "field: a struct of 0 rows: exactly one is required"},
		{"two rows", streamOf(t, two), 0, "field: a struct of 2 rows: exactly one is required"},
		{"cut short", one[:len(one)-20], 0, "not a readable Arrow IPC stream"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 3 {
				var got row
				err := p.Unmarshal(tc.data, pointer(&got))
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Errorf("got %v", err)
					}
				} else if err != nil || got.A != tc.want {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
}

func TestAnAbsentRecordOrSchemaIsNoBytes(t *testing.T) {
	data, err := planOf(t, &EmbeddedArrow{}).Marshal(pointer(&EmbeddedArrow{}))
	if err != nil {
		t.Fatal(err)
	}
	record, schema := goldenArrow(t)
	got := EmbeddedArrow{record, schema}
	if err := planOf(t, &got).Unmarshal(data, pointer(&got)); err != nil || got.Batch != nil || got.Schema != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestARecordWithoutABatchIsEmpty(t *testing.T) {
	_, schema := goldenArrow(t)
	s, err := wire.NewSchema(schema)
	if err != nil {
		t.Fatal(err)
	}
	b := encodeAs(t, Row, struct{ Batch, Schema []byte }{s.Message(), s.Message()})
	got, err := decodeAs[EmbeddedArrow](t, Row, b)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Batch.NumRows() != 0 || !got[0].Batch.Schema().Equal(schema) || !got[0].Schema.Equal(schema) {
		t.Errorf("got %v", got)
	}
}

func streamOf(tb testing.TB, b *wire.Batch) []byte {
	tb.Helper()
	var out sink
	w := wire.NewWriter(&out)
	for _, err := range []error{w.Open(b.Schema), w.Batch(b), w.Close(), w.Flush()} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

type sink []byte

func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
