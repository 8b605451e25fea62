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

// EndOfStreamBytes is the size of the marker that ends a stream.
const EndOfStreamBytes = 8

// endOfStream is the marker of Appendix A.
var endOfStream = [EndOfStreamBytes]byte{0xFF, 0xFF, 0xFF, 0xFF}

// Types of a message's header, from Arrow's Message.fbs.
const (
	headerSchema     = 1
	headerDictionary = 2
	headerBatch      = 3
)

// Slots of the flatbuffer tables, from Arrow's Message.fbs and Schema.fbs. A
// slot is 4 + 2 * the field's number.
const (
	slotMessageVersion    = 4
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
	slotSchemaMetadata  = 8
	slotFieldName       = 4
	slotFieldTypeType   = 8
	slotFieldType       = 10
	slotFieldDictionary = 12
	slotFieldChildren   = 14
	slotFieldMetadata   = 16
	slotEncodingID      = 4
	slotTimestampZone   = 6
	slotUnionTypeIDs    = 6

	slotPairKey   = 4
	slotPairValue = 6
)

// Sizes of the inline structs FieldNode and Buffer, two int64 each, and of the
// number of a view column's buffers.
const (
	nodeBytes     = 16
	bufferBytes   = 16
	variadicBytes = 8
)

// Members of the union Type, from Arrow's Schema.fbs, that hold vectors or
// strings.
const (
	typeTimestamp = 10
	typeUnion     = 14
)

// Bounds on a schema message. Flatbuffer tables and strings may be shared, so
// that a few hundred bytes can describe billions of fields or gigabytes of
// text, and arrow-go sizes slices by the counts that a message claims.
const (
	maxSchemaFields = 1 << 16
	maxSchemaDepth  = 64
	maxUnionTypes   = 128
	// maxPairs bounds the custom metadata of one message.
	maxPairs = 16 << 10
	// schemaTextFactor is how often the text of a schema message may be shared.
	schemaTextFactor = 4
	schemaTextSlack  = 64 << 10
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
	variadic    []byte // int64 each: how many buffers of data a view column has
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
	_ = msg.GetInt16Slot(slotMessageVersion, 0) // whatever it is, it has to be there for others to read
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
	h.meta, err = parsePairs(&msg)
	return err
}

func (h *header) parseBatch(rb *flatbuffers.Table) {
	h.rows = rb.GetInt64Slot(slotBatchLength, 0)
	h.nodes = structVector(rb, slotBatchNodes, nodeBytes)
	h.buffers = structVector(rb, slotBatchBuffers, bufferBytes)
	h.variadic = structVector(rb, slotBatchVariadic, variadicBytes)
	if o := flatbuffers.UOffsetT(rb.Offset(slotBatchCompression)); o != 0 {
		var c flatbuffers.Table
		c.Bytes, c.Pos = rb.Bytes, rb.Indirect(o+rb.Pos)
		h.compression = compression(c.GetInt8Slot(slotCompressionCodec, int8(compressionLZ4)))
	}
}

// checkCounts refuses a message that does not have what a type consists of: field
// nodes, buffers, and for each field of views the number of its buffers of data.
// arrow-go looks at none of the lengths: behind the end of a vector it reads
// whatever the message has there, and takes memory by such numbers.
func (h *header) checkCounts(where string, nodes, buffers, views int) error {
	if len(h.nodes) != nodes*nodeBytes || len(h.variadic) != views*variadicBytes {
		return batchErrorf(where, "%d field nodes and %d view columns, where the schema needs %d and %d",
			len(h.nodes)/nodeBytes, len(h.variadic)/variadicBytes, nodes, views)
	}
	got := len(h.buffers) / bufferBytes
	left := int64(got - buffers)
	if left < 0 {
		return batchErrorf(where, "%d buffers, where the schema needs %d", got, buffers)
	}
	for counts := h.variadic; len(counts) > 0; counts = counts[variadicBytes:] {
		n := int64(binary.LittleEndian.Uint64(counts))
		if n < 0 || n > left {
			return batchErrorf(where, "a view column of %d buffers, in a message of %d", n, got)
		}
		left -= n
	}
	return nil
}

