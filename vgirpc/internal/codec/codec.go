package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// codec maps values of one Go type to a column of one Arrow type. Codecs are
// made by the compiler, are immutable and know nothing of names.
type codec interface {
	// decode reads rows at to at+n of c into n values, the first of them at dst
	// and each stride bytes after the one before. It checks everything that it
	// relies on: c may come from a hostile peer.
	decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error
	// encode makes c the column of the values of s. It sets Rows.
	encode(e *Encoder, c *wire.Column, s source) error
	// traits are what the codecs around it have to know.
	traits() traits
}

// traits are properties of a codec that do not depend on data.
type traits struct {
	// holds says that decoded values may refer to the batch's memory.
	holds bool
	// bits is what a row takes up in a batch at least. Where it is 0, a few
	// bytes of message can announce any number of rows.
	bits int
	// dicts says that text of dictionaries is decoded somewhere below.
	dicts bool
	// offsets is the width in bytes of the column's own offsets, or 0.
	offsets int
}

// reading is what one decoding call knows about the memory it reads.
type reading struct {
	// owned allows values to alias the batch's memory.
	owned bool
	// keep makes copies of dictionaries be remembered in texts: values that
	// share a dictionary share one copy of it.
	keep  bool
	texts []dictText
}

type dictText struct {
	dict *wire.Column
	text string
}

var (
	ownedReading    = &reading{owned: true}
	borrowedReading = &reading{}
)

func newReading(owned, dicts bool) *reading {
	switch {
	case owned:
		return ownedReading
	case dicts:
		return &reading{keep: true}
	}
	return borrowedReading
}

// run is n values in a row, stride bytes apart, from p on. A nil p stands for n
// rows that have no value because something around them is null: they are
// written as zeros, and whoever is null marks it.
type run struct {
	p unsafe.Pointer
	n int
}

// source is the values of one column, in the order of its rows.
type source struct { //nolint:recvcheck // field returns a changed copy, and is faster this way
	runs   []run
	n      int     // rows in all
	off    uintptr // from a run's p to its first value
	stride uintptr
	// lent says that the values lie behind a slice of the caller's, which may
	// be sent from where it is.
	lent bool
}

// only is the address of the value of a source with one row, or nil.
func (s *source) only() unsafe.Pointer {
	if p := s.runs[0].p; p != nil {
		return unsafe.Add(p, s.off)
	}
	return nil
}

// field is s seen through a field of its struct values.
func (s source) field(offset uintptr) source {
	s.off += offset
	s.lent = false
	return s
}

func add(p unsafe.Pointer, i int, stride uintptr) unsafe.Pointer {
	return unsafe.Add(p, uintptr(i)*stride)
}
