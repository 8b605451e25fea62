package shm

import (
	"strconv"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ParsePointer reads the region that a pointer batch, of kind [wire.KindSHM],
// stands for. A region that no segment can hold is a *SegmentError.
func ParsePointer(meta wire.Metadata) (Region, error) {
	offset, err := decimal(meta, wire.KeySHMOffset)
	if err != nil {
		return Region{}, err
	}
	length, err := decimal(meta, wire.KeySHMLength)
	if err != nil {
		return Region{}, err
	}
	r := Region{offset, length}
	switch {
	case r.Length == 0:
		return Region{}, segmentErrorf("pointer to no bytes")
	case r.Offset < HeaderBytes:
		return Region{}, segmentErrorf("pointer to byte %d, inside the header of %d", r.Offset, HeaderBytes)
	case r.end() < r.Offset:
		return Region{}, segmentErrorf("pointer to %d bytes at %d: too far", r.Length, r.Offset)
	}
	return r, nil
}

// decimal reads a number of bytes.
func decimal(meta wire.Metadata, key string) (int64, error) {
	text, ok := meta.Get(key)
	if !ok {
		return 0, segmentErrorf("pointer without %q", key)
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, segmentErrorf("%q is %.32q: want a number of bytes", key, text)
	}
	return int64(n), nil
}

// PointerBatch is the zero-row batch on schema that stands for a batch in region
// r, whose own metadata it carries.
func PointerBatch(schema *wire.Schema, r Region, meta wire.Metadata) wire.Batch {
	out := make(wire.Metadata, 0, len(meta)+2)
	out = append(out, meta.Without(pointerKey)...)
	out = append(out,
		wire.Pair{Key: wire.KeySHMOffset, Value: strconv.FormatInt(r.Offset, 10)},
		wire.Pair{Key: wire.KeySHMLength, Value: strconv.FormatInt(r.Length, 10)})
	return wire.EmptyBatch(schema, out)
}

func pointerKey(key string) bool { return key == wire.KeySHMOffset || key == wire.KeySHMLength }

// resolved is the metadata of what a pointer stood for: the pointer's, with the
// segment as its source in place of the region.
func resolved(meta wire.Metadata, source string) wire.Metadata {
	out := make(wire.Metadata, 0, len(meta))
	out = append(out, meta.Without(func(key string) bool { return pointerKey(key) || key == wire.KeySHMSource })...)
	return append(out, wire.Pair{Key: wire.KeySHMSource, Value: source})
}
