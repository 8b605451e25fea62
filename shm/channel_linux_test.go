package shm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// pair is a client and a server of one connection.
func pair(t *testing.T, size int64, opts Options) (*Owner, *Guest) {
	t.Helper()
	owner, err := NewOwner(OwnerOptions{Options: opts, Size: size})
	noError(t, err)
	t.Cleanup(func() { noError(t, owner.Close()) })
	guest, err := NewGuest(GuestOptions{Options: opts})
	noError(t, err)
	t.Cleanup(func() { noError(t, guest.Close()) })
	return owner, guest
}

func regionsOf(t *testing.T, s *Segment) int {
	t.Helper()
	r, err := s.Regions()
	noError(t, err)
	return len(r)
}

func TestACallThroughTheSegment(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{})
	ctx := t.Context()
	rec := scalars(20_000)
	for range 3 { // calls
		noError(t, owner.Begin())
		requested(t, guest, owner.Advertise(wire.Metadata{{Key: wire.KeyMethod, Value: "m"}}))
		for range 4 { // turns
			in := batch(t, rec, wire.Pair{Key: "own", Value: "1"})
			noError(t, owner.Turn())
			sent, moved, err := owner.Place(ctx, in.Schema, []wire.Batch{*in}, -1)
			noError(t, err)
			equal(t, []any{sent[0].Kind(), sent[0].Rows, moved > 0}, []any{wire.KindSHM, 0, true})

			got, release, err := guest.Resolve(ctx, &sent[0], in.Schema, nil)
			noError(t, err)
			equal(t, got.Meta, wire.Metadata{{Key: "own", Value: "1"}, {Key: wire.KeySHMSource, Value: owner.Segment().Name()}})
			sameRecord(t, got, rec)
			noError(t, guest.Turn())
			log := wire.EmptyBatch(in.Schema, wire.Metadata{{Key: wire.KeyLogLevel, Value: "INFO"}, {Key: wire.KeyLogMessage, Value: "hi"}})
			answer, _, err := guest.Place(ctx, in.Schema, []wire.Batch{log, *batch(t, rec)}, -1)
			noError(t, err)
			equal(t, []wire.Kind{answer[0].Kind(), answer[1].Kind()}, []wire.Kind{wire.KindLog, wire.KindSHM})
			release()

			out, release, err := owner.Resolve(ctx, &answer[1], nil, nil)
			noError(t, err)
			sameRecord(t, out, rec)
			release()
			equal(t, regionsOf(t, owner.Segment()), 1) // until our next turn
		}
	}
	noError(t, owner.Begin())
	equal(t, regionsOf(t, owner.Segment()), 0)
}

// TestBorrowedBatches takes turns as a server does, holds two at once, and keeps
// the record of one.
func TestBorrowedBatches(t *testing.T) {
	owner, _ := pair(t, 4<<20, Options{MinBatchBytes: -1})
	resolve := func(rec arrow.RecordBatch) (*wire.Batch, func()) {
		b := batch(t, rec)
		placed, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		got, release, err := owner.Fetch(&placed[0], wire.Borrow)
		noError(t, err)
		sameRecord(t, got, rec)
		noError(t, owner.Turn()) // a copy: its region is free already
		equal(t, regionsOf(t, owner.Segment()), 0)
		return got, release
	}
	for _, rec := range everyRecord() {
		one, releaseOne := resolve(rec.rec)
		two, releaseTwo := resolve(scalars(77))
		sameRecord(t, one, rec.rec)
		sameRecord(t, two, scalars(77))
		kept, err := one.Record()
		noError(t, err)
		releaseOne()
		releaseTwo()
		_, release := resolve(scalars(500))
		release()
		if !array.RecordEqual(kept, rec.rec) {
			t.Fatalf("%s: a record that was kept has changed: %v", rec.name, kept)
		}
		kept.Release()
	}
}

