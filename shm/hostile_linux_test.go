package shm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// What a hostile peer is told, one byte at a time. It answers each with a line.
const (
	orderMend    = 'm' // restore size and header; nothing is touched after the answer
	orderScratch = 's' // so many random acts of writing
	orderResize  = 'r' // writing, truncating and growing
)

// acts is how many things a hostile peer does for each order: enough to go on
// while the other side makes a few calls.
const acts = 200

// hostilePeer is a process that rewrites a segment.
type hostilePeer struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startHostilePeer starts one for a file that the child opens by its path, or
// finds as descriptor 3.
func startHostilePeer(t *testing.T, path string, f *os.File) *hostilePeer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=rewrite:"+path)
	if f != nil {
		cmd.ExtraFiles = []*os.File{f}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	noError(t, err)
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the hostile peer: %v\n%s", err, stderr.String())
		}
	})
	return &hostilePeer{in, bufio.NewReader(out)}
}

func (p *hostilePeer) order(t *testing.T, what byte) {
	t.Helper()
	_, err := p.in.Write([]byte{what})
	noError(t, err)
}

// done waits until the order was carried out, and returns what the peer says.
func (p *hostilePeer) done(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	noError(t, err)
	return strings.TrimSpace(line)
}

// rewriteChild carries out orders until its input ends. It writes through the
// descriptor, so that it survives what it does to the other side.
func rewriteChild(path string) int {
	f := os.NewFile(3, "segment")
	if path != "" {
		var err error
		if f, err = os.OpenFile(filepath.Join(directory, path), os.O_RDWR, 0); err != nil {
			return 1
		}
	}
	info, err := f.Stat()
	if err != nil {
		return 2
	}
	v := vandal{f: f, size: info.Size(), rng: rand.New(rand.NewPCG(1, 2))}
	var order [1]byte
	for {
		if _, err := os.Stdin.Read(order[:]); err != nil {
			return 0
		}
		v.resized = 0
		switch order[0] {
		case orderMend:
			v.mend()
		default:
			for range acts {
				v.act(order[0] == orderResize)
			}
		}
		fmt.Println(v.resized)
	}
}

// vandal is what the hostile process does to the file of a segment.
type vandal struct {
	f       *os.File
	size    int64
	rng     *rand.Rand
	resized int // how often the size was changed
}

func (v *vandal) mend() {
	v.resize(v.size)
	v.write(header(v.size, 0), 0)
}

func (v *vandal) write(p []byte, at int64) {
	_, _ = v.f.WriteAt(p, at) // a full file system is as good
}

func (v *vandal) resize(n int64) {
	if v.f.Truncate(n) == nil && n != v.size {
		v.resized++
	}
}

// interesting are words that are lengths, offsets and marks, or nearly so.
func (v *vandal) interesting() []byte {
	words := []uint64{
		0, 1, 8, 24, HeaderBytes - 1, HeaderBytes, HeaderBytes + 64, uint64(v.size), uint64(v.size) - 1, uint64(v.size - HeaderBytes),
		1 << 31, 1<<31 - 1, 1 << 32, 1<<63 - 1, 1 << 63, ^uint64(0), ^uint64(0) - 7, 0xffffffff, v.rng.Uint64(), v.rng.Uint64() >> 40,
	}
	var p [8]byte
	w := words[v.rng.IntN(len(words))]
	for i := range p {
		p[i] = byte(w >> (8 * i))
	}
	return p[:1+v.rng.IntN(8)]
}

// act does one thing at random. Mostly it mends the header and the size at once,
// so that the other side does not find them broken every time.
func (v *vandal) act(resize bool) {
	kinds := 6
	if resize {
		kinds = 9
	}
	kind := v.rng.IntN(kinds)
	switch kind {
	case 0: // the fixed part of the header
		v.write(v.interesting(), v.rng.Int64N(fixedBytes))
	case 1: // the table
		v.write(v.interesting(), fixedBytes+v.rng.Int64N(8*entryBytes))
	case 2: // a good header, with a table of anything
		v.write(header(v.size, v.rng.IntN(8)), 0)
	case 3, 4: // the heads of messages, which come at the beginning of regions
		v.write(v.interesting(), HeaderBytes+v.rng.Int64N(2048))
	case 5: // anything
		v.write(v.interesting(), v.rng.Int64N(v.size-8))
	case 6:
		v.resize(v.rng.Int64N(v.size))
	case 7:
		v.resize(v.size + v.rng.Int64N(1<<20))
	case 8:
		v.resize([]int64{0, 24, 4096, HeaderBytes, HeaderBytes + 4096, v.size}[v.rng.IntN(6)])
	}
	if (kind < 2 || kind > 5) && v.rng.IntN(8) > 0 {
		v.mend()
	}
}

