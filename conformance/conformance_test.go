package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// TestMain is the conformance worker when the tests start this binary as one.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleWorker:
		os.Exit(conformance.Main(context.Background(), os.Args[1:]))
	case roleCounter:
		os.Exit(countInProbe())
	}
	os.Exit(m.Run())
}

// dial starts a server in this process and calls it.
func dial(t *testing.T, hosting conformance.Hosting, opts vgirpc.ClientOptions) *vgirpc.Client {
	t.Helper()
	s, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, hosting)
	if err != nil {
		t.Fatal(err)
	}
	ctx := conformance.WithCancelProbe(t.Context(), conformance.NewCancelProbe(""))
	c, err := vgirpc.DialServer(ctx, s, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func TestProtocolHashesAreThoseThatTheSuitePins(t *testing.T) {
	for _, tt := range []struct {
		protocol *vgirpc.Protocol
		methods  int
		want     string
	}{
		{conformance.Service, 90, conformance.ServiceHash},
		{conformance.Secondary, 3, conformance.SecondaryHash},
	} {
		t.Run(tt.protocol.Name(), func(t *testing.T) {
			got, err := tt.protocol.Hash()
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("hash %s, want %s", got, tt.want)
			}
			if n := len(tt.protocol.Methods()); n != tt.methods {
				t.Errorf("%d methods, want %d", n, tt.methods)
			}
		})
	}
}

func TestTheServiceDescribesItselfAsTheGoldenPreimage(t *testing.T) {
	data, err := os.ReadFile("../wire/typetoken/testdata/protocol_hash_vector.json")
	if err != nil {
		t.Fatal(err)
	}
	_, golden, _ := strings.Cut(string(data), "\n") // a comment with the digest comes first
	got, err := typetoken.Preimage("ConformanceService", describe(t, dial(t, conformance.HostStandard, vgirpc.ClientOptions{}), conformance.Service))
	if err != nil {
		t.Fatal(err)
	}
	byMethod := func(s string) []string { return strings.Split(strings.TrimSpace(s), `{"has_header"`) }
	if diff := cmp.Diff(byMethod(golden), byMethod(string(got))); diff != "" {
		t.Errorf("preimage (-golden +got):\n%s", diff)
	}
}

// describe asks a server for the methods of a protocol.
func describe(t *testing.T, c *vgirpc.Client, p *vgirpc.Protocol) []typetoken.Method {
	t.Helper()
	d, err := vgirpc.NewReflection().Describe.Call(t.Context(), c, vgirpc.DescribeParams{Protocol: p.Name()})
	if err != nil {
		t.Fatal(err)
	}
	schema := func(message []byte) *arrow.Schema {
		if len(message) == 0 {
			return nil
		}
		s, err := new(wire.SchemaCache).Parse(message)
		if err != nil {
			t.Fatal(err)
		}
		return s.Arrow()
	}
	methods := make([]typetoken.Method, len(d.Methods))
	for i, m := range d.Methods {
		methods[i] = typetoken.Method{
			Name: m.Name, Type: m.MethodType, HasReturn: m.HasReturn, HasHeader: m.HasHeader,
			Params: schema(m.ParamsSchemaIPC), Result: schema(m.ResultSchemaIPC), Header: schema(m.HeaderSchemaIPC),
		}
	}
	return methods
}

// declares hosts a method whose header is a dataclass: reflection tells its
// schema.
func declares[H any](p *vgirpc.Protocol, name string) func(*vgirpc.Server) {
	m := vgirpc.NewHeaderProducer[vgirpc.None, H, conformance.IntRow](p, name)
	return func(s *vgirpc.Server) {
		vgirpc.HandleHeaderProducer(s, m, func(context.Context, vgirpc.None) (empty, H, error) {
			var h H
			return empty{}, h, nil
		})
	}
}

type empty struct{}

func (empty) Produce(context.Context, *vgirpc.Emitter[conformance.IntRow]) error { return io.EOF }

