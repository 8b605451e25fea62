package shm

import (
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// endOfStream ends an IPC stream (WIRE_PROTOCOL Appendix A).
var endOfStream = [wire.EndOfStreamBytes]byte{0xff, 0xff, 0xff, 0xff}

// splits reports whether batches on schema are stored without their schema and
// end of stream: exactly when a column itself is dictionary-encoded. A dictionary
// further inside does not count, nor does one inside an extension type.
func splits(schema *wire.Schema) bool {
	for _, f := range schema.Arrow().Fields() {
		if f.Type.ID() == arrow.DICTIONARY {
			return true
		}
	}
	return false
}

// stored is the schema under which a batch is stored when the schema itself is
// left out: the reader serializes the pointer's anew, so the dictionaries are
// numbered as that does, whatever numbers the peer chose for its stream.
func (s *Segment) stored(schema *wire.Schema) (*wire.Schema, error) {
	s.mu.Lock()
	known, canonical := s.numbered, s.canonical
	s.mu.Unlock()
	if known == schema {
		return canonical, nil
	}
	canonical, err := wire.NewSchema(schema.Arrow())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.numbered, s.canonical = schema, canonical
	s.mu.Unlock()
	return canonical, nil
}

// Write stores b, less its metadata, which belongs to the pointer. The region has
// exactly the size of what is stored: that is encoded first, without a copy of
// its large columns, and counted. Without room for it the error is [ErrFull]. The
// caller holds the turn.
func (s *Segment) Write(b *wire.Batch) (Region, error) {
	bare := *b
	bare.Meta = nil
	w := wire.NewWriter(nil)
	defer w.Discard()
	skip, err := s.encode(w, &bare)
	if err != nil {
		return Region{}, err
	}
	n := int64(w.Pending() - skip)
	offset, err := s.Allocate(n)
	if err != nil {
		return Region{}, err
	}
	r := Region{offset, n}
	w.Redirect(&slot{s: s, at: r.Offset, end: r.end(), skip: skip})
	if err := w.Flush(); err != nil {
		_ = s.Free(offset) // err says why; the table is as likely gone
		return Region{}, err
	}
	return r, nil
}

// encode leaves in w what is to be stored of b, after skip bytes that are not.
func (s *Segment) encode(w *wire.Writer, b *wire.Batch) (skip int, err error) {
	if !splits(b.Schema) {
		if err := w.Open(b.Schema); err != nil {
			return 0, err
		}
		if err := w.Batch(b); err != nil {
			return 0, err
		}
		return 0, w.Close()
	}
	schema, err := s.stored(b.Schema)
	if err != nil {
		return 0, err
	}
	if err := w.Open(schema); err != nil {
		return 0, err
	}
	skip = w.Pending()
	return skip, w.Batch(b)
}

// slot writes into one region, after the first skip bytes.
type slot struct {
	s       *Segment
	at, end int64
	skip    int
}

// Write implements [io.Writer].
func (w *slot) Write(p []byte) (int, error) {
	n := len(p)
	cut := min(w.skip, n)
	w.skip -= cut
	p = p[cut:]
	if int64(len(p)) > w.end-w.at {
		return 0, fmt.Errorf("shm: %d bytes more than were counted", int64(len(p))-(w.end-w.at))
	}
	if err := w.s.write(p, w.at); err != nil {
		return 0, err
	}
	w.at += int64(len(p))
	return n, nil
}

// WriteBuffers implements [wire.BuffersWriter].
func (w *slot) WriteBuffers(parts net.Buffers) (int64, error) {
	var total int64
	for _, p := range parts {
		n, err := w.Write(p)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Read returns a copy of the batch in region r, whose pointer came on schema. The
// batch has no metadata, belongs to the garbage collector and may be kept; release
// gives back its share of the budget in limits, and may be called again. The
// region stays allocated.
func (s *Segment) Read(r Region, schema *wire.Schema, limits wire.Limits) (b *wire.Batch, release func(), err error) {
	d := newDecoder(limits)
	if b, err = d.read(s, r, schema, wire.Own); err != nil {
		d.reader.Close()
		return nil, nil, err
	}
	b.Owned = true // nobody reads with that Reader again
	return b, d.reader.Close, nil
}

// View returns the batch in region r where it lies, without a copy, in a sealed
// segment ([Segment.Sealed]); the pointer came on schema. It has no metadata. It is
// valid until release, which may be called again; the memory stays that long, also
// when the segment is closed. The other side can still write: values may change,
// but nothing may go away. A batch whose values are not aligned is copied, as are
// parts that are compressed or dictionaries.
func (s *Segment) View(r Region, schema *wire.Schema, limits wire.Limits) (b *wire.Batch, release func(), err error) {
	d := newDecoder(limits)
	b, giveBack, err := d.view(s, r, schema)
	if err != nil {
		d.reader.Close()
		return nil, nil, err
	}
	return b, sync.OnceFunc(func() {
		d.reader.Close()
		giveBack()
	}), nil
}

// decoder reads stored batches, one at a time, into its own memory.
type decoder struct {
	reader *wire.Reader
	cache  wire.SchemaCache
	src    section
}

func newDecoder(limits wire.Limits) *decoder {
	d := &decoder{}
	d.reader = wire.NewReader(&d.src, limits, &d.cache)
	return d
}

// borrow returns the batch in region r, valid until giveBack and d's next use.
func (d *decoder) borrow(s *Segment, r Region, schema *wire.Schema, view bool) (b *wire.Batch, giveBack func(), err error) {
	if view {
		return d.view(s, r, schema)
	}
	b, err = d.read(s, r, schema, wire.Borrow)
	return b, func() {}, err
}

// view reads the batch in region r, whose pointer came on schema, where it lies:
// it is valid until giveBack. One whose values are not aligned is copied.
func (d *decoder) view(s *Segment, r Region, schema *wire.Schema) (b *wire.Batch, giveBack func(), err error) {
	if err := s.lend(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if p := recover(); p != nil { // the peer may write while it is checked
			err = segmentErrorf("stored batch: %v", p)
		}
		if err != nil || !d.src.lent {
			s.giveBack()
			giveBack = func() {}
		}
	}()
	b, err = d.read(s, r, schema, wire.InPlace)
	return b, s.giveBack, err
}

// read copies the batch in region r, whose pointer came on schema, unless life
// says otherwise and its memory is lent.
func (d *decoder) read(s *Segment, r Region, schema *wire.Schema, life wire.Lifetime) (*wire.Batch, error) {
	if err := s.checkRegion(r); err != nil {
		return nil, err
	}
	d.src = section{s: s, at: r.Offset, end: r.end()}
	want := schema
	if splits(schema) {
		var err error
		if want, err = s.stored(schema); err != nil {
			return nil, err
		}
		d.src.head, d.src.tail = want.Message(), endOfStream[:]
	}
	d.cache.Add(want) // so that the same bytes are the same schema
	d.reader.Reset(&d.src)
	b, err := readOne(d.reader, want, life)
	if err != nil {
		return nil, err
	}
	out := *b
	out.Schema, out.Meta = schema, nil
	return &out, nil
}

// rest makes what was read invalid, and the memory ready for the next batch.
func (d *decoder) rest() {
	d.src = section{}
	d.reader.Reset(&d.src)
}

// readOne reads the one batch of a stored stream.
func readOne(reader *wire.Reader, want *wire.Schema, life wire.Lifetime) (*wire.Batch, error) {
	got, err := reader.NextStream()
	if err != nil {
		return nil, storedErrorf(err)
	}
	if err := sameSchema(want, got); err != nil {
		return nil, err
	}
	if _, err := reader.Announce(); err != nil {
		return nil, storedErrorf(err)
	}
	b, err := reader.Take(life)
	if err != nil {
		return nil, storedErrorf(err)
	}
	return b, nil
}

// storedErrorf says where a batch could not be read. An end, which is no error
// elsewhere, is one here.
func storedErrorf(err error) error {
	if err == io.EOF { //nolint:errorlint // the reader's own
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("shm: stored batch: %w", err)
}

func sameSchema(want, got *wire.Schema) error {
	if got == want {
		return nil
	}
	if diff := schemacmp.Diff(want.Arrow(), got.Arrow()); diff != "" {
		return segmentErrorf("the stored batch has another schema than its pointer: %s", diff)
	}
	return nil
}

// checkRegion refuses a region outside the data.
func (s *Segment) checkRegion(r Region) error {
	if r.Offset < HeaderBytes || r.Length <= 0 || r.Offset > s.size || r.Length > s.size-r.Offset {
		return s.named(segmentErrorf("%d bytes at %d are not inside its data, %d to %d", r.Length, r.Offset, HeaderBytes, s.size))
	}
	return nil
}

// section reads one region, with what is left out of it before and behind.
type section struct {
	s          *Segment
	at, end    int64
	head, tail []byte
	lent       bool // memory of the region is in use where it lies
}

// Read implements [io.Reader].
func (r *section) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	n := min(int64(len(p)), r.end-r.at)
	if n == 0 && len(p) > 0 {
		n := copy(p, r.tail)
		r.tail = r.tail[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	if err := r.s.read(p[:n], r.at); err != nil {
		return 0, err
	}
	r.at += n
	return int(n), nil
}

// Lend implements [wire.Lender].
func (r *section) Lend(back, n int64) []byte {
	from := r.at - back
	p := r.s.lent(from, n)
	if p == nil || from+n > r.end {
		return nil
	}
	r.at, r.lent = from+n, true
	return p
}
