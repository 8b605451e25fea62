package codec

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

type holder struct {
	Text   string
	Bytes  []byte
	Texts  []string
	Blobs  [][]byte
	Floats []float64
	Word   string   `vgi:",type=dictionary<int16,utf8>"`
	Words  []string `vgi:",type=list<dictionary<int16,utf8>>"`
	Fixed  []byte   `vgi:",type=fixed_size_binary(3)"`
	Maybe  *string
	Keys   map[string][]byte
}

func holderValue() holder {
	return holder{
		Text: "text", Bytes: []byte("bytes"), Texts: []string{"one", "two"}, Blobs: [][]byte{[]byte("b1"), {}},
		Floats: make([]float64, inline/8), Word: "word", Words: []string{"w", "v", "w"}, Fixed: []byte("fix"), Maybe: new("maybe"),
		Keys: map[string][]byte{"key": []byte("value")},
	}
}

// scribble overwrites everything that a batch's memory holds, dictionaries too.
func scribble(cols []wire.Column) {
	for i := range cols {
		c := &cols[i]
		for j := range c.Data {
			c.Data[j] = 0xEE
		}
		scribble(c.Children)
		if c.Dict != nil {
			scribble([]wire.Column{*c.Dict})
		}
	}
}

func TestValuesOfABorrowedBatchAreCopies(t *testing.T) {
	for _, rows := range []int{1, 3} {
		want := make([]holder, rows)
		for i := range want {
			want[i] = holderValue()
		}
		b := encodeAs(t, Row, want...)
		b = overWire(t, b, wire.Borrow)
		got, err := decodeAs[holder](t, Row, b)
		if err != nil {
			t.Fatal(err)
		}
		scribble(b.Cols)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d rows: %s", rows, diff)
		}
	}
}

func TestValuesOfAnOwnedBatchAliasIt(t *testing.T) {
	b := overWire(t, encodeAs(t, Row, holderValue()), wire.Own)
	if !b.Owned {
		t.Fatal("the batch is not owned")
	}
	got, err := decodeAs[holder](t, Row, b)
	if err != nil {
		t.Fatal(err)
	}
	within := func(name string, p unsafe.Pointer, c *wire.Column) {
		t.Helper()
		base := uintptr(unsafe.Pointer(unsafe.SliceData(c.Data)))
		if at := uintptr(p); at < base || at >= base+uintptr(len(c.Data)) {
			t.Errorf("%s does not alias its column", name)
		}
	}
	row := got[0]
	within("text", unsafe.Pointer(unsafe.StringData(row.Text)), &b.Cols[0])
	within("bytes", unsafe.Pointer(unsafe.SliceData(row.Bytes)), &b.Cols[1])
	within("texts", unsafe.Pointer(unsafe.StringData(row.Texts[1])), &b.Cols[2].Children[0])
	within("floats", unsafe.Pointer(unsafe.SliceData(row.Floats)), &b.Cols[4].Children[0])
	within("word", unsafe.Pointer(unsafe.StringData(row.Word)), b.Cols[5].Dict)
	if cap(row.Bytes) != len(row.Bytes) || cap(row.Floats) != len(row.Floats) || cap(row.Blobs[0]) != 2 {
		t.Error("appending to a value would write into the batch")
	}
}

func TestBorrowedFieldsAliasWhatIsUsedAgain(t *testing.T) {
	type params struct {
		Data []byte `vgi:"data,borrow"`
		N    int
	}
	p := mustCompile(t, reflect.TypeFor[params](), Params)
	if !p.Borrows() {
		t.Error("a plan with borrowed bytes alone does not borrow")
	}
	b := encodeAs(t, Params, params{Data: []byte("data")})
	b.Owned = false
	var got params
	if err := p.Decode(b, 0, pointer(&got)); err != nil {
		t.Fatal(err)
	}
	b.Cols[0].Data[0] = 'X'
	if string(got.Data) != "Xata" {
		t.Error("the bytes are a copy")
	}
}

func TestPlansThatHoldBytesDoNotBorrow(t *testing.T) {
	for typ, want := range map[reflect.Type]bool{
		reflect.TypeFor[struct{}]():                           true,
		reflect.TypeFor[benchFour]():                          true,
		reflect.TypeFor[benchBox]():                           true, // a blob's values have memory of their own
		reflect.TypeFor[struct{ S Status }]():                 true,
		reflect.TypeFor[struct{ S string }]():                 false,
		reflect.TypeFor[struct{ S *string }]():                false,
		reflect.TypeFor[struct{ L []float64 }]():              false,
		reflect.TypeFor[struct{ M map[string]int }]():         false,
		reflect.TypeFor[struct{ A [2][]byte }]():              false,
		reflect.TypeFor[struct{ A [2]Date }]():                true,
		reflect.TypeFor[struct{ L []Point }]():                true,
		reflect.TypeFor[struct{ L []struct{ S []string } }](): false,
		reflect.TypeFor[struct{ P Pairs[string, bool] }]():    false,
		reflect.TypeFor[struct {
			B []byte "vgi:\",borrow\""
		}](): true,
	} {
		if got := mustCompile(t, typ, Params).Borrows(); got != want {
			t.Errorf("%v: Borrows is %t", typ, got)
		}
	}
}