func TestDataclassesHaveTheSchemasOfTheirPythonOriginals(t *testing.T) {
	dataclasses := vgirpc.NewProtocol("test.Dataclasses.v1", "")
	hosts := []func(*vgirpc.Server){
		declares[conformance.Point](dataclasses, "Point"),
		declares[conformance.BoundingBox](dataclasses, "BoundingBox"),
		declares[conformance.AllTypes](dataclasses, "AllTypes"),
		declares[conformance.WideTypes](dataclasses, "WideTypes"),
		declares[conformance.ContainerWideTypes](dataclasses, "ContainerWideTypes"),
		declares[conformance.DeepNested](dataclasses, "DeepNested"),
		declares[conformance.EmbeddedArrow](dataclasses, "EmbeddedArrow"),
		declares[conformance.NestedContainers](dataclasses, "NestedContainers"),
		declares[conformance.Header](dataclasses, "ConformanceHeader"),
		declares[conformance.RichHeader](dataclasses, "RichHeader"),
	}
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, dataclasses)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		host(s)
	}
	c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	got := map[string][]string{}
	for _, m := range describe(t, c, dataclasses) {
		got[m.Name] = columns(t, m.Header)
	}
	if diff := cmp.Diff(goldenDataclasses(t), got); diff != "" {
		t.Errorf("schemas (-Python +Go):\n%s", diff)
	}
}

// columns writes the columns of a schema as testdata/dataclasses.txt has them.
func columns(t *testing.T, s *arrow.Schema) []string {
	t.Helper()
	var out []string
	for _, f := range s.Fields() {
		token, err := typetoken.OfField(f)
		if err != nil {
			t.Fatal(err)
		}
		if f.Nullable {
			token += "?"
		}
		out = append(out, f.Name+" "+token)
	}
	return out
}

// goldenDataclasses reads what the Python dataclasses say of themselves: a name
// in each line that is not indented, its columns below.
func goldenDataclasses(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/dataclasses.txt")
	if err != nil {
		t.Fatal(err)
	}
	out, name := map[string][]string{}, ""
	for line := range strings.Lines(string(data)) {
		if column, ok := strings.CutPrefix(line, "  "); ok {
			out[name] = append(out[name], strings.TrimSpace(column))
		} else {
			name = strings.TrimSpace(line)
		}
	}
	return out
}

func TestStreamsSendTheColumnsThatTheSuiteExpects(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	const counters = "index int64?, value int64?"
	for _, tt := range []struct {
		name  string
		first func() (*wire.Batch, error)
		want  string
	}{
		{"produce_n", produced(t, c, conformance.ProduceN, conformance.CountParams{Count: 2}), counters},
		{"produce_large_batches", produced(t, c, conformance.ProduceLargeBatches, conformance.LargeParams{RowsPerBatch: 3, BatchCount: 1}), counters},
		{"produce_tick_metadata", produced(t, c, conformance.ProduceTickMetadata, conformance.CountParams{}), "index int64?, seen utf8?"},
		{"produce_annotated_batches", produced(t, c, conformance.ProduceAnnotatedBatches, conformance.AnnotatedParams{Count: 1, RowsPerBatch: 2}), "value int64?"},
		{"produce_dynamic_schema, one column", produced(t, c, &conformance.ProduceDynamicSchema.Producer, conformance.DynamicParams{Count: 1}), "index int64?"},
		{
			"produce_dynamic_schema, all columns",
			produced(t, c, &conformance.ProduceDynamicSchema.Producer, conformance.DynamicParams{Count: 1, IncludeStrings: true, IncludeFloats: true}),
			"index int64?, label utf8?, score float64?",
		},
		{"exchange_scale", exchanged(t, c, conformance.ExchangeScale, conformance.FactorParams{}), "value float64?"},
		{"exchange_accumulate", exchanged(t, c, conformance.ExchangeAccumulate, vgirpc.None{}), "running_sum float64?, exchange_count int64?"},
		{"exchange_input_metadata", exchanged(t, c, conformance.ExchangeInputMetadata, vgirpc.None{}), "seen utf8?, keys utf8?"},
		{"exchange_oversized", exchanged(t, c, conformance.ExchangeOversized, conformance.RowsParams{RowsPerBatch: 5}), counters},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.first()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(columns(t, b.Schema.Arrow()), ", "); got != tt.want {
				t.Errorf("columns %s, want %s", got, tt.want)
			}
		})
	}
}

// produced returns the first batch of a producer stream, without its rows.
func produced[P, Row any](t *testing.T, c *vgirpc.Client, m *vgirpc.Producer[P, Row], params P) func() (*wire.Batch, error) {
	t.Helper()
	return func() (*wire.Batch, error) {
		s, err := m.Open(t.Context(), c, params)
		if err != nil {
			return nil, err
		}
		for b, err := range s.Batches() {
			if err != nil {
				return nil, err
			}
			return &wire.Batch{Schema: b.Schema}, nil
		}
		return nil, errors.New("no batch")
	}
}

