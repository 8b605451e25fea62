package wire

import (
	"encoding/binary"

	flatbuffers "github.com/google/flatbuffers/go"
)

// Framing of an encapsulated message: four bytes of continuation, four of
// metadata length (Arrow columnar format, "Encapsulated message format").
const (
	prefixBytes  = 8
	continuation = 0xFFFFFFFF
)

// endOfStream is the marker of Appendix A.
var endOfStream = [8]byte{0xFF, 0xFF, 0xFF, 0xFF}

// Types of a message's header, from Arrow's Message.fbs.
const (
	headerSchema     = 1
	headerDictionary = 2
	headerBatch      = 3
)

// Slots of the flatbuffer tables, from Arrow's Message.fbs and Schema.fbs. A
// slot is 4 + 2 * the field's number.
const (
	slotMessageHeaderType = 6
	slotMessageHeader     = 8
	slotMessageBodyLength = 10
	slotMessageMetadata   = 12

	slotBatchLength      = 4
	slotBatchNodes       = 6
	slotBatchBuffers     = 8
	slotBatchCompression = 10
	slotBatchVariadic    = 12

	slotCompressionCodec = 4

	slotDictionaryID    = 4
	slotDictionaryData  = 6
	slotDictionaryDelta = 8

	slotSchemaFields    = 6
	slotFieldDictionary = 12
	slotFieldChildren   = 14
	slotEncodingID      = 4

	slotPairKey   = 4
	slotPairValue = 6
)

// Sizes of the inline structs FieldNode and Buffer: two int64 each.
const (
	nodeBytes   = 16
	bufferBytes = 16
)

// Bounds on a schema message. Flatbuffer tables may be shared, so that a few
// hundred bytes can describe billions of fields.
const (
	maxSchemaFields = 1 << 16
	maxSchemaDepth  = 64
)

// compression is the codec of a batch's buffers.
type compression int8

const (
	compressionNone compression = -1
	compressionLZ4  compression = 0
	compressionZstd compression = 1
)

// header is a parsed message header. Its byte slices lie in the parsed bytes.
type header struct {
	kind        byte
	bodyLen     int64
	meta        Metadata
	rows        int64
	nodes       []byte // FieldNode structs
	buffers     []byte // Buffer structs
	compression compression
	dictID      int64
	delta       bool
}

// parseHeader reads a message's flatbuffer. The metadata strings of the result
// are copies; nodes and buffers alias b. Malformed bytes are a *FormatError:
// the flatbuffer accessors check bounds by panicking.
func (h *header) parse(b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = formatErrorf("message header", "%v", p)
		}
	}()
	*h = header{compression: compressionNone}
	msg := rootTable(b)
	h.kind = msg.GetByteSlot(slotMessageHeaderType, 0)
	h.bodyLen = msg.GetInt64Slot(slotMessageBodyLength, 0)
	if h.bodyLen < 0 {
		return formatErrorf("message header", "body length is %d", h.bodyLen)
	}
	body := flatbuffers.UOffsetT(msg.Offset(slotMessageHeader))
	if body == 0 {
		return formatErrorf("message header", "no header table")
	}
	var t flatbuffers.Table
	msg.Union(&t, body)
	switch h.kind {
	case headerBatch:
		h.parseBatch(&t)
	case headerDictionary:
		h.dictID = t.GetInt64Slot(slotDictionaryID, 0)
		h.delta = t.GetBoolSlot(slotDictionaryDelta, false)
		data := flatbuffers.UOffsetT(t.Offset(slotDictionaryData))
		if data == 0 {
			return formatErrorf("dictionary message", "no data")
		}
		var rb flatbuffers.Table
		rb.Bytes, rb.Pos = t.Bytes, t.Indirect(data+t.Pos)
		h.parseBatch(&rb)
	case headerSchema:
	default:
		return formatErrorf("message header", "message type %d is not part of an IPC stream", h.kind)
	}
	h.meta = parsePairs(&msg)
	return nil
}

