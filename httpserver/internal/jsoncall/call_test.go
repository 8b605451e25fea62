package jsoncall_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

type color string

func (color) EnumNames() []string { return []string{"RED", "GREEN"} }

type point struct {
	X     float64 `vgi:"x"`
	Label *string `vgi:"label,default=null"`
}

type one[T any] struct {
	Value T `vgi:"value"`
}

type withDefaults struct {
	N      int64           `vgi:"n"`
	Size   int64           `vgi:"size,default=9007199254740993"`
	Name   string          `vgi:"name,default=a b"`
	Color  color           `vgi:"color,default=GREEN"`
	Wait   time.Duration   `vgi:"wait,default=1m30s"`
	On     vgirpc.Date     `vgi:"on,default=2026-11-21"`
	Tags   []string        `vgi:"tags,default=[]"`
	Rate   *float64        `vgi:"rate,default=0.5"`
	Needed *vgirpc.Decimal `vgi:"needed,type=decimal128(10,2),notnull,default=1.25"`
}

// echoOf is a method that returns its parameter.
func echoOf[T any](t *testing.T, options string) *echo {
	t.Helper()
	p := vgirpc.NewProtocol("test.Echo", "")
	m := vgirpc.NewUnary[one[T], T](p, "echo", vgirpc.MethodOptions{Result: options})
	return newEcho(t, m, func(_ context.Context, v one[T]) (T, error) { return v.Value, nil })
}

type echo struct {
	server *vgirpc.Server
	codec  *jsoncall.Codec
	method *vgirpc.Method
}

func newEcho[P, R any](tb testing.TB, m *vgirpc.Unary[P, R], fn func(context.Context, P) (R, error)) *echo {
	tb.Helper()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, m.Protocol())
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(s, m, fn)
	if err := s.Seal(); err != nil {
		tb.Fatal(err)
	}
	codec, err := jsoncall.New(m.Method)
	if err != nil {
		tb.Fatal(err)
	}
	return &echo{s, codec, m.Method}
}

