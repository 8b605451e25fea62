package codec

import (
	"fmt"
	"math"
	"reflect"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/float16"
)

// codec is the codec between values of t and a column of type a.
func (c *compiler) codec(t reflect.Type, a arrow.DataType) (codec, error) {
	if c.level == state && isBytes(a) && marshals(t) {
		return pack(marshaled{t}, a), nil
	}
	if s := specials[t]; s != nil {
		cd, err := s.codec(c, a)
		if cd == nil && err == nil {
			err = mismatch(t, a, s.takes)
		}
		return cd, err
	}
	if isEnum(t) {
		return enumCodec(t, a)
	}
	switch t.Kind() {
	case reflect.Bool:
		if a.ID() == arrow.BOOL {
			return boolean{}, nil
		}
		return nil, mismatch(t, a, "bool")
	case reflect.Float32, reflect.Float64:
		return floatCodec(t, a)
	case reflect.String:
		return textCodec(t, a)
	case reflect.Slice:
		return c.sliceCodec(t, a)
	case reflect.Array:
		return c.arrayCodec(t, a)
	case reflect.Map:
		return c.mapCodec(t, a)
	case reflect.Struct:
		return c.structCodec(t, a)
	}
	return intCodec(t, a)
}

func intCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	from, to := intKindOf(t.Kind()), cellKindOf(a)
	switch {
	case from.size == 0:
		return nil, noForm(t)
	case to.size == 0:
		return nil, mismatch(t, a, "an integer type")
	case from.size == to.size && from.signed == to.signed:
		return scalarOf(from.size), nil
	}
	return integer{from, to}, nil
}

func floatCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	double := t.Kind() == reflect.Float64
	switch {
	case a.ID() == arrow.FLOAT64 && double:
		return scalar[uint64]{}, nil
	case a.ID() == arrow.FLOAT32 && !double:
		return scalar[uint32]{}, nil
	case a.ID() == arrow.FLOAT32:
		return converted[float64, uint32]{
			load:  func(v uint32) (float64, string) { return float64(math.Float32frombits(v)), "" },
			store: func(v float64) (uint32, string) { return math.Float32bits(float32(v)), "" },
		}, nil
	case a.ID() == arrow.FLOAT16 && double:
		return converted[float64, uint16]{
			load:  func(v uint16) (float64, string) { return float64(float16.FromBits(v).Float32()), "" },
			store: func(v float64) (uint16, string) { return float16.New(float32(v)).Uint16(), "" },
		}, nil
	case a.ID() == arrow.FLOAT16:
		return converted[float32, uint16]{
			load:  func(v uint16) (float32, string) { return float16.FromBits(v).Float32(), "" },
			store: func(v float32) (uint16, string) { return float16.New(v).Uint16(), "" },
		}, nil
	}
	if double {
		return nil, mismatch(t, a, "float64, float32 or float16")
	}
	return nil, mismatch(t, a, "float32 or float16; a float64 column needs a Go float64")
}

// plainText is the codec of a utf8 or large_utf8 column, or nil.
func plainText(a arrow.DataType) codec {
	switch a.ID() {
	case arrow.STRING:
		return text[int32]{}
	case arrow.LARGE_STRING:
		return text[int64]{}
	}
	return nil
}

func textCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	if cd := plainText(a); cd != nil {
		return cd, nil
	}
	if d, ok := a.(*arrow.DictionaryType); ok {
		if words := plainText(d.ValueType); words != nil {
			return &dictionary{cells: cellKindOf(d.IndexType), text: words, wide: words.traits().offsets == 8}, nil
		}
	}
	return nil, mismatch(t, a, "utf8, large_utf8 or dictionary<index:int16,value:utf8>")
}

func enumCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	names := reflect.New(t).Interface().(Enum).EnumNames()
	var value *intKind
	if k := intKindOf(t.Kind()); k.size > 0 {
		value = &k
	}
	if words := plainText(a); words != nil {
		return newEnum(names, value, intKind{}, words)
	}
	if d, ok := a.(*arrow.DictionaryType); ok {
		if words := plainText(d.ValueType); words != nil {
			return newEnum(names, value, cellKindOf(d.IndexType), words)
		}
	}
	return nil, mismatch(t, a, "dictionary<index:int16,value:utf8> or utf8")
}

