package nativeclient_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// populated is a row without a null at its top.
func populated(t *testing.T) Typed {
	t.Helper()
	amount, err := vgirpc.ParseDecimal("-12345678901234.5678")
	noError(t, err)
	return Typed{
		NullableFloat: new(1.5), Tags: []*string{new("a"), nil, new(""), new("grün")}, Category: new("second"),
		EventTime: new(time.Date(2026, 7, 8, 12, 34, 56, 789012000, time.UTC)), Amount: &amount,
		Nested: &Nested{Name: new("inner"), Scores: []*int32{new(int32(1)), nil, new(int32(-1 << 31))}},
	}
}

// testTypedExchange is the typed lane, on whatever carries c.
func testTypedExchange(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	full := populated(t)
	cases := []struct {
		name string
		rows []Typed
	}{
		{"a row in which every field is null comes back", []Typed{{}}},
		{"a batch without rows comes back with the exact schema", nil},
		{"a populated row of every type comes back", []Typed{full}},
		{"rows with nulls at every depth, and a category that repeats, come back", []Typed{
			full,
			{},
			{Tags: []*string{}, Category: new("first"), Nested: &Nested{}},
			{Tags: []*string{nil}, Category: new("second"), Nested: &Nested{Scores: []*int32{}}},
			{NullableFloat: new(-0.25), Category: new("first"), Nested: &Nested{Name: new(""), Scores: []*int32{nil}}},
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s, err := typedExchange.Open(t.Context(), c, vgirpc.None{})
			noError(t, err)
			got, err := s.Exchange(t.Context(), tc.rows...)
			noError(t, err)
			equal(t, append([]Typed{}, got...), append([]Typed{}, tc.rows...))
			noError(t, s.Close())
		})
	}
	t.Run("one open stream takes many batches, and every answer has the exact schema", func(t *testing.T) {
		s, err := typedExchange.Open(t.Context(), c, vgirpc.None{})
		noError(t, err)
		for _, tc := range append(cases, cases...) {
			noError(t, s.Send(t.Context(), tc.rows...))
			b, err := s.RecvBatch(t.Context())
			noError(t, err)
			sameSchema(t, b.Schema, typedSchema)
			equal(t, []any{b.Rows, b.Kind()}, []any{len(tc.rows), wire.KindData})
		}
		noError(t, s.Close())
	})
}

// TestTypedExchange is the typed lane over HTTP, at the root and below a prefix.
func TestTypedExchange(t *testing.T) {
	for _, prefix := range []string{"", "/vgi"} {
		t.Run("under the prefix "+prefix, func(t *testing.T) {
			bothServers(t, mode{prefix: prefix}, func(t *testing.T, e endpoint) {
				tr, rec := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
				testTypedExchange(t, tr.Client())
				t.Run("what was sent has the exact schema, with rows and without", func(t *testing.T) {
					sent := 0
					for _, s := range rec.take() {
						if !strings.HasSuffix(s.path, "/exchange") {
							continue
						}
						equal(t, s.path, prefix+"/ClientConformanceService/typed_exchange/exchange")
						rd := wire.NewReader(strings.NewReader(string(s.body)), wire.Limits{}, nil)
						schema, err := rd.NextStream()
						noError(t, err)
						sameSchema(t, schema, typedSchema)
						rd.Close()
						sent++
					}
					equal(t, sent, 12)
				})
			})
		})
	}
}

// TestInferredSchema shows that the reference worker sees what was sent: batches
// whose schema was inferred from their values do not reach its method.
func TestInferredSchema(t *testing.T) {
	e := mode{}.python(t)
	tr, _ := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
	fields := typedSchema.Fields()
	for i := range fields {
		fields[i].Type = arrow.Null
	}
	inferred, err := wire.NewSchema(arrow.NewSchema(fields, nil))
	noError(t, err)
	build := array.NewRecordBuilder(memory.DefaultAllocator, inferred.Arrow())
	defer build.Release()
	for _, f := range build.Fields() {
		f.AppendNull()
	}
	rec := build.NewRecordBatch()
	defer rec.Release()
	b, err := wire.NewBatch(inferred, rec, nil)
	noError(t, err)

	s, err := typedExchange.Open(t.Context(), tr.Client(), vgirpc.None{})
	noError(t, err)
	_, err = s.ExchangeBatch(t.Context(), b)
	status, ok := errors.AsType[*httpclient.StatusError](err)
	if !ok || status.Status != http.StatusBadRequest || !strings.Contains(status.Excerpt, "schema mismatch") {
		t.Errorf("got %v", err)
	}
	equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
}
