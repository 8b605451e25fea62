package codec

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// columnsOf writes a schema as tokens.
func columnsOf(tb testing.TB, p *Plan) []string {
	tb.Helper()
	var out []string
	for _, f := range p.Schema().Arrow().Fields() {
		s, err := typetoken.OfField(f)
		if err != nil {
			tb.Fatal(err)
		}
		if f.Nullable {
			s = "?" + s
		}
		out = append(out, f.Name+" "+s)
	}
	return out
}

func TestAStructIsBinaryAsParameterAndAStructElsewhere(t *testing.T) {
	type fields struct {
		Point    Point
		Maybe    *Point
		List     []Point
		ByName   map[string]Point
		Declared Point `vgi:",type=struct<x:float64,y:float64>"`
	}
	inside := []string{
		"list list<item?:struct<x:float64,y:float64>>", "by_name map<key:utf8,value?:struct<x:float64,y:float64>>",
		"declared struct<x:float64,y:float64>",
	}
	want := map[Level][]string{
		Params: append([]string{"point binary", "maybe ?binary"}, inside...),
		Row:    append([]string{"point struct<x:float64,y:float64>", "maybe ?struct<x:float64,y:float64>"}, inside...),
	}
	for level, columns := range want {
		p := mustCompile(t, reflect.TypeFor[fields](), level)
		if diff := cmp.Diff(columns, columnsOf(t, p)); diff != "" {
			t.Errorf("level %d: %s", level, diff)
		}
	}
}

