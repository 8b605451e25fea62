package values

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// TypeName is the name of a type for people: its token (WIRE_PROTOCOL section
// 14), or Arrow's name where it has none.
func TypeName(t arrow.DataType) string {
	if token, err := typetoken.Of(t); err == nil {
		return token
	}
	return t.String()
}

// Record makes rows of objects. A member that a nullable field lacks is null.
// Every object may have the members of the schema and no other. The memory
// belongs to the garbage collector.
func Record(schema *arrow.Schema, rows []*Object) (arrow.RecordBatch, error) {
	for i, row := range rows {
		if err := row.Only(schema.NumFields(), func(i int) string { return schema.Field(i).Name }); err != nil {
			return nil, inRow(len(rows), i, refusal(err))
		}
	}
	columns := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		b := array.NewBuilder(memory.DefaultAllocator, f.Type)
		b.Reserve(len(rows))
		for j, row := range rows {
			if err := cell(b, f, row); err != nil {
				return nil, inRow(len(rows), j, within(f.Name, err))
			}
		}
		columns[i] = b.NewArray()
	}
	return array.NewRecordBatch(schema, columns, int64(len(rows))), nil
}

// cell appends the member of a row that is called as the field.
func cell(b array.Builder, f arrow.Field, row *Object) error {
	v, ok := row.Get(f.Name)
	if !ok && !f.Nullable {
		return refusal(&arrowjson.Error{Kind: arrowjson.KindMissing, Type: f.Type})
	}
	return refusal(arrowjson.ReadOptions{Lenient: true, NameKeys: true}.Append(b, f, v))
}

// inRow names the row, counted from 1, where there are several.
func inRow(rows, i int, err error) error {
	if rows == 1 {
		return err
	}
	return within("row "+strconv.Itoa(i+1), err)
}

// FromText is the JSON value that plain text stands for in a field: text itself
// for strings, dates and the like, JSON for lists, structs and maps. "null" is
// null for a nullable field that is not a string.
func FromText(f arrow.Field, text string) (any, error) {
	t := f.Type
	for {
		if d, ok := t.(*arrow.DictionaryType); ok {
			t = d.ValueType
		} else if e, ok := t.(arrow.ExtensionType); ok {
			t = e.StorageType()
		} else {
			break
		}
	}
	switch id := t.ID(); {
	case id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.STRING_VIEW:
		return text, nil
	case text == "null" && f.Nullable:
		return nil, nil //nolint:nilnil // JSON's null
	case arrow.IsNested(id), arrow.IsInteger(id), id == arrow.BOOL, id == arrow.NULL,
		id == arrow.INTERVAL_MONTHS, id == arrow.INTERVAL_DAY_TIME, id == arrow.INTERVAL_MONTH_DAY_NANO:
		if v, err := Parse([]byte(text)); err == nil {
			return v, nil
		} else if arrow.IsNested(id) {
			return nil, refusef("%s is not of type %s: want JSON: %v", describe(text), TypeName(f.Type), err)
		}
	}
	return text, nil
}
