package cast

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// Compatible reports whether batches of the schema got can be made into batches
// of the schema want: both have the same field names, in any order, and between
// the types of each there is a cast (see the package comment). A name that
// occurs more than once is matched in order of occurrence. Nullability is left
// to the rows.
//
// The error is a [MismatchError].
func Compatible(got, want *arrow.Schema) error {
	_, err := match(got, want)
	return err
}

// Record returns rec as a batch of the schema want. The caller keeps its
// reference to rec and gets one to the result.
//
// If the schemas differ at most in metadata and in the names of list and map
// children, the result is rec itself, with one more reference and its own
// schema. Otherwise it has the schema want and rec's custom metadata; columns of
// the right type are shared with rec, the others are new.
//
// The error is a [MismatchError] as from [Compatible], or a [ValueError] for the
// first value that cannot be kept, a null in a field that allows none among
// them. Values that take no space of their own in rec (rows of the null type,
// text behind a dictionary) may expand to 256 MiB in all before they are
// refused as a ValueError.
func Record(rec arrow.RecordBatch, want *arrow.Schema) (arrow.RecordBatch, error) {
	return record(memory.DefaultAllocator, rec, want)
}

func record(mem memory.Allocator, rec arrow.RecordBatch, want *arrow.Schema) (arrow.RecordBatch, error) {
	if schemacmp.Equal(rec.Schema(), want) {
		for i, f := range want.Fields() {
			if err := checkNulls(rec.Column(i), f); err != nil {
				return nil, err
			}
		}
		rec.Retain()
		return rec, nil
	}
	plan, err := match(rec.Schema(), want)
	if err != nil {
		return nil, err
	}
	columns := make([]arrow.Array, 0, len(plan))
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	left := &budget{bytes: maxExpansion}
	for _, c := range plan {
		column, err := c.cast(mem, rec.Column(c.source), left)
		if err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	var meta arrow.Metadata
	if rec, ok := rec.(arrow.RecordBatchWithMetadata); ok {
		meta = rec.Metadata()
	}
	return array.NewRecordBatchWithMetadata(want, columns, rec.NumRows(), meta), nil
}

// column says how one declared field comes about.
type column struct {
	field  arrow.Field
	source int    // the index of the received column
	bind   binder // nil if the type is right already
}

// match pairs the declared fields with the received ones.
func match(got, want *arrow.Schema) ([]column, error) {
	var mismatch MismatchError
	plan := make([]column, 0, want.NumFields())
	taken := make(map[string]int, want.NumFields())
	for _, f := range want.Fields() {
		indices := got.FieldIndices(f.Name)
		nth := taken[f.Name]
		if nth >= len(indices) {
			mismatch.Missing = append(mismatch.Missing, f)
			continue
		}
		taken[f.Name]++
		c := column{field: f, source: indices[nth]}
		received := got.Field(c.source).Type
		if !schemacmp.EqualTypes(received, f.Type) {
			if c.bind = compile(received, f.Type, f.Nullable); c.bind == nil {
				mismatch.Types = append(mismatch.Types, TypeConflict{Field: f.Name, Expected: f.Type, Received: received})
			}
		}
		plan = append(plan, c)
	}
	for _, f := range got.Fields() {
		if taken[f.Name]--; taken[f.Name] < 0 {
			mismatch.Unexpected = append(mismatch.Unexpected, f)
		}
	}
	if len(mismatch.Missing)+len(mismatch.Unexpected)+len(mismatch.Types) > 0 {
		return nil, &mismatch
	}
	return plan, nil
}

// maxReserve is the number of rows for which a builder is sized beforehand. A
// batch may claim more rows than it has bytes.
const maxReserve = 1 << 20

func (c column) cast(mem memory.Allocator, src arrow.Array, left *budget) (arrow.Array, error) {
	if err := checkNulls(src, c.field); err != nil {
		return nil, err
	}
	if c.bind == nil {
		return retype(src, c.field.Type), nil
	}
	dst := array.NewBuilder(mem, c.field.Type)
	defer dst.Release()
	dst.Reserve(min(src.Len(), maxReserve))
	put := c.bind(dst, src, left)
	for row := range src.Len() {
		if err := put(row); err != nil {
			err.Row = row
			return nil, below(c.field.Name, err)
		}
	}
	built := dst.NewArray()
	defer built.Release()
	return retype(built, c.field.Type), nil
}

// checkNulls refuses a column with a null where the field allows none.
func checkNulls(src arrow.Array, f arrow.Field) error {
	if f.Nullable || src.NullN() == 0 {
		return nil
	}
	row := 0
	for row < src.Len()-1 && src.IsValid(row) && src.DataType().ID() != arrow.NULL {
		row++
	}
	return &ValueError{Field: f.Name, Row: row, Received: src.DataType(), Expected: f.Type, Reason: reasonNull}
}

// retype returns arr, whose type equals t by [schemacmp.EqualTypes], with t
// itself as its type. arrow-go compares the names of some children, and would
// refuse the column otherwise.
func retype(arr arrow.Array, t arrow.DataType) arrow.Array {
	switch t.(type) {
	case arrow.ExtensionType: // equal by its own word
	case *arrow.DictionaryType, arrow.NestedType:
		data := retypeData(arr.Data(), t)
		defer data.Release()
		return array.MakeFromData(data)
	}
	arr.Retain()
	return arr
}

func retypeData(d arrow.ArrayData, t arrow.DataType) *array.Data {
	buffers := slices.Clone(d.Buffers())
	switch t := t.(type) {
	case arrow.ExtensionType:
		d.Retain()
		return d.(*array.Data)
	case *arrow.DictionaryType:
		var dictionary *array.Data
		if old, ok := d.Dictionary().(*array.Data); ok && old != nil {
			dictionary = retypeData(old, t.ValueType)
			defer dictionary.Release()
		}
		return array.NewDataWithDictionary(t, d.Len(), buffers, d.NullN(), d.Offset(), dictionary)
	case arrow.NestedType:
		children := make([]arrow.ArrayData, len(d.Children()))
		for i, f := range t.Fields() {
			child := retypeData(d.Children()[i], f.Type)
			defer child.Release()
			children[i] = child
		}
		return array.NewData(t, d.Len(), buffers, children, d.NullN(), d.Offset())
	}
	return array.NewData(t, d.Len(), buffers, nil, d.NullN(), d.Offset())
}