// parsePairs reads a message's custom metadata into one string of which all
// keys and values are parts: two allocations, whatever the number of keys.
func parsePairs(msg *flatbuffers.Table) (Metadata, error) {
	o := flatbuffers.UOffsetT(msg.Offset(slotMessageMetadata))
	if o == 0 {
		return nil, nil
	}
	n := msg.VectorLen(o)
	if n == 0 {
		return nil, nil
	}
	start := msg.Vector(o)
	if n < 0 || n > maxPairs || n > (len(msg.Bytes)-int(start))/4 {
		return nil, formatErrorf("message header", "%d metadata entries: at most %d are accepted", n, maxPairs)
	}
	pairs, text := make(Metadata, n), string(msg.Bytes)
	for i := range n {
		var kv flatbuffers.Table
		kv.Bytes, kv.Pos = msg.Bytes, msg.Indirect(start+flatbuffers.UOffsetT(4*i))
		pairs[i] = Pair{substring(text, &kv, slotPairKey), substring(text, &kv, slotPairValue)}
	}
	return pairs, nil
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
	w := schemaWalk{left: maxSchemaFields, text: schemaTextFactor*len(b) + schemaTextSlack}
	if err := w.metadata(&schema, slotSchemaMetadata); err != nil {
		return nil, err
	}
	if err := w.fields(&schema, slotSchemaFields, 0); err != nil {
		return nil, err
	}
	return w.ids, nil
}

// schemaWalk visits the fields of a schema message within bounds.
type schemaWalk struct {
	ids  []int64
	left int // fields and metadata entries
	text int // bytes of names, zones and metadata
}

// fields visits the fields in a slot of t.
func (w *schemaWalk) fields(t *flatbuffers.Table, slot flatbuffers.VOffsetT, depth int) error {
	if depth > maxSchemaDepth {
		return formatErrorf("schema message", "fields nest deeper than %d", maxSchemaDepth)
	}
	tables, err := tableVector(t, slot)
	if err != nil {
		return err
	}
	if w.left -= len(tables); w.left < 0 {
		return formatErrorf("schema message", "more than %d fields", maxSchemaFields)
	}
	for i := range tables {
		if err := w.field(&tables[i], depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *schemaWalk) field(f *flatbuffers.Table, depth int) error {
	if d := flatbuffers.UOffsetT(f.Offset(slotFieldDictionary)); d != 0 {
		enc := flatbuffers.Table{Bytes: f.Bytes, Pos: f.Indirect(d + f.Pos)}
		w.ids = append(w.ids, enc.GetInt64Slot(slotEncodingID, 0))
	}
	if err := w.spend(f, slotFieldName); err != nil {
		return err
	}
	if o := flatbuffers.UOffsetT(f.Offset(slotFieldType)); o != 0 {
		typ := flatbuffers.Table{Bytes: f.Bytes, Pos: f.Indirect(o + f.Pos)}
		switch f.GetByteSlot(slotFieldTypeType, 0) {
		case typeTimestamp:
			if err := w.spend(&typ, slotTimestampZone); err != nil {
				return err
			}
		case typeUnion:
			if v := flatbuffers.UOffsetT(typ.Offset(slotUnionTypeIDs)); v != 0 && typ.VectorLen(v) > maxUnionTypes {
				return formatErrorf("schema message", "a union of more than %d types", maxUnionTypes)
			}
		}
	}
	if err := w.metadata(f, slotFieldMetadata); err != nil {
		return err
	}
	return w.fields(f, slotFieldChildren, depth+1)
}

// metadata accounts for the key-value pairs in a slot of t.
func (w *schemaWalk) metadata(t *flatbuffers.Table, slot flatbuffers.VOffsetT) error {
	pairs, err := tableVector(t, slot)
	if err != nil {
		return err
	}
	if w.left -= len(pairs); w.left < 0 {
		return formatErrorf("schema message", "more than %d fields and metadata entries", maxSchemaFields)
	}
	for i := range pairs {
		if err := w.spend(&pairs[i], slotPairKey); err != nil {
			return err
		}
		if err := w.spend(&pairs[i], slotPairValue); err != nil {
			return err
		}
	}
	return nil
}

// spend accounts for the string in a slot of t.
func (w *schemaWalk) spend(t *flatbuffers.Table, slot flatbuffers.VOffsetT) error {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return nil
	}
	if w.text -= len(t.ByteVector(o + t.Pos)); w.text < 0 {
		return formatErrorf("schema message", "more text than a message of its size should unfold to")
	}
	return nil
}

// tableVector lists the tables of a vector of offsets.
func tableVector(t *flatbuffers.Table, slot flatbuffers.VOffsetT) ([]flatbuffers.Table, error) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return nil, nil
	}
	start, n := int(t.Vector(o)), t.VectorLen(o)
	if n < 0 || n > (len(t.Bytes)-start)/4 || n > maxSchemaFields {
		return nil, formatErrorf("schema message", "a vector of %d entries in %d bytes", n, len(t.Bytes))
	}
	out := make([]flatbuffers.Table, n)
	for i := range out {
		out[i] = flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(flatbuffers.UOffsetT(start + 4*i))}
	}
	return out, nil
}
