package pages

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// formView is the form from which a method is called.
type formView struct {
	Method, URL string
	Inputs      []inputView
}

// inputView is one parameter. Kind is "bool", "enum", "json", "integer",
// "float" or "text"; the script turns what is typed into JSON by it.
type inputView struct {
	ID, Name, Type, Kind, Mode string
	Example                    string
	Lines                      int // of a text area
	Enum                       []string
	Nullable, HasDefault       bool
	Default                    string
	Checked                    bool
}

func newForm(prefix string, m *vgirpc.Method, params []vgirpc.Field) *formView {
	f := &formView{
		Method: m.Name(), URL: prefix + "/" + m.Protocol().Name() + "/" + m.Name() + "?format=json",
	}
	for i := range params {
		f.Inputs = append(f.Inputs, newInput(m.String()+"/"+params[i].Name, &params[i]))
	}
	return f
}

func newInput(id string, f *vgirpc.Field) inputView {
	in := inputView{
		ID: id, Name: f.Name, Type: typeName(f.Type), Enum: f.Enum, Nullable: f.Nullable,
		HasDefault: f.Default != nil, Default: f.DefaultText, Checked: f.DefaultText == "true",
	}
	in.Kind, in.Mode = kindOf(f)
	in.Example = example(f.Type)
	if f.PackedSchema != nil {
		in.Type = "struct"
		in.Example = exampleMembers(f.Packed)
	}
	if in.Kind == "json" {
		var indented bytes.Buffer
		if json.Indent(&indented, []byte(in.Example), "", "  ") == nil {
			in.Example = indented.String()
		}
		in.Lines = min(max(strings.Count(in.Example, "\n")+1, 2), 14)
	} else {
		in.Example = strings.Trim(in.Example, `"`)
	}
	return in
}

// kindOf says how a parameter is typed, and with which keyboard.
func kindOf(f *vgirpc.Field) (kind, mode string) {
	switch id := f.Type.ID(); {
	case f.PackedSchema != nil:
		return "json", ""
	case len(f.Enum) > 0:
		return "enum", ""
	case id == arrow.BOOL:
		return "bool", ""
	case arrow.IsInteger(id):
		return "integer", "numeric"
	case arrow.IsFloating(id):
		return "float", "decimal"
	case arrow.IsDecimal(id):
		return "text", "decimal"
	case id == arrow.EXTENSION, arrow.IsNested(id), strings.HasPrefix(example(f.Type), "{"), id == arrow.NULL:
		return "json", ""
	}
	return "text", "text"
}

// example is JSON that a parameter of type t accepts.
func example(t arrow.DataType) string {
	switch t := t.(type) {
	case arrow.ExtensionType:
		return example(t.StorageType())
	case *arrow.DictionaryType:
		return example(t.ValueType)
	case *arrow.MapType:
		if isText(t.KeyType()) {
			return `{"key":` + example(t.ItemType()) + `}`
		}
		return "[[" + example(t.KeyType()) + "," + example(t.ItemType()) + "]]"
	case *arrow.FixedSizeListType:
		return "[" + strings.TrimSuffix(strings.Repeat(example(t.Elem())+",", int(min(t.Len(), 64))), ",") + "]"
	case arrow.ListLikeType:
		return "[" + example(t.Elem()) + "]"
	case *arrow.StructType:
		fields := make([]vgirpc.Field, 0, t.NumFields())
		for _, f := range t.Fields() {
			fields = append(fields, vgirpc.Field{Field: f})
		}
		return exampleMembers(fields)
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return `"2026-11-21T13:45:00"`
		}
		return `"2026-11-21T13:45:00Z"`
	}
	return exampleScalar(t.ID())
}

func exampleScalar(id arrow.Type) string {
	switch {
	case id == arrow.NULL:
		return "null"
	case id == arrow.BOOL:
		return "false"
	case arrow.IsInteger(id):
		return "0"
	case arrow.IsFloating(id):
		return "0.5"
	case arrow.IsDecimal(id):
		return `"12.50"`
	}
	switch id {
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return `"AAEC"`
	case arrow.DATE32, arrow.DATE64:
		return `"2026-11-21"`
	case arrow.TIME32, arrow.TIME64:
		return `"13:45:00"`
	case arrow.DURATION:
		return `"90.5s"`
	case arrow.INTERVAL_MONTHS:
		return `{"months":1}`
	case arrow.INTERVAL_DAY_TIME:
		return `{"days":1,"milliseconds":500}`
	case arrow.INTERVAL_MONTH_DAY_NANO:
		return `{"months":1,"days":2,"nanoseconds":3}`
	}
	return `"text"`
}

func exampleMembers(fields []vgirpc.Field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		value := example(f.Type)
		switch {
		case len(f.Enum) > 0:
			value = quoted(f.Enum[0])
		case f.PackedSchema != nil:
			value = exampleMembers(f.Packed)
		}
		parts[i] = quoted(f.Name) + ":" + value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

func isText(t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return true
	}
	return false
}
