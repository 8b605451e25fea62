package latency

import (
	"math/bits"
	"time"
)

// Each power of two has so many buckets.
const (
	subBits = 4
	sub     = 1 << subBits
)

// Histogram counts durations. The zero value is empty. It is not safe for
// concurrent use: every goroutine has its own, and they are added up at the end.
type Histogram struct {
	counts [64 * sub]int64
	total  int64
	sum    time.Duration
	low    time.Duration
	high   time.Duration
}

// Record counts d; a negative one as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(0, d)
	h.counts[bucket(d)]++
	if h.total == 0 || d < h.low {
		h.low = d
	}
	h.high = max(h.high, d)
	h.total++
	h.sum += d
}

// bucket is the index of the bucket of d: small values have one each.
func bucket(d time.Duration) int {
	v := uint64(d)
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - sub
}

// upper is the greatest duration of a bucket.
func upper(i int) time.Duration {
	if i < sub {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	return time.Duration((uint64(i&(sub-1))+sub+1)<<shift - 1)
}

// Add counts what other has counted.
func (h *Histogram) Add(other *Histogram) {
	if other.total == 0 {
		return
	}
	if h.total == 0 || other.low < h.low {
		h.low = other.low
	}
	h.high = max(h.high, other.high)
	h.total += other.total
	h.sum += other.sum
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// Count is how many durations were counted.
func (h *Histogram) Count() int64 { return h.total }

// Min is the least duration that was counted, 0 of none.
func (h *Histogram) Min() time.Duration { return h.low }

// Max is the greatest duration that was counted.
func (h *Histogram) Max() time.Duration { return h.high }

// Mean is the mean of what was counted, 0 of nothing.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return h.sum / time.Duration(h.total)
}

// Quantile is a duration that the share q of those counted, 0 to 1, does not
// exceed: the upper end of its bucket, and never more than Max.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := max(1, int64(q*float64(h.total)+0.999999))
	var seen int64
	for i, n := range h.counts {
		if seen += n; seen >= want {
			return min(upper(i), h.high)
		}
	}
	return h.high
}

// Bar is a range of durations with how many were in it.
type Bar struct {
	UpTo  time.Duration `json:"up_to_ns"`
	Count int64         `json:"count"`
}

// Bars sums the buckets up by powers of two, from that of the least duration to
// that of the greatest.
func (h *Histogram) Bars() []Bar {
	if h.total == 0 {
		return nil
	}
	var bars []Bar
	first, last := bucket(h.low)/sub, bucket(h.high)/sub
	for power := first; power <= last; power++ {
		bar := Bar{UpTo: upper(power*sub + sub - 1)}
		for _, n := range h.counts[power*sub : power*sub+sub] {
			bar.Count += n
		}
		bars = append(bars, bar)
	}
	return bars
}