func TestWhatStaysInBand(t *testing.T) {
	big, small := batch(t, scalars(20_000)), batch(t, scalars(10))
	for _, c := range []struct {
		name   string
		opts   Options
		b      *wire.Batch
		budget int64
		moves  bool
	}{
		{"a large batch moves", Options{}, big, -1, true},
		{"a small batch stays", Options{}, small, -1, false},
		{"a small batch over a lower minimum moves", Options{MinBatchBytes: 1}, small, -1, true},
		{"any batch moves without a minimum", Options{MinBatchBytes: -1}, small, -1, true},
		{"a batch without rows stays", Options{MinBatchBytes: -1}, batch(t, scalars(0)), -1, false},
		{"a batch that does not fit stays", Options{}, batch(t, scalars(400_000)), -1, false},
		{"a batch over the budget stays", Options{}, big, 1000, false},
		{"a batch within the budget moves", Options{}, big, 100 << 20, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			owner, _ := pair(t, 4<<20, c.opts)
			cycle := []wire.Batch{*c.b}
			placed, moved, err := owner.Place(t.Context(), c.b.Schema, cycle, c.budget)
			noError(t, err)
			equal(t, []any{placed[0].Kind() == wire.KindSHM, moved > 0, regionsOf(t, owner.Segment()) == 1}, []any{c.moves, c.moves, c.moves})
			equal(t, cycle[0].Rows, c.b.Rows) // the caller's cycle is not changed
			noError(t, owner.Err())
		})
	}
}

func TestTheServerAnswersInKind(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{MinBatchBytes: -1})
	b := batch(t, scalars(10))
	pointer, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	name, size := owner.Advertise(nil)[0], owner.Advertise(nil)[1]
	for _, c := range []struct {
		name string
		meta wire.Metadata
		want bool
	}{
		{"a request before any segment", nil, false},
		{"a request that names a segment, unasked", wire.Metadata{name, size}, true},
		{"a request that names none", nil, false},
		{"a request that is a pointer", pointer[0].Meta, true},
		{"a request that names it again", wire.Metadata{size, name}, true},
	} {
		requested(t, guest, c.meta)
		placed, _, err := guest.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		if got := placed[0].Kind() == wire.KindSHM; got != c.want {
			t.Fatalf("%s: placed is %v", c.name, got)
		}
	}
}

func TestAPointerWithoutASegmentFailsLoudly(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{MinBatchBytes: -1})
	b := batch(t, scalars(10))
	pointer, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	_, release, err := guest.Resolve(t.Context(), &pointer[0], nil, nil)
	release()
	equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
	_, release, err = owner.Resolve(t.Context(), b, nil, nil)
	release()
	equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
	other := batch(t, dictionaries(1))
	_, release, err = owner.Resolve(t.Context(), &pointer[0], other.Schema, nil)
	release()
	equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
}

func TestTheServerFollowsTheNames(t *testing.T) {
	first, guest := pair(t, 4<<20, Options{})
	second, _ := pair(t, 8<<20, Options{})
	requested(t, guest, first.Advertise(nil))
	one := guest.Segment()
	requested(t, guest, first.Advertise(nil))
	if guest.Segment() != one {
		t.Fatal("it was attached anew")
	}
	requested(t, guest, second.Advertise(nil))
	equal(t, guest.Segment().Size(), int64(8<<20))
	if _, err := one.Allocate(1); !errors.Is(err, ErrClosed) {
		t.Fatalf("the first is still attached: %v", err)
	}
	for _, c := range []struct{ name, segment, size string }{
		{"a name that nobody has", "vgi_nobody", "100000"},
		{"a path", "../etc/passwd", "100000"},
		{"no size", first.Segment().Name(), ""},
		{"a size that is no number", first.Segment().Name(), "many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requested(t, guest, second.Advertise(nil))
			meta := wire.Metadata{{Key: wire.KeySHMSegmentName, Value: c.segment}}
			if c.size != "" {
				meta = append(meta, wire.Pair{Key: wire.KeySHMSegmentSize, Value: c.size})
			}
			if _, err := guest.Request(meta); err == nil {
				t.Fatal("it was attached")
			}
			if guest.Segment() != nil {
				t.Fatal("pointers would go to the segment before")
			}
		})
	}
}

func TestOnlyThePeersSegmentsAreAttached(t *testing.T) {
	owner, _ := pair(t, 4<<20, Options{})
	me, other := uint32(os.Getuid()), uint32(os.Getuid()+1)
	for _, c := range []struct {
		name string
		uid  *uint32
		ok   bool
	}{
		{"of the same user", &me, true},
		{"of another user", &other, false},
		{"of anybody", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			guest, err := NewGuest(GuestOptions{UID: c.uid})
			noError(t, err)
			defer guest.Close()
			_, err = guest.Request(owner.Advertise(nil))
			equal(t, []bool{err == nil, guest.Segment() != nil}, []bool{c.ok, c.ok})
		})
	}
}

