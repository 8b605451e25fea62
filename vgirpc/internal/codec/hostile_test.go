package codec

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

// corrupt damages one part of a column or of what is below it.
func corrupt(rnd *rand.Rand, c *wire.Column) {
	for {
		if len(c.Children) > 0 && rnd.IntN(2) == 0 {
			c = &c.Children[rnd.IntN(len(c.Children))]
			continue
		}
		if c.Dict != nil && rnd.IntN(2) == 0 {
			dict := *c.Dict
			c.Dict = &dict
			c = c.Dict
			continue
		}
		break
	}
	buffers := []*[]byte{&c.Validity, &c.Offsets, &c.Data}
	p := buffers[rnd.IntN(len(buffers))]
	switch rnd.IntN(9) {
	case 0:
		*p = (*p)[:rnd.IntN(len(*p)+1)]
	case 1:
		*p = nil
	case 2, 3, 4:
		*p = bytes.Clone(*p)
		for range min(len(*p), 4) {
			(*p)[rnd.IntN(len(*p))] = byte(rnd.Uint32())
		}
	case 5:
		c.Nulls = rnd.IntN(c.Rows + 2)
	case 6:
		c.Children = nil
	case 7:
		c.Dict = nil
	case 8:
		c.Rows = rnd.IntN(1 << 30)
	}
}

// cloneColumns copies columns, but not their buffers.
func cloneColumns(cols []wire.Column) []wire.Column {
	out := append([]wire.Column(nil), cols...)
	for i := range out {
		out[i].Children = cloneColumns(out[i].Children)
	}
	return out
}

func TestDamagedBatchesAreErrorsAndNeverPanics(t *testing.T) {
	const rows = 5
	p := mustCompile(t, reflect.TypeFor[everyKind](), Row)
	values := everyRow(t, 11, rows)
	var e Encoder
	var whole wire.Batch
	if err := p.Encode(&e, pointer(&values[0]), rows, &whole); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for i := range 5_000 {
		b := whole
		b.Owned = i%2 == 0
		b.Cols = cloneColumns(whole.Cols)
		for range 1 + rnd.IntN(3) {
			corrupt(rnd, &b.Cols[rnd.IntN(len(b.Cols))])
		}
		var got [rows]everyKind
		if p.DecodeRows(&b, unsafe.Pointer(&got[0]), rows) != nil {
			failed++
		}
		// What was decoded is usable, whatever it says.
		for _, v := range got {
			for _, s := range append(v.Texts, v.Text, v.Word, v.LargeText) {
				_ = strings.Clone(s)
			}
			_ = bytes.Clone(v.Bytes)
		}
	}
	if failed < 1_000 {
		t.Errorf("only %d damaged batches were refused", failed)
	}
}

func TestRowsOutsideOfABatchAreErrors(t *testing.T) {
	b := encodeAs(t, Row, benchOne{1}, benchOne{2})
	p := mustCompile(t, reflect.TypeFor[benchOne](), Row)
	var got [3]benchOne
	for _, row := range []int{-1, 2, 1 << 40} {
		if p.Decode(b, row, pointer(&got[0])) == nil {
			t.Errorf("row %d is decoded", row)
		}
	}
	if p.DecodeRows(b, pointer(&got[0]), 3) == nil || p.DecodeRows(b, pointer(&got[0]), -1) == nil {
		t.Error("more rows are decoded than there are")
	}
}

func TestRowsWithoutBytesAreBounded(t *testing.T) {
	type empty struct{}
	type row struct {
		E empty
		L []empty
	}
	p := mustCompile(t, reflect.TypeFor[row](), Row)
	forged := encodeAs(t, Row, row{})
	forged.Rows = 1 << 31
	if p.RowsBound(forged) == nil {
		t.Error("two billion rows without bytes are accepted")
	}
	forged.Rows = 1 << 20
	if err := p.RowsBound(forged); err != nil {
		t.Error(err)
	}
	list := encodeAs(t, Row, row{L: []empty{{}}})
	list.Cols[1].Children[0].Rows = 1 << 30
	if err := p.Decode(list, 0, pointer(&row{})); err == nil || !strings.Contains(err.Error(), "next to no bytes") {
		t.Errorf("got %v", err)
	}
	honest := encodeAs(t, Row, make([]benchOne, 2<<20)...)
	if err := mustCompile(t, reflect.TypeFor[benchOne](), Row).RowsBound(honest); err != nil {
		t.Error(err)
	}
}

