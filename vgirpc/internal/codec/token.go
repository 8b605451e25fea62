package codec

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// parseType parses a type token of WIRE_PROTOCOL section 14. Where a name is
// normalised anyway it may be left out: list<int32> is list<item?:int32>, and
// map<utf8,int64> is map<key:utf8,value?:int64>.
func parseType(text string) (arrow.DataType, error) {
	p := tokenParser{text: text}
	t, err := p.typ(0)
	if err == nil && p.rest() != "" {
		err = fmt.Errorf("%q is left over", p.rest())
	}
	if err != nil {
		return nil, fmt.Errorf("type %q: %w", text, err)
	}
	return t, nil
}

// maxTokenDepth bounds the nesting of a type token.
const maxTokenDepth = 32

type tokenParser struct {
	text string
	pos  int
}

func (p *tokenParser) rest() string { return p.text[p.pos:] }

func (p *tokenParser) accept(s string) bool {
	ok := strings.HasPrefix(p.rest(), s)
	if ok {
		p.pos += len(s)
	}
	return ok
}

func (p *tokenParser) word() string {
	n := strings.IndexFunc(p.rest(), func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if n < 0 {
		n = len(p.rest())
	}
	w := p.rest()[:n]
	p.pos += n
	return w
}

// args parses "(a,b)", which may be missing.
func (p *tokenParser) args() ([]string, error) {
	if !p.accept("(") {
		return nil, nil
	}
	text, _, ok := strings.Cut(p.rest(), ")")
	if !ok {
		return nil, fmt.Errorf("a parenthesis is not closed")
	}
	p.pos += len(text) + 1
	return strings.Split(text, ","), nil
}

// child is one type between angle brackets.
type child struct {
	arrow.Field
	named bool
}

// children parses "<a:T,b?:T>", which may be missing.
func (p *tokenParser) children(depth int) ([]child, error) {
	if !p.accept("<") {
		return nil, nil
	}
	var out []child
	for !p.accept(">") {
		if len(out) > 0 && !p.accept(",") {
			return nil, fmt.Errorf("want a comma or > before %q", p.rest())
		}
		c := child{Field: arrow.Field{Nullable: true}}
		start := p.pos
		if name := p.word(); name != "" {
			question := p.accept("?")
			if c.named = p.accept(":"); c.named {
				c.Name, c.Nullable = name, question
			}
		}
		if !c.named {
			p.pos = start
		}
		var err error
		if c.Type, err = p.typ(depth + 1); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (p *tokenParser) typ(depth int) (arrow.DataType, error) {
	if depth > maxTokenDepth {
		return nil, fmt.Errorf("types nest deeper than %d", maxTokenDepth)
	}
	word := p.word()
	args, err := p.args()
	if err != nil {
		return nil, err
	}
	kids, err := p.children(depth)
	if err != nil {
		return nil, err
	}
	if t := plainTypes[word]; t != nil && args == nil && kids == nil {
		return t, nil
	}
	var t arrow.DataType
	if kids == nil {
		t = parameterized(word, args)
	} else {
		t, err = p.nested(word, args, kids)
	}
	if t == nil && err == nil {
		err = fmt.Errorf("%q is no type token: see WIRE_PROTOCOL section 14", word)
	}
	return t, err
}

var plainTypes = map[string]arrow.DataType{
	"bool": arrow.FixedWidthTypes.Boolean,
	"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16,
	"int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
	"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16,
	"uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
	"float16": arrow.FixedWidthTypes.Float16, "float32": arrow.PrimitiveTypes.Float32, "float64": arrow.PrimitiveTypes.Float64,
	"utf8": arrow.BinaryTypes.String, "large_utf8": arrow.BinaryTypes.LargeString,
	"binary": arrow.BinaryTypes.Binary, "large_binary": arrow.BinaryTypes.LargeBinary,
	"date32": arrow.FixedWidthTypes.Date32, "date64": arrow.FixedWidthTypes.Date64,
	"interval_months": arrow.FixedWidthTypes.MonthInterval, "interval_day_time": arrow.FixedWidthTypes.DayTimeInterval,
	"interval_month_day_nano": arrow.FixedWidthTypes.MonthDayNanoInterval,
}

// parameterized builds a type with parameters and no children, or nil.
func parameterized(word string, args []string) arrow.DataType {
	switch word {
	case "fixed_size_binary":
		if n := numbers(args, 1); n != nil && n[0] > 0 {
			return &arrow.FixedSizeBinaryType{ByteWidth: int(n[0])}
		}
	case "decimal128":
		if n := numbers(args, 2); n != nil && n[0] >= 1 && n[0] <= 38 && max(n[1], -n[1]) <= 38 {
			return &arrow.Decimal128Type{Precision: n[0], Scale: n[1]}
		}
	case "decimal256":
		if n := numbers(args, 2); n != nil && n[0] >= 1 && n[0] <= 76 && max(n[1], -n[1]) <= 76 {
			return &arrow.Decimal256Type{Precision: n[0], Scale: n[1]}
		}
	case "timestamp", "duration", "time32", "time64":
		if len(args) > 0 {
			return temporal(word, args)
		}
	}
	return nil
}

// numbers parses exactly n numbers.
func numbers(args []string, n int) []int32 {
	if len(args) != n {
		return nil
	}
	out := make([]int32, n)
	for i, a := range args {
		v, err := strconv.ParseInt(strings.TrimSpace(a), 10, 32)
		if err != nil {
			return nil
		}
		out[i] = int32(v)
	}
	return out
}

var units = map[string]arrow.TimeUnit{
	"s": arrow.Second, "ms": arrow.Millisecond, "us": arrow.Microsecond, "ns": arrow.Nanosecond,
}

func temporal(word string, args []string) arrow.DataType {
	unit, ok := units[args[0]]
	switch {
	case !ok:
	case word == "timestamp" && len(args) == 2:
		if zone, ok := strings.CutPrefix(args[1], "tz="); ok {
			return &arrow.TimestampType{Unit: unit, TimeZone: zone}
		}
	case len(args) != 1:
	case word == "timestamp":
		return &arrow.TimestampType{Unit: unit}
	case word == "duration":
		return &arrow.DurationType{Unit: unit}
	case word == "time32" && unit <= arrow.Millisecond:
		return &arrow.Time32Type{Unit: unit}
	case word == "time64" && unit >= arrow.Microsecond:
		return &arrow.Time64Type{Unit: unit}
	}
	return nil
}

// nested builds a type with children, or nil.
func (p *tokenParser) nested(word string, args []string, kids []child) (arrow.DataType, error) {
	switch {
	case word == "struct" && args == nil:
		fields := make([]arrow.Field, len(kids))
		for i, k := range kids {
			if !k.named {
				return nil, fmt.Errorf("a field of a struct needs a name")
			}
			fields[i] = k.Field
		}
		return arrow.StructOf(fields...), nil
	case len(kids) == 1:
		return listType(word, args, item(kids[0])), nil
	case word == "map" && args == nil && len(kids) == 2:
		if kids[0].named && kids[0].Nullable {
			return nil, fmt.Errorf("the key of a map is never null")
		}
		t := arrow.MapOfFields(
			arrow.Field{Name: "key", Type: kids[0].Type},
			arrow.Field{Name: "value", Type: kids[1].Type, Nullable: kids[1].Nullable},
		)
		t.KeysSorted = p.accept(",keys_sorted")
		return t, nil
	case word == "dictionary" && args == nil && len(kids) == 2:
		if !arrow.IsInteger(kids[0].Type.ID()) {
			return nil, fmt.Errorf("the index of a dictionary is an integer")
		}
		return &arrow.DictionaryType{IndexType: kids[0].Type, ValueType: kids[1].Type, Ordered: p.accept(",ordered")}, nil
	}
	return nil, nil
}

// listType builds a list, or nil.
func listType(word string, args []string, item arrow.Field) arrow.DataType {
	switch {
	case word == "list" && args == nil:
		return arrow.ListOfField(item)
	case word == "large_list" && args == nil:
		return arrow.LargeListOfField(item)
	case word == "fixed_size_list":
		if n := numbers(args, 1); n != nil && n[0] > 0 {
			return arrow.FixedSizeListOfField(n[0], item)
		}
	}
	return nil
}

func item(c child) arrow.Field { return arrow.Field{Name: "item", Type: c.Type, Nullable: c.Nullable} }