func TestABrokenSegmentIsNotUsedAnyMore(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{})
	requested(t, guest, owner.Advertise(nil))
	b := batch(t, scalars(20_000))
	pointer, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	noError(t, os.Truncate(filepath.Join(directory, owner.Segment().Name()), HeaderBytes))
	_, release, err := guest.Resolve(t.Context(), &pointer[0], nil, nil)
	release()
	equal(t, vgirpc.CodeOf(err), vgirpc.DataLoss)

	placed, moved, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	equal(t, []any{placed[0].Rows, moved}, []any{20_000, int64(0)}) // in band
	if _, ok := errors.AsType[*FaultError](owner.Err()); !ok {
		t.Fatalf("got %v", owner.Err())
	}
	equal(t, len(owner.Advertise(nil)), 0)
	if owner.Begin() == nil {
		t.Fatal("Begin does not say so")
	}
}

func TestTheOwnerTakesBackWhatIsLost(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{MinBatchBytes: -1})
	requested(t, guest, owner.Advertise(nil))
	b := batch(t, scalars(10))
	for range 3 { // answers that are never read
		_, _, err := guest.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
	}
	equal(t, regionsOf(t, owner.Segment()), 3)
	noError(t, owner.Begin())
	equal(t, regionsOf(t, owner.Segment()), 0)
}

func TestMinBatchBytesOfTheEnvironment(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "x": 0, "1": 1, "131072": 131072, "0": -1, "-5": -1} {
		equal(t, ParseMinBatchBytes(text), want)
	}
	_, err := NewOwner(OwnerOptions{Options: Options{Limits: wire.Limits{MaxMessageBytes: -1}}})
	if err == nil || !strings.Contains(err.Error(), "MaxMessageBytes") {
		t.Fatalf("got %v", err)
	}
	if _, err := NewOwner(OwnerOptions{Size: 100}); err == nil {
		t.Fatal("a segment smaller than its header")
	}
}

func TestNegotiation(t *testing.T) {
	shm := wire.Pair{Key: wire.KeyTransportSHM, Value: "true"}
	for _, c := range []struct {
		name                        string
		answer                      wire.Metadata
		agreed, descriptors, joined bool
	}{
		{"a server without it", wire.Metadata{{Key: wire.KeyTransportSHM, Value: "false"}}, false, false, false},
		{"an answer that says nothing", nil, false, false, false},
		{"a server of another kind", wire.Metadata{shm}, true, false, false},
		{"a server that takes descriptors", wire.Metadata{shm, {Key: KeyDescriptor, Value: "true"}}, true, true, false},
		{"a server that has attached", wire.Metadata{shm, {Key: KeyDescriptor, Value: "memfd:1"}}, true, false, true},
		{"one without it that says it takes them", wire.Metadata{{Key: KeyDescriptor, Value: "true"}}, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			equal(t, []bool{Agreed(c.answer), TakesDescriptors(c.answer), Attached(c.answer, "memfd:1")}, []bool{c.agreed, c.descriptors, c.joined})
		})
	}
}

// requested begins a call at a guest, which must be able to use what it names.
func requested(t *testing.T, guest *Guest, meta wire.Metadata) {
	t.Helper()
	_, err := guest.Request(meta)
	noError(t, err)
}

// A connection may be closed while a batch is copied: its region is then nobody's
// here.
func TestARegionOfASegmentThatWentAwayIsNotFreed(t *testing.T) {
	owner, guest := pair(t, 4<<20, Options{MinBatchBytes: -1})
	requested(t, guest, owner.Advertise(nil))
	b := batch(t, scalars(10))
	placed, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	r, err := ParsePointer(placed[0].Meta)
	noError(t, err)
	seg := guest.Segment()
	noError(t, guest.Close())
	guest.hold(seg, r.Offset, true) // as the copy that was under way does
	noError(t, guest.Turn())
	equal(t, regionsOf(t, owner.Segment()), 1)
}
