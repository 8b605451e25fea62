package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, c := range append(everyRecord(), record{"no rows", scalars(0)}, record{"no rows of a dictionary", dictionaries(0)}) {
		t.Run(c.name, func(t *testing.T) {
			s := anonymousSegment(t, HeaderBytes+4<<20)
			b := batch(t, c.rec, wire.Pair{Key: "k", Value: "of the pointer alone"})
			r, err := s.Write(b)
			noError(t, err)
			for name, read := range map[string]func(Region, *wire.Schema, wire.Limits) (*wire.Batch, func(), error){"a copy": s.Read, "a view": s.View} {
				t.Run(name, func(t *testing.T) {
					got, release, err := read(r, b.Schema, wire.Limits{})
					noError(t, err)
					equal(t, len(got.Meta), 0)
					sameRecord(t, got, c.rec)
					release()
					release()
				})
			}
		})
	}
}

// TestARegionIsExactlyWhatIsStored puts batches side by side in a segment that
// has room for no byte more.
func TestARegionIsExactlyWhatIsStored(t *testing.T) {
	for _, c := range everyRecord() {
		t.Run(c.name, func(t *testing.T) {
			b := batch(t, c.rec)
			probe := heapSegment(HeaderBytes + 4<<20)
			r, err := probe.Write(b)
			noError(t, err)
			if tail := probe.mem[r.end():]; bytes.Count(tail, []byte{0}) != len(tail) {
				t.Fatal("something was written behind the region")
			}
			step := (r.Length + alignment - 1) &^ (alignment - 1)
			s := heapSegment(HeaderBytes + step + r.Length)
			first, err := s.Write(b)
			noError(t, err)
			second, err := s.Write(b)
			noError(t, err)
			equal(t, []Region{first, second}, []Region{{HeaderBytes, r.Length}, {HeaderBytes + step, r.Length}})
			for _, r := range []Region{first, second} {
				got, release, err := s.Read(r, b.Schema, wire.Limits{})
				noError(t, err)
				sameRecord(t, got, c.rec)
				release()
			}
			if _, err := s.Write(b); !errors.Is(err, ErrFull) {
				t.Fatalf("a third: %v", err)
			}
			small := heapSegment(HeaderBytes + r.Length - 1)
			if _, err := small.Write(b); !errors.Is(err, ErrFull) {
				t.Fatalf("a byte less: %v", err)
			}
			regions, err := small.Regions()
			noError(t, err)
			equal(t, len(regions), 0)
		})
	}
}

// messages lists the kinds of the messages in what is stored.
func messages(t *testing.T, p []byte) (kinds []string) {
	t.Helper()
	for len(p) > 0 {
		n := int64(binary.LittleEndian.Uint32(p[4:])) // behind the continuation marker
		if n == 0 {
			return append(kinds, "end")
		}
		msg := ipc.NewMessage(asBuffer(p[8:8+n]), asBuffer(nil))
		kinds = append(kinds, msg.Type().String())
		p = p[8+n+msg.BodyLen():]
	}
	return kinds
}

func TestTheSchemaIsLeftOutForDictionaryColumnsAlone(t *testing.T) {
	whole := []string{"Schema", "RecordBatch", "end"}
	for _, c := range []struct {
		name string
		rec  arrow.RecordBatch
		want []string
	}{
		{"no dictionary", scalars(10), whole},
		{"two dictionary columns", dictionaries(10), []string{"DictionaryBatch", "DictionaryBatch", "RecordBatch"}},
		{"a dictionary inside a struct", innerDictionary(10), []string{"Schema", "DictionaryBatch", "RecordBatch", "end"}},
		{"one inside and one outside", bothDictionaries(10), []string{"DictionaryBatch", "DictionaryBatch", "RecordBatch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := heapSegment(HeaderBytes + 1<<20)
			r, err := s.Write(batch(t, c.rec))
			noError(t, err)
			equal(t, messages(t, s.mem[r.Offset:r.end()]), c.want)
		})
	}
}

// TestDictionariesAreNumberedAnew stores a batch whose schema came from a peer
// with numbers of its own: readers number by the schema alone.
func TestDictionariesAreNumberedAnew(t *testing.T) {
	rec := dictionaries(40)
	b := batch(t, rec)
	message := bytes.Clone(b.Schema.Message())
	ids := findIDs(t, b.Schema, message)
	peer, err := (&wire.SchemaCache{}).Parse(renumbered(message, ids))
	noError(t, err)
	if bytes.Equal(peer.Message(), b.Schema.Message()) {
		t.Fatal("the numbers are the same")
	}
	s := heapSegment(HeaderBytes + 1<<20)
	theirs := *b
	theirs.Schema = peer
	r, err := s.Write(&theirs)
	noError(t, err)
	got, release, err := s.Read(r, b.Schema, wire.Limits{})
	noError(t, err)
	defer release()
	sameRecord(t, got, rec)
	got, release, err = s.Read(r, peer, wire.Limits{})
	noError(t, err)
	defer release()
	sameRecord(t, got, rec)
}

