package wire

import (
	"bytes"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/endian"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Schema is an Arrow schema together with what the wire needs of it, made once:
// its serialized message and the physical layout of each column. It is
// immutable; two Schemas of one SchemaCache are the same pointer when their
// messages have the same bytes.
type Schema struct {
	arrow   *arrow.Schema
	message []byte // encapsulated schema message: prefix, metadata, padding
	cols    []layout
	nodes   int
	buffers int
	views   int
	general bool // some column's layout is left to arrow-go
	dicts   bool // some column is dictionary-encoded
	bytes   bool // some column holds bytes that a decoder may alias
}

// EmptySchema returns the schema with no fields (Appendix B).
func EmptySchema() *Schema { return emptySchema() }

var emptySchema = sync.OnceValue(func() *Schema {
	s, err := NewSchema(arrow.NewSchema(nil, nil))
	if err != nil {
		panic(err) //nolint:forbidigo // a schema of no fields always serializes
	}
	return s
})

// NewSchema prepares an Arrow schema for the wire. It fails for a type that
// Arrow IPC cannot carry.
func NewSchema(s *arrow.Schema) (*Schema, error) {
	message, err := encodeSchema(s)
	if err != nil {
		return nil, err
	}
	ids, err := inspectSchema(message[prefixBytes:])
	if err != nil {
		return nil, err
	}
	return newSchema(s, message, ids), nil
}

// encodeSchema serializes s as an encapsulated message.
func encodeSchema(s *arrow.Schema) (message []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("wire: schema cannot be serialized: %v", p)
		}
	}()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(s))
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("wire: schema cannot be serialized: %w", err)
	}
	return bytes.Clone(buf.Bytes()[:buf.Len()-len(endOfStream)]), nil
}

// decodeSchema parses an encapsulated schema message.
func decodeSchema(message []byte) (s *Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = formatErrorf("schema message", "%v", p)
		}
	}()
	ids, err := inspectSchema(message[prefixBytes:])
	if err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(bytes.NewReader(message), ipc.WithDelayReadSchema(false), ipc.WithEnsureNativeEndian(false))
	if err != nil {
		return nil, formatErrorf("schema message", "%v", err)
	}
	defer r.Release()
	if e := r.Schema().Endianness(); e != endian.NativeEndian {
		return nil, formatErrorf("schema message", "%v-endian data is not supported: send little-endian", e)
	}
	return newSchema(r.Schema(), bytes.Clone(message), ids), nil
}

func newSchema(s *arrow.Schema, message []byte, ids []int64) *Schema {
	out := &Schema{arrow: s, message: message, cols: make([]layout, s.NumFields())}
	cursor := &idCursor{ids: ids}
	for i, f := range s.Fields() {
		l := compileLayout(f, f.Name, cursor)
		out.cols[i] = l
		out.nodes += l.nodes
		out.buffers += l.buffers
		out.views += l.views
		out.general = out.general || l.kind == layoutOther
		out.bytes = out.bytes || l.holdsBytes()
		l.eachDict(func(*layout) { out.dicts = true })
	}
	return out
}

// Arrow is the schema in arrow-go's form.
func (s *Schema) Arrow() *arrow.Schema { return s.arrow }

// NumFields is the number of top-level columns.
func (s *Schema) NumFields() int { return len(s.cols) }

// Message is the serialized schema: an encapsulated IPC message without an end
// of stream. The caller must not change it.
func (s *Schema) Message() []byte { return s.message }

// HoldsBytes reports whether a column holds strings or binary values, at any
// depth: whoever decodes it may alias the batch's body.
func (s *Schema) HoldsBytes() bool { return s.bytes }

// SchemaCache knows schemas by the bytes of their message, so that a schema
// seen before needs no decoding. It is safe for concurrent use; the zero value
// is ready.
type SchemaCache struct {
	known atomic.Pointer[map[string]*Schema]
	mu    sync.Mutex
}

const (
	schemaCacheEntries = 1024
	schemaCacheBytes   = 4 << 10 // a larger schema is decoded each time
)

// lookup returns the schema of an encapsulated message, decoding it when it
// is new. Reading takes no lock.
func (c *SchemaCache) lookup(message []byte) (*Schema, error) {
	known := c.known.Load()
	if known != nil {
		if s, ok := (*known)[string(message)]; ok {
			return s, nil
		}
	}
	s, err := decodeSchema(message)
	if err != nil || len(message) > schemaCacheBytes {
		return s, err
	}
	return c.add(s), nil
}

// Add makes the cache return s for its message from now on, and returns the
// schema already there when somebody else was first.
func (c *SchemaCache) Add(s *Schema) *Schema {
	if len(s.message) > schemaCacheBytes {
		return s
	}
	return c.add(s)
}

func (c *SchemaCache) add(s *Schema) *Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := map[string]*Schema{}
	if p := c.known.Load(); p != nil {
		old = *p
	}
	if got, ok := old[string(s.message)]; ok {
		return got
	}
	if len(old) >= schemaCacheEntries {
		return s
	}
	next := maps.Clone(old)
	next[string(s.message)] = s
	c.known.Store(&next)
	return s
}

// Parse returns the schema of an encapsulated schema message, decoding it when
// it is new. The message is checked like one from a peer.
func (c *SchemaCache) Parse(message []byte) (*Schema, error) {
	if len(message) < prefixBytes {
		return nil, formatErrorf("schema message", "%d bytes", len(message))
	}
	return c.lookup(message)
}
