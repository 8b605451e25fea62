package shm

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// twoSides are channels over one sealed segment.
func twoSides(tb testing.TB, size int64, opts Options) (ours, theirs *Channel) {
	tb.Helper()
	s := anonymousSegment(tb, size)
	f, err := s.File()
	noError(tb, err)
	other, err := AttachFile(f, s.Name())
	noError(tb, err)
	tb.Cleanup(func() { noError(tb, other.Close()) })
	ours, err = NewChannel(s, opts)
	noError(tb, err)
	theirs, err = NewChannel(other, opts)
	noError(tb, err)
	return ours, theirs
}

// copyWith is a record with the values of rec, in memory of mem.
func copyWith(tb testing.TB, mem memory.Allocator, rec arrow.RecordBatch) arrow.RecordBatch {
	tb.Helper()
	cols := make([]arrow.Array, rec.NumCols())
	for i, c := range rec.Columns() {
		half := int64(c.Len() / 2)
		first, second := array.NewSlice(c, 0, half), array.NewSlice(c, half, int64(c.Len()))
		col, err := array.Concatenate([]arrow.Array{first, second}, mem)
		noError(tb, err)
		cols[i] = col
		first.Release()
		second.Release()
	}
	return array.NewRecordBatch(rec.Schema(), cols, rec.NumRows())
}

func TestABatchIsSentFromWhereItWasBuilt(t *testing.T) {
	for _, tt := range everyRecord() {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := twoSides(t, 64<<20, Options{MinBatchBytes: -1, ZeroCopy: true})
			for range 3 {
				in := batch(t, copyWith(t, ours.Allocator(), tt.rec))
				placed, _, err := ours.Place(t.Context(), in.Schema, []wire.Batch{*in}, -1)
				noError(t, err)
				ours.Built()
				if placed[0].Kind() != wire.KindSHM {
					if tt.rec.NumRows() == 0 {
						return
					}
					t.Fatalf("a %v travels", placed[0].Kind())
				}
				equal(t, regionsOf(t, ours.seg), 1)
				out, release, err := theirs.Fetch(&placed[0], wire.Own)
				noError(t, err)
				sameRecord(t, out, tt.rec)
				release()
				noError(t, theirs.Turn())
				equal(t, regionsOf(t, ours.seg), 0)
			}
		})
	}
}

func TestLargeBuffersAreNotCopiedAndOthersCanReadThem(t *testing.T) {
	ours, theirs := twoSides(t, 8<<20, Options{ZeroCopy: true})
	const rows = 100_000
	mem := ours.Allocator()
	numbers, words := array.NewInt64Builder(mem), array.NewStringBuilder(mem)
	numbers.Reserve(rows)
	words.Reserve(rows)
	words.ReserveData(len("word") * rows)
	for i := range int64(rows) {
		numbers.Append(i)
		if i%7 == 0 {
			words.AppendNull()
		} else {
			words.Append("word")
		}
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "w", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "small", Type: arrow.PrimitiveTypes.Int8},
	}, nil)
	small := array.NewInt8Builder(memory.DefaultAllocator) // of the heap
	small.AppendValues(make([]int8, rows), nil)
	rec := array.NewRecordBatch(schema, []arrow.Array{numbers.NewArray(), words.NewArray(), small.NewArray()}, rows)
	b := batch(t, rec)
	var built [][]byte
	for _, p := range [][]byte{b.Cols[0].Data, b.Cols[1].Validity, b.Cols[1].Offsets, b.Cols[1].Data} {
		equal(t, ours.seg.holds(p), true)
		built = append(built, p)
	}
	want := slicesOf(built)
	placed, moved, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	ours.Built()
	regions, err := ours.seg.Regions()
	noError(t, err)
	equal(t, []any{len(regions), regions[0].Length}, []any{1, moved})

	got, release, err := theirs.Fetch(&placed[0], wire.Borrow)
	noError(t, err)
	for i, p := range [][]byte{got.Cols[0].Data, got.Cols[1].Validity, got.Cols[1].Offsets, got.Cols[1].Data} {
		equal(t, bytes.HasPrefix(want[i], p[:min(len(p), len(want[i]))]), true)
	}
	equal(t, theirs.seg.holds(got.Cols[0].Data), true)
	built[0][0] = 42 // seen there: nothing was copied on the way
	equal(t, got.Cols[0].Data[0], byte(42))
	release()

	stored := make([]byte, regions[0].Length)
	noError(t, theirs.seg.read(stored, regions[0].Offset))
	r, err := ipc.NewReader(bytes.NewReader(stored))
	noError(t, err)
	equal(t, r.Next(), true)
	built[0][0] = 0
	equal(t, r.RecordBatch().NumRows(), int64(rows))
	equal(t, r.RecordBatch().Column(1).(*array.String).Value(1), "word")
	equal(t, r.RecordBatch().Column(1).NullN(), (rows+6)/7)
	equal(t, r.Next(), false)
	noError(t, r.Err())
}