// call sends a body through the server's dispatch and returns the answer.
func (e *echo) call(tb testing.TB, body string) string {
	tb.Helper()
	b, err := e.codec.Params(strings.NewReader(body), 0)
	if err != nil {
		return "refused: " + err.Error()
	}
	b.Meta = wire.Metadata{
		{Key: wire.KeyMethod, Value: e.method.Name()},
		{Key: wire.KeyProtocol, Value: e.method.Protocol().Name()},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	}
	var reply vgirpc.Reply
	d := e.server.Begin(tb.Context(), e.server.Route(b.Meta), &vgirpc.Request{Meta: b.Meta, Batch: b}, &reply)
	defer d.End(vgirpc.Delivery{})
	answer, err := e.codec.Answer(reply.Batches)
	if err != nil {
		tb.Fatal(err)
	}
	out, err := answer.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

// result is a body whose one parameter is v, and the answer with it.
func result(v string) string { return `{"result":` + v + `,"logs":[]}` }

func TestValues(t *testing.T) {
	t.Parallel()
	type exchange struct{ in, out string } // out "" is in; "!…" is a refusal
	tests := []struct {
		name  string
		echo  *echo
		cases []exchange
	}{
		{"integers beyond 2^53 are strings", echoOf[int64](t, ""), []exchange{
			{`5`, ""},
			{`9007199254740993`, `"9007199254740993"`},
			{`9223372036854775808`, "!parameter value: the number is outside the range of int64"},
			{`null`, "!null where a value is required"},
		}},
		{"floats are read strictly", echoOf[float64](t, ""), []exchange{{`"Infinity"`, ""}, {`"1.5"`, "!want a number, or one of the strings"}}},
		{"text", echoOf[string](t, ""), []exchange{{`"<b>&\u2028"`, ""}}},
		{"optional values", echoOf[*int64](t, ""), []exchange{{`null`, ""}, {`5`, ""}}},
		{"lists", echoOf[[][]int64](t, ""), []exchange{{`[[1,2],[],[3]]`, ""}, {`[[1],["x"]]`, "!parameter value[1][0]: want an integer"}}},
		{"maps", echoOf[map[string]int64](t, ""), []exchange{
			{`{"a":1,"b":2}`, ""}, {`[["a"]]`, "!value[0]: want a [key, value] pair"}, {`{"a":1,"a":2}`, `!the name "a" stands in one object twice`},
		}},
		{"maps whose keys repeat", echoOf[vgirpc.Pairs[string, int64]](t, ""), []exchange{{`[["a",1],["a",2]]`, ""}}},
		{"enums", echoOf[color](t, ""), []exchange{{`"RED"`, ""}, {`1`, "!want a string"}}},
		{"times", echoOf[time.Time](t, ""), []exchange{{`"2026-11-21T13:45:00.123456Z"`, ""}, {`"2026-11-21T13:45:00"`, "!want a time of RFC 3339"}}},
		{"durations are seconds", echoOf[time.Duration](t, ""), []exchange{{`"90.5s"`, ""}}},
		{"structs have every field", echoOf[[]point](t, ""), []exchange{
			{`[{"x":1,"label":"a"},{"x":2,"label":null}]`, ""},
			{`[{"x":1}]`, "!value[0].label: missing"},
			{`[{"x":1,"label":"a","y":2}]`, `!value[0]: unknown name "y": want x, label`},
		}},
		{"packed structs are objects", echoOf[point](t, ""), []exchange{
			{`{"x":1,"label":"a"}`, ""},
			{`{"x":1}`, `{"x":1,"label":null}`},
			{`{"label":"a"}`, "!value.x: missing"},
			{`{"x":1,"z":0}`, `!value: unknown name "z"`},
			{`5`, "!want a string of base64"},
		}},
		{"optional packed structs", echoOf[*point](t, ""), []exchange{{`null`, ""}, {`{"x":1,"label":"a"}`, ""}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range test.cases {
				got := test.echo.call(t, `{"value":`+c.in+`}`)
				if reason, ok := strings.CutPrefix(c.out, "!"); ok {
					if !strings.HasPrefix(got, "refused: ") || !strings.Contains(got, reason) {
						t.Errorf("%s: got %s, want a refusal with %q", c.in, got, reason)
					}
					continue
				}
				want := c.out
				if want == "" {
					want = c.in
				}
				if diff := cmp.Diff(result(want), got); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", c.in, diff)
				}
			}
		})
	}
}

func TestDecimalsKeepEveryDigit(t *testing.T) {
	t.Parallel()
	type params struct {
		Value vgirpc.Decimal `vgi:"value,type=decimal128(20,4)"`
	}
	m := vgirpc.NewUnary[params, vgirpc.Decimal](vgirpc.NewProtocol("test.Decimals", ""), "echo",
		vgirpc.MethodOptions{Result: "type=decimal128(20,4)"})
	e := newEcho(t, m, func(_ context.Context, p params) (vgirpc.Decimal, error) { return p.Value, nil })
	for in, want := range map[string]string{
		`"12.50"`:   result(`"12.5000"`),
		`"0.00001"`: "refused: parameter value: more than 4 digits after the point",
	} {
		if diff := cmp.Diff(want, e.call(t, `{"value":`+in+`}`)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", in, diff)
		}
	}
}

