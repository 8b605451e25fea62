package cast

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// containers casts lists, maps and structs through their children.
func containers(from, to arrow.DataType) binder {
	switch to := to.(type) {
	case *arrow.ListType:
		return list(from, to)
	case *arrow.LargeListType:
		return list(from, to)
	case *arrow.FixedSizeListType:
		if from, ok := from.(*arrow.FixedSizeListType); ok && from.Len() == to.Len() {
			return list(from, to)
		}
	case *arrow.MapType:
		return mapping(from, to)
	case *arrow.StructType:
		return structure(from, to)
	}
	return nil
}

func list(from arrow.DataType, to arrow.ListLikeType) binder {
	switch from.ID() {
	case arrow.LIST, arrow.LARGE_LIST, arrow.FIXED_SIZE_LIST:
	default:
		return nil
	}
	item := compile(from.(arrow.ListLikeType).Elem(), to.Elem(), to.ElemField().Nullable)
	if item == nil {
		return nil
	}
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		in, out := src.(array.ListLike), dst.(array.ListLikeBuilder)
		element := item(out.ValueBuilder(), in.ListValues(), left)
		return func(i int) *ValueError {
			start, end := in.ValueOffsets(i)
			if end-start > int64(math.MaxInt32-out.ValueBuilder().Len()) {
				return fail(reasonTooBig)
			}
			out.Append(true)
			for j := start; j < end; j++ {
				if err := element(int(j)); err != nil {
					return below("item", err)
				}
			}
			return nil
		}
	}
}

// mapping casts the keys and values of maps. It does not sort keys.
func mapping(from arrow.DataType, to *arrow.MapType) binder {
	source, ok := from.(*arrow.MapType)
	if !ok || to.KeysSorted && !source.KeysSorted {
		return nil
	}
	key := compile(source.KeyType(), to.KeyType(), false)
	value := compile(source.ItemType(), to.ItemType(), to.ItemField().Nullable)
	if key == nil || value == nil {
		return nil
	}
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		in, out := src.(*array.Map), dst.(*array.MapBuilder)
		// Not Keys and Items, which forget the offset of the entries.
		entries := in.ListValues().(*array.Struct)
		putKey := key(out.KeyBuilder(), entries.Field(0), left)
		putValue := value(out.ItemBuilder(), entries.Field(1), left)
		return func(i int) *ValueError {
			out.Append(true)
			start, end := in.ValueOffsets(i)
			for j := start; j < end; j++ {
				if err := putKey(int(j)); err != nil {
					return below("key", err)
				}
				if err := putValue(int(j)); err != nil {
					return below("value", err)
				}
			}
			return nil
		}
	}
}

// member is one field of a struct that is cast.
type member struct {
	name   string
	source int
	bind   binder
}

// structure casts structs that have the same field names, once each.
func structure(from arrow.DataType, to *arrow.StructType) binder {
	source, ok := from.(*arrow.StructType)
	if !ok || source.NumFields() != to.NumFields() {
		return nil
	}
	members := make([]member, to.NumFields())
	for i, f := range to.Fields() {
		index, found := source.FieldIdx(f.Name)
		if !found || len(source.FieldIndices(f.Name)) > 1 || len(to.FieldIndices(f.Name)) > 1 {
			return nil
		}
		bind := compile(source.Field(index).Type, f.Type, f.Nullable)
		if bind == nil {
			return nil
		}
		members[i] = member{name: f.Name, source: index, bind: bind}
	}
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		in, out := src.(*array.Struct), dst.(*array.StructBuilder)
		puts := make([]put, len(members))
		for i, m := range members {
			puts[i] = m.bind(out.FieldBuilder(i), in.Field(m.source), left)
		}
		return func(i int) *ValueError {
			if len(puts) == 0 && !left.take(1) { // a value of no fields takes no space
				return fail(reasonTooBig)
			}
			out.Append(true)
			for j, put := range puts {
				if err := put(i); err != nil {
					return below(members[j].name, err)
				}
			}
			return nil
		}
	}
}
