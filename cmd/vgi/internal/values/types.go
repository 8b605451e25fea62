package values

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// ParseColumns reads a list such as "a:int64,b:list<utf8>,c:decimal128(20,4)?"
// into fields. A field is nullable when its type ends in a question mark.
func ParseColumns(text string) ([]arrow.Field, error) {
	var fields []arrow.Field
	for _, part := range splitList(text) {
		name, token, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("column %q: want NAME:TYPE", part)
		}
		if slices.ContainsFunc(fields, func(f arrow.Field) bool { return f.Name == name }) {
			return nil, fmt.Errorf("column %q is given twice", name)
		}
		token, nullable := strings.CutSuffix(token, "?")
		t, err := ParseType(token)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		}
		fields = append(fields, arrow.Field{Name: name, Type: t, Nullable: nullable})
	}
	return fields, nil
}

// splitList splits at commas outside of brackets.
func splitList(text string) []string {
	var parts []string
	depth, start := 0, 0
	for i, c := range text {
		switch c {
		case '<', '(':
			depth++
		case '>', ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, text[start:i])
				start = i + 1
			}
		}
	}
	return append(parts, text[start:])
}

// plainTypes are the types without parameters.
func plainTypes() map[string]arrow.DataType {
	return map[string]arrow.DataType{
		"bool": arrow.FixedWidthTypes.Boolean,
		"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16,
		"int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
		"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16,
		"uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
		"float16": arrow.FixedWidthTypes.Float16, "float32": arrow.PrimitiveTypes.Float32, "float64": arrow.PrimitiveTypes.Float64,
		"utf8": arrow.BinaryTypes.String, "large_utf8": arrow.BinaryTypes.LargeString,
		"binary": arrow.BinaryTypes.Binary, "large_binary": arrow.BinaryTypes.LargeBinary,
		"date32": arrow.FixedWidthTypes.Date32, "date64": arrow.FixedWidthTypes.Date64,
	}
}

// withParameters splits "name(parameters)" and "name<parameters>".
var withParameters = regexp.MustCompile(`^(\w+)[(<](.*)[)>]$`)

// ParseType reads a type by its token, as [TypeName] writes it: the plain ones,
// timestamp(us), timestamp(us,tz=UTC), time32(ms), time64(us), duration(us),
// decimal128(precision,scale), fixed_size_binary(n), list<type>, list<item?:type>
// and struct<name:type,…>.
func ParseType(token string) (arrow.DataType, error) {
	token = strings.TrimSpace(token)
	if t, ok := plainTypes()[token]; ok {
		return t, nil
	}
	unknown := fmt.Errorf("%q is not a type that can be written here", token)
	m := withParameters.FindStringSubmatch(token)
	if m == nil {
		return nil, unknown
	}
	name, inner := m[1], m[2]
	switch name {
	case "list", "large_list":
		return parseList(name, inner)
	case "struct":
		fields, err := ParseColumns(inner)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(fields...), nil
	case "fixed_size_binary":
		n, err := strconv.Atoi(inner)
		if err != nil || n < 0 {
			return nil, unknown
		}
		return &arrow.FixedSizeBinaryType{ByteWidth: n}, nil
	case "decimal128", "decimal256":
		return parseDecimal(name, inner, unknown)
	}
	unitText, zone, _ := strings.Cut(inner, ",tz=")
	unit := slices.Index([]string{"s", "ms", "us", "ns"}, unitText)
	if unit < 0 || (zone != "" && name != "timestamp") {
		return nil, unknown
	}
	switch u := arrow.TimeUnit(unit); {
	case name == "timestamp":
		return &arrow.TimestampType{Unit: u, TimeZone: zone}, nil
	case name == "duration":
		return &arrow.DurationType{Unit: u}, nil
	case name == "time32" && u <= arrow.Millisecond:
		return &arrow.Time32Type{Unit: u}, nil
	case name == "time64" && u > arrow.Millisecond:
		return &arrow.Time64Type{Unit: u}, nil
	}
	return nil, unknown
}

