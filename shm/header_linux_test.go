package shm

import (
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// golden is the header that every implementation writes for a segment of
// HeaderBytes + 16384 bytes with 100 bytes at 65536 and 50 at 65792.
const golden = "5647495301000000004000000000000002000000000000000000010000000000640000000000000000010100000000003200000000000000"

func TestHeaderIsTheOneOfOtherImplementations(t *testing.T) {
	s := segment(t, HeaderBytes+16384)
	for _, n := range []int64{100, 128, 50} {
		_, err := s.Allocate(n)
		noError(t, err)
	}
	noError(t, s.Free(HeaderBytes+128))
	got := make([]byte, len(golden)/2)
	noError(t, s.read(got, 0))
	equal(t, hex.EncodeToString(got), golden)
}

func TestFirstFit(t *testing.T) {
	const size = HeaderBytes + 1024
	for _, c := range []struct {
		name    string
		regions []Region
		need    int64
		index   int
		offset  int64
		ok      bool
	}{
		{"an empty table gives the start of the data", nil, 1024, 0, HeaderBytes, true},
		{"nothing is larger than the data", nil, 1025, 0, 0, false},
		{"the gap before the first region comes first", []Region{{HeaderBytes + 64, 64}}, 64, 0, HeaderBytes, true},
		{"a gap that is too small is passed over", []Region{{HeaderBytes + 64, 64}}, 65, 1, HeaderBytes + 128, true},
		{"a region begins on a boundary", []Region{{HeaderBytes, 1}}, 10, 1, HeaderBytes + 64, true},
		{"a gap too small once aligned is passed over", []Region{{HeaderBytes, 10}, {HeaderBytes + 100, 28}}, 50, 2, HeaderBytes + 128, true},
		{"the last byte can be had", []Region{{HeaderBytes, 960}}, 64, 1, HeaderBytes + 960, true},
		{"a full segment has no gap", []Region{{HeaderBytes, 1024}}, 1, 0, 0, false},
		{"a last gap that only alignment fills is none", []Region{{HeaderBytes, 1000}}, 1, 0, 0, false},
		{"nothing fits nowhere", nil, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			index, offset, ok := firstFit(c.regions, size, c.need)
			equal(t, []any{index, offset, ok}, []any{c.index, c.offset, c.ok})
		})
	}
}

func TestTheTableHoldsSoManyRegions(t *testing.T) {
	s := segment(t, HeaderBytes+2*MaxAllocations*alignment)
	equal(t, MaxAllocations, 4094)
	for range MaxAllocations {
		_, err := s.Allocate(1)
		noError(t, err)
	}
	if _, err := s.Allocate(1); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	noError(t, s.Keep(HeaderBytes))
	got, err := s.Regions()
	noError(t, err)
	equal(t, got, []Region{{HeaderBytes, 1}})
}

// forged is a header with a table, little-endian words.
func forged(data uint64, count uint32, entries ...uint64) []byte {
	p := header(HeaderBytes+int64(data), int(count))
	for i := 0; i+1 < len(entries); i += 2 {
		p = appendRegions(p, []Region{{int64(entries[i]), int64(entries[i+1])}})
	}
	return p
}

func TestAHostileHeaderIsRefused(t *testing.T) {
	const top = ^uint64(0)
	for _, c := range []struct {
		name   string
		header []byte
		want   string
	}{
		{"of another kind", []byte(strings.Repeat("x", 64)), "magic"},
		{"of another version", []byte("VGIS\x02\x00\x00\x00" + strings.Repeat("\x00", 64)), "version 2"},
		{"that tells of more data than there is", forged(1<<40, 0), "bytes of data"},
		{"with more regions than the table holds", forged(4096, 4095), "4095 regions"},
		{"with the largest number of regions", forged(4096, ^uint32(0)), "regions"},
		{"with a region in the header", forged(4096, 1, 24, 16), "begins before"},
		{"with a region past the end", forged(4096, 1, HeaderBytes+4000, 97), "ends outside"},
		{"with a region that begins past the end", forged(4096, 1, 1<<50, 1), "ends outside"},
		{"with a length that overflows", forged(4096, 1, HeaderBytes, top), "ends outside"},
		{"with an offset that overflows", forged(4096, 1, top-10, 100), "ends outside"},
		{"with an empty region", forged(4096, 1, HeaderBytes, 0), "empty"},
		{"out of order", forged(4096, 2, HeaderBytes+100, 10, HeaderBytes, 10), "begins before"},
		{"with regions that overlap", forged(4096, 2, HeaderBytes, 11, HeaderBytes+10, 10), "begins before"},
		{"with one region twice", forged(4096, 2, HeaderBytes, 10, HeaderBytes, 10), "begins before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := segment(t, HeaderBytes+4096)
			noError(t, s.write(c.header, 0))
			_, allocated := s.Allocate(1)
			for what, err := range map[string]error{"Allocate": allocated, "Free": s.Free(HeaderBytes), "Keep": s.Keep()} {
				bad, ok := errors.AsType[*SegmentError](err)
				if !ok || !strings.Contains(bad.Reason, c.want) || bad.Name != s.Name() {
					t.Fatalf("%s: got %v, want %q", what, err, c.want)
				}
			}
			if _, err := Attach(s.Name(), s.Size()); err == nil {
				t.Fatal("it was attached")
			}
		})
	}
}

