package typetoken_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// tokenParser turns the tokens of the golden vector back into types. It knows
// the kinds that occur there and stops at the first other one.
type tokenParser struct{ rest string }

func parseToken(token string) (t arrow.DataType, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("token %q: %v", token, r)
		}
	}()
	p := &tokenParser{rest: token}
	t = p.parse()
	if p.rest != "" {
		return nil, fmt.Errorf("token %q: %q is left over", token, p.rest)
	}
	return t, nil
}

// until takes the text up to one of the stop characters, or all of it.
func (p *tokenParser) until(stops string) string {
	i := strings.IndexAny(p.rest, stops)
	if i < 0 {
		i = len(p.rest)
	}
	text := p.rest[:i]
	p.rest = p.rest[i:]
	return text
}

func (p *tokenParser) expect(s string) {
	var ok bool
	if p.rest, ok = strings.CutPrefix(p.rest, s); !ok {
		panic(fmt.Sprintf("want %q before %q", s, p.rest))
	}
}

func (p *tokenParser) parse() arrow.DataType {
	switch name := p.until("(<>,"); name {
	case "list":
		return arrow.ListOfField(p.children()[0])
	case "struct":
		return arrow.StructOf(p.children()...)
	case "map":
		c := p.children()
		return arrow.MapOfFields(c[0], c[1])
	case "dictionary":
		c := p.children()
		return &arrow.DictionaryType{IndexType: c[0].Type, ValueType: c[1].Type}
	case "decimal128", "fixed_size_binary", "time64", "timestamp", "duration":
		return p.parameters(name)
	default:
		return primitive(name)
	}
}

func (p *tokenParser) children() []arrow.Field {
	var fields []arrow.Field
	p.expect("<")
	for !strings.HasPrefix(p.rest, ">") {
		name, nullable := strings.CutSuffix(p.until(":"), "?")
		p.expect(":")
		fields = append(fields, arrow.Field{Name: name, Nullable: nullable, Type: p.parse()})
		if strings.HasPrefix(p.rest, ",") {
			p.expect(",")
		}
	}
	p.expect(">")
	return fields
}

func (p *tokenParser) parameters(name string) arrow.DataType {
	p.expect("(")
	first, second, _ := strings.Cut(p.until(")"), ",")
	p.expect(")")
	unit := map[string]arrow.TimeUnit{"s": arrow.Second, "ms": arrow.Millisecond, "us": arrow.Microsecond, "ns": arrow.Nanosecond}[first]
	switch name {
	case "decimal128":
		return &arrow.Decimal128Type{Precision: number(first), Scale: number(second)}
	case "fixed_size_binary":
		return &arrow.FixedSizeBinaryType{ByteWidth: int(number(first))}
	case "time64":
		return &arrow.Time64Type{Unit: unit}
	case "duration":
		return &arrow.DurationType{Unit: unit}
	default:
		return &arrow.TimestampType{Unit: unit, TimeZone: strings.TrimPrefix(second, "tz=")}
	}
}

func number(s string) int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func primitive(name string) arrow.DataType {
	for _, t := range []arrow.DataType{
		arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64,
		arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint64,
		arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Date32,
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeBinary,
	} {
		if t.Name() == name {
			return t
		}
	}
	panic("an unknown type " + name)
}
