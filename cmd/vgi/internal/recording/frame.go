package recording

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Version is the version of the format that this package reads and writes.
const Version = "1"

// Keys of the metadata of a recording's schema.
const (
	keyVersion   = "vgi_recording.version"
	keyPayloads  = "vgi_recording.payloads" // "kept" or "redacted"
	keyTransport = "vgi_recording.transport"
	keyStarted   = "vgi_recording.started" // RFC 3339
)

// Side is who a frame comes from.
type Side string

// The sides of a connection, and the recorder between them.
const (
	Client   Side = "client"
	Server   Side = "server"
	Recorder Side = "recorder"
)

// Kind is what a frame is. A reader lets kinds pass that it does not know.
type Kind string

// Kinds of frames. Those of messages are the messages of an Arrow IPC stream.
const (
	// KindOpen and KindClose are the ends of a connection, or of one HTTP
	// request with its response.
	KindOpen  Kind = "open"
	KindClose Kind = "close"
	// KindSchema, KindDictionary and KindBatch are messages, KindEnd the marker
	// behind the last one of a stream.
	KindSchema     Kind = "schema"
	KindDictionary Kind = "dictionary"
	KindBatch      Kind = "batch"
	KindEnd        Kind = "end"
	// KindRaw is what is no Arrow IPC: a page, JSON, half a message before a
	// connection was lost.
	KindRaw Kind = "raw"
	// KindRequest and KindResponse are the heads of HTTP messages; their bodies
	// follow as messages, without content encoding.
	KindRequest  Kind = "request"
	KindResponse Kind = "response"
	// KindHalfClose is a side that sends nothing more.
	KindHalfClose Kind = "half-close"
	// KindError is a connection that failed; the class of the error and its text are
	// in the metadata.
	KindError Kind = "error"
	// KindDropped counts messages, as Rows, and their bytes, as Size, that are
	// not in the file because the disk was too slow, or they were too large.
	KindDropped Kind = "dropped"
	// KindFull says that the file has reached its largest size.
	KindFull Kind = "full"
	// KindFinish is the last frame of a recording that was ended in good order.
	KindFinish Kind = "finish"
)

// Pseudo-headers of HTTP heads, and the keys of an error's text and class.
const (
	MetaMethod = ":method"
	MetaPath   = ":path"
	MetaStatus = ":status"
	MetaError  = "error"
	MetaClass  = "class"
)

// Frame is one row of a recording.
type Frame struct {
	// At is when the last byte passed, since the recording began, in whole
	// microseconds.
	At time.Duration
	// Conn numbers connections, and over HTTP requests, from 1 on; 0 is the
	// recording itself.
	Conn int64
	From Side
	Kind Kind
	// Size is how many bytes a message had on the wire.
	Size int64
	// Rows of a batch.
	Rows int64
	// Meta is the custom metadata of a batch, or the headers of an HTTP head,
	// where Bytes do not hold them.
	Meta wire.Metadata
	// Bytes are the message as it passed. In a redacted recording only schemas
	// have them, without their metadata.
	Bytes []byte
}

// columns of a recording, in their order.
const (
	colAt = iota
	colConn
	colFrom
	colKind
	colSize
	colRows
	colMeta
	colBytes
	numColumns
)

// Schema is that of a recording, without its metadata: one row for each frame.
func Schema() *arrow.Schema { return arrow.NewSchema(fields(), nil) }

func fields() []arrow.Field {
	return []arrow.Field{
		{Name: "at", Type: arrow.FixedWidthTypes.Duration_us},
		{Name: "connection", Type: arrow.PrimitiveTypes.Int64},
		{Name: "from", Type: arrow.BinaryTypes.String},
		{Name: "kind", Type: arrow.BinaryTypes.String},
		{Name: "size", Type: arrow.PrimitiveTypes.Int64},
		{Name: "rows", Type: arrow.PrimitiveTypes.Int64},
		{Name: "metadata", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.Binary)},
		{Name: "bytes", Type: arrow.BinaryTypes.LargeBinary, Nullable: true},
	}
}

