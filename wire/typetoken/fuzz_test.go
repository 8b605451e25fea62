package typetoken_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// grower reads a program of bytes as a tree of types. With dressed set, the same
// program grows a tree that differs in all that Arrow does not count as part of
// a type: the names of list children, and metadata.
type grower struct {
	program []byte
	dressed bool
}

func (g *grower) next(n int) int {
	if len(g.program) == 0 {
		return 0
	}
	b := g.program[0]
	g.program = g.program[1:]
	return int(b) % n
}

func (g *grower) field(name string, depth int) arrow.Field {
	f := arrow.Field{Name: name, Nullable: g.next(2) == 1, Type: g.grow(depth + 1)}
	if g.dressed {
		f.Metadata = arrow.NewMetadata([]string{"note"}, []string{name})
	}
	return f
}

func (g *grower) item(depth int) arrow.Field {
	if g.dressed {
		return g.field("element", depth)
	}
	return g.field("item", depth)
}

func (g *grower) fields(depth int) []arrow.Field {
	fields := make([]arrow.Field, g.next(4))
	for i := range fields {
		fields[i] = g.field([]string{"a", "b", "c"}[g.next(3)], depth)
	}
	return fields
}

func (g *grower) grow(depth int) arrow.DataType {
	if depth > 6 {
		return arrow.Null
	}
	unit := arrow.TimeUnit(g.next(4))
	switch g.next(16) {
	case 0:
		return arrow.ListOfField(g.item(depth))
	case 1:
		return arrow.LargeListOfField(g.item(depth))
	case 2:
		return arrow.FixedSizeListOfField(int32(1+g.next(3)), g.item(depth))
	case 3:
		return arrow.ListViewOfField(g.item(depth))
	case 4:
		return arrow.LargeListViewOfField(g.item(depth))
	case 5:
		return arrow.StructOf(g.fields(depth)...)
	case 6:
		key := g.field("key", depth)
		key.Nullable = false
		m := arrow.MapOfFields(key, g.field("value", depth))
		m.KeysSorted = g.next(2) == 1
		return m
	case 7:
		return g.union(depth)
	case 8:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: g.grow(depth + 1), Ordered: g.next(2) == 1}
	case 9:
		return arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, g.grow(depth+1))
	case 10:
		return &arrow.TimestampType{Unit: unit, TimeZone: []string{"", "UTC", "+00:00"}[g.next(3)]}
	case 11:
		return &arrow.DurationType{Unit: unit}
	case 12:
		return &arrow.Time32Type{Unit: unit} // two of the units have no token
	case 13:
		return newTag([]string{"", "x", "y"}[g.next(3)], g.grow(depth+1))
	case 14:
		return &arrow.Decimal128Type{Precision: int32(1 + g.next(38)), Scale: int32(g.next(5))}
	default:
		return []arrow.DataType{
			arrow.Null, arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.BinaryTypes.LargeBinary,
			&arrow.Decimal64Type{Precision: 5}, &arrow.FixedSizeBinaryType{ByteWidth: 1 + g.next(4)},
		}[g.next(6)]
	}
}

func (g *grower) union(depth int) arrow.DataType {
	fields := g.fields(depth)
	codes := make([]int8, len(fields))
	for i := range codes {
		codes[i] = int8(i * (1 + g.next(2)*40))
		if i > 0 && codes[i] <= codes[i-1] {
			codes[i] = codes[i-1] + 1
		}
	}
	return arrow.UnionOf([]arrow.UnionMode{arrow.SparseMode, arrow.DenseMode}[g.next(2)], fields, codes)
}

// FuzzOf holds the tokens against an independent comparison of types: two types
// have the same token exactly if they are equal.
func FuzzOf(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 5, 2, 0, 1}, []byte{0, 0, 0, 0, 5, 2, 0, 1})
	f.Add([]byte{0, 6, 1, 0, 15, 2, 0, 0, 15, 1}, []byte{0, 6, 1, 0, 15, 2, 1, 0, 15, 1})
	f.Add([]byte{0, 7, 2, 1, 0, 1, 15, 0, 0, 1}, []byte{0, 8, 0, 15, 2, 1})
	f.Add([]byte{0, 13, 1, 0, 12, 2}, []byte{3, 12})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		one := (&grower{program: a}).grow(0)
		token, err := typetoken.Of(one)
		dressed, dressedErr := typetoken.Of((&grower{program: a, dressed: true}).grow(0))
		if token != dressed || (err == nil) != (dressedErr == nil) {
			t.Fatalf("names and metadata that do not count give %q, %v beside %q, %v", dressed, dressedErr, token, err)
		}
		two := (&grower{program: b}).grow(0)
		other, otherErr := typetoken.Of(two)
		if err != nil || otherErr != nil {
			return
		}
		if equal := schemacmp.EqualTypes(one, two); equal != (token == other) {
			t.Fatalf("equal: %t, tokens %q and %q", equal, token, other)
		}
	})
}