func TestStoredBatchesAreRefused(t *testing.T) {
	good := heapSegment(HeaderBytes + 1<<20)
	b := batch(t, scalars(100))
	r, err := good.Write(b)
	noError(t, err)
	stored := bytes.Clone(good.mem[r.Offset:r.end()])
	for _, c := range []struct {
		name   string
		change func(s *Segment) (Region, *wire.Schema, wire.Limits)
		want   string
	}{
		{"outside the data", func(s *Segment) (Region, *wire.Schema, wire.Limits) {
			return Region{s.size - 8, 9}, b.Schema, wire.Limits{}
		}, "not inside"},
		{"with an end that overflows", func(*Segment) (Region, *wire.Schema, wire.Limits) {
			return Region{HeaderBytes, 1<<63 - 1}, b.Schema, wire.Limits{}
		}, "not inside"},
		{"inside the header", func(*Segment) (Region, *wire.Schema, wire.Limits) {
			return Region{24, 64}, b.Schema, wire.Limits{}
		}, "not inside"},
		{"cut short", func(*Segment) (Region, *wire.Schema, wire.Limits) {
			return Region{r.Offset, r.Length / 2}, b.Schema, wire.Limits{}
		}, "stored batch"},
		{"of nothing", func(s *Segment) (Region, *wire.Schema, wire.Limits) {
			clear(s.mem[HeaderBytes:])
			return r, b.Schema, wire.Limits{}
		}, "stored batch"},
		{"of another schema", func(*Segment) (Region, *wire.Schema, wire.Limits) {
			return r, batch(t, views(0)).Schema, wire.Limits{}
		}, "another schema"},
		{"with a schema and no batch", func(s *Segment) (Region, *wire.Schema, wire.Limits) {
			n := copy(s.mem[HeaderBytes:], b.Schema.Message())
			n += copy(s.mem[HeaderBytes+n:], endOfStream[:])
			return Region{HeaderBytes, int64(n)}, b.Schema, wire.Limits{}
		}, "stored batch"},
		{"with offsets that go back", func(s *Segment) (Region, *wire.Schema, wire.Limits) {
			at := bytes.Index(s.mem, b.Cols[2].Offsets)
			copy(s.mem[at+40:], []byte{0xff, 0xff, 0xff, 0x7f})
			return r, b.Schema, wire.Limits{}
		}, "stored batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := heapSegment(HeaderBytes + 1<<20)
			s.sealed = true // for View
			copy(s.mem[HeaderBytes:], stored)
			at, schema, limits := c.change(s)
			for _, read := range []func(Region, *wire.Schema, wire.Limits) (*wire.Batch, func(), error){s.Read, s.View} {
				if _, _, err := read(at, schema, limits); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
			}
			equal(t, s.views, 0)
		})
	}
	t.Run("over the limit", func(t *testing.T) {
		_, _, err := good.Read(r, b.Schema, wire.Limits{MaxMessageBytes: 64})
		if _, ok := errors.AsType[*wire.LimitError](err); !ok || vgirpc.CodeOf(refusal(err)) != vgirpc.ResourceExhausted {
			t.Fatalf("got %v", err)
		}
	})
}

func TestABudgetIsHeldUntilRelease(t *testing.T) {
	s := heapSegment(HeaderBytes + 1<<20)
	b := batch(t, scalars(2000))
	r, err := s.Write(b)
	noError(t, err)
	budget := wire.NewBudget(1 << 20)
	_, release, err := s.Read(r, b.Schema, wire.Limits{Budget: budget})
	noError(t, err)
	if budget.Held() == 0 {
		t.Fatal("nothing is held")
	}
	release()
	equal(t, budget.Held(), int64(0))
}

func TestABatchAtAnOddPlaceIsCopied(t *testing.T) {
	s := heapSegment(HeaderBytes + 1<<20)
	s.sealed = true // for View
	rec := scalars(100)
	b := batch(t, rec)
	r, err := s.Write(b)
	noError(t, err)
	copy(s.mem[r.Offset+1:], bytes.Clone(s.mem[r.Offset:r.end()]))
	r.Offset++
	got, release, err := s.View(r, b.Schema, wire.Limits{})
	noError(t, err)
	defer release()
	clear(s.mem[HeaderBytes:])
	sameRecord(t, got, rec)
	equal(t, s.views, 0)
}

func TestACopyIsIndependent(t *testing.T) {
	rec := build([]arrow.Field{field("i", arrow.PrimitiveTypes.Int64)}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	})
	s := heapSegment(HeaderBytes + 1<<20)
	b := batch(t, rec)
	r, err := s.Write(b)
	noError(t, err)
	got, release, err := s.Read(r, b.Schema, wire.Limits{})
	noError(t, err)
	release()
	clear(s.mem)
	equal(t, got.Owned, true)
	sameRecord(t, got, rec)
}