func (h *header) parseBatch(rb *flatbuffers.Table) {
	h.rows = rb.GetInt64Slot(slotBatchLength, 0)
	h.nodes = structVector(rb, slotBatchNodes, nodeBytes)
	h.buffers = structVector(rb, slotBatchBuffers, bufferBytes)
	if o := flatbuffers.UOffsetT(rb.Offset(slotBatchCompression)); o != 0 {
		var c flatbuffers.Table
		c.Bytes, c.Pos = rb.Bytes, rb.Indirect(o+rb.Pos)
		h.compression = compression(c.GetInt8Slot(slotCompressionCodec, int8(compressionLZ4)))
	}
}

// parsePairs reads a message's custom metadata into one string of which all
// keys and values are parts: two allocations, whatever the number of keys.
func parsePairs(msg *flatbuffers.Table) Metadata {
	o := flatbuffers.UOffsetT(msg.Offset(slotMessageMetadata))
	if o == 0 {
		return nil
	}
	n := msg.VectorLen(o)
	if n == 0 {
		return nil
	}
	start := msg.Vector(o)
	_ = msg.Bytes[start : int(start)+4*n] // a forged count must not size anything
	pairs, text := make(Metadata, n), string(msg.Bytes)
	for i := range n {
		var kv flatbuffers.Table
		kv.Bytes, kv.Pos = msg.Bytes, msg.Indirect(start+flatbuffers.UOffsetT(4*i))
		pairs[i] = Pair{substring(text, &kv, slotPairKey), substring(text, &kv, slotPairValue)}
	}
	return pairs
}

// substring is the string of a slot, as a part of text.
func substring(text string, t *flatbuffers.Table, slot flatbuffers.VOffsetT) string {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return ""
	}
	pos := int(t.Indirect(o + t.Pos))
	n := int(binary.LittleEndian.Uint32(t.Bytes[pos:]))
	return text[pos+4 : pos+4+n]
}

func rootTable(b []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
}

// structVector is the bytes of a vector of inline structs.
func structVector(t *flatbuffers.Table, slot flatbuffers.VOffsetT, size int) []byte {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return nil
	}
	start := int(t.Vector(o))
	return t.Bytes[start : start+size*t.VectorLen(o)]
}

// inspectSchema walks a schema message's fields before arrow-go decodes it:
// it returns the dictionary ids in depth-first order, and refuses a schema
// whose tables unfold into more fields, or deeper ones, than any real schema.
func inspectSchema(b []byte) (ids []int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = formatErrorf("schema message", "%v", p)
		}
	}()
	msg := rootTable(b)
	if kind := msg.GetByteSlot(slotMessageHeaderType, 0); kind != headerSchema {
		return nil, formatErrorf("stream", "begins with message type %d, not with a schema", kind)
	}
	if n := msg.GetInt64Slot(slotMessageBodyLength, 0); n != 0 {
		return nil, formatErrorf("schema message", "has a body of %d bytes", n)
	}
	o := flatbuffers.UOffsetT(msg.Offset(slotMessageHeader))
	if o == 0 {
		return nil, formatErrorf("schema message", "no schema table")
	}
	var schema flatbuffers.Table
	msg.Union(&schema, o)
	w := schemaWalk{left: maxSchemaFields}
	if err := w.fields(&schema, slotSchemaFields, 0); err != nil {
		return nil, err
	}
	return w.ids, nil
}

type schemaWalk struct {
	ids  []int64
	left int
}

func (w *schemaWalk) fields(t *flatbuffers.Table, slot flatbuffers.VOffsetT, depth int) error {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return nil
	}
	if depth > maxSchemaDepth {
		return formatErrorf("schema message", "fields nest deeper than %d", maxSchemaDepth)
	}
	n, start := t.VectorLen(o), t.Vector(o)
	if w.left -= n; w.left < 0 || n < 0 {
		return formatErrorf("schema message", "more than %d fields", maxSchemaFields)
	}
	for i := range n {
		var f flatbuffers.Table
		f.Bytes, f.Pos = t.Bytes, t.Indirect(start+flatbuffers.UOffsetT(4*i))
		if d := flatbuffers.UOffsetT(f.Offset(slotFieldDictionary)); d != 0 {
			var enc flatbuffers.Table
			enc.Bytes, enc.Pos = f.Bytes, f.Indirect(d+f.Pos)
			w.ids = append(w.ids, enc.GetInt64Slot(slotEncodingID, 0))
		}
		if err := w.fields(&f, slotFieldChildren, depth+1); err != nil {
			return err
		}
	}
	return nil
}