func parseList(name, inner string) (arrow.DataType, error) {
	item, nullable := inner, true
	if rest, ok := strings.CutPrefix(inner, "item?:"); ok {
		item = rest
	} else if rest, ok := strings.CutPrefix(inner, "item:"); ok {
		item, nullable = rest, false
	}
	t, err := ParseType(item)
	if err != nil {
		return nil, err
	}
	field := arrow.Field{Name: "item", Type: t, Nullable: nullable}
	if name == "large_list" {
		return arrow.LargeListOfField(field), nil
	}
	return arrow.ListOfField(field), nil
}

func parseDecimal(name, inner string, unknown error) (arrow.DataType, error) {
	precision, scale, _ := strings.Cut(inner, ",")
	p, perr := strconv.ParseInt(strings.TrimSpace(precision), 10, 32)
	s, serr := strconv.ParseInt(strings.TrimSpace(scale), 10, 32)
	if perr != nil || serr != nil || p < 1 || s > p {
		return nil, unknown
	}
	switch {
	case name == "decimal128" && p <= 38:
		return &arrow.Decimal128Type{Precision: int32(p), Scale: int32(s)}, nil
	case name == "decimal256" && p <= 76:
		return &arrow.Decimal256Type{Precision: int32(p), Scale: int32(s)}, nil
	}
	return nil, unknown
}

// Infer is the schema of rows: every member of any row, nullable where a row
// has it not. Fields that are declared are taken as they are.
func Infer(rows []*Object, declared []arrow.Field) (*arrow.Schema, error) {
	var fields []arrow.Field
	for _, row := range rows {
		for _, name := range row.Names() {
			if slices.ContainsFunc(fields, func(f arrow.Field) bool { return f.Name == name }) {
				continue
			}
			if i := slices.IndexFunc(declared, func(f arrow.Field) bool { return f.Name == name }); i >= 0 {
				fields = append(fields, declared[i])
				continue
			}
			column := make([]any, len(rows))
			for i, r := range rows {
				column[i], _ = r.Get(name)
			}
			t, err := inferType(column)
			if err != nil {
				return nil, within(name, err)
			}
			fields = append(fields, arrow.Field{Name: name, Type: t, Nullable: true})
		}
	}
	for _, f := range declared {
		if !slices.ContainsFunc(fields, func(g arrow.Field) bool { return f.Name == g.Name }) {
			fields = append(fields, f)
		}
	}
	return arrow.NewSchema(fields, nil), nil
}

// inferType is the type that holds all values: int64, float64 where one has a
// point or an exponent, utf8, bool, lists and structs; utf8 for nothing but
// nulls.
func inferType(column []any) (arrow.DataType, error) {
	var found arrow.DataType
	var items []any
	var objects []*Object
	for _, v := range column {
		var t arrow.DataType
		switch v := v.(type) {
		case nil:
			continue
		case bool:
			t = arrow.FixedWidthTypes.Boolean
		case string:
			t = arrow.BinaryTypes.String
		case json.Number:
			t = arrow.PrimitiveTypes.Int64
			if _, err := v.Int64(); err != nil {
				t = arrow.PrimitiveTypes.Float64
			}
			if found != nil && arrow.IsFloating(found.ID()) || found != nil && found.ID() == arrow.INT64 && t.ID() == arrow.FLOAT64 {
				found, t = arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float64
			}
		case []any:
			items = append(items, v...)
			t = arrow.ListOf(arrow.Null)
		case *Object:
			objects = append(objects, v)
			t = arrow.StructOf()
		}
		if found != nil && found.ID() != t.ID() {
			return nil, refusef("%s after values of type %s: declare the column with --columns", describe(v), found.Name())
		}
		found = t
	}
	switch {
	case found == nil:
		return arrow.BinaryTypes.String, nil
	case found.ID() == arrow.LIST:
		t, err := inferType(items)
		if err != nil {
			return nil, within("[]", err)
		}
		return arrow.ListOf(t), nil
	case found.ID() == arrow.STRUCT:
		s, err := Infer(objects, nil)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(s.Fields()...), nil
	}
	return found, nil
}
