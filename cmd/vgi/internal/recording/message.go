package recording

import (
	"encoding/binary"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Framing of an Arrow IPC message, and the slots of its header's flatbuffer
// (Message.fbs).
const (
	prefixBytes      = 8
	continuation     = 0xFFFFFFFF
	slotHeaderType   = 6
	slotHeader       = 8
	slotBodyLength   = 10
	slotMetadata     = 12
	slotBatchLength  = 4
	slotPairKey      = 4
	slotPairValue    = 6
	headerSchema     = 1
	headerDictionary = 2
	headerBatch      = 3
)

// maxPairs bounds the custom metadata of one message that is looked at.
const maxPairs = 16 << 10

// message is the header of an Arrow IPC message.
type message struct {
	kind    Kind
	bodyLen int64
	rows    int64
	meta    wire.Metadata
}

// parseMessage reads the flatbuffer of a header, behind its prefix; the metadata
// only where it is asked for. Whoever sent it may have meant harm: accessors check
// bounds by panicking.
func parseMessage(b []byte, withMeta bool) (m message, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recording: message header: %v", p)
		}
	}()
	var t flatbuffers.Table
	t.Bytes, t.Pos = b, flatbuffers.GetUOffsetT(b)
	m.bodyLen = t.GetInt64Slot(slotBodyLength, 0)
	if m.bodyLen < 0 {
		return m, fmt.Errorf("recording: message header: body length is %d", m.bodyLen)
	}
	switch kind := t.GetByteSlot(slotHeaderType, 0); kind {
	case headerSchema:
		m.kind = KindSchema
	case headerDictionary:
		m.kind = KindDictionary
	case headerBatch:
		m.kind = KindBatch
		var batch flatbuffers.Table
		t.Union(&batch, flatbuffers.UOffsetT(t.Offset(slotHeader)))
		m.rows = batch.GetInt64Slot(slotBatchLength, 0)
	default:
		return m, fmt.Errorf("recording: message type %d", kind)
	}
	if withMeta {
		m.meta = parsePairs(&t, len(b))
	}
	return m, nil
}

// parsePairs reads custom metadata of at most four times the message's size in
// all: the strings of a flatbuffer may be shared.
func parsePairs(t *flatbuffers.Table, size int) wire.Metadata {
	o := flatbuffers.UOffsetT(t.Offset(slotMetadata))
	if o == 0 {
		return nil
	}
	n, room := min(t.VectorLen(o), maxPairs), 4*size
	var meta wire.Metadata
	for i := range n {
		var p flatbuffers.Table
		p.Bytes, p.Pos = t.Bytes, t.Indirect(t.Vector(o)+flatbuffers.UOffsetT(4*i))
		key, value := pairText(&p, slotPairKey), pairText(&p, slotPairValue)
		if room -= len(key) + len(value); room < 0 {
			break
		}
		meta = append(meta, wire.Pair{Key: string(key), Value: string(value)})
	}
	return meta
}

func pairText(p *flatbuffers.Table, slot flatbuffers.VOffsetT) []byte {
	o := flatbuffers.UOffsetT(p.Offset(slot))
	if o == 0 {
		return nil
	}
	return p.ByteVector(o + p.Pos)
}

// splitter finds the messages in a stream of bytes, as they come. It keeps its
// place whether or not there was room to keep the bytes.
type splitter struct {
	// bodies says that the bodies of messages are kept.
	bodies bool
	// take asks for room for n more bytes, release gives all of it back.
	take    func(n int64) bool
	release func()
	// emit is told of each message; its bytes are nil where there was no room.
	emit func(kind Kind, size int64, bytes []byte)

	raw    bool
	held   []byte // of the message that has begun
	lost   bool   // there was no room for it
	size   int64  // bytes of it so far
	want   int64  // bytes until the next decision
	prefix [prefixBytes]byte
	inBody bool
	kind   Kind
	inMeta bool
	// header is the flatbuffer of the message that has begun.
	header []byte
}

// maxHeaderBytes is the largest header; anything beyond is no Arrow IPC that a
// peer of ours would take.
const maxHeaderBytes = wire.DefaultMaxSchemaBytes

// write takes bytes that have passed.
func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		if s.raw {
			s.keep(p, s.bodies)
			s.size += int64(len(p))
			s.finish(KindRaw)
			return
		}
		n := int64(len(p))
		switch {
		case s.inBody:
			n = min(n, s.want)
			s.keep(p[:n], s.bodies)
		case s.inMeta:
			n = min(n, s.want)
			s.header = append(s.header, p[:n]...)
			s.keep(p[:n], true)
		default:
			n = min(n, prefixBytes-s.size)
			copy(s.prefix[s.size:], p[:n])
			s.keep(p[:n], true)
		}
		s.size += n
		s.want -= n
		p = p[n:]
		s.advance()
	}
}

// advance decides what comes next.
func (s *splitter) advance() {
	switch {
	case s.inBody:
		if s.want == 0 {
			s.finish(s.kind)
		}
	case s.inMeta:
		if s.want == 0 {
			s.announced()
		}
	case s.size == prefixBytes:
		n := int64(int32(binary.LittleEndian.Uint32(s.prefix[4:])))
		switch {
		case binary.LittleEndian.Uint32(s.prefix[:]) != continuation || n < 0 || n > maxHeaderBytes:
			s.raw = true
			s.finish(KindRaw)
		case n == 0:
			s.finish(KindEnd)
		default:
			s.inMeta, s.want = true, n
		}
	default: // in the middle of the prefix
	}
}

// announced looks at a header that is there.
func (s *splitter) announced() {
	m, err := parseMessage(s.header, false)
	s.inMeta = false
	if err != nil {
		s.raw = true
		s.finish(KindRaw)
		return
	}
	s.kind = m.kind
	if m.bodyLen == 0 {
		s.finish(m.kind)
		return
	}
	s.inBody, s.want = true, m.bodyLen
}

// keep appends to the message that has begun, where there is room.
func (s *splitter) keep(p []byte, wanted bool) {
	if !wanted || s.lost {
		return
	}
	if !s.take(int64(len(p))) {
		s.lost, s.held = true, nil
		s.release()
		return
	}
	s.held = append(s.held, p...)
}

// finish hands on a message, and waits for the next one.
func (s *splitter) finish(kind Kind) {
	s.emit(kind, s.size, s.held)
	s.held, s.lost, s.size, s.inBody, s.inMeta = nil, false, 0, false, false
	s.header = s.header[:0]
	if cap(s.header) > 64<<10 {
		s.header = nil
	}
}

// end hands on half a message.
func (s *splitter) end() {
	if s.size > 0 {
		s.finish(KindRaw)
	}
}
