package shm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Segment is shared memory with its table of regions (WIRE_PROTOCOL section 11).
// Its methods may be called at once by this side; whether the table may be
// changed is a matter of turns, see the package.
type Segment struct {
	name   string
	size   int64
	uid    uint32 // of the file's owner
	sealed bool   // the kernel says that the memory cannot shrink
	file   file   // what the creator holds, and the descriptor of anonymous memory

	mu      sync.Mutex
	mem     []byte // nil when closed
	closed  bool
	views   int      // zero-copy batches over mem: it is unmapped when the last is gone
	buf     []byte   // copy of the header, kept for the next time
	regions []Region // the table as it was read last, kept likewise

	numbered, canonical *wire.Schema // what stored found last
}

// Create makes a named segment of size bytes, header included, which only this
// user can open. The name must be free; "" chooses one. The kernel may round size
// up: [Segment.Size] is what counts. Whoever creates a segment unlinks it.
func Create(name string, size int64) (*Segment, error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	if name != "" {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	s, err := createNamed(name, size)
	if err != nil {
		return nil, err
	}
	return s.initialize()
}

// Attach opens the segment that another process created, for reading and
// writing. It creates and unlinks nothing. size is what the creator announced,
// which is only a hint: what the kernel says counts. Memory that is not a segment
// is a *SegmentError.
func Attach(name string, size int64) (*Segment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := checkSize(size); err != nil {
		return nil, err
	}
	s, err := attachNamed(name)
	if err != nil {
		return nil, err
	}
	return s.verified()
}

// longestName is what a file name may have, in bytes.
const longestName = 255

// checkName refuses a name that would lead out of the place of segments.
func checkName(name string) error {
	switch {
	case name == "":
		return segmentErrorf("a segment without a name")
	case len(name) > longestName:
		return segmentErrorf("a segment's name of %d bytes: at most %d", len(name), longestName)
	case strings.ContainsAny(name, "/\x00") || strings.Contains(name, ".."):
		return segmentErrorf("%q is no segment's name", name)
	}
	return nil
}

func checkSize(size int64) error {
	if size <= HeaderBytes || int64(int(size)) != size {
		return segmentErrorf("a segment of %d bytes: want more than the header's %d, and what can be addressed", size, HeaderBytes)
	}
	return nil
}

// initialize writes the header of a new segment.
func (s *Segment) initialize() (*Segment, error) {
	if err := s.write(header(s.size, 0), 0); err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// verified returns s when it holds a segment.
func (s *Segment) verified() (*Segment, error) {
	s.mu.Lock()
	err := s.load()
	s.mu.Unlock()
	if err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// discard gives up a segment that nobody has seen yet.
func (s *Segment) discard() {
	_ = s.Unlink() // there is an error to return already
	_ = s.Close()
}

// Name is what [Attach] takes, or tells an anonymous segment from others.
func (s *Segment) Name() string { return s.name }

// Size is the size of the segment in bytes, header included.
func (s *Segment) Size() int64 { return s.size }

// Sealed reports whether the memory is an anonymous file that cannot shrink, so
// that batches may lie in it.
func (s *Segment) Sealed() bool { return s.sealed }

// Regions returns the table as it stands, in order.
func (s *Segment) Regions() ([]Region, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return nil, err
	}
	return slices.Clone(s.regions), nil
}

// load reads the table. The header is copied before it is looked at.
func (s *Segment) load() error {
	s.buf = slices.Grow(s.buf[:0], fixedBytes)[:fixedBytes]
	if err := s.copyOut(s.buf, 0); err != nil {
		return err
	}
	n, err := parseHeader(s.buf, s.size)
	if err != nil {
		return s.named(err)
	}
	table := int64(n) * entryBytes
	if table > s.size-fixedBytes {
		return s.named(segmentErrorf("a table of %d regions in %d bytes", n, s.size))
	}
	s.buf = slices.Grow(s.buf[:0], int(table))[:table]
	if err := s.copyOut(s.buf, fixedBytes); err != nil {
		return err
	}
	s.regions, err = parseRegions(s.regions[:0], s.buf, s.size)
	return s.named(err)
}

// store writes the entries from index on, and then how many there are.
func (s *Segment) store(index int) error {
	s.buf = appendRegions(s.buf[:0], s.regions[index:])
	if err := s.copyIn(s.buf, fixedBytes+int64(index)*entryBytes); err != nil {
		return err
	}
	s.buf = binary.LittleEndian.AppendUint32(s.buf[:0], uint32(len(s.regions)))
	return s.copyIn(s.buf, countAt)
}

// Allocate takes the first gap for n bytes, and returns where it begins. Without
// one the error is [ErrFull]. The caller holds the turn.
func (s *Segment) Allocate(n int64) (offset int64, err error) {
	if n <= 0 {
		return 0, segmentErrorf("allocation of %d bytes", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return 0, err
	}
	i, offset, ok := firstFit(s.regions, s.size, n)
	if !ok {
		return 0, ErrFull
	}
	s.regions = slices.Insert(s.regions, i, Region{offset, n})
	return offset, s.store(i)
}

// widest takes the largest gap whole, if n bytes fit into it. The caller holds the
// turn.
func (s *Segment) widest(n int64) (Region, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return Region{}, err
	}
	i, r, ok := widestGap(s.regions, s.size)
	if !ok || r.Length < n {
		return Region{}, ErrFull
	}
	s.regions = slices.Insert(s.regions, i, r)
	return r, s.store(i)
}

// narrow puts part, which lies in it, in the place of the region that begins at
// offset. The caller holds the turn.
func (s *Segment) narrow(offset int64, part Region) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	i := find(s.regions, offset)
	if i < 0 {
		return ErrNotAllocated
	}
	s.regions[i] = part
	return s.store(i)
}

// Free gives back the region that begins at offset. When there is none the error
// is [ErrNotAllocated]. The caller holds the turn.
func (s *Segment) Free(offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	i := find(s.regions, offset)
	if i < 0 {
		return ErrNotAllocated
	}
	s.regions = slices.Delete(s.regions, i, i+1)
	return s.store(i)
}

// Keep gives back every region that begins at none of the offsets: what a call
// that was given up left behind. The creator may call it between two calls.
func (s *Segment) Keep(offsets ...int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	before := len(s.regions)
	s.regions = slices.DeleteFunc(s.regions, func(r Region) bool { return !slices.Contains(offsets, r.Offset) })
	if len(s.regions) == before {
		return nil
	}
	return s.store(0)
}

// read copies from the segment at offset.
func (s *Segment) read(dst []byte, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyOut(dst, offset)
}

// write copies into the segment at offset.
func (s *Segment) write(src []byte, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyIn(src, offset)
}

func (s *Segment) copyOut(dst []byte, offset int64) error {
	src, err := s.span(Region{offset, int64(len(dst))})
	if err != nil {
		return err
	}
	return s.named(touch(dst, src, s.mem))
}

func (s *Segment) copyIn(src []byte, offset int64) error {
	dst, err := s.span(Region{offset, int64(len(src))})
	if err != nil {
		return err
	}
	return s.named(touch(dst, src, s.mem))
}

// span is the memory of a region, which nobody but touch may use. The lock is
// held.
func (s *Segment) span(r Region) ([]byte, error) {
	switch {
	case s.closed:
		return nil, ErrClosed
	case r.Offset < 0 || r.Length < 0 || r.Offset > s.size || r.Length > s.size-r.Offset:
		return nil, s.named(segmentErrorf("%d bytes at %d end outside its %d bytes", r.Length, r.Offset, s.size))
	}
	return s.mem[r.Offset : r.Offset+r.Length : r.Offset+r.Length], nil
}

// named says in err which segment it is about.
func (s *Segment) named(err error) error {
	switch e := err.(type) { //nolint:errorlint // made by this package, just now
	case *SegmentError:
		e.Name = s.name
	case *FaultError:
		e.Name = s.name
	}
	return err
}

// Close ends this side's use of the segment. Batches that lie in it stay valid
// until they are released. It may be called again.
func (s *Segment) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.file.close()
	if s.views == 0 {
		if unmapErr := s.unmap(); err == nil {
			err = unmapErr
		}
	}
	return err
}

func (s *Segment) unmap() error {
	mem := s.mem
	s.mem = nil
	if mem == nil {
		return nil
	}
	if err := munmap(mem); err != nil {
		return fmt.Errorf("shm: segment %q: %w", s.name, err)
	}
	return nil
}

// Unlink removes the name of a segment that this process created, if it is still
// that segment's. Those who have attached keep the memory. It may be called
// again, and does nothing for a segment that was attached or is anonymous. It
// comes before [Segment.Close].
func (s *Segment) Unlink() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.unlink()
}

// lend makes the memory of a sealed segment stay until giveBack.
func (s *Segment) lend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case !s.sealed:
		return s.named(segmentErrorf("is not sealed: batches in it are copied"))
	}
	s.views++
	return nil
}

// lent is memory of a segment that was lent, where values of any width may lie;
// or else nil.
func (s *Segment) lent(offset, n int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views == 0 {
		return nil
	}
	p, err := s.span(Region{offset, n})
	if err != nil || !aligned(p) {
		return nil
	}
	return p
}

func (s *Segment) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views--; s.views == 0 && s.closed {
		_ = s.unmap() // there is nobody left to tell
	}
}