func TestLargeValuesAreSentFromWhereTheyLie(t *testing.T) {
	type large struct {
		Data   []byte
		Text   string
		Floats []float64
		Big    []byte `vgi:",type=large_binary"`
	}
	v := large{make([]byte, inline), strings.Repeat("x", inline), make([]float64, inline/8), make([]byte, inline)}
	p := mustCompile(t, reflect.TypeFor[large](), Params)
	var e Encoder
	var b wire.Batch
	if err := p.Encode(&e, pointer(&v), 1, &b); err != nil {
		t.Fatal(err)
	}
	for i, p := range []unsafe.Pointer{
		unsafe.Pointer(unsafe.SliceData(v.Data)), unsafe.Pointer(unsafe.StringData(v.Text)),
		unsafe.Pointer(unsafe.SliceData(v.Floats)), unsafe.Pointer(unsafe.SliceData(v.Big)),
	} {
		c := &b.Cols[i]
		if len(c.Children) > 0 {
			c = &c.Children[0]
		}
		if unsafe.Pointer(unsafe.SliceData(c.Data)) != p {
			t.Errorf("column %d is a copy", i)
		}
	}
	e.Reset()
	if b.Cols[0].Data != nil {
		t.Error("a reset Encoder holds the caller's memory")
	}
}

func TestAnEncoderKeepsNoGiants(t *testing.T) {
	type row struct {
		V int64
		W bool
	}
	p := mustCompile(t, reflect.TypeFor[row](), Row)
	var e Encoder
	rows := make([]row, 400_000)
	for range 3 {
		e.Reset()
		if err := p.Encode(&e, pointer(&rows[0]), len(rows), new(wire.Batch)); err != nil {
			t.Fatal(err)
		}
	}
	e.Reset()
	if len(e.chunk) > maxChunk {
		t.Errorf("%d bytes are kept", len(e.chunk))
	}
}

func TestSteadyCallsAllocateNothing(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counts")
	}
	var e Encoder
	var b wire.Batch
	check := func(name string, want float64, f func() error) {
		t.Helper()
		got := testing.AllocsPerRun(200, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		})
		if got > want {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
	four := benchFour{1, 2, true, 3}
	p := mustCompile(t, reflect.TypeFor[benchFour](), Params)
	check("encoding scalars", 0, func() error { e.Reset(); return p.Encode(&e, pointer(&four), 1, &b) })
	check("decoding scalars", 0, func() error { return p.Decode(&b, 0, pointer(&four)) })

	texts := manyTexts()
	p = mustCompile(t, reflect.TypeFor[benchTexts](), Params)
	check("encoding a list", 0, func() error { e.Reset(); return p.Encode(&e, pointer(&texts), 1, &b) })
	b.Owned = true
	check("decoding an owned list", 1, func() error { return p.Decode(&b, 0, pointer(&texts)) })
	b.Owned = false
	check("decoding a borrowed list", 2, func() error { return p.Decode(&b, 0, pointer(&texts)) })

	word := struct {
		W string `vgi:",type=dictionary<int16,utf8>"`
		S Status
	}{"word", "ACTIVE"}
	p = planOf(t, &word)
	check("encoding dictionaries", 0, func() error { e.Reset(); return p.Encode(&e, pointer(&word), 1, &b) })
}

func TestTheNamesOfAnEnumAreOneColumnForAllBatches(t *testing.T) {
	p := mustCompile(t, reflect.TypeFor[struct{ S Status }](), Row)
	rows := []struct{ S Status }{{"CLOSED"}, {"ACTIVE"}}
	var e Encoder
	var a, b wire.Batch
	for _, batch := range []*wire.Batch{&a, &b} {
		if err := p.Encode(&e, pointer(&rows[0]), 2, batch); err != nil {
			t.Fatal(err)
		}
	}
	if a.Cols[0].Dict != b.Cols[0].Dict || !bytes.Equal(a.Cols[0].Dict.Data, []byte("PENDINGACTIVECLOSED")) {
		t.Error("the dictionaries differ")
	}
}

func TestManyRowsShareOneCopyOfADictionary(t *testing.T) {
	type row struct {
		W *string `vgi:",type=dictionary<int16,utf8>"`
	}
	long := strings.Repeat("long", 1000)
	rows := make([]row, 1000)
	for i := range rows {
		if i%2 == 0 {
			rows[i].W = &long
		}
	}
	b := encodeAs(t, Row, rows...)
	b.Owned = false
	got, err := decodeAs[row](t, Row, b)
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.StringData(*got[0].W) != unsafe.StringData(*got[998].W) || *got[0].W != long {
		t.Error("each row has a copy")
	}
}

// misaligned moves every buffer to an odd address.
func misaligned(cols []wire.Column) []wire.Column {
	move := func(p []byte) []byte {
		if len(p) == 0 {
			return p
		}
		return append(make([]byte, 1, len(p)+1), p...)[1:]
	}
	out := append([]wire.Column(nil), cols...)
	for i := range out {
		c := &out[i]
		c.Validity, c.Offsets, c.Data, c.Children = move(c.Validity), move(c.Offsets), move(c.Data), misaligned(c.Children)
		if c.Dict != nil {
			c.Dict = &misaligned([]wire.Column{*c.Dict})[0]
		}
	}
	return out
}

func TestBuffersMayLieAtOddAddresses(t *testing.T) {
	want := everyRow(t, 21, 9)
	b := *encodeAs(t, Row, want...)
	b.Cols = misaligned(b.Cols)
	for _, owned := range []bool{true, false} {
		b.Owned = owned
		got, err := decodeAs[everyKind](t, Row, &b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareEvery); diff != "" {
			t.Error(diff)
		}
	}
}