// exchanged returns the first batch of an exchange stream, without its rows.
func exchanged[P, Out any](
	t *testing.T, c *vgirpc.Client, m *vgirpc.Exchange[P, conformance.FloatRow, Out], params P,
) func() (*wire.Batch, error) {
	t.Helper()
	return func() (*wire.Batch, error) {
		s, err := m.Open(t.Context(), c, params)
		if err != nil {
			return nil, err
		}
		b, err := s.ExchangeBatch(t.Context(), floats(1))
		if err != nil {
			return nil, err
		}
		out := &wire.Batch{Schema: b.Schema}
		return out, s.Close()
	}
}

// floats is a batch as the exchanges take it.
func floats(values ...float64) *wire.Batch {
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil))
	if err != nil {
		panic(err)
	}
	return &wire.Batch{Schema: schema, Rows: len(values), Cols: []wire.Column{{Rows: len(values), Data: wire.Bytes(values)}}}
}

func TestTheStateOfEveryStreamCanBeStored(t *testing.T) {
	s, err := conformance.NewServer(vgirpc.ServerOptions{}, conformance.HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range conformance.Service.Methods() {
		if err := s.StateError(m); err != nil {
			t.Errorf("%s: %v", m.Name(), err)
		}
	}
}

func TestScalingKeepsNullsAndHandlesAnySize(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	s, err := conformance.ExchangeScale.Open(t.Context(), c, conformance.FactorParams{Factor: 2.5})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, n := range []int{3, 1, 0, 10_000, 9} {
		t.Run(fmt.Sprintf("%d rows", n), func(t *testing.T) {
			in := make([]float64, n)
			for i := range in {
				in[i] = float64(i)
			}
			b := floats(in...)
			if n > 2 { // the second row is null
				b.Cols[0].Nulls, b.Cols[0].Validity = 1, bytes.Repeat([]byte{0xff}, (n+7)/8)
				b.Cols[0].Validity[0] = 0xfd
			}
			out, err := s.ExchangeBatch(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range wire.Values[float64](&out.Cols[0]) {
				if null := n > 2 && i == 1; out.Cols[0].IsNull(i) != null || (!null && v != float64(i)*2.5) {
					t.Fatalf("row %d is %v (null: %v)", i, v, out.Cols[0].IsNull(i))
				}
			}
			if out.Rows != n {
				t.Errorf("%d rows, want %d", out.Rows, n)
			}
		})
	}
}

func TestErrorsArriveUnderTheNamesOfPythonsExceptions(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	call := func(m *vgirpc.Unary[conformance.MessageParams, string]) error {
		_, err := m.Call(t.Context(), c, conformance.MessageParams{Message: "50% <off>"})
		return err
	}
	_, published := conformance.PublishedString.Call(t.Context(), c, conformance.PublishParams{Value: "x"})
	_, unbound := conformance.IncrementCounter.Call(t.Context(), c, conformance.ByParams{By: 1})
	_, negative := conformance.OversizedUnary.Call(t.Context(), c, conformance.OversizedParams{TargetBytes: -1})
	_, huge := conformance.OversizedUnary.Call(t.Context(), c, conformance.OversizedParams{TargetBytes: math.MaxInt64})
	_, onInit := exchanged(t, c, conformance.ExchangeErrorOnInit, vgirpc.None{})()
	_, midway := produced(t, c, conformance.ProduceErrorMidStream, conformance.EmitParams{})()
	for _, tt := range []struct {
		name, wantType, wantText string
		wantCode                 vgirpc.Code
		err                      error
	}{
		{"value", "ValueError", "50% <off>", vgirpc.Unknown, call(conformance.RaiseValueError)},
		{"runtime", "RuntimeError", "50% <off>", vgirpc.Unknown, call(conformance.RaiseRuntimeError)},
		{"type", "TypeError", "50% <off>", vgirpc.Unknown, call(conformance.RaiseTypeError)},
		{"no storage", "RuntimeError", "published_string requires external storage", vgirpc.Unknown, published},
		{"no session", "RuntimeError", "no sticky counter bound to this request", vgirpc.Unknown, unbound},
		{"negative size", "ValueError", "target_bytes is -1: want 0 or more", vgirpc.Unknown, negative},
		{"size beyond reason", "Error", "more than this worker makes at once", vgirpc.ResourceExhausted, huge},
		{"opening", "RuntimeError", "intentional exchange init error", vgirpc.Unknown, onInit},
		{"first turn", "RuntimeError", "intentional error after 0 batches", vgirpc.Unknown, midway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e *vgirpc.Error
			if !errors.As(tt.err, &e) {
				t.Fatalf("error %v", tt.err)
			}
			if e.Type != tt.wantType || e.Code != tt.wantCode || !strings.Contains(e.Message, tt.wantText) {
				t.Errorf("%s %s %q, want %s %s %q", e.Code, e.Type, e.Message, tt.wantCode, tt.wantType, tt.wantText)
			}
		})
	}
}

func TestTheSecondaryFailsAsItsCallerAsks(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	if got, err := conformance.SecondaryEcho.Call(t.Context(), c, conformance.Value[string]{Value: "x"}); got != "secondary:x" || err != nil {
		t.Errorf("echo_string gives %q, %v", got, err)
	}
	fixture := vgirpc.ErrorInfo{Metadata: map[string]string{"fixture": "conformance.Secondary.v1"}}
	note := vgirpc.CustomDetail{Type: "conformance.Secondary.v1.Probe", Fields: map[string]any{"note": "clients ignore detail types they do not know"}}
	for _, tt := range []struct {
		params conformance.FailParams
		code   vgirpc.Code
		kind   string
		text   string
		known  []vgirpc.Detail
	}{
		{
			conformance.FailParams{Code: "NOT_FOUND", Kind: "gone", RetryDelaySeconds: 2.5},
			vgirpc.NotFound, "gone",
			"conformance.Secondary.v1 fail: NOT_FOUND gone",
			[]vgirpc.Detail{fixture, vgirpc.RetryInfo{RetryDelaySeconds: 2.5}, note},
		},
		{
			conformance.FailParams{Code: "ABORTED"},
			vgirpc.Aborted, "",
			"conformance.Secondary.v1 fail: ABORTED",
			[]vgirpc.Detail{fixture, note},
		},
		{
			conformance.FailParams{Code: "teapot", Kind: "x"},
			vgirpc.InvalidArgument, "invalid_code",
			"'teapot' is not a canonical error code",
			[]vgirpc.Detail{vgirpc.BadRequest{FieldViolations: []vgirpc.FieldViolation{{Field: "code", Description: "must be a canonical code name"}}}},
		},
	} {
		t.Run(tt.params.Code, func(t *testing.T) {
			_, err := conformance.Fail.Call(t.Context(), c, tt.params)
			var e *vgirpc.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Code != tt.code || e.Kind != tt.kind || e.Message != tt.text {
				t.Errorf("%s %q %q, want %s %q %q", e.Code, e.Kind, e.Message, tt.code, tt.kind, tt.text)
			}
			if diff := cmp.Diff(len(tt.known), len(e.RawDetails)); diff != "" {
				t.Errorf("details on the wire: %s", e.RawDetails)
			}
			for _, want := range tt.known {
				if _, custom := want.(vgirpc.CustomDetail); custom {
					continue // whether it is decoded is the client's affair
				}
				if !contains(e.Details, want) {
					t.Errorf("no detail %v in %v", want, e.Details)
				}
			}
		})
	}
	_, err := conformance.FailOversized.Call(t.Context(), c, vgirpc.None{})
	var e *vgirpc.Error
	if !errors.As(err, &e) || len(e.RawDetails) != 0 || e.Retryable() {
		t.Errorf("oversized details: %v with %d details", err, len(e.RawDetails))
	}
}

func contains(details []vgirpc.Detail, want vgirpc.Detail) bool {
	for _, d := range details {
		if cmp.Equal(d, want) {
			return true
		}
	}
	return false
}

func TestLogsReachTheCallerWithLevelAndExtras(t *testing.T) {
	var got []string
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{OnLog: func(_ context.Context, l vgirpc.LogMessage) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", l.Level, l.Message, l.Extra)))
	}})
	value := conformance.Value[string]{Value: "v"}
	for _, tt := range []struct {
		method *vgirpc.Unary[conformance.Value[string], string]
		want   []string
	}{
		{conformance.EchoWithInfoLog, []string{"INFO info: v"}},
		{conformance.EchoWithMultiLogs, []string{"DEBUG debug: v", "INFO info: v", "WARN warn: v"}},
		{conformance.EchoWithAllLogLevels, []string{"TRACE trace: v", "DEBUG debug: v", "INFO info: v", "WARN warn: v", "ERROR error: v"}},
		{conformance.EchoWithLogExtras, []string{`INFO info: v {"detail":"v","source":"conformance"}`}},
	} {
		t.Run(tt.method.Name(), func(t *testing.T) {
			got = nil
			if echoed, err := tt.method.Call(t.Context(), c, value); echoed != "v" || err != nil {
				t.Fatalf("%q, %v", echoed, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("logs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheRichHeaderFollowsFromItsSeed(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	for _, seed := range []int64{0, 1, 3, 1005, -1} {
		t.Run(strconv.FormatInt(seed, 10), func(t *testing.T) {
			s, got, err := conformance.ProduceWithRichHeader.OpenHeader(t.Context(), c, conformance.SeedCountParams{Seed: seed, Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range s.All() {
				if err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(conformance.NewRichHeader(seed), got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
	h := conformance.NewRichHeader(7)
	if h.Enum != conformance.Active || h.OptionalStr != nil || *h.OptionalInt != 21 || h.OptionalNested != nil || !bytes.Equal(h.Bytes, []byte{7, 8, 9}) {
		t.Errorf("header of seed 7: %+v", h)
	}
	if h := conformance.NewRichHeader(-1); h.AnnotatedInt32 != 999 || h.Enum != conformance.Closed || !bytes.Equal(h.Bytes, []byte{255, 0, 1}) {
		t.Errorf("header of seed -1: %+v", h)
	}
}

func TestCancellationIsCounted(t *testing.T) {
	c := dial(t, conformance.HostStandard, vgirpc.ClientOptions{})
	ctx := t.Context()
	for b, err := range must(conformance.CancellableProducer.Open(ctx, c, vgirpc.None{})).Batches() {
		if err != nil || b.Rows != 1 {
			t.Fatalf("%v, %v", b, err)
		}
		break // cancels
	}
	s := must(conformance.CancellableExchange.Open(ctx, c, vgirpc.None{}))
	for range 2 {
		if _, err := s.Exchange(ctx, conformance.FloatRow{Value: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Cancel(); err != nil {
		t.Fatal(err)
	}
	got := must(conformance.CancelProbeCounters.Call(ctx, c, vgirpc.None{}))
	if diff := cmp.Diff([]int64{1, 2, 2}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	must(conformance.ResetCancelProbe.Call(ctx, c, vgirpc.None{}))
	if got := must(conformance.CancelProbeCounters.Call(ctx, c, vgirpc.None{})); !cmp.Equal(got, []int64{0, 0, 0}) {
		t.Errorf("counters after a reset: %v", got)
	}
}

// must returns v of a call that cannot be the one under test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestHostedSetsAndTheirOrder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		hosting conformance.Hosting
		want    []string
	}{
		{"standard", conformance.HostStandard, []string{"ConformanceService", "conformance.Secondary.v1"}},
		{"reverse", conformance.HostReverse, []string{"zeta.Primary.v1", "conformance.Secondary.v1", "alpha.Extra.v1"}},
		{"transport kind", conformance.HostTransportKind, []string{"conformance.TransportKindProbe.v1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, tt.hosting, vgirpc.ClientOptions{})
			list, err := vgirpc.NewReflection().ListProtocols.Call(t.Context(), c, vgirpc.None{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range list.Protocols {
				got = append(got, p.Protocol)
			}
			if diff := cmp.Diff(append(tt.want, vgirpc.ReflectionName), got); diff != "" {
				t.Errorf("protocols (-want +got):\n%s", diff)
			}
		})
	}
}

func Example() {
	server, err := conformance.NewServer(vgirpc.ServerOptions{}, conformance.HostStandard)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	client, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = client.Close() }()
	fmt.Println(conformance.InspectPoint.Call(ctx, client, conformance.PointParams[conformance.Point]{
		Point: conformance.Point{X: 1, Y: 1e16},
	}))
	// Output: Point(1.0, 1e+16) <nil>
}
