//go:build linux

package main

import (
	"bytes"
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

// must drops the error of something that is built from constants.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// requestMetadata is the custom metadata of a request batch.
func requestMetadata(method string) arrow.Metadata {
	return arrow.NewMetadata(
		[]string{
			"vgi_rpc.method", "vgi_rpc.request_version", "vgi_rpc.request_id",
			"vgi_rpc.protocol_version", "vgi_rpc.protocol",
		},
		[]string{method, "1", "0123456789abcdef", "2.0.0", "ConformanceService"},
	)
}

// stream is a whole IPC stream: schema, one batch, end.
func stream(rec arrow.RecordBatch) []byte {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rec.Schema()))
	must(0, w.Write(rec))
	must(0, w.Close())
	return b.Bytes()
}

// split takes a stream of one batch apart: schema message, batch message, end
// marker.
func split(s []byte) (open, batch, end []byte) {
	const prefix, marker = 8, 8
	n := prefix + int(binary.LittleEndian.Uint32(s[4:]))
	return s[:n], s[n : len(s)-marker], s[len(s)-marker:]
}

func field(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }

// batch is one record batch, filled by fill.
func batch(fields []arrow.Field, fill func(*array.RecordBuilder)) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	fill(b)
	return b.NewRecordBatch()
}

// request is the stream that calls method with one parameter.
func request(method string, param arrow.Field, fill func(array.Builder)) []byte {
	rec := batch([]arrow.Field{param}, func(b *array.RecordBuilder) { fill(b.Field(0)) })
	meta := requestMetadata(method)
	return stream(array.NewRecordBatchWithMetadata(rec.Schema(), rec.Columns(), rec.NumRows(), meta))
}

func requestInt(method, name string, v int64) []byte {
	return request(method, field(name, arrow.PrimitiveTypes.Int64), func(b array.Builder) {
		b.(*array.Int64Builder).Append(v)
	})
}

func requestFloat(method, name string, v float64) []byte {
	return request(method, field(name, arrow.PrimitiveTypes.Float64), func(b array.Builder) {
		b.(*array.Float64Builder).Append(v)
	})
}

func requestBytes(method, name string, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	return request(method, field(name, arrow.BinaryTypes.Binary), func(b array.Builder) {
		b.(*array.BinaryBuilder).Append(data)
	})
}

func requestStrings(method, name string, n int) []byte {
	t := arrow.ListOfField(arrow.Field{Name: "item", Type: arrow.BinaryTypes.String, Nullable: true})
	return request(method, field(name, t), func(b array.Builder) {
		list := b.(*array.ListBuilder)
		list.Append(true)
		items := list.ValueBuilder().(*array.StringBuilder)
		for i := range n {
			items.Append("value number " + string(rune('a'+i%26)) + "é")
		}
	})
}

// requestEnum sends a dictionary-encoded member name.
func requestEnum() []byte {
	t := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
	return request("echo_enum", field("status", t), func(b array.Builder) {
		must(0, b.(*array.BinaryDictionaryBuilder).AppendString("ACTIVE"))
	})
}

// requestPoint sends a dataclass: an IPC stream in a binary column.
func requestPoint() []byte {
	coordinates := []arrow.Field{field("x", arrow.PrimitiveTypes.Float64), field("y", arrow.PrimitiveTypes.Float64)}
	point := stream(batch(coordinates, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Float64Builder).Append(1.5)
		b.Field(1).(*array.Float64Builder).Append(-2.5)
	}))
	return request("echo_point", field("point", arrow.BinaryTypes.Binary), func(b array.Builder) {
		b.(*array.BinaryBuilder).Append(point)
	})
}

// ticks is the input stream of a producer: batches without columns or rows.
func ticks() []byte {
	return stream(array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 0))
}

// floats is the input stream of exchange_scale.
func floats(rows int) []byte { return stream(floatRows(rows)) }

// floatRows is one input batch of exchange_scale.
func floatRows(rows int) arrow.RecordBatch {
	return batch([]arrow.Field{field("value", arrow.PrimitiveTypes.Float64)}, func(b *array.RecordBuilder) {
		for i := range rows {
			b.Field(0).(*array.Float64Builder).Append(float64(i))
		}
	})
}

// withTokens adds to a batch the tokens of a stream over HTTP, of which an empty
// one is left out.
func withTokens(rec arrow.RecordBatch, cursor, call string) arrow.RecordBatch {
	tokens := map[string]string{}
	for key, token := range map[string]string{wire.KeyStreamState: cursor, wire.KeyCallState: call} {
		if token != "" {
			tokens[key] = token
		}
	}
	return array.NewRecordBatchWithMetadata(rec.Schema(), rec.Columns(), rec.NumRows(), arrow.MetadataFrom(tokens))
}