func TestListsThatClaimMoreThanTheyHoldTakeNoMemory(t *testing.T) {
	for _, v := range []any{
		&struct{ L []int64 }{[]int64{1}}, &struct{ L []string }{[]string{"a"}}, &struct{ L []*int8 }{[]*int8{nil}},
		&struct{ L []bool }{[]bool{true}}, &struct{ L []Point }{[]Point{{}}}, &struct{ M map[string]int }{map[string]int{"a": 1}},
		&struct{ L [][]Point }{[][]Point{{}}}, &struct{ L []map[string]int }{[]map[string]int{{"a": 1}}},
	} {
		p := planOf(t, v)
		var e Encoder
		var b wire.Batch
		if err := p.Encode(&e, pointer(v), 1, &b); err != nil {
			t.Fatal(err)
		}
		c := &b.Cols[0]
		c.Offsets = []byte{0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0}[:8]
		c.Children[0].Rows = 1 << 30
		if err := p.Decode(&b, 0, reflect.New(p.typ).UnsafePointer()); err == nil {
			t.Errorf("%v: a billion elements are decoded", p.typ)
		}
	}
}

func TestCompressedValuesMayNotGrowWithoutBound(t *testing.T) {
	p := mustCompile(t, reflect.TypeFor[EmbeddedArrow](), Row)
	record, schema := goldenArrow(t)
	data, err := p.Marshal(pointer(&EmbeddedArrow{record, schema}))
	if err != nil {
		t.Fatal(err)
	}
	var got EmbeddedArrow
	if err := p.Unmarshal(data, pointer(&got)); err != nil {
		t.Fatal(err)
	}
	bomb := compressedBomb(t)
	b := encodeAs(t, Row, struct{ Batch, Schema []byte }{Batch: bomb})
	_, err = decodeAs[EmbeddedArrow](t, Row, b)
	if err == nil || !strings.Contains(err.Error(), "exceeds MaxMessageBytes") || !wire.InStep(err) {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode reads any bytes as an IPC stream into structs with all kinds: as
// they are, and behind the schema of the struct, where they reach the codecs.
// Validation is off, so that the checks are the codecs' own.
func FuzzDecode(f *testing.F) {
	plans := []*Plan{mustCompile(f, reflect.TypeFor[everyKind](), Row), mustCompile(f, reflect.TypeFor[AllTypes](), Row)}
	values := everyRow(f, 5, 3)
	for i := range values {
		data, err := plans[0].Marshal(pointer(&values[i]))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, i%2 == 0)
		f.Add(data[len(plans[0].Schema().Message()):], i%2 == 0)
	}
	f.Add(goldenFile(f, "all_types.py.arrow"), true)
	f.Add(goldenFile(f, "all_types.go.arrow")[len(plans[1].Schema().Message()):], false)
	f.Fuzz(func(_ *testing.T, data []byte, owned bool) {
		for _, p := range plans {
			fuzzPlan(p, data, owned)
			fuzzPlan(p, append(bytes.Clone(p.Schema().Message()), data...), owned)
		}
	})
}

func fuzzPlan(p *Plan, data []byte, owned bool) {
	_ = p.Unmarshal(data, reflect.New(p.typ).UnsafePointer())
	limits := wire.Limits{MaxMessageBytes: 1 << 20, MaxSchemaBytes: 1 << 20, Validation: wire.ValidateOff}
	r := wire.NewReader(bytes.NewReader(data), limits, nil)
	if _, err := r.NextStream(); err != nil {
		return
	}
	b, err := r.Next()
	if err != nil {
		return
	}
	b.Owned = owned
	if p.RowsBound(b) != nil || b.Rows > 1<<10 {
		return
	}
	rows := reflect.MakeSlice(reflect.SliceOf(p.typ), b.Rows, b.Rows)
	if p.DecodeRows(b, rows.UnsafePointer(), b.Rows) == nil {
		_ = p.Encode(new(Encoder), rows.UnsafePointer(), b.Rows, new(wire.Batch))
	}
}

func compressedBomb(tb testing.TB) []byte {
	tb.Helper()
	return compressed(tb, arrow.BinaryTypes.Binary, 4<<20)
}