func TestPointers(t *testing.T) {
	const top = "9223372036854775807"
	for _, c := range []struct {
		name           string
		offset, length string
		want           string // "" is good
	}{
		{"to the data", "65536", "8", ""},
		{"to an odd place", "70001", "3", ""},
		{"to no bytes", "65536", "0", "no bytes"},
		{"into the header", "65535", "8", "header"},
		{"to a negative place", "-1", "8", "number of bytes"},
		{"of a negative length", "65536", "-8", "number of bytes"},
		{"to no number", "65536x", "8", "number of bytes"},
		{"to nothing", "", "8", "number of bytes"},
		{"with a sign", "+65536", "8", "number of bytes"},
		{"beyond 63 bits", "9223372036854775808", "8", "number of bytes"},
		{"whose end overflows", top, top, "too far"},
		{"whose end overflows by one", "65536", top, "too far"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParsePointer(wire.Metadata{{Key: wire.KeySHMOffset, Value: c.offset}, {Key: wire.KeySHMLength, Value: c.length}})
			if c.want == "" {
				noError(t, err)
				equal(t, []string{strconv.FormatInt(r.Offset, 10), strconv.FormatInt(r.Length, 10)}, []string{c.offset, c.length})
				return
			}
			if _, ok := errors.AsType[*SegmentError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("without a length", func(t *testing.T) {
		if _, err := ParsePointer(wire.Metadata{{Key: wire.KeySHMOffset, Value: "65536"}}); err == nil {
			t.Fatal("it was accepted")
		}
	})
}

// FuzzSegmentHeader puts any bytes at the front of a segment: the table is either
// refused, or in order, apart and inside the data, and what is allocated next to
// it touches nothing of it.
func FuzzSegmentHeader(f *testing.F) {
	const size = HeaderBytes + 4096
	seed, err := hex.DecodeString(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, int64(50))
	f.Add(forged(4096, 0), int64(4096))
	f.Add(forged(4096, 1, HeaderBytes, 100), int64(64))
	f.Add(forged(4096, 2, HeaderBytes+100, 10, HeaderBytes, 10), int64(1))
	f.Add(forged(4096, 1, HeaderBytes, ^uint64(0)), int64(1))
	f.Add(forged(4096, 4094), int64(1))
	f.Add(forged(4096, ^uint32(0)), int64(1))
	f.Fuzz(func(t *testing.T, header []byte, n int64) {
		s := heapSegment(size)
		copy(s.mem, header[:min(len(header), HeaderBytes)])
		before, err := s.Regions()
		if err != nil {
			return
		}
		end := int64(HeaderBytes)
		for _, r := range before {
			if r.Offset < end || r.Length <= 0 || r.end() > size {
				t.Fatalf("accepted: %v", before)
			}
			end = r.end()
		}
		offset, err := s.Allocate(n)
		if err != nil {
			return
		}
		during, err := s.Regions()
		noError(t, err) // our own table must be a good one
		equal(t, len(during), len(before)+1)
		noError(t, s.Free(offset))
		after, err := s.Regions()
		noError(t, err)
		if !slices.Equal(after, before) {
			t.Fatalf("before %v, after %v", before, after)
		}
	})
}

// FuzzPointer resolves any pointer into a segment of any data.
func FuzzPointer(f *testing.F) {
	schema := batch(f, scalars(0)).Schema
	dicts := batch(f, dictionaries(0)).Schema
	for _, rec := range everyRecord() {
		s := heapSegment(HeaderBytes + 1<<20)
		r, err := s.Write(batch(f, rec.rec))
		noError(f, err)
		f.Add(strconv.FormatInt(r.Offset, 10), strconv.FormatInt(r.Length, 10), s.mem[r.Offset:r.end()], rec.name == "dictionary columns")
	}
	f.Add("65536", "9223372036854775807", []byte{0xff, 0xff, 0xff, 0xff}, false)
	f.Add("0", "24", []byte{}, true)
	f.Fuzz(func(t *testing.T, offset, length string, data []byte, dictionary bool) {
		s := heapSegment(HeaderBytes + 1<<20)
		s.sealed = true // for View
		copy(s.mem[HeaderBytes:], data)
		want := schema
		if dictionary {
			want = dicts
		}
		pointer := wire.EmptyBatch(want, wire.Metadata{{Key: wire.KeySHMOffset, Value: offset}, {Key: wire.KeySHMLength, Value: length}})
		for _, way := range []struct {
			Options

			life wire.Lifetime
		}{{life: wire.Own}, {life: wire.Borrow}, {Options: Options{ZeroCopy: true}}} {
			c, err := NewChannel(s, way.Options)
			noError(t, err)
			b, release, err := c.resolve(&pointer, want, way.life)
			if err != nil {
				release()
				if _, ok := errors.AsType[*vgirpc.Error](err); !ok {
					t.Fatalf("%T is not one of a call: %v", err, err)
				}
				continue
			}
			rec, err := b.Record()
			noError(t, err)
			if rec.NumRows() > 0 {
				_ = rec.Column(0).String() // a forged column must not panic
			}
			rec.Release()
			release()
		}
	})
}