func slicesOf(of [][]byte) (out [][]byte) {
	for _, p := range of {
		out = append(out, bytes.Clone(p))
	}
	return out
}

func TestWhatIsBuiltAndNotSentLeavesNothingBehind(t *testing.T) {
	ours, theirs := twoSides(t, 4<<20, Options{ZeroCopy: true})
	t.Run("because the batch is too small", func(t *testing.T) {
		p := ours.Allocator().Allocate(64 << 10)
		b := batch(t, oneBinary("data", p))
		placed, moved, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		equal(t, []any{placed[0].Kind(), moved, regionsOf(t, ours.seg)}, []any{wire.KindData, int64(0), 0})
		ours.Built()
	})
	t.Run("because the call failed", func(t *testing.T) {
		_ = ours.Allocator().Allocate(64 << 10)
		equal(t, regionsOf(t, ours.seg), 1)
		ours.Built()
		noError(t, ours.Turn())
		equal(t, regionsOf(t, ours.seg), 0)
	})
	t.Run("because another batch is sent", func(t *testing.T) {
		_ = ours.Allocator().Allocate(64 << 10)
		b := batch(t, oneBinary("data", make([]byte, 1<<20)))
		placed, _, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		ours.Built()
		equal(t, []any{placed[0].Kind(), regionsOf(t, ours.seg)}, []any{wire.KindSHM, 1})
		noError(t, ours.seg.Keep())
	})
	t.Run("because its types are written by somebody else", func(t *testing.T) {
		rec := copyWith(t, ours.Allocator(), dictionaries(50_000))
		equal(t, regionsOf(t, ours.seg), 1)
		b := batch(t, rec)
		placed, _, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		equal(t, []any{placed[0].Kind(), regionsOf(t, ours.seg)}, []any{wire.KindSHM, 1})
		out, release, err := theirs.Fetch(&placed[0], wire.Own)
		noError(t, err)
		sameRecord(t, out, rec)
		release()
		ours.Built()
		noError(t, theirs.Turn())
	})
	t.Run("because the segment is full", func(t *testing.T) {
		p := ours.Allocator().Allocate(5 << 20)
		equal(t, []any{len(p), ours.seg.holds(p), regionsOf(t, ours.seg)}, []any{5 << 20, false, 0})
		ours.Built()
	})
	t.Run("and the mapping stays until then", func(t *testing.T) {
		before := mappings(t)
		ours, _ := twoSides(t, 4<<20, Options{ZeroCopy: true})
		p := ours.Allocator().Allocate(64 << 10)
		noError(t, ours.seg.Close())
		p[0] = 1
		equal(t, mappings(t), before+2)
		ours.Built()
		equal(t, mappings(t), before+1)
	})
}

func TestBuffersOfAnAllocator(t *testing.T) {
	ours, _ := twoSides(t, 4<<20, Options{ZeroCopy: true})
	mem := ours.Allocator()
	first := mem.Allocate(10_000)
	first[9_999] = 7
	grown := mem.Reallocate(20_000, first)
	equal(t, []any{&grown[0] == &first[0], grown[9_999]}, []any{true, byte(7)}) // the last one grows where it is
	second := mem.Allocate(5000)
	moved := mem.Reallocate(30_000, grown)
	equal(t, []any{&moved[0] == &first[0], moved[9_999], ours.seg.holds(moved)}, []any{false, byte(7), true})
	less := mem.Reallocate(10, moved)
	equal(t, []any{len(less), &less[0] == &moved[0]}, []any{10, true})
	small := mem.Allocate(100)
	equal(t, []any{ours.seg.holds(small), ours.seg.holds(mem.Reallocate(8000, small))}, []any{false, true})
	mem.Free(second)
	ours.Built()
	// What is freed later lies where a buffer of this turn may.
	again := mem.Allocate(10_000)
	mem.Free(first)
	other := mem.Allocate(10_000)
	other[0], again[0] = 1, 2
	equal(t, []byte{again[0], other[0]}, []byte{2, 1})
	ours.Built()
}

func TestAnAllocatorTouchesNothingWhenItsTurnIsOver(t *testing.T) {
	ours, _ := twoSides(t, 4<<20, Options{ZeroCopy: true})
	mem := ours.Allocator()
	b := batch(t, oneBinary("data", make([]byte, 1<<20)))
	_, _, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	p := mem.Allocate(64 << 10) // between Place and Built
	equal(t, []any{ours.seg.holds(p), regionsOf(t, ours.seg)}, []any{false, 1})
	ours.Built()
	for _, p := range [][]byte{mem.Allocate(64 << 10), mem.Reallocate(64<<10, mem.Allocate(8))} {
		equal(t, []any{len(p), ours.seg.holds(p), regionsOf(t, ours.seg)}, []any{64 << 10, false, 1})
	}
	equal(t, ours.seg.holds(ours.Allocator().Allocate(64<<10)), true) // it was asked for again
	equal(t, ours.seg.holds(mem.Allocate(64<<10)), true)
	ours.Built()
}

