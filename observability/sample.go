package observability

import (
	"fmt"
	"math"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// sampler decides which calls are logged. The zero value keeps them all.
type sampler struct {
	some  bool
	rate  float64
	below uint64 // the hashes that are kept
}

func newSampler(rate float64) (sampler, error) {
	switch {
	case rate == 0 || rate == 1:
		return sampler{}, nil
	case rate < 0:
		return sampler{some: true}, nil
	case rate > 0 && rate < 1:
		return sampler{some: true, rate: rate, below: uint64(math.Ldexp(rate, 64))}, nil
	}
	return sampler{}, fmt.Errorf("access log: SampleRate is %v: want at most 1, for every call", rate)
}

// keep reports whether a call is logged, and the rate that its record carries,
// 0 for none. A call that failed is logged and stands for itself alone.
func (s *sampler) keep(call *vgirpc.Call, end *vgirpc.CallEnd) (rate float64, ok bool) {
	if !s.some || end.Err != nil {
		return 0, true
	}
	id := call.StreamID()
	if id == "" {
		id = call.RequestID()
	}
	return s.rate, hash(id) < s.below
}

// hash spreads identifiers evenly, however alike they are: FNV-1a, and the
// finalizer of splitmix64 because FNV leaves the high bits of short texts alone.
func hash(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