func (c *compiler) sliceCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	if isOctets(t) {
		switch a := a.(type) {
		case *arrow.BinaryType:
			return octets[int32]{}, nil
		case *arrow.LargeBinaryType:
			return octets[int64]{}, nil
		case *arrow.FixedSizeBinaryType:
			return sizedOctets{a.ByteWidth}, nil
		}
		if _, isList := a.(arrow.ListLikeType); !isList {
			return nil, mismatch(t, a, "binary, large_binary or fixed_size_binary(n)")
		}
	}
	if isPairs(t) {
		m, ok := a.(*arrow.MapType)
		if !ok {
			return nil, mismatch(t, a, "map<key:K,value?:V>")
		}
		return c.entries(t.Elem(), m)
	}
	switch a := a.(type) {
	case *arrow.ListType:
		return listCodec[int32](c, t.Elem(), a.Elem())
	case *arrow.LargeListType:
		return listCodec[int64](c, t.Elem(), a.Elem())
	case *arrow.FixedSizeListType:
		elem, err := c.element(t.Elem(), a.Elem())
		if err != nil {
			return nil, err
		}
		return &sizedList{newElements(t.Elem(), elem), int(a.Len())}, nil
	}
	return nil, mismatch(t, a, "list<T>, large_list<T> or fixed_size_list(n)<T>")
}

// element is the codec of what a list holds.
func (c *compiler) element(t reflect.Type, a arrow.DataType) (codec, error) {
	if isPointer(t) {
		return c.optional(t, a, false)
	}
	return c.codec(t, a)
}

func listCodec[O offset](c *compiler, t reflect.Type, a arrow.DataType) (codec, error) {
	elem, err := c.element(t, a)
	if err != nil {
		return nil, err
	}
	return &list[O]{newElements(t, elem)}, nil
}

// entries is the codec of a slice of structs of key and value, in a map column.
func (c *compiler) entries(t reflect.Type, a *arrow.MapType) (*list[int32], error) {
	var pair members
	for i, part := range []arrow.Field{a.KeyField(), a.ItemField()} {
		f := t.Field(i)
		cd, err := c.element(f.Type, part.Type)
		if err != nil {
			return nil, err
		}
		pair = append(pair, member{name: part.Name, codec: cd, column: i, offset: f.Offset})
	}
	return &list[int32]{newElements(t, &structure{pair})}, nil
}

func (c *compiler) arrayCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	if isOctets(t) {
		if a, ok := a.(*arrow.FixedSizeBinaryType); ok && a.ByteWidth == t.Len() && t.Len() > 0 {
			return block{t.Len()}, nil
		}
		return nil, mismatch(t, a, fmt.Sprintf("fixed_size_binary(%d)", t.Len()))
	}
	l, ok := a.(*arrow.FixedSizeListType)
	if !ok || int(l.Len()) != t.Len() || t.Len() == 0 {
		return nil, mismatch(t, a, fmt.Sprintf("fixed_size_list(%d)<T>", t.Len()))
	}
	elem, err := c.element(t.Elem(), l.Elem())
	if err != nil {
		return nil, err
	}
	return &inlineList{elem: elem, size: t.Elem().Size(), n: t.Len()}, nil
}

func (c *compiler) mapCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	order, err := lessKeys(t.Key())
	if err != nil {
		return nil, err
	}
	m := &mapping{typ: t, set: isSet(t), less: order}
	if m.set {
		l, ok := a.(*arrow.ListType)
		if !ok {
			return nil, mismatch(t, a, "list<T>")
		}
		m.entries, m.size = reflect.SliceOf(t.Key()), t.Key().Size()
		m.list, err = listCodec[int32](c, t.Key(), l.Elem())
		return m, err
	}
	l, ok := a.(*arrow.MapType)
	if !ok {
		return nil, mismatch(t, a, "map<key:K,value?:V>")
	}
	entry := entryType(t)
	m.entries, m.size, m.value = reflect.SliceOf(entry), entry.Size(), entry.Field(1).Offset
	m.list, err = c.entries(entry, l)
	return m, err
}

func (c *compiler) structCodec(t reflect.Type, a arrow.DataType) (codec, error) {
	if isBytes(a) {
		nested := &compiler{level: max(c.level, Row), streams: c.streams, open: c.open}
		plan, err := nested.plan(t)
		if err != nil {
			return nil, err
		}
		return pack(structs{plan}, a), nil
	}
	s, ok := a.(*arrow.StructType)
	if !ok {
		return nil, mismatch(t, a, "struct<…>, or binary holding an IPC stream")
	}
	if err := c.enter(t); err != nil {
		return nil, err
	}
	defer c.leave()
	fields, err := c.fields(t, false)
	if err != nil {
		return nil, err
	}
	members, err := c.members(t, fields, s.Fields())
	if err != nil {
		return nil, err
	}
	return &structure{members}, nil
}
