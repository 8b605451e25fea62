package shm

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/wire"
)

// reference is a process of the reference implementation that has the segment.
type reference struct {
	name string
	size int64
	in   io.WriteCloser
	out  *bufio.Reader
}

func startReference(t *testing.T, args ...string) *reference {
	t.Helper()
	cmd := exec.Command(pyref.Python(t), append([]string{"-W", "ignore", "testdata/reference.py"}, args...)...)
	cmd.Env = append(os.Environ(), "VGI_RPC_SHM_MIN_BATCH_BYTES=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	noError(t, err)
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the reference: %v\n%s", err, stderr.String())
		}
	})
	r := &reference{in: in, out: bufio.NewReader(out)}
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the reference did not start: %v", err)
	}
	if _, err := fmt.Sscan(line, &r.name, &r.size); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r
}

// send gives the reference one batch and returns its answer.
func (r *reference) send(t *testing.T, b *wire.Batch) *wire.Batch {
	t.Helper()
	w := wire.NewWriter(r.in)
	noError(t, w.Open(b.Schema))
	noError(t, w.Batch(b))
	noError(t, w.Close())
	noError(t, w.Flush())
	reader := wire.NewReader(r.out, wire.Limits{}, nil)
	_, err := reader.NextStream()
	noError(t, err)
	_, err = reader.Announce()
	noError(t, err)
	got, err := reader.Take(wire.Own)
	noError(t, err)
	out := *got
	noError(t, reader.Drain())
	if reader.Buffered() {
		t.Fatal("the reference said more than it was asked")
	}
	return &out
}

// header is the reference's view of the header and the table.
func (r *reference) header(t *testing.T) string {
	t.Helper()
	b := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{{Key: "verb", Value: "header"}})
	return r.send(t, &b).Meta.Value("table")
}

// referenceRecords are what goes both ways.
func referenceRecords() []record {
	return append(everyRecord(), record{"one row of dictionaries", dictionaries(1)}, record{"100,000 rows", scalars(100_000)})
}

// exchangeBatches moves every record in both directions, and compares what the
// two sides see.
func exchangeBatches(t *testing.T, r *reference, c *Channel) {
	seg := c.Segment()
	equal(t, []any{r.name, r.size}, []any{seg.Name(), seg.Size()})
	t.Run("a batch without rows stays in band on both sides", func(t *testing.T) {
		b := batch(t, scalars(0))
		placed, _, err := c.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
		noError(t, err)
		equal(t, []wire.Kind{placed[0].Kind(), r.send(t, b).Kind()}, []wire.Kind{wire.KindData, wire.KindData})
	})
	own := wire.Pair{Key: "own", Value: "kept"}
	for _, rec := range referenceRecords() {
		t.Run("we write and the reference reads: "+rec.name, func(t *testing.T) {
			b := batch(t, rec.rec, own)
			placed, _, err := c.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
			noError(t, err)
			equal(t, placed[0].Kind(), wire.KindSHM)
			sameTable(t, r, seg)
			got := r.send(t, &placed[0])
			equal(t, got.Meta, wire.Metadata{own, {Key: wire.KeySHMSource, Value: seg.Name()}})
			got.Schema = b.Schema // the same by sameRecord, less arrow-go's own metadata
			sameRecord(t, got, rec.rec)
			equal(t, regionsOf(t, seg), 0) // the reference has freed it
		})
		t.Run("the reference writes and we read: "+rec.name, func(t *testing.T) {
			b := batch(t, rec.rec, own)
			pointer := r.send(t, b)
			equal(t, pointer.Kind(), wire.KindSHM)
			sameTable(t, r, seg)
			got, release, err := c.Resolve(t.Context(), pointer, b.Schema, nil)
			noError(t, err)
			equal(t, got.Meta, wire.Metadata{own, {Key: wire.KeySHMSource, Value: seg.Name()}})
			sameRecord(t, got, rec.rec)
			release()
			noError(t, c.Turn())
			equal(t, regionsOf(t, seg), 0)
			sameTable(t, r, seg)
		})
	}
}

// sameTable compares the header byte by byte with what the reference sees.
func sameTable(t *testing.T, r *reference, seg *Segment) {
	t.Helper()
	regions, err := seg.Regions()
	noError(t, err)
	equal(t, r.header(t), hex.EncodeToString(appendRegions(header(seg.Size(), len(regions)), regions)))
}

