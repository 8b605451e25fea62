package gateways_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

const (
	service     = "ConformanceService"
	contentType = "application/vnd.apache.arrow.stream"
)

// The client of these tests sends requests as they stand: a turn can be sent
// again with the same tokens, and nothing touches codings or headers.
var httpClient = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}}

// An answer is an HTTP response that was read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func send(ctx context.Context, method, url string, header http.Header, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Without it, net/http repeats a POST whose connection broke.
	req.GetBody = nil
	if header != nil {
		req.Header = header.Clone()
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, read}, nil
}

// A turn is what one Arrow response said.
type turn struct {
	status       *wire.Status // of a failed call
	rows         int
	columns      []column
	cursor, call string // tokens, "" when there is none
}

// A column holds the values of one of the types that the tests' methods use.
type column struct {
	floats []float64
	ints   []int64
	bytes  []byte // of the first row
}

// decode reads an Arrow response.
func decode(a *answer) (*turn, error) {
	if a.status != http.StatusOK || a.header.Get("Content-Type") != contentType {
		return nil, &gatewayError{a}
	}
	r := wire.NewReader(bytes.NewReader(a.body), wire.Limits{}, nil)
	defer r.Close()
	schema, err := r.NextStream()
	if err != nil {
		return nil, err
	}
	var got turn
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return &got, nil
		}
		if err != nil {
			return nil, err
		}
		if cursor, ok := b.Meta.Get(wire.KeyStreamState); ok {
			got.cursor = cursor
		}
		if call, ok := b.Meta.Get(wire.KeyCallState); ok {
			got.call = call
		}
		switch b.Kind() {
		case wire.KindError:
			status := wire.ParseStatus(b.Meta)
			got.status = &status
		case wire.KindData:
			got.rows += b.Rows
			got.columns = columns(schema, b)
		default:
		}
	}
}

func columns(schema *wire.Schema, b *wire.Batch) []column {
	out := make([]column, len(b.Cols))
	for i := range b.Cols {
		c := &b.Cols[i]
		switch schema.Arrow().Field(i).Type.ID() {
		case arrow.FLOAT64:
			out[i].floats = append([]float64(nil), wire.Values[float64](c)...)
		case arrow.INT64:
			out[i].ints = append([]int64(nil), wire.Values[int64](c)...)
		case arrow.BINARY:
			out[i].bytes = bytes.Clone(c.Data)
		default:
		}
	}
	return out
}

// A gatewayError is an answer that is not Arrow.
type gatewayError struct{ answer *answer }

func (e *gatewayError) Error() string {
	return fmt.Sprintf("status %d, %s: %.200q", e.answer.status, e.answer.header.Get("Content-Type"), e.answer.body)
}

// A client calls the worker behind base.
type client struct {
	base   string
	header http.Header // of every request
}

// unary calls a method.
func (c *client) unary(ctx context.Context, method string, params ...param) (*turn, *answer, error) {
	body, err := request(method, params)
	if err != nil {
		return nil, nil, err
	}
	return c.post(ctx, method, body)
}

// post sends a body to a method and reads the answer.
func (c *client) post(ctx context.Context, path string, body []byte) (*turn, *answer, error) {
	a, err := send(ctx, http.MethodPost, c.base+"/"+service+"/"+path, c.header, body)
	if err != nil {
		return nil, nil, err
	}
	got, err := decode(a)
	if err == nil && got.status != nil {
		err = fmt.Errorf("%s: %s", got.status.Type, got.status.Message)
	}
	return got, a, err
}

// A param is one column of a batch of one row: a float64, an int64 or a []byte.
type param struct {
	name  string
	value any
}

// request encodes the request of a call.
func request(method string, params []param) ([]byte, error) {
	return encode(params, false, wire.Metadata{
		{Key: wire.KeyProtocol, Value: service},
		{Key: wire.KeyMethod, Value: method},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
		{Key: wire.KeyProtocolVersion, Value: "2.0.0"},
	})
}

// continuation encodes the request of a turn: an input, or a tick.
func continuation(cursor, call string, input []param) ([]byte, error) {
	return encode(input, true, wire.Metadata{
		{Key: wire.KeyStreamState, Value: cursor},
		{Key: wire.KeyCallState, Value: call},
	})
}

func encode(params []param, nullable bool, meta wire.Metadata) ([]byte, error) {
	fields := make([]arrow.Field, len(params))
	for i, p := range params {
		fields[i] = arrow.Field{Name: p.name, Type: typeOf(p.value), Nullable: nullable}
	}
	arrowSchema := arrow.NewSchema(fields, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema)
	defer builder.Release()
	for i, p := range params {
		switch b := builder.Field(i).(type) {
		case *array.Float64Builder:
			b.Append(p.value.(float64))
		case *array.Int64Builder:
			b.Append(p.value.(int64))
		case *array.BinaryBuilder:
			b.Append(p.value.([]byte))
		}
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	schema, err := wire.NewSchema(arrowSchema)
	if err != nil {
		return nil, err
	}
	batch, err := wire.NewBatch(schema, record, meta)
	if err != nil {
		return nil, err
	}
	if _, tick := meta.Get(wire.KeyStreamState); !tick && len(params) == 0 {
		batch.Rows = 1 // a call without parameters has one row of no columns
	}
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	err = errors.Join(w.Open(schema), w.Batch(batch), w.Close(), w.Flush())
	return out.Bytes(), err
}

func typeOf(value any) arrow.DataType {
	switch value.(type) {
	case float64:
		return arrow.PrimitiveTypes.Float64
	case int64:
		return arrow.PrimitiveTypes.Int64
	default:
		return arrow.BinaryTypes.Binary
	}
}

// must fails the test on an error of a call.
func must(t *testing.T) func(*turn, *answer, error) (*turn, *answer) {
	t.Helper()
	return func(got *turn, a *answer, err error) (*turn, *answer) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got, a
	}
}
