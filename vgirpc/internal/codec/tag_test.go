package codec

import (
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

func TestTagsAreSplitOutsideOfBrackets(t *testing.T) {
	list := arrow.ListOf(&arrow.Decimal128Type{Precision: 20, Scale: 4})
	for text, want := range map[string]tag{
		``:                           {},
		`-`:                          {skip: true},
		`a`:                          {name: "a"},
		`a,notnull`:                  {name: "a", nullable: notNull},
		`,nullable,borrow`:           {nullable: nullable, borrow: true},
		`a,default=`:                 {name: "a", hasDef: true},
		`a,default=x,nullable`:       {name: "a", def: "x,nullable", hasDef: true},
		`a,default="x,\"y",nullable`: {name: "a", def: `x,"y`, hasDef: true, nullable: nullable},
		`a,type=list<decimal128(20,4)>,default=[]`:   {name: "a", typ: list, def: "[]", hasDef: true},
		`a,borrow,type=list<item?:decimal128(20,4)>`: {name: "a", typ: list, borrow: true},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := parseTag(reflect.StructTag(`vgi:` + quote(text)))
			if err != nil {
				t.Fatal(err)
			}
			sameType := cmp.Comparer(schemacmp.EqualTypes)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(tag{}), sameType); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func quote(s string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
}

func TestBadTagsAreErrorsThatSayWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		`a,nulable`:               `tag option "nulable": want type=, nullable, notnull, borrow or default=`,
		`a,type=int`:              `"int" is no type token`,
		`a,type=list<int64`:       `want a comma or > before ""`,
		`a,type=decimal128(40,4)`: `"decimal128" is no type token`,
		`a,default="x"y`:          `want a comma after the quoted string`,
		`a,`:                      `tag option ""`,
	} {
		t.Run(text, func(t *testing.T) {
			_, err := parseTag(reflect.StructTag(`vgi:` + quote(text)))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestColumnsAreNamedInSnakeCase(t *testing.T) {
	for name, want := range map[string]string{
		"A": "a", "Name": "name", "UserID": "user_id", "HTTPServer": "http_server", "AllOK": "all_ok", "Int32Field": "int32_field",
		"With_Underscore": "with_underscore", "ÄpfelUndBirnen": "äpfel_und_birnen", "X1Y2": "x1_y2",
	} {
		if got := snakeCase(name); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
}

func TestTypeTokensSayTheSameBothWays(t *testing.T) {
	for _, token := range []string{
		"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
		"utf8", "large_utf8", "binary", "large_binary", "fixed_size_binary(8)", "decimal128(20,4)", "decimal128(5,-2)",
		"decimal256(76,10)", "date32", "date64", "time32(s)", "time32(ms)", "time64(us)", "time64(ns)", "timestamp(s)",
		"timestamp(us,tz=UTC)", "timestamp(ns,tz=America/New_York)", "timestamp(ms,tz=+05:30)", "duration(ns)",
		"interval_months", "interval_day_time", "interval_month_day_nano", "list<item?:int64>", "list<item:list<item?:utf8>>",
		"large_list<item?:bool>", "fixed_size_list(3)<item?:float32>", "struct<a:int64,b?:list<item?:utf8>>",
		"map<key:utf8,value?:decimal128(20,4)>", "map<key:int32,value:utf8>", "map<key:utf8,value?:int64>,keys_sorted",
		"dictionary<index:int16,value:utf8>", "list<item?:dictionary<index:uint8,value:large_utf8>,ordered>",
	} {
		t.Run(token, func(t *testing.T) {
			typ, err := parseType(token)
			if err != nil {
				t.Fatal(err)
			}
			got, err := typetoken.Of(typ)
			if err != nil || got != token {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestNamesOfListAndMapChildrenMayBeLeftOut(t *testing.T) {
	for short, long := range map[string]string{
		"list<int32>":                "list<item?:int32>",
		"list<list<utf8>>":           "list<item?:list<item?:utf8>>",
		"map<utf8,int64>":            "map<key:utf8,value?:int64>",
		"dictionary<int16,utf8>":     "dictionary<index:int16,value:utf8>",
		"fixed_size_list(2)<f:bool>": "fixed_size_list(2)<item:bool>",
	} {
		typ, err := parseType(short)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := typetoken.Of(typ); got != long {
			t.Errorf("%s is %s, want %s", short, got, long)
		}
	}
}

func TestTextThatIsNoTypeTokenIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "int", "string", "list", "list<>", "list<int64,int64>", "map<utf8>", "map<key?:utf8,value:utf8>", "struct<int64>",
		"dictionary<utf8,utf8>", "fixed_size_binary(0)", "fixed_size_binary(-1)", "fixed_size_binary", "decimal128(20)",
		"decimal128(0,0)", "time32(us)", "time64(ms)", "timestamp", "timestamp(m)", "timestamp(us,UTC)", "duration(us,tz=UTC)",
		"int64>", "int64 ", "timestamp(us", "utf8_view", "list<int64>x", strings.Repeat("list<", 50) + "int8" + strings.Repeat(">", 50),
	} {
		if typ, err := parseType(text); err == nil {
			t.Errorf("%q is %v", text, typ)
		}
	}
}
