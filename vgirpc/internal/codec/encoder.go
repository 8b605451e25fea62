package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// What an Encoder keeps between turns: memory beyond that is the collector's.
const (
	minChunk    = 2 << 10 // bytes
	maxChunk    = 1 << 20 // bytes
	minColumns  = 8
	keepColumns = 4 << 10
	keepRuns    = 16 << 10
	keepNames   = 4 << 10
)

// Encoder is the memory of the columns that plans make for one connection. The
// zero value is ready. It is not safe for concurrent use.
//
// Columns are valid until [Encoder.Reset]. Large values are not copied: what
// was encoded must stay unchanged until the columns have been written.
type Encoder struct {
	chunk []byte
	used  int

	columns     []wire.Column
	usedColumns int

	runs []run // a stack: codecs push the runs of their children
	high int   // of runs since Reset

	names map[string]int32 // of the dictionary being built
}

// Reset takes back the memory of all columns made so far.
func (e *Encoder) Reset() {
	e.used = 0
	if len(e.columns) > keepColumns {
		e.columns = nil
	}
	clear(e.columns[:min(e.usedColumns, len(e.columns))])
	e.usedColumns = 0
	if len(e.runs) > keepRuns || cap(e.runs) > keepRuns {
		e.runs = nil
	}
	clear(e.runs[:min(e.high, cap(e.runs))])
	e.runs, e.high = e.runs[:0], 0
}

// bytes returns n bytes with any content, aligned for every type.
func (e *Encoder) bytes(n int) []byte {
	need := (n + 7) &^ 7
	if need > len(e.chunk)-e.used {
		return e.moreBytes(n, need)
	}
	p := e.chunk[e.used : e.used+n : e.used+n]
	e.used += need
	return p
}

func (e *Encoder) moreBytes(n, need int) []byte {
	if need > maxChunk {
		return make([]byte, n)
	}
	// The chunk before is held by the columns in it.
	e.chunk = make([]byte, min(max(minChunk, 2*len(e.chunk), need), maxChunk))
	e.used = need
	return e.chunk[:n:n]
}

// cols returns n empty columns.
func (e *Encoder) cols(n int) []wire.Column {
	if n > len(e.columns)-e.usedColumns {
		// The columns before are held by those who got them.
		e.columns = make([]wire.Column, max(minColumns, 2*len(e.columns), n))
		e.usedColumns = 0
	}
	out := e.columns[e.usedColumns : e.usedColumns+n : e.usedColumns+n]
	e.usedColumns += n
	return out
}

// push appends to the stack of runs.
func (e *Encoder) push(p unsafe.Pointer, n int) {
	e.runs = append(e.runs, run{p, n})
	e.high = max(e.high, len(e.runs))
}

// pop shrinks the stack of runs to what it was.
func (e *Encoder) pop(mark int) { e.runs = e.runs[:mark] }

// values is a source of n contiguous values.
func (e *Encoder) values(p unsafe.Pointer, n int, size uintptr) source {
	mark := len(e.runs)
	e.push(p, n)
	return source{runs: e.runs[mark:], n: n, stride: size}
}

// bitmap returns a bitmap of n bits, none of them set.
func (e *Encoder) bitmap(n int) []byte {
	p := e.bytes((n + 7) / 8)
	clear(p)
	return p
}

// nameIndex returns an empty map for the names of a dictionary.
func (e *Encoder) nameIndex() map[string]int32 {
	if e.names == nil {
		e.names = map[string]int32{}
	}
	return e.names
}

// dropNames empties the map: it would hold the caller's strings.
func (e *Encoder) dropNames() {
	if len(e.names) > keepNames {
		e.names = nil
	}
	clear(e.names)
}
