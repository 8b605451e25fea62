package schemacmp

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// Equal reports whether a and b have the same fields in the same order, with the
// same names, types ([EqualTypes]) and nullability. Metadata of schemas and
// fields does not count. A nil schema equals only another nil.
func Equal(a, b *arrow.Schema) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || a.NumFields() != b.NumFields() {
		return false
	}
	for i := range a.NumFields() {
		if !equalNamed(a.Field(i), b.Field(i)) {
			return false
		}
	}
	return true
}

// EqualTypes reports whether a and b are the same type. Children must agree in
// type and nullability. The names of fields in structs and unions count, and so
// do type codes, sorted keys, ordered dictionaries and time zones as they are
// written. The names of list children and of a map's entries, keys and values do
// not, nor does metadata, nor the nullability of run-end encoded values, which
// only arrow-go's type records. Extensions are equal when their names and
// storage are and both say so.
//
// It agrees with the tokens of package typetoken: types that have a token are
// equal exactly if their tokens are, as long as no metadata names an extension
// and no name holds the punctuation of tokens.
func EqualTypes(a, b arrow.DataType) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.ID() != b.ID() {
		return false
	}
	switch a := a.(type) {
	case arrow.ExtensionType:
		return equalExtensions(a, b)
	case *arrow.MapType:
		return equalMaps(a, b)
	case arrow.ListLikeType:
		return equalLists(a, b)
	case *arrow.StructType:
		b, ok := b.(*arrow.StructType)
		return ok && slices.EqualFunc(a.Fields(), b.Fields(), equalNamed)
	case arrow.UnionType:
		b, ok := b.(arrow.UnionType)
		return ok && slices.Equal(a.TypeCodes(), b.TypeCodes()) && slices.EqualFunc(a.Fields(), b.Fields(), equalNamed)
	case *arrow.DictionaryType:
		b, ok := b.(*arrow.DictionaryType)
		return ok && a.Ordered == b.Ordered && EqualTypes(a.IndexType, b.IndexType) && EqualTypes(a.ValueType, b.ValueType)
	case *arrow.RunEndEncodedType:
		b, ok := b.(*arrow.RunEndEncodedType)
		return ok && EqualTypes(a.RunEnds(), b.RunEnds()) && EqualTypes(a.Encoded(), b.Encoded())
	}
	return arrow.TypeEqual(a, b) // no children: only parameters are left to compare
}

// equalExtensions asks the types themselves last: an ExtensionEquals may assume
// that it is given a type of its own kind.
func equalExtensions(a arrow.ExtensionType, other arrow.DataType) bool {
	b, ok := other.(arrow.ExtensionType)
	return ok && a.ExtensionName() == b.ExtensionName() &&
		EqualTypes(a.StorageType(), b.StorageType()) && a.ExtensionEquals(b)
}

func equalMaps(a *arrow.MapType, other arrow.DataType) bool {
	b, ok := other.(*arrow.MapType)
	return ok && a.KeysSorted == b.KeysSorted &&
		equalChild(a.KeyField(), b.KeyField()) && equalChild(a.ItemField(), b.ItemField())
}

// equalLists compares two lists of the same kind.
func equalLists(a arrow.ListLikeType, other arrow.DataType) bool {
	b, ok := other.(arrow.ListLikeType)
	if !ok || !equalChild(a.ElemField(), b.ElemField()) {
		return false
	}
	if a, fixed := a.(*arrow.FixedSizeListType); fixed {
		b, ok := b.(*arrow.FixedSizeListType)
		return ok && a.Len() == b.Len()
	}
	return true
}

func equalNamed(a, b arrow.Field) bool { return a.Name == b.Name && equalChild(a, b) }

func equalChild(a, b arrow.Field) bool {
	return a.Nullable == b.Nullable && EqualTypes(a.Type, b.Type)
}