func TestDefaultsStandForWhatIsMissing(t *testing.T) {
	t.Parallel()
	var got withDefaults
	m := vgirpc.NewUnary[withDefaults, vgirpc.None](vgirpc.NewProtocol("test.Defaults", ""), "call")
	e := newEcho(t, m, func(_ context.Context, p withDefaults) (vgirpc.None, error) { got = p; return vgirpc.None{}, nil })
	if answer := e.call(t, `{"n":1,"name":"given"}`); answer != result("null") {
		t.Fatalf("got %s", answer)
	}
	half, quarter := 0.5, mustDecimal(t, "1.25")
	want := withDefaults{
		N: 1, Size: 9007199254740993, Name: "given", Color: "GREEN", Wait: 90 * time.Second,
		On: vgirpc.NewDate(2026, 11, 21), Tags: []string{}, Rate: &half, Needed: &quarter,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b vgirpc.Decimal) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func mustDecimal(t *testing.T, s string) vgirpc.Decimal {
	t.Helper()
	d, err := vgirpc.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBodies(t *testing.T) {
	t.Parallel()
	e := echoOf[string](t, "")
	tests := []struct{ name, body, want string }{
		{"an unknown name is named", `{"value":"a","valeu":"b"}`, `unknown name "valeu": want value`},
		{"a missing name is named", `{}`, "parameter value: missing"},
		{"an empty body is an empty object", ``, "parameter value: missing"},
		{"an array is no object", `["a"]`, "want an object with the parameters, got an array"},
		{"two values are one too many", `{"value":"a"}{}`, "goes on after the JSON value"},
		{"a cut body is told apart", `{"value":`, "ends inside the JSON value"},
		{"no JSON", `value=a`, "is not JSON"},
		{"a name twice", `{"value":"a","value":"b"}`, "stands in one object twice"},
		{"not UTF-8", "{\"value\":\"\xff\"}", "not valid UTF-8"},
		{"nested too deep", `{"value":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested more than 64 deep"},
		{"nested far too deep", strings.Repeat("[", 100_000), "nested more than 64 deep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := e.codec.Params(strings.NewReader(test.body), 0)
			param, ok := errors.AsType[*jsoncall.ParamError](err)
			if !ok || !strings.Contains(param.Error(), test.want) {
				t.Errorf("got %v, want a ParamError with %q", err, test.want)
			}
		})
	}
}

func TestBodyLimitIsExact(t *testing.T) {
	t.Parallel()
	e := echoOf[string](t, "")
	body := `{"value":"abc"}`
	if _, err := e.codec.Params(strings.NewReader(body), int64(len(body))); err != nil {
		t.Errorf("a body of the limit: %v", err)
	}
	if _, err := e.codec.Params(strings.NewReader(body), int64(len(body)-1)); !errors.Is(err, jsoncall.ErrTooLarge) {
		t.Errorf("a body beyond the limit: got %v, want ErrTooLarge", err)
	}
	endless := struct{ io.Reader }{endlessReader{}}
	if _, err := e.codec.Params(endless, 1<<20); !errors.Is(err, jsoncall.ErrTooLarge) {
		t.Errorf("an endless body: got %v, want ErrTooLarge", err)
	}
	if _, err := e.codec.Params(iotest.ErrReader(io.ErrClosedPipe), 0); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken body: got %v", err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestErrorsAndLogsReachTheAnswer(t *testing.T) {
	t.Parallel()
	m := vgirpc.NewUnary[one[string], string](vgirpc.NewProtocol("test.Fail", ""), "fail")
	e := newEcho(t, m, func(ctx context.Context, p one[string]) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "looking <it> up")
		if p.Value == "" {
			return "found", nil
		}
		return "", vgirpc.Errorf(vgirpc.NotFound, "no %s", p.Value).WithKind("gone").WithType("LookupError").
			WithDetails(vgirpc.RetryInfo{RetryDelaySeconds: 2})
	})
	const log = `"logs":[{"level":"INFO","message":"looking <it> up"}]}`
	if diff := cmp.Diff(`{"result":"found",`+log, e.call(t, `{"value":""}`)); diff != "" {
		t.Errorf("result (-want +got)\n%s", diff)
	}
	want := `{"error":{"code":"NOT_FOUND","kind":"gone","type":"LookupError","message":"no cat",` +
		`"details":[{"@type":"vgi_rpc.RetryInfo","retry_delay_seconds":2}]},` + log
	if diff := cmp.Diff(want, e.call(t, `{"value":"cat"}`)); diff != "" {
		t.Errorf("error (-want +got)\n%s", diff)
	}
}

func TestFailTellsOnlyWhatIsForTheCaller(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want jsoncall.Failure
	}{
		{
			"a refused parameter", &jsoncall.ParamError{Path: "a", Reason: "missing"},
			jsoncall.Failure{Code: "INVALID_ARGUMENT", Type: "TypeError", Message: "parameter a: missing"},
		},
		{
			"a large body", jsoncall.ErrTooLarge,
			jsoncall.Failure{Code: "RESOURCE_EXHAUSTED", Type: "LimitError", Message: "the body is larger than the server accepts"},
		},
		{
			"a status", vgirpc.Errorf(vgirpc.Unavailable, "draining").WithKind("drain"),
			jsoncall.Failure{Code: "UNAVAILABLE", Kind: "drain", Type: "Error", Message: "draining"},
		},
		{"anything else", errors.New("dial 10.0.0.1: secret"), jsoncall.Failure{Code: "UNKNOWN", Message: "the call failed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(&test.want, jsoncall.Fail(test.err).Error); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNewRefusesWhatJSONCannotCall(t *testing.T) {
	t.Parallel()
	p := vgirpc.NewProtocol("test.Streams", "")
	m := vgirpc.NewProducer[vgirpc.None, one[int64]](p, "count")
	if _, err := jsoncall.New(m.Method); err == nil || !strings.Contains(err.Error(), "test.Streams/count is a stream") {
		t.Errorf("got %v", err)
	}
}

// FuzzParams feeds any body to a method with a parameter of most kinds: what is
// accepted must be a valid request, and must come back as it was understood.
func FuzzParams(f *testing.F) {
	type everything struct {
		Flag   bool             `vgi:"flag,default=false"`
		N      int64            `vgi:"n,default=0"`
		Small  uint8            `vgi:"small,default=0"`
		Real   float64          `vgi:"real,default=0"`
		Text   *string          `vgi:"text,default=null"`
		Data   []byte           `vgi:"data,default="`
		Color  color            `vgi:"color,default=RED"`
		At     time.Time        `vgi:"at,default=2026-11-21T00:00:00Z"`
		Wait   time.Duration    `vgi:"wait,default=0s"`
		Price  vgirpc.Decimal   `vgi:"price,type=decimal128(20,4),default=0"`
		Matrix [][]int64        `vgi:"matrix,default=[]"`
		Counts map[string]int64 `vgi:"counts,default={}"`
		Points []point          `vgi:"points,default=[]"`
		Point  *point           `vgi:"point,default=null"`
	}
	m := vgirpc.NewUnary[everything, everything](vgirpc.NewProtocol("test.Fuzz", ""), "echo")
	e := newEcho(f, m, func(_ context.Context, p everything) (everything, error) { return p, nil })
	seeds := map[string]string{
		"flag": "true", "n": `"9223372036854775807"`, "small": "255", "real": `"NaN"`, "text": `"x"`, "data": `"AP8="`,
		"color": `"GREEN"`, "at": `"2026-11-21T13:45:00.5Z"`, "wait": `"90.5s"`, "price": `"12.5"`, "matrix": "[[1],[]]",
		"counts": `{"a":1}`, "points": `[{"x":1,"label":null}]`, "point": `{"x":1e3}`,
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(seeds)) {
		member := `"` + name + `":` + seeds[name]
		f.Add("{" + member + "}")
		all = append(all, member)
	}
	f.Add("{" + strings.Join(all, ",") + "}")
	f.Fuzz(func(t *testing.T, body string) {
		first := e.call(t, body)
		inner, ok := strings.CutPrefix(first, `{"result":`)
		if !ok {
			return // refused, or an error of the method: an unknown color
		}
		inner = strings.TrimSuffix(inner, `,"logs":[]}`)
		if again := e.call(t, inner); again != first {
			t.Errorf("%s\nanswered %s\nand that %s", body, first, again)
		}
	})
}