func TestColumnsAreBuiltAtOnce(t *testing.T) {
	ours, theirs := twoSides(t, 64<<20, Options{MinBatchBytes: -1, ZeroCopy: true})
	mem := ours.Allocator()
	const columns, rows = 8, 50_000
	fields, built := make([]arrow.Field, columns), make([]arrow.Array, columns)
	var all sync.WaitGroup
	for i := range columns {
		fields[i] = arrow.Field{Name: strings.Repeat("c", i+1), Type: arrow.PrimitiveTypes.Int64}
		all.Go(func() {
			b := array.NewInt64Builder(mem)
			for row := range int64(rows) {
				b.Append(row * int64(i))
			}
			built[i] = b.NewArray()
		})
	}
	all.Wait()
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), built, rows)
	want := copyWith(t, memory.DefaultAllocator, rec)
	b := batch(t, rec)
	placed, moved, err := ours.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	ours.Built()
	equal(t, moved < 2*b.Bytes(), true) // without what the builders have outgrown
	got, release, err := theirs.Fetch(&placed[0], wire.Own)
	noError(t, err)
	sameRecord(t, got, want)
	release()
}

func TestWhoDoesNotAskForZeroCopyBuildsOnTheHeap(t *testing.T) {
	named, err := NewChannel(segment(t, 4<<20), Options{ZeroCopy: true})
	noError(t, err)
	copies, err := NewChannel(anonymousSegment(t, 4<<20), Options{})
	noError(t, err)
	none, err := NewChannel(nil, Options{ZeroCopy: true})
	noError(t, err)
	for _, c := range []*Channel{named, copies, none} {
		equal(t, c.Allocator(), memory.DefaultAllocator)
		c.Built()
	}
}

// builder answers an input with its bytes, doubled in place.
type builder struct{ inside func([]byte) bool }

func (m *builder) ExchangeBatch(ctx context.Context, in *wire.Batch, out *vgirpc.Emitter[blob]) error {
	b := array.NewBinaryBuilder(vgirpc.CallFrom(ctx).Allocator(), arrow.BinaryTypes.Binary)
	defer b.Release()
	data := in.Cols[0].Data
	b.ReserveData(2 * len(data))
	b.Append(bytes.Repeat(data, 2))
	rec := array.NewRecordBatch(out.Schema().Arrow(), []arrow.Array{b.NewArray()}, 1)
	batch, err := wire.NewBatch(out.Schema(), rec, nil)
	if err != nil {
		return err
	}
	if !m.inside(batch.Cols[0].Data) {
		return vgirpc.Errorf(vgirpc.Internal, "the answer was not built in the segment")
	}
	return out.EmitBatch(batch)
}

func TestACallAndAStreamBuildTheirBatchesInPlace(t *testing.T) {
	opts := Options{ZeroCopy: true}
	p := vgirpc.NewProtocol("test.Builders.v1", "1.0.0")
	double := vgirpc.NewExchange[vgirpc.None, blob, blob](p, "double")
	where := vgirpc.NewUnary[vgirpc.None, bool](p, "where")
	s, inside := serverOf(t, opts, p)
	vgirpc.HandleBatchExchange(s, double, func(ctx context.Context, _ vgirpc.None) (*builder, error) {
		if inside(vgirpc.CallFrom(ctx).Allocator().Allocate(1 << 20)) {
			return nil, vgirpc.Errorf(vgirpc.Internal, "the turn is the caller's while the stream opens")
		}
		return &builder{inside}, nil
	})
	vgirpc.HandleUnary(s, where, func(ctx context.Context, _ vgirpc.None) (bool, error) {
		return inside(vgirpc.CallFrom(ctx).Allocator().Allocate(1 << 20)), nil
	})
	n := &negotiated{SharedMemoryClient: Client(OwnerOptions{Options: opts})}
	client, err := vgirpc.DialUnix(t.Context(), serveUnix(t, s), vgirpc.ClientOptions{SharedMemory: n})
	noError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	for range 3 {
		got, err := where.Call(t.Context(), client, vgirpc.None{})
		noError(t, err)
		equal(t, got, true)
	}
	owner := n.all[0]
	stream, err := double.Open(t.Context(), client, vgirpc.None{})
	noError(t, err)
	for turn := range 8 {
		word := strings.Repeat(string(rune('a'+turn)), 300<<10)
		data := stream.Allocator().Allocate(len(word))
		copy(data, word)
		in := batch(t, oneBinary("data", nil))
		offsets := []int32{0, int32(len(data))}
		in.Cols[0].Offsets, in.Cols[0].Data = wire.Bytes(offsets), data
		equal(t, owner.seg.holds(in.Cols[0].Data), true)
		out, err := stream.ExchangeBatch(t.Context(), in)
		noError(t, err)
		equal(t, []bool{owner.seg.holds(out.Cols[0].Data), string(out.Cols[0].Data) == word+word}, []bool{true, true})
	}
	noError(t, stream.Close())
	equal(t, stream.Allocator(), memory.DefaultAllocator) // the turn is somebody else's
	noError(t, owner.Begin())
	equal(t, regionsOf(t, owner.seg), 0)
}
