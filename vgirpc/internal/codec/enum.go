package codec

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// enum maps an [Enum] to a dictionary of its names, or with no index kind to
// text.
type enum struct {
	names []string
	index map[string]int
	value *intKind     // memory of an integer type; nil for a string type
	cells intKind      // of the dictionary's indices; size 0 for text
	dict  *wire.Column // the names, the same column in every batch
	text  codec        // of the names
	wide  bool         // text is large_utf8
}

func newEnum(names []string, value *intKind, cells intKind, words codec) (*enum, error) {
	v := &enum{
		names: names, index: make(map[string]int, len(names)), value: value, cells: cells,
		text: words, wide: words.traits().offsets == 8,
	}
	for i, name := range names {
		if _, twice := v.index[name]; twice || name == "" {
			return nil, fmt.Errorf("EnumNames lists %q twice, or it is empty", name)
		}
		v.index[name] = i
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("EnumNames lists no names")
	}
	if cells.size > 0 && !cells.store(unsafe.Pointer(new(uint64)), number{bits: uint64(len(names) - 1)}) {
		return nil, fmt.Errorf("EnumNames lists %d names, more than an %s can count", len(names), cells.name)
	}
	// The encoder is not used again, so that the column stays.
	v.dict = new(wire.Column)
	var e Encoder
	src := e.values(unsafe.Pointer(unsafe.SliceData(names)), len(names), unsafe.Sizeof(""))
	if err := words.encode(&e, v.dict, src); err != nil {
		return nil, fmt.Errorf("EnumNames: %w", err)
	}
	return v, nil
}

func (v *enum) traits() traits {
	if v.cells.size == 0 {
		return traits{bits: v.text.traits().bits, offsets: v.text.traits().offsets}
	}
	return traits{bits: 8 * int(v.cells.size)}
}

func (v *enum) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if v.cells.size == 0 {
		return v.decodeText(c, at, n, dst, stride)
	}
	words, err := wordsOf(c.Dict, v.wide)
	if err != nil {
		return err
	}
	keys, err := indicesOf(c, v.cells, at, n)
	if err != nil {
		return err
	}
	if n > 1 && n >= words.n {
		return v.decodeMany(keys, words, at, n, dst, stride)
	}
	for i := range n {
		word, err := words.at(keys.at(i))
		if err != nil {
			return err
		}
		k, known := v.index[string(word)]
		if !known {
			return v.unknown(at + i)
		}
		v.set(add(dst, i, stride), k)
	}
	return nil
}

// decodeMany looks every name of the dictionary up once.
func (v *enum) decodeMany(keys indices, words words, at, n int, dst unsafe.Pointer, stride uintptr) error {
	table := make([]int32, words.n)
	for i := range table {
		table[i] = -1
		if word, err := words.at(int64(i)); err == nil {
			if k, known := v.index[string(word)]; known {
				table[i] = int32(k)
			}
		}
	}
	for i := range n {
		key := keys.at(i)
		if key < 0 || key >= int64(len(table)) {
			return malformed("dictionary index %d of %d values", key, len(table))
		}
		if table[key] < 0 {
			return v.unknown(at + i)
		}
		v.set(add(dst, i, stride), int(table[key]))
	}
	return nil
}

func (v *enum) decodeText(c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	words, err := wordsOf(c, v.wide)
	if err != nil {
		return err
	}
	for i := range n {
		word, err := words.at(int64(at + i))
		if err != nil {
			return err
		}
		k, known := v.index[string(word)]
		if !known {
			return v.unknown(at + i)
		}
		v.set(add(dst, i, stride), k)
	}
	return nil
}

func (v *enum) set(p unsafe.Pointer, k int) {
	if v.value == nil {
		*(*string)(p) = v.names[k]
		return
	}
	v.value.store(p, number{bits: uint64(k)})
}

// get is the number of the name at p, and whether there is one.
func (v *enum) get(p unsafe.Pointer) (int, bool) {
	if v.value == nil {
		k, known := v.index[*(*string)(p)]
		return k, known
	}
	k := v.value.load(p)
	return int(k.bits), !k.neg && k.bits < uint64(len(v.names))
}

func (v *enum) unknown(row int) error {
	return valueErrorf(row, "not one of the names %s", wire.Clip(strings.Join(v.names, ", "), 300))
}

func (v *enum) encode(e *Encoder, c *wire.Column, s source) error {
	if v.cells.size == 0 {
		return v.encodeText(e, c, s)
	}
	c.Rows, c.Data, c.Dict = s.n, e.bytes(s.n*int(v.cells.size)), v.dict
	out := unsafe.Pointer(unsafe.SliceData(c.Data))
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			k, known := 0, true
			if r.p != nil {
				k, known = v.get(unsafe.Add(add(r.p, i, s.stride), s.off))
			}
			if !known {
				return v.unknown(row)
			}
			v.cells.store(add(out, row, v.cells.size), number{bits: uint64(k)})
			row++
		}
	}
	return nil
}

// encodeText writes the names as text, from the plan's own strings.
func (v *enum) encodeText(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			if r.p == nil {
				e.push(nil, 1)
			} else if k, known := v.get(unsafe.Add(add(r.p, i, s.stride), s.off)); known {
				e.push(unsafe.Pointer(&v.names[k]), 1)
			} else {
				return v.unknown(row)
			}
			row++
		}
	}
	return v.text.encode(e, c, source{runs: e.runs[mark:], n: s.n, stride: unsafe.Sizeof("")})
}