// typed fails the test for an error that is not one of those that callers can
// tell apart.
func typed(t *testing.T, what string, err error) {
	t.Helper()
	var bad *SegmentError
	var fault *FaultError
	var call *vgirpc.Error
	switch {
	case err == nil, errors.As(err, &bad), errors.As(err, &fault), errors.As(err, &call):
	case errors.Is(err, ErrFull), errors.Is(err, ErrNotAllocated), errors.Is(err, fs.ErrNotExist):
	default:
		t.Fatalf("%s: %T: %v", what, err, err)
	}
}

// readAll looks at a batch that is a copy: whatever was in the memory when it was
// copied, the batch must be a good one.
func readAll(t *testing.T, b *wire.Batch) {
	t.Helper()
	rec, err := b.Record()
	noError(t, err)
	defer rec.Release()
	noError(t, array.ValidateRecordFull(rec))
	few := rec.NewSlice(0, min(rec.NumRows(), 50)) // formatting takes its time
	defer few.Release()
	for _, column := range few.Columns() {
		_ = column.String()
	}
}

// attacked makes calls through both ends of a segment while somebody rewrites it.
type attacked struct {
	t           *testing.T
	owner       *Owner
	guest       *Guest
	life        wire.Lifetime // of what is fetched
	failed, got int
	faults      int // of those that failed
}

func (a *attacked) note(what string, err error) bool {
	a.t.Helper()
	typed(a.t, what, err)
	if err != nil {
		a.failed++
	}
	if _, ok := errors.AsType[*FaultError](err); ok {
		a.faults++
	}
	return err == nil
}

// send moves a batch from one channel to the other and looks at what came.
func (a *attacked) send(from, to *Channel, rec arrow.RecordBatch) {
	a.t.Helper()
	defer from.Built()
	b := a.built(from, rec)
	placed, _, err := from.Place(a.t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(a.t, err) // it never fails
	if placed[0].Rows != 0 {
		a.failed++
		w := wire.NewWriter(io.Discard) // as it goes inline now, or not at all
		noError(a.t, w.Open(b.Schema))
		_ = w.Batch(&placed[0])
		return
	}
	got, release, err := to.resolve(&placed[0], b.Schema, a.life)
	defer release()
	if a.note("Resolve", err) {
		a.got++
		if to.opts.ZeroCopy && to.Segment().Sealed() {
			readShared(a.t, got)
		} else {
			readAll(a.t, got)
		}
	}
}

// built is rec in memory of the segment, where that can be had: arrow-go itself may
// stop whoever builds what the peer changes at the same time.
func (a *attacked) built(c *Channel, rec arrow.RecordBatch) (b *wire.Batch) {
	a.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); ok {
				a.t.Errorf("memory outside was touched: %v", p)
			}
			b = batch(a.t, rec)
		}
	}()
	rec = copyWith(a.t, c.Allocator(), rec)
	schema, err := wire.NewSchema(rec.Schema())
	noError(a.t, err)
	if b, err = wire.NewBatch(schema, rec, nil); err != nil {
		return batch(a.t, rec)
	}
	return b
}

// readShared looks at a batch whose memory the peer changes: it may be no good one
// any more, and Go's own checks may stop whoever reads it. Nothing else may.
func readShared(t *testing.T, b *wire.Batch) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); ok {
				t.Errorf("memory outside was read: %v", p)
			}
		}
	}()
	rec, err := b.Record()
	noError(t, err)
	defer rec.Release()
	_ = array.ValidateRecordFull(rec)
	few := rec.NewSlice(0, min(rec.NumRows(), 50))
	defer few.Release()
	for _, column := range few.Columns() {
		_ = column.String()
	}
}

// renew goes on after memory went away, as a new connection over the same memory
// would. A guest of a named segment attaches to it again now and then.
func (a *attacked) renew(attach bool) {
	a.owner.use(a.owner.seg)
	seg := a.guest.Segment()
	switch {
	case seg == nil:
	case seg.Sealed():
		a.guest.use(seg)
	case attach || a.guest.Err() != nil:
		a.guest.detach()
	}
}

// calls is what two sides do in one call or two.
func (a *attacked) calls(rng *rand.Rand, kinds []arrow.RecordBatch) {
	a.t.Helper()
	a.renew(rng.IntN(4) == 0)
	a.note("Begin", a.owner.Begin())
	_, err := a.guest.Request(a.owner.Advertise(nil))
	a.note("Request", err)
	a.send(a.owner.Channel, a.guest.Channel, kinds[rng.IntN(len(kinds))])
	a.note("Turn", a.guest.Turn())
	a.send(a.guest.Channel, a.owner.Channel, kinds[rng.IntN(len(kinds))])
	a.note("Turn", a.owner.Turn())
	_, err = a.owner.Segment().Regions()
	a.note("Regions", err)
	at, err := a.owner.Segment().Allocate(1 + rng.Int64N(100_000))
	if a.note("Allocate", err) {
		a.note("Free", a.owner.Segment().Free(at))
	}
}

