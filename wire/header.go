package wire

import "encoding/binary"

// The header of a record batch message is a flatbuffer. Ours always has the
// same shape, so that it is written front to back with the positions below
// instead of being built from the back: a Message table, a RecordBatch table,
// the vectors of nodes and buffers, then the custom metadata.
//
// Offsets are from the start of the flatbuffer, which lies 8-aligned in the
// stream. Every int64 is at a multiple of 8, as flatbuffer verifiers demand.
const (
	posMessageVTable = 6
	posMessage       = 20
	posMessageBody   = 24 // int64 bodyLength
	posMessageHeader = 32 // offset of the RecordBatch table
	posMessageMeta   = 36 // offset of the metadata vector
	posMessageVer    = 40 // int16 version
	posMessageType   = 42 // uint8 header type
	posBatchVTable   = 44
	posBatch         = 56
	posBatchNodes    = 60 // offset of the node vector
	posBatchLength   = 64 // int64 rows
	posBatchBuffers  = 72 // offset of the buffer vector
	posNodes         = 76 // count, then the structs at 80
	metadataV5       = 4
)

// messageVTable and batchVTable are the vtables of the two tables: their own
// size, the table's size, then where each field lies in the table.
var (
	messageVTable       = [14]byte{14, 0, 24, 0, 20, 0, 22, 0, 12, 0, 4, 0, 16, 0}
	messageVTableNoMeta = [14]byte{14, 0, 24, 0, 20, 0, 22, 0, 12, 0, 4, 0, 0, 0}
	batchVTable         = [10]byte{10, 0, 20, 0, 8, 0, 4, 0, 16, 0}
	pairVTable          = [8]byte{8, 0, 12, 0, 4, 0, 8, 0}
)

// appendBatchHeader appends the encapsulated header of a record batch message:
// prefix, flatbuffer and padding. nodes and buffers are the packed structs.
func appendBatchHeader(dst []byte, rows, bodyLen int64, nodes, buffers []byte, meta Metadata) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	base := len(dst)
	dst = append(dst, make([]byte, posNodes)...)
	f := dst[base:]
	le.PutUint32(f, posMessage)
	if len(meta) > 0 {
		copy(f[posMessageVTable:], messageVTable[:])
	} else {
		copy(f[posMessageVTable:], messageVTableNoMeta[:])
	}
	le.PutUint32(f[posMessage:], posMessage-posMessageVTable)
	le.PutUint64(f[posMessageBody:], uint64(bodyLen))
	le.PutUint32(f[posMessageHeader:], posBatch-posMessageHeader)
	le.PutUint16(f[posMessageVer:], metadataV5)
	f[posMessageType] = headerBatch
	copy(f[posBatchVTable:], batchVTable[:])
	le.PutUint32(f[posBatch:], posBatch-posBatchVTable)
	le.PutUint32(f[posBatchNodes:], posNodes-posBatchNodes)
	le.PutUint64(f[posBatchLength:], uint64(rows))
	posBuffers := posNodes + 4 + len(nodes) + 4
	le.PutUint32(f[posBatchBuffers:], uint32(posBuffers-posBatchBuffers))

	dst = le.AppendUint32(dst, uint32(len(nodes)/nodeBytes))
	dst = append(dst, nodes...)
	dst = append(dst, 0, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(len(buffers)/bufferBytes))
	dst = append(dst, buffers...)
	if len(meta) > 0 {
		pos := len(dst) - base
		le.PutUint32(dst[base+posMessageMeta:], uint32(pos-posMessageMeta))
		dst = appendPairs(dst, meta)
	}
	for (len(dst)-base)%8 != 0 {
		dst = append(dst, 0)
	}
	le.PutUint32(dst[start+4:], uint32(len(dst)-base))
	return dst
}

// appendPairs appends the vector of custom metadata: the offsets, one vtable
// for all, the tables, then the strings.
func appendPairs(dst []byte, meta Metadata) []byte {
	const tableBytes = 12
	le := binary.LittleEndian
	n := len(meta)
	vector := len(dst)
	dst = le.AppendUint32(dst, uint32(n))
	vtable := vector + 4 + 4*n
	tables := vtable + len(pairVTable)
	for i := range n {
		slot := vector + 4 + 4*i
		dst = le.AppendUint32(dst, uint32(tables+tableBytes*i-slot))
	}
	dst = append(dst, pairVTable[:]...)
	text := tables + tableBytes*n
	for i, p := range meta {
		table := tables + tableBytes*i
		dst = le.AppendUint32(dst, uint32(table-vtable))
		dst = le.AppendUint32(dst, uint32(text-(table+4)))
		text += stringBytes(p.Key)
		dst = le.AppendUint32(dst, uint32(text-(table+8)))
		text += stringBytes(p.Value)
	}
	for _, p := range meta {
		dst = appendString(dst, p.Key)
		dst = appendString(dst, p.Value)
	}
	return dst
}

// stringBytes is the size of a flatbuffer string: length, bytes, a NUL, and
// padding to 4.
func stringBytes(s string) int { return (4 + len(s) + 1 + 3) &^ 3 }

func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	dst = append(dst, s...)
	for pad := stringBytes(s) - 4 - len(s); pad > 0; pad-- {
		dst = append(dst, 0)
	}
	return dst
}

// appendDictionaryHeader appends the encapsulated header of a dictionary
// message: a record batch header whose table is wrapped in a DictionaryBatch.
// It is rebuilt from a batch header, because dictionaries are rare.
func appendDictionaryHeader(dst []byte, id, rows, bodyLen int64, nodes, buffers []byte) []byte {
	le := binary.LittleEndian
	const (
		shift      = 32 // room for the DictionaryBatch table and its vtable
		posVTable  = 44
		posTable   = 56
		posTableID = 64
	)
	inner := appendBatchHeader(nil, rows, bodyLen, nodes, buffers, nil)[prefixBytes:]
	start := len(dst)
	dst = append(dst, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	base := len(dst)
	dst = append(dst, inner[:posBatchVTable]...)
	dst = append(dst, make([]byte, shift)...)
	dst = append(dst, inner[posBatchVTable:]...)
	f := dst[base:]
	f[posMessageType] = headerDictionary
	le.PutUint32(f[posMessageHeader:], posTable-posMessageHeader)
	copy(f[posVTable:], []byte{8, 0, 16, 0, 8, 0, 4, 0})
	le.PutUint32(f[posTable:], posTable-posVTable)
	le.PutUint32(f[posTable+4:], posBatch+shift-(posTable+4))
	le.PutUint64(f[posTableID:], uint64(id))
	le.PutUint32(dst[start+4:], uint32(len(dst)-base))
	return dst
}
