package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/bucket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Rate is how often something may happen.
type Rate struct {
	// Events may happen in each Per, evenly spread; more than 0.
	Events float64
	// Per is the time for Events; a second when 0.
	Per time.Duration
	// Burst is how many may happen at once, after a pause. Events, rounded up,
	// when 0.
	Burst int
}

// ParseRate reads a rate as flags have it: N[/s|/m|/h][:BURST], as in "10",
// "10/s", "600/m:50" or "0.5/s:1".
func ParseRate(text string) (Rate, error) {
	wrong := func() (Rate, error) {
		return Rate{}, fmt.Errorf("rate %.64q: want N, N/s, N/m or N/h, and perhaps :BURST after it, as in 10/s:50", text)
	}
	events, burst, hasBurst := strings.Cut(text, ":")
	events, unit, hasUnit := strings.Cut(events, "/")
	r := Rate{Per: time.Second}
	if hasUnit {
		switch unit {
		case "s":
		case "m":
			r.Per = time.Minute
		case "h":
			r.Per = time.Hour
		default:
			return wrong()
		}
	}
	var err error
	if r.Events, err = strconv.ParseFloat(events, 64); err != nil {
		return wrong()
	}
	if hasBurst {
		if r.Burst, err = strconv.Atoi(burst); err != nil || r.Burst < 1 {
			return wrong()
		}
	}
	if err := r.validate(); err != nil {
		return Rate{}, fmt.Errorf("rate %.64q: %w", text, err)
	}
	return r.complete(), nil
}

// maxBurst is the largest burst.
const maxBurst = 1e9

func (r Rate) validate() error {
	switch {
	case math.IsNaN(r.Events) || r.Events <= 0 || r.Events > maxBurst:
		return fmt.Errorf("%v events: want more than 0, and at most %g", r.Events, maxBurst)
	case r.Per < 0:
		return fmt.Errorf("%v: want a positive time, or 0 for a second", r.Per)
	case r.Burst < 0 || r.Burst > maxBurst:
		return fmt.Errorf("a burst of %d: want at least 1, or 0 for the number of events", r.Burst)
	}
	return nil
}

func (r Rate) complete() Rate {
	if r.Per == 0 {
		r.Per = time.Second
	}
	if r.Burst == 0 {
		r.Burst = int(math.Ceil(r.Events))
	}
	return r
}

// String is the rate as ParseRate reads it, when Per is a second, a minute or an
// hour.
func (r Rate) String() string {
	r = r.complete()
	unit, ok := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	if !ok {
		unit = r.Per.String()
	}
	return strconv.FormatFloat(r.Events, 'f', -1, 64) + "/" + unit + ":" + strconv.Itoa(r.Burst)
}

// Options configure [NewAddresses] and [NewPrincipals].
type Options struct {
	// Rate is that of each key.
	Rate Rate
	// MaxKeys is how many keys are told apart at once. 65,536 when 0; each takes
	// about 200 bytes.
	MaxKeys int
	// FailureCost is what a failed authentication costs an address on top: as
	// many requests. 10 when 0; negative for nothing. Principals have no use
	// for it.
	FailureCost int
}

const (
	defaultMaxKeys     = 65536
	defaultFailureCost = 10
)

// complete returns the options with their defaults, or names the one that makes
// no sense.
func (o Options) complete() (Options, error) {
	if o.MaxKeys < 0 {
		return o, fmt.Errorf("ratelimit: option MaxKeys is %d: want at least 1, or 0 for %d", o.MaxKeys, defaultMaxKeys)
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = defaultMaxKeys
	}
	if o.FailureCost == 0 {
		o.FailureCost = defaultFailureCost
	}
	o.FailureCost = max(o.FailureCost, 0)
	if err := o.Rate.validate(); err != nil {
		return o, fmt.Errorf("ratelimit: option Rate: %w", err)
	}
	o.Rate = o.Rate.complete()
	return o, nil
}

// newTable makes the buckets of options that are complete.
func newTable[K comparable](o Options) (*bucket.Table[K], error) {
	t, err := bucket.New[K](bucket.Per(o.Rate.Events, o.Rate.Per, o.Rate.Burst), o.MaxKeys)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: option Rate %v: %w", o.Rate, err)
	}
	return t, nil
}

// errorType is the type of the error on the wire.
const errorType = "RateLimitError"

// tooMany is the error of who has to wait.
func tooMany(what string, rate Rate, wait time.Duration) *vgirpc.Error {
	seconds := math.Ceil(wait.Seconds()*1000) / 1000
	return &vgirpc.Error{
		Code: vgirpc.ResourceExhausted, Type: errorType,
		Message: fmt.Sprintf("too many %s: %v are served; try again in %v s", what, rate, seconds),
		Details: []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: seconds}},
	}
}

// errHurry is why a connection is closed without a word.
var errHurry = errors.New("ratelimit: the address goes on connecting: it is not even told")