// untouched checks that all is well as soon as nobody interferes.
func (a *attacked) untouched(rec arrow.RecordBatch) {
	a.t.Helper()
	a.renew(true)
	noError(a.t, a.owner.Begin())
	requested(a.t, a.guest, a.owner.Advertise(nil))
	for _, way := range [][2]*Channel{{a.owner.Channel, a.guest.Channel}, {a.guest.Channel, a.owner.Channel}} {
		b := batch(a.t, rec)
		placed, _, err := way[0].Place(a.t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(a.t, err)
		equal(a.t, placed[0].Rows, 0)
		got, release, err := way[1].Resolve(a.t.Context(), &placed[0], b.Schema, nil)
		noError(a.t, err)
		sameRecord(a.t, got, rec)
		release()
		noError(a.t, way[1].Turn())
	}
	equal(a.t, regionsOf(a.t, a.owner.Segment()), 0)
}

const (
	attackedSize = HeaderBytes + 8<<20
	attacks      = 100
)

// attackedKinds are batches of every way to store one; the large one is copied by
// several goroutines.
func attackedKinds() []arrow.RecordBatch {
	return []arrow.RecordBatch{scalars(200), nested(100), dictionaries(120), wide(60), views(20), scalars(150_000)}
}

func TestAPeerThatRewritesANamedSegmentDoesNoHarm(t *testing.T) {
	for name, life := range map[string]wire.Lifetime{"copies": wire.Own, "borrowed copies": wire.Borrow} {
		t.Run(name, func(t *testing.T) {
			owner, guest := pair(t, attackedSize, Options{MinBatchBytes: -1})
			a := &attacked{t: t, owner: owner, guest: guest, life: life}
			peer := startHostilePeer(t, owner.Segment().Name(), nil)
			resized := a.survive(peer, orderScratch, orderResize)
			if resized == 0 {
				t.Error("the peer has not changed the size once")
			}
		})
	}
}

func TestAPeerThatRewritesSealedMemoryDoesNoHarm(t *testing.T) {
	for name, opts := range map[string]Options{"copies": {MinBatchBytes: -1}, "no copies": {MinBatchBytes: -1, ZeroCopy: true}} {
		t.Run(name, func(t *testing.T) {
			owner, err := NewOwner(OwnerOptions{Options: opts, Size: attackedSize, Anonymous: true})
			noError(t, err)
			t.Cleanup(func() { noError(t, owner.Close()) })
			guest, err := NewGuest(GuestOptions{Options: opts})
			noError(t, err)
			t.Cleanup(func() { noError(t, guest.Close()) })
			files := make([]*os.File, 2)
			for i := range files {
				files[i], err = owner.Segment().File()
				noError(t, err)
			}
			seg, err := AttachFile(files[0], owner.Segment().Name())
			noError(t, err)
			guest.Adopt(seg)
			peer := startHostilePeer(t, "", files[1])
			noError(t, files[1].Close())
			a := &attacked{t: t, owner: owner, guest: guest}
			if resized := a.survive(peer, orderScratch, orderResize); resized != 0 {
				t.Errorf("the peer has changed the size of sealed memory %d times", resized)
			}
			equal(t, owner.Segment().Sealed(), true)
			seals, err := unix.FcntlInt(owner.Segment().file.f.Fd(), unix.F_GET_SEALS, 0)
			noError(t, err)
			equal(t, seals&wantSeals, wantSeals)
		})
	}
}

// survive makes calls while the peer carries out orders, and right ones in
// between. It returns how often the peer has changed the size.
func (a *attacked) survive(peer *hostilePeer, orders ...byte) (resized int) {
	a.t.Helper()
	kinds := attackedKinds()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range attacks {
		peer.order(a.t, orders[i%len(orders)])
		for range 3 {
			a.calls(rng, kinds)
		}
		n, err := strconv.Atoi(peer.done(a.t))
		noError(a.t, err)
		resized += n
		peer.order(a.t, orderMend)
		peer.done(a.t)
		a.untouched(kinds[i%len(kinds)])
	}
	if a.failed == 0 {
		a.t.Error("nothing has failed: the peer has done nothing")
	}
	a.t.Logf("%d batches came; %d errors, of which %d for memory that was gone", a.got, a.failed, a.faults)
	return resized
}
