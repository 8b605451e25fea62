package bucket_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/bucket"
)

func table(t *testing.T, rate bucket.Rate, keys int) *bucket.Table[int] {
	t.Helper()
	b, err := bucket.New[int](rate, keys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABucketHoldsItsBurstAndIsRefilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := table(t, bucket.Rate{Every: time.Second, Burst: 3}, 10)
		var got []time.Duration
		take := func(cost int) { got = append(got, b.Take(1, cost)) }
		take(1)
		take(2)
		take(1) // empty
		time.Sleep(400 * time.Millisecond)
		take(1)
		time.Sleep(600 * time.Millisecond)
		take(1)
		take(2)
		time.Sleep(time.Hour) // no more than full
		take(3)
		take(1)
		take(4) // never
		want := []time.Duration{0, 0, time.Second, 600 * time.Millisecond, 0, 2 * time.Second, 0, time.Second, 4 * time.Second}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if wait := b.Take(2, 3); wait != 0 {
			t.Errorf("another key has to wait for %v", wait)
		}
	})
}

func TestAChargeIsPaidWithWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := table(t, bucket.Rate{Every: time.Second, Burst: 3}, 10)
		b.Charge(1, 5)
		if wait := b.Take(1, 1); wait != 3*time.Second {
			t.Errorf("wait %v, want 3s", wait)
		}
		b.Charge(1, 1000)
		b.Charge(1, 1)
		if wait := b.Take(1, 1); wait != 4*time.Second {
			t.Errorf("wait %v: nobody waits for longer than for a bucket that lacks what it holds", wait)
		}
		time.Sleep(4 * time.Second)
		if wait := b.Take(1, 1); wait != 0 {
			t.Errorf("wait %v after that time", wait)
		}
	})
}

func TestFullBucketsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := table(t, bucket.Rate{Every: time.Second, Burst: 3}, 100)
		for key := range 50 {
			b.Take(key, 1)
		}
		if n := b.Len(); n != 50 {
			t.Errorf("%d keys, want 50", n)
		}
		time.Sleep(time.Second)
		for key := range 25 {
			b.Take(1000+key, 1)
		}
		if n := b.Len(); n != 25 {
			t.Errorf("%d keys, want the 25 whose buckets are not full", n)
		}
	})
}

func TestAFloodOfKeysDoesNotRefillAnEmptyBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 100
		b := table(t, bucket.Rate{Every: time.Second, Burst: 10}, keys)
		b.Take(-1, 10)
		for key := range 5 * keys { // a token of each
			b.Take(key, 1)
		}
		if n := b.Len(); n != keys {
			t.Errorf("%d keys, want %d", n, keys)
		}
		if wait := b.Take(-1, 1); wait != time.Second {
			t.Errorf("the empty bucket is refilled in %v, want 1s", wait)
		}
		if wait := b.Take(1_000_000, 1); wait != 0 {
			t.Errorf("a newcomer waits for %v", wait)
		}
		for key := range 100 * keys { // all of each
			b.Charge(key, 20)
		}
		if wait := b.Take(-1, 1); wait < time.Second {
			t.Errorf("the empty bucket is refilled in %v, want 1s or more", wait)
		}
		if n := b.Len(); n > keys {
			t.Errorf("%d keys, want no more than %d", n, keys)
		}
	})
}

// A table without a bound says who may at most be let in: what a bounded one
// lets in, it would let in as well.
func TestABoundedTableNeverGivesMoreThanAnUnboundedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := bucket.Rate{Every: time.Second, Burst: 4}
		for seed := range uint64(200) {
			random := rand.New(rand.NewPCG(seed, 1))
			bounded, unbounded := table(t, rate, 5), table(t, rate, 1000)
			let := 0
			for step := range 400 {
				key := random.IntN(3 + random.IntN(20))
				switch random.IntN(10) {
				case 0:
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
				case 1:
					cost := random.IntN(6)
					bounded.Charge(key, cost)
					unbounded.Charge(key, cost)
				default:
					cost := 1 + random.IntN(3)
					if bounded.Take(key, cost) != 0 {
						continue
					}
					let++
					if wait := unbounded.Take(key, cost); wait != 0 {
						t.Fatalf("seed %d, step %d: the bounded table let key %d take %d, %v too early", seed, step, key, cost, wait)
					}
				}
			}
			if let == 0 {
				t.Errorf("seed %d: nobody was let in", seed)
			}
		}
	})
}

func TestManyGoroutinesShareOneBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := table(t, bucket.Rate{Every: time.Minute, Burst: 100}, 100_000)
		var let atomic.Int64
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 100 {
					if b.Take(7, 1) == 0 {
						let.Add(1)
					}
					b.Take(1000+g*100+i, 1)
				}
			})
		}
		all.Wait()
		if n := let.Load(); n != 100 {
			t.Errorf("%d were let in, want 100", n)
		}
		if n := b.Len(); n != 801 {
			t.Errorf("%d keys, want 801", n)
		}
	})
}

func TestRatesThatMakeNoSenseAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		rate bucket.Rate
		keys int
	}{
		"no time":           {bucket.Rate{Burst: 1}, 1},
		"no burst":          {bucket.Rate{Every: 1}, 1},
		"a burst for years": {bucket.Rate{Every: time.Hour, Burst: 10_000}, 1},
		"no keys":           {bucket.Rate{Every: 1, Burst: 1}, 0},
		"no events":         {bucket.Per(0, time.Second, 1), 1},
		"negative events":   {bucket.Per(-1, time.Second, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := bucket.New[int](tt.rate, tt.keys); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if diff := cmp.Diff(bucket.Rate{Every: 400 * time.Millisecond, Burst: 7}, bucket.Per(150, time.Minute, 7)); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkTake(b *testing.B) {
	t, err := bucket.New[int](bucket.Rate{Every: time.Nanosecond, Burst: 1 << 30}, 1<<16)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t.Take(i&1023, 1)
	}
}