// Info is what a recording says of itself.
type Info struct {
	// Payloads says that values were kept.
	Payloads bool
	// Transport is "stdio", "unix", "tcp" or "http".
	Transport string
	// Started is when the recording began.
	Started time.Time
}

// schema is the schema of a recording with what it says of itself.
func (i *Info) schema() (*wire.Schema, error) {
	payloads := "redacted"
	if i.Payloads {
		payloads = "kept"
	}
	meta := arrow.NewMetadata(
		[]string{keyVersion, keyPayloads, keyTransport, keyStarted},
		[]string{Version, payloads, i.Transport, i.Started.UTC().Format(time.RFC3339Nano)},
	)
	return wire.NewSchema(arrow.NewSchema(fields(), &meta))
}

// infoOf reads what a schema says of its recording.
func infoOf(s *arrow.Schema) (Info, error) {
	meta := s.Metadata()
	value := func(key string) string {
		v, _ := meta.GetValue(key)
		return v
	}
	switch version := value(keyVersion); {
	case version == "":
		return Info{}, fmt.Errorf("recording: the file is an Arrow stream, but no recording: its schema has no %s", keyVersion)
	case version != Version:
		return Info{}, fmt.Errorf("recording: the file has version %q of the format, this program reads version %s", version, Version)
	}
	if len(s.Fields()) != numColumns {
		return Info{}, fmt.Errorf("recording: the file has %d columns, want %d", len(s.Fields()), numColumns)
	}
	for i, want := range fields() {
		if got := s.Field(i); got.Name != want.Name || !arrow.TypeEqual(got.Type, want.Type) {
			return Info{}, fmt.Errorf("recording: column %d is %s %v, want %s %v", i, got.Name, got.Type, want.Name, want.Type)
		}
	}
	started, err := time.Parse(time.RFC3339Nano, value(keyStarted))
	if err != nil {
		return Info{}, fmt.Errorf("recording: %s: %w", keyStarted, err)
	}
	return Info{Payloads: value(keyPayloads) == "kept", Transport: value(keyTransport), Started: started}, nil
}

// batch is the frame as the batch that stands for it.
func (f *Frame) batch(schema *wire.Schema) wire.Batch {
	cols := make([]wire.Column, numColumns)
	cols[colAt] = int64Column(f.At.Microseconds())
	cols[colConn] = int64Column(f.Conn)
	cols[colFrom] = bytesColumn(string(f.From))
	cols[colKind] = bytesColumn(string(f.Kind))
	cols[colSize] = int64Column(f.Size)
	cols[colRows] = int64Column(f.Rows)
	keys, values := make([]string, len(f.Meta)), make([]string, len(f.Meta))
	for i, p := range f.Meta {
		keys[i], values[i] = strings.ToValidUTF8(p.Key, "\uFFFD"), p.Value
	}
	le := binary.LittleEndian
	cols[colMeta] = wire.Column{
		Rows: 1, Offsets: le.AppendUint32(make([]byte, 4, 8), uint32(len(f.Meta))),
		Children: []wire.Column{{Rows: len(f.Meta), Children: []wire.Column{bytesColumn(keys...), bytesColumn(values...)}}},
	}
	cols[colBytes] = wire.Column{Rows: 1, Offsets: le.AppendUint64(make([]byte, 8, 16), uint64(len(f.Bytes))), Data: f.Bytes}
	if f.Bytes == nil {
		cols[colBytes].Nulls, cols[colBytes].Validity = 1, make([]byte, 1)
	}
	return wire.Batch{Schema: schema, Rows: 1, Cols: cols}
}

func int64Column(v int64) wire.Column {
	return wire.Column{Rows: 1, Data: binary.LittleEndian.AppendUint64(nil, uint64(v))}
}

func bytesColumn(values ...string) wire.Column {
	c := wire.Column{Rows: len(values), Offsets: make([]byte, 4, 4+4*len(values))}
	for _, v := range values {
		c.Data = append(c.Data, v...)
		c.Offsets = binary.LittleEndian.AppendUint32(c.Offsets, uint32(len(c.Data)))
	}
	return c
}
