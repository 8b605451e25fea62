package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// words is a column of text, read one value at a time.
type words struct {
	c      *wire.Column
	n      int
	narrow []int32
	wide   []int64
}

// wordsOf views a column of utf8, or of large_utf8 when wide.
func wordsOf(c *wire.Column, wide bool) (w words, err error) {
	if c == nil {
		return w, malformed("a dictionary without values")
	}
	w = words{c: c, n: c.Rows}
	switch {
	case c.Rows == 0:
	case wide:
		w.wide, err = cells[int64](c.Offsets, 0, c.Rows+1)
	default:
		w.narrow, err = cells[int32](c.Offsets, 0, c.Rows+1)
	}
	return w, err
}

// span is where value i lies in the column's data.
func (w *words) span(i int64) (from, to int64, err error) {
	if i < 0 || i >= int64(w.n) {
		return 0, 0, malformed("dictionary index %d of %d values", i, w.n)
	}
	if isNull(w.c, int(i)) {
		return 0, 0, nullError(-1)
	}
	if w.wide != nil {
		from, to = w.wide[i], w.wide[i+1]
	} else {
		from, to = int64(w.narrow[i]), int64(w.narrow[i+1])
	}
	if from < 0 || to < from || to > int64(len(w.c.Data)) {
		return 0, 0, malformed("offsets %d and %d in %d bytes", from, to, len(w.c.Data))
	}
	return from, to, nil
}

// at is value i.
func (w *words) at(i int64) ([]byte, error) {
	from, to, err := w.span(i)
	return w.c.Data[from:to], err
}

// indices are the dictionary indices of some rows.
type indices struct {
	p    unsafe.Pointer
	kind intKind
}

func indicesOf(c *wire.Column, kind intKind, at, n int) (indices, error) {
	if at+n > len(c.Data)/int(kind.size) {
		return indices{}, malformed("%d bytes of indices where %d are needed", len(c.Data), (at+n)*int(kind.size))
	}
	size := int(kind.size)
	data := aligned(c.Data[at*size:(at+n)*size], kind.size)
	return indices{unsafe.Pointer(unsafe.SliceData(data)), kind}, nil
}

// at is the index of row i; what is too large for an int64 is negative.
func (x indices) at(i int) int64 {
	if x.kind.size == 2 && x.kind.signed {
		return int64(*(*int16)(add(x.p, i, 2)))
	}
	return int64(x.kind.load(add(x.p, i, x.kind.size)).bits)
}

// dictionary maps string to a dictionary of text. The encoder's dictionary
// holds the distinct values of the batch in the order of their first rows.
type dictionary struct {
	cells intKind
	text  codec
	wide  bool
}

func (v *dictionary) traits() traits {
	return traits{holds: true, dicts: true, bits: 8 * int(v.cells.size)}
}

func (v *dictionary) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	words, err := wordsOf(c.Dict, v.wide)
	if err != nil {
		return err
	}
	keys, err := indicesOf(c, v.cells, at, n)
	if err != nil {
		return err
	}
	all := d.dictText(c.Dict)
	for i := range n {
		from, to, err := words.span(keys.at(i))
		if err != nil {
			return err
		}
		*(*string)(add(dst, i, stride)) = all[from:to]
	}
	return nil
}

// dictText is the text of a dictionary's values. One call copies it once at
// most: however many rows refer to it, they share the copy.
func (d *reading) dictText(dict *wire.Column) string {
	if d.owned {
		return unsafe.String(unsafe.SliceData(dict.Data), len(dict.Data))
	}
	for i := range d.texts {
		if d.texts[i].dict == dict {
			return d.texts[i].text
		}
	}
	text := string(dict.Data)
	if d.keep {
		d.texts = append(d.texts, dictText{dict, text})
	}
	return text
}

func (v *dictionary) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	c.Rows, c.Data = s.n, e.bytes(s.n*int(v.cells.size))
	out := unsafe.Pointer(unsafe.SliceData(c.Data))
	index := e.nameIndex()
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			var p unsafe.Pointer
			var value string
			if r.p != nil {
				p = unsafe.Add(add(r.p, i, s.stride), s.off)
				value = *(*string)(p)
			}
			key, seen := index[value]
			if !seen {
				key = int32(len(index))
				index[value] = key
				e.push(p, 1)
			}
			if !v.cells.store(add(out, row, v.cells.size), number{bits: uint64(key)}) {
				return valueErrorf(row, "one distinct value more than an %s can count", v.cells.name)
			}
			row++
		}
	}
	values := source{runs: e.runs[mark:], n: len(e.runs) - mark, stride: unsafe.Sizeof("")}
	dict := e.cols(1)
	c.Dict = &dict[0]
	e.dropNames()
	return v.text.encode(e, c.Dict, values)
}
