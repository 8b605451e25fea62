package shm

import (
	"encoding/binary"
	"slices"
)

// The layout of a segment (WIRE_PROTOCOL section 11). All integers are
// little-endian.
const (
	// HeaderBytes is where the data begins.
	HeaderBytes = 65536
	// MaxAllocations is how many regions the table holds.
	MaxAllocations = (HeaderBytes - fixedBytes) / entryBytes

	version    = 1
	fixedBytes = 24 // magic, version, size of the data, number of regions, padding
	entryBytes = 16 // offset, length
	countAt    = 16

	// alignment of our own regions, in bytes, so that the values of a batch lie
	// on their natural boundaries. Regions of others may begin anywhere.
	alignment = 64
)

const magic = "VGIS"

// A Region is one allocation: offset and length in bytes, from the start of the
// segment.
type Region struct {
	Offset, Length int64
}

func (r Region) end() int64 { return r.Offset + r.Length }

// header is the fixed part of the header of a segment of size bytes.
func header(size int64, regions int) []byte {
	dst := append(make([]byte, 0, fixedBytes), magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(size-HeaderBytes))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(regions))
	return binary.LittleEndian.AppendUint32(dst, 0)
}

func appendRegions(dst []byte, regions []Region) []byte {
	for _, r := range regions {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Offset))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Length))
	}
	return dst
}

// parseHeader checks the fixed part of the header of a segment of size bytes and
// returns the number of its regions. p is memory that nobody else can change.
func parseHeader(p []byte, size int64) (int, error) {
	if len(p) < fixedBytes || size <= HeaderBytes {
		return 0, segmentErrorf("%d bytes are no segment: the header alone has %d", size, HeaderBytes)
	}
	if string(p[:4]) != magic {
		return 0, segmentErrorf("the magic is % x, want %q", p[:4], magic)
	}
	if v := binary.LittleEndian.Uint32(p[4:]); v != version {
		return 0, segmentErrorf("version %d, want %d", v, version)
	}
	if data := binary.LittleEndian.Uint64(p[8:]); data != uint64(size-HeaderBytes) {
		return 0, segmentErrorf("the header tells of %d bytes of data, and there are %d", data, size-HeaderBytes)
	}
	n := binary.LittleEndian.Uint32(p[countAt:])
	if n > MaxAllocations {
		return 0, segmentErrorf("%d regions: the table holds %d", n, MaxAllocations)
	}
	return int(n), nil
}

// parseRegions appends the entries of a table to dst: in order, apart, and inside
// the data of a segment of size bytes.
func parseRegions(dst []Region, p []byte, size int64) ([]Region, error) {
	end := uint64(HeaderBytes)
	for i := 0; len(p) >= entryBytes; i, p = i+1, p[entryBytes:] {
		offset, length := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
		switch {
		case length == 0:
			return nil, segmentErrorf("region %d is empty", i)
		case offset < end:
			return nil, segmentErrorf("region %d at %d begins before %d, where the one before it ends", i, offset, end)
		case offset > uint64(size) || length > uint64(size)-offset:
			return nil, segmentErrorf("region %d, %d bytes at %d, ends outside the %d bytes of the segment", i, length, offset, size)
		}
		dst = append(dst, Region{int64(offset), int64(length)})
		end = offset + length
	}
	return dst, nil
}

// firstFit finds the first gap for need bytes: where the new region begins, and
// its index in the table.
func firstFit(regions []Region, size, need int64) (index int, offset int64, ok bool) {
	if need <= 0 || len(regions) >= MaxAllocations {
		return 0, 0, false
	}
	begin := int64(HeaderBytes)
	for i := 0; i <= len(regions); i++ {
		end := size
		if i < len(regions) {
			end = regions[i].Offset
		}
		if start := (begin + alignment - 1) &^ (alignment - 1); start < end && end-start >= need {
			return i, start, true
		}
		if i < len(regions) {
			begin = regions[i].end()
		}
	}
	return 0, 0, false
}

// widestGap finds the largest gap, and its index in the table.
func widestGap(regions []Region, size int64) (index int, gap Region, ok bool) {
	if len(regions) >= MaxAllocations {
		return 0, Region{}, false
	}
	begin := int64(HeaderBytes)
	for i := 0; i <= len(regions); i++ {
		end := size
		if i < len(regions) {
			end = regions[i].Offset
		}
		if start := (begin + alignment - 1) &^ (alignment - 1); end-start > gap.Length {
			index, gap = i, Region{start, end - start}
		}
		if i < len(regions) {
			begin = regions[i].end()
		}
	}
	return index, gap, gap.Length > 0
}

// find is the index of the region that begins at offset, -1 for none.
func find(regions []Region, offset int64) int {
	return slices.IndexFunc(regions, func(r Region) bool { return r.Offset == offset })
}