func TestTheReferenceAttachesToOurSegment(t *testing.T) {
	owner, _ := pair(t, 16<<20+4096, Options{MinBatchBytes: -1})
	seg := owner.Segment()
	r := startReference(t, "attach", seg.Name(), strconv.FormatInt(seg.Size(), 10))
	exchangeBatches(t, r, owner.Channel)
}

func TestWeAttachToASegmentOfTheReference(t *testing.T) {
	r := startReference(t, "create", strconv.Itoa(16<<20+12_345))
	guest, err := NewGuest(GuestOptions{Options: Options{MinBatchBytes: -1}})
	noError(t, err)
	defer guest.Close()
	requested(t, guest, wire.Metadata{
		{Key: wire.KeySHMSegmentName, Value: r.name}, {Key: wire.KeySHMSegmentSize, Value: strconv.FormatInt(r.size, 10)},
	})
	exchangeBatches(t, r, guest.Channel)
	noError(t, guest.Close())
	if _, err := os.Stat(filepath.Join(directory, r.name)); err != nil {
		t.Fatalf("the reference's segment is gone: %v", err)
	}
}

// TestBothFillOneSegment interleaves allocations of both sides, the reference's at
// any byte, and frees them in another order.
func TestBothFillOneSegment(t *testing.T) {
	owner, _ := pair(t, HeaderBytes+200_000, Options{MinBatchBytes: -1})
	seg := owner.Segment()
	r := startReference(t, "attach", seg.Name(), strconv.FormatInt(seg.Size(), 10))
	kinds := []arrow.RecordBatch{scalars(40), dictionaries(60), nested(50), scalars(41).NewSlice(3, 30)}
	type placed struct {
		pointer wire.Batch
		rec     arrow.RecordBatch
		ours    bool
	}
	var live []placed
	ourInline, theirInline := 0, 0
	for i := 0; ourInline < 3 || theirInline < 3; i++ {
		rec := kinds[i%len(kinds)]
		b := batch(t, rec)
		if i%2 == 0 {
			out, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
			noError(t, err)
			if out[0].Rows != 0 {
				ourInline++ // it is full
				continue
			}
			live = append(live, placed{out[0], rec, true})
			continue
		}
		answer := r.send(t, b)
		if answer.Rows != 0 {
			theirInline++
			continue
		}
		live = append(live, placed{*answer, rec, false})
	}
	sameTable(t, r, seg)
	equal(t, regionsOf(t, seg), len(live))
	for step := 0; len(live) > 0; step++ {
		i := step * 7 % len(live)
		p := live[i]
		live = append(live[:i], live[i+1:]...)
		if p.ours {
			got := r.send(t, &p.pointer)
			got.Schema = batch(t, p.rec).Schema
			sameRecord(t, got, p.rec)
			continue
		}
		got, release, err := owner.Resolve(t.Context(), &p.pointer, nil, nil)
		noError(t, err)
		sameRecord(t, got, p.rec)
		release()
		noError(t, owner.Turn())
	}
	equal(t, regionsOf(t, seg), 0)
	sameTable(t, r, seg)
}

// TestAWideSchema is why sizes are exact here: the reference allocates by an
// estimate, and stores more than that when there are many columns. What it stored
// is read all the same, and what we store ends where its region does.
func TestAWideSchema(t *testing.T) {
	owner, _ := pair(t, 4<<20, Options{MinBatchBytes: -1})
	seg := owner.Segment()
	r := startReference(t, "attach", seg.Name(), strconv.FormatInt(seg.Size(), 10))
	rec := wide(400)
	pointer := r.send(t, batch(t, rec))
	theirs, err := ParsePointer(pointer.Meta)
	noError(t, err)
	regions, err := seg.Regions()
	noError(t, err)
	t.Logf("the reference allocated %d bytes and stored %d", regions[0].Length, theirs.Length)
	got, release, err := owner.Resolve(t.Context(), pointer, nil, nil)
	noError(t, err)
	defer release()
	sameRecord(t, got, rec)

	ours, _, err := owner.Place(t.Context(), got.Schema, []wire.Batch{*batch(t, rec)}, -1)
	noError(t, err)
	own, err := ParsePointer(ours[0].Meta)
	noError(t, err)
	regions, err = seg.Regions()
	noError(t, err)
	if i := find(regions, own.Offset); i < 0 || regions[i].Length != own.Length {
		t.Fatalf("stored %v, allocated %v", own, regions)
	}
}
