package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

// errMisaligned says that a batch cannot be used where it lies.
var errMisaligned = errors.New("shm: the stored batch is not aligned")

// View returns the batch in region r where it lies, without a copy, in a sealed
// segment ([Segment.Sealed]); pointer came on schema. It has no metadata. It is
// valid until release, which may be called again; the memory stays that long,
// also when the segment is closed. The other side can still write: values may
// change, but nothing may go away. A batch whose values are not aligned is copied,
// as [Segment.Read] does.
func (s *Segment) View(r Region, schema *wire.Schema, limits wire.Limits) (b *wire.Batch, release func(), err error) {
	if err := s.checkRegion(r); err != nil {
		return nil, nil, err
	}
	p, err := s.view(r)
	if err != nil {
		return nil, nil, err
	}
	rec, b, err := s.alias(p, schema, limits)
	if err != nil {
		s.giveBack()
		if errors.Is(err, errMisaligned) {
			return s.Read(r, schema, limits)
		}
		return nil, nil, err
	}
	return b, sync.OnceFunc(func() {
		rec.Release()
		s.giveBack()
	}), nil
}

// alias decodes what is stored in p over p. The schema is checked as one from a
// connection is, and headers are copied before they are looked at.
func (s *Segment) alias(p []byte, schema *wire.Schema, limits wire.Limits) (rec arrow.RecordBatch, b *wire.Batch, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = segmentErrorf("stored batch: %v", problem)
		}
	}()
	messages := messageReader{rest: p, limits: limits}
	if splits(schema) {
		canonical, err := s.stored(schema)
		if err != nil {
			return nil, nil, err
		}
		messages.schema = canonical.Message()
	} else if err := messages.readSchema(schema); err != nil {
		return nil, nil, err
	}
	mem := &boundedAllocator{left: limits.MaxMessageBytes}
	if mem.left == 0 {
		mem.left = wire.DefaultMaxMessageBytes
	}
	reader, err := ipc.NewReaderFromMessageReader(&messages, ipc.WithAllocator(mem))
	if err != nil {
		return nil, nil, storedErrorf(err)
	}
	if rec, err = reader.Read(); err != nil {
		return nil, nil, storedErrorf(err)
	}
	rec.Retain() // the reader lets go of it
	if err := validate(rec, limits.Validation); err != nil {
		return nil, nil, storedErrorf(err)
	}
	b, err = wire.NewBatch(schema, rec, nil)
	return rec, b, err
}

func validate(rec arrow.RecordBatch, level wire.Validation) error {
	switch level {
	case wire.ValidateOff:
		return nil
	case wire.ValidateStandard:
		return array.ValidateRecord(rec)
	default:
		return array.ValidateRecordFull(rec)
	}
}

// messageReader cuts stored messages for arrow-go's reader: headers are copies,
// bodies lie where they are.
type messageReader struct {
	schema []byte // message that comes first
	rest   []byte
	limits wire.Limits
}

// readSchema takes the schema message off the front, which must be equal to want.
func (m *messageReader) readSchema(want *wire.Schema) error {
	header, err := m.header()
	if err != nil {
		return storedErrorf(err)
	}
	cache := &wire.SchemaCache{}
	cache.Add(want)
	got, err := cache.Parse(header)
	if err != nil {
		return storedErrorf(err)
	}
	m.schema = got.Message()
	return sameSchema(want, got)
}

// prefixBytes come before a message's metadata: continuation and length.
const prefixBytes = 8

// header copies the next encapsulated header, prefix included. It returns io.EOF
// at the end.
func (m *messageReader) header() ([]byte, error) {
	if len(m.rest) < prefixBytes {
		return nil, io.EOF
	}
	var prefix [prefixBytes]byte
	copy(prefix[:], m.rest)
	n := int64(int32(binary.LittleEndian.Uint32(prefix[4:])))
	limit := m.limits.MaxSchemaBytes
	if limit == 0 {
		limit = wire.DefaultMaxSchemaBytes
	}
	switch {
	case binary.LittleEndian.Uint32(prefix[:]) != binary.LittleEndian.Uint32(endOfStream[:]):
		return nil, fmt.Errorf("% x is not an IPC continuation marker", prefix[:4])
	case n == 0:
		return nil, io.EOF
	case n < 8 || n > limit || n > int64(len(m.rest)-prefixBytes):
		return nil, fmt.Errorf("metadata of %d bytes", n)
	}
	header := append(prefix[:], m.rest[prefixBytes:prefixBytes+n]...)
	m.rest = m.rest[prefixBytes+n:]
	return header, nil
}

// Message implements [ipc.MessageReader].
func (m *messageReader) Message() (*ipc.Message, error) {
	if m.schema != nil {
		meta := memory.NewBufferBytes(bytes.Clone(m.schema[prefixBytes:]))
		m.schema = nil
		return ipc.NewMessage(meta, memory.NewBufferBytes(nil)), nil
	}
	header, err := m.header()
	if err != nil {
		return nil, err
	}
	meta := header[prefixBytes:]
	probe := ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(nil))
	n := probe.BodyLen()
	probe.Release()
	if n < 0 || n > int64(len(m.rest)) {
		return nil, fmt.Errorf("body of %d bytes where %d are left", n, len(m.rest))
	}
	body := m.rest[:n:n]
	if !aligned(body) {
		return nil, errMisaligned
	}
	m.rest = m.rest[n:]
	return ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(body)), nil
}

// Retain is a no-op: the memory belongs to the segment and the collector.
func (*messageReader) Retain() {}

// Release is a no-op.
func (*messageReader) Release() {}

// boundedAllocator refuses what a message claims to be decompressed beyond a
// limit.
type boundedAllocator struct {
	memory.GoAllocator

	left int64
}

// Allocate panics past the limit, which alias turns into an error.
func (a *boundedAllocator) Allocate(n int) []byte {
	a.spend(n)
	return a.GoAllocator.Allocate(n)
}

// Reallocate counts what is added, as Allocate does.
func (a *boundedAllocator) Reallocate(n int, old []byte) []byte {
	a.spend(n - len(old))
	return a.GoAllocator.Reallocate(n, old)
}

func (a *boundedAllocator) spend(n int) {
	if a.left -= int64(n); a.left < 0 {
		panic(errors.New("decompressed, it exceeds MaxMessageBytes")) //nolint:forbidigo // an allocator cannot fail otherwise
	}
}