func TestResultsAreOneColumn(t *testing.T) {
	for _, tc := range []struct {
		typ     reflect.Type
		options string
		want    []string
	}{
		{reflect.TypeFor[struct{}](), "", nil},
		{reflect.TypeFor[int](), "", []string{"result int64"}},
		{reflect.TypeFor[*int32](), "", []string{"result ?int32"}},
		{reflect.TypeFor[*int32](), "notnull", []string{"result int32"}},
		{reflect.TypeFor[Point](), "", []string{"result binary"}},
		{reflect.TypeFor[*Point](), "", []string{"result ?binary"}},
		{reflect.TypeFor[[]Point](), "", []string{"result list<item?:struct<x:float64,y:float64>>"}},
		{reflect.TypeFor[Status](), "", []string{"result dictionary<index:int16,value:utf8>"}},
		{reflect.TypeFor[Decimal](), "type=decimal128(20,4)", []string{"result decimal128(20,4)"}},
		{reflect.TypeFor[[]byte](), "type=fixed_size_binary(8),nullable", []string{"result ?fixed_size_binary(8)"}},
		{reflect.TypeFor[arrow.RecordBatch](), "", []string{"result binary"}},
	} {
		t.Run(tc.typ.String()+" "+tc.options, func(t *testing.T) {
			options := []string{tc.options}
			if tc.options == "" {
				options = nil
			}
			p, err := CompileResult(tc.typ, options...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, columnsOf(t, p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type tree struct{ Kids []tree }

type throughBlob struct {
	Self *throughBlob `vgi:",type=binary"`
}

type hidden struct{ a, b int } //nolint:unused // reflection sees it

type emptyEnum string

func (emptyEnum) EnumNames() []string { return nil }

type twiceEnum int

func (twiceEnum) EnumNames() []string { return []string{"A", "A"} }

func TestCompileErrorsNameTypeAndFieldAndSayWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[int](), "int: want a struct, whose fields are the columns"},
		{reflect.TypeFor[time.Time](), "time.Time: want a struct"},
		{reflect.TypeFor[struct{ C chan int }](), ".C: chan int has no Arrow form: use another type, or leave the field out"},
		{reflect.TypeFor[struct{ F func() }](), ".F: func() has no Arrow form"},
		{reflect.TypeFor[struct{ A any }](), ".A: interface interface {} has no Arrow form: use a concrete type"},
		{reflect.TypeFor[struct{ P **int }](), "a pointer to a pointer has no Arrow form"},
		{reflect.TypeFor[struct{ P []**int }](), "a pointer to a pointer has no Arrow form"},
		{reflect.TypeFor[struct{ D Decimal }](), ".D: codec.Decimal needs type=decimal128(precision,scale)"},
		{reflect.TypeFor[struct{ D decimal128.Num }](), ".D: decimal128.Num needs type=decimal128(precision,scale)"},
		{reflect.TypeFor[struct {
			S string `vgi:",type=int64"`
		}](), ".S: string cannot be int64: it can be utf8, large_utf8 or dictionary<index:int16,value:utf8>"},
		{reflect.TypeFor[struct {
			L []int `vgi:",type=list<utf8>"`
		}](), ".L: int cannot be utf8: it can be an integer type"},
		{reflect.TypeFor[struct {
			F float32 `vgi:",type=float64"`
		}](), "a float64 column needs a Go float64"},
		{reflect.TypeFor[struct {
			A [4]byte `vgi:",type=fixed_size_binary(5)"`
		}](), "[4]uint8 cannot be fixed_size_binary(5): it can be fixed_size_binary(4)"},
		{reflect.TypeFor[struct {
			S string `vgi:",borrow"`
		}](), ".S: borrow is for []byte, not for string"},
		{reflect.TypeFor[struct {
			A int `vgi:",default=x"`
		}](), `.A: default=x: strconv.ParseInt: parsing "x": invalid syntax`},
		{reflect.TypeFor[struct {
			A int `vgi:"x"`
			B int `vgi:"x"`
		}](), `.B: column "x" is field A already`},
		{reflect.TypeFor[struct {
			a int `vgi:"a"`
		}](), ".a: the field is unexported and would not be stored"},
		{reflect.TypeFor[struct{ H hidden }](), "codec.hidden: the struct has no exported fields"},
		{reflect.TypeFor[struct{ T tree }](), "codec.tree: the type contains itself"},
		{reflect.TypeFor[throughBlob](), "codec.throughBlob: the type contains itself"},
		{reflect.TypeFor[struct{ M map[struct{ A int }]int }](), "has no order here: use a string, number, date"},
		{reflect.TypeFor[struct{ M map[*int]int }](), "the key of a map cannot be a pointer"},
		{reflect.TypeFor[struct{ E emptyEnum }](), ".E: EnumNames lists no names"},
		{reflect.TypeFor[struct{ E twiceEnum }](), `.E: EnumNames lists "A" twice`},
		{reflect.TypeFor[struct {
			T time.Time `vgi:",type=timestamp(us,tz=Mars/Olympus)"`
		}](), `time zone "Mars/Olympus" is not known here: use UTC, or import time/tzdata`},
		{reflect.TypeFor[struct{ A [0]int }](), ".A: [0]int has no Arrow form: an array needs a length"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			_, err := Compile(tc.typ, Row)
			var compile *CompileError
			if !errors.As(err, &compile) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFieldsDescribeTheColumnsAndTheirDefaults(t *testing.T) {
	type params struct {
		Prefix    string
		Separator string `vgi:"sep,default=-"`
	}
	p := mustCompile(t, reflect.TypeFor[params](), Params)
	var got []string
	for _, f := range p.Fields() {
		got = append(got, f.Name+" "+f.GoName+" "+f.Type.String()+" "+f.Default)
	}
	if diff := cmp.Diff([]string{"prefix Prefix string ", "sep Separator string -"}, got); diff != "" {
		t.Error(diff)
	}
	var v params
	if p.SetDefault(0, pointer(&v)) || !p.SetDefault(1, pointer(&v)) || v.Separator != "-" {
		t.Errorf("got %+v", v)
	}
}

func TestDefaultsAreValuesOfTheirType(t *testing.T) {
	type row struct {
		S  string            `vgi:",default=a, b"`
		Q  string            `vgi:",default=\"a,b\",notnull"`
		B  bool              `vgi:",default=true"`
		I  int8              `vgi:",default=-7"`
		U  uint16            `vgi:",default=65535"`
		F  float32           `vgi:",default=1.5"`
		E  Status            `vgi:",default=CLOSED"`
		C  Color             `vgi:",default=BLUE"`
		H  Shade             `vgi:",default=LIGHT"`
		D  time.Duration     `vgi:",default=1h"`
		T  time.Time         `vgi:",default=2024-02-29T00:00:00Z"`
		Y  Date              `vgi:",default=2024-02-29"`
		N  Decimal           `vgi:",type=decimal128(5,2),default=1.25"`
		L  []int             `vgi:",default=[]"`
		M  map[string]string `vgi:",default={}"`
		X  []byte            `vgi:",default=raw"`
		P  *int              `vgi:",default=null"`
		P2 *int              `vgi:",default=5"`
		NL []int             `vgi:",nullable,default=null"`
	}
	want := row{
		"a, b", "a,b", true, -7, 65535, 1.5, "CLOSED", 2, 1, time.Hour, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		NewDate(2024, 2, 29), decimals("1.25")[0],
		[]int{},
		map[string]string{},
		[]byte("raw"), nil, new(5), nil,
	}
	p := mustCompile(t, reflect.TypeFor[row](), Row)
	var got, other row
	for _, into := range []*row{&got, &other} {
		if err := p.Unmarshal(nil, pointer(into)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got.X[0], *got.P2, got.M["k"] = 'X', 6, "v"
	if diff := cmp.Diff(want, other); diff != "" {
		t.Errorf("two values share a default: %s", diff)
	}
}

func TestAPlanIsSafeForConcurrentUse(t *testing.T) {
	p := mustCompile(t, reflect.TypeFor[everyKind](), Row)
	values := everyRow(t, 3, 4)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 20 {
				data, err := p.Marshal(pointer(&values[i]))
				if err != nil {
					t.Error(err)
					return
				}
				var got everyKind
				if err := p.Unmarshal(data, pointer(&got)); err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff(values[i], got, compareEvery); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	wg.Wait()
}
