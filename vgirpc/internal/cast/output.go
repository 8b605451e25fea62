package cast

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Output returns rec in the schema want as [Record] does, but picks the columns
// of want by name: rec may have more. A column that is missing is a
// *MismatchError. The caller releases the result.
func Output(rec arrow.RecordBatch, want *arrow.Schema) (arrow.RecordBatch, error) {
	if rec.Schema().NumFields() == want.NumFields() {
		return Record(rec, want)
	}
	fields := make([]arrow.Field, 0, want.NumFields())
	columns := make([]arrow.Array, 0, want.NumFields())
	for _, f := range want.Fields() {
		if at := rec.Schema().FieldIndices(f.Name); len(at) > 0 {
			fields = append(fields, rec.Schema().Field(at[0]))
			columns = append(columns, rec.Column(at[0]))
		}
	}
	picked := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rec.NumRows())
	defer picked.Release()
	return Record(picked, want)
}
