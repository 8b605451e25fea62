package balance

import (
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Latencies are compared as if they were at least latencyFloor, below which they
// are noise, and at most latencyFactor times as long as the other.
const (
	latencyFloor  = time.Millisecond
	latencyFactor = 4
)

// An endpoint is one server. The set's mutex guards what changes.
type endpoint struct {
	url    *url.URL
	name   string // the URL, for people
	host   string // of the Host header
	health *http.Request

	inFlight int
	latency  float64   // seconds, as it was when it was last seen; 0: not known
	seen     time.Time // of the last measurement

	failures int // in a row
	out      bool
	resting  bool          // out because it asked for it
	probing  bool          // somebody asks for its health
	until    time.Time     // until when it is not fit
	back     time.Time     // of the last return
	spell    time.Duration // of the last ejection, before jitter

	requests, failed, ejections uint64
}

// measured takes a latency into the average: one above it replaces it, one below
// pulls it down by as much as the time since the last one allows.
func (e *endpoint) measured(now time.Time, latency, window time.Duration) {
	s := latency.Seconds()
	if s < e.latency {
		keep := math.Exp(-now.Sub(e.seen).Seconds() / window.Seconds())
		s = e.latency*keep + s*(1-keep)
	}
	e.latency, e.seen = s, now
}

// expected is the latency to be expected now: what was measured long ago is
// believed less, so that a slow endpoint is tried again.
func (e *endpoint) expected(now time.Time, window time.Duration) float64 {
	if e.latency == 0 {
		return 0
	}
	return e.latency * math.Exp(-now.Sub(e.seen).Seconds()/window.Seconds())
}

// fit reports whether the endpoint may be used: one that is not, and is not out
// because others are, is taken last.
func (e *endpoint) fit(now time.Time) bool { return !now.Before(e.until) }

// set is the endpoints and what is known of them.
type set struct {
	all  []*endpoint
	live []*endpoint // those that are not out, at least one
	opts *Options
	max  int       // how many may be out
	due  time.Time // when the first of those that are out may be back
	said []event   // for the log, which is written without the mutex
}

// event is a line for the log.
type event struct {
	text string
	of   *endpoint
	wait time.Duration
}

// better returns the one of two endpoints that should be used: the one that is
// fit, or else the one with less to do.
func (s *set) better(a, b *endpoint, now time.Time) *endpoint {
	if fit := a.fit(now); fit != b.fit(now) {
		if fit {
			return a
		}
		return b
	}
	window := s.opts.LatencyWindow
	la, lb := a.expected(now, window), b.expected(now, window)
	if la == 0 || lb == 0 {
		la, lb = 1, 1 // nothing to compare
	}
	floor := latencyFloor.Seconds()
	la, lb = max(la, floor), max(lb, floor)
	la, lb = min(la, latencyFactor*lb), min(lb, latencyFactor*la)
	if float64(a.inFlight+1)*la <= float64(b.inFlight+1)*lb {
		return a
	}
	return b
}

// pick returns the endpoint for a request. Where some were tried it returns
// another one, the ejected ones last, and nil when all were.
func (s *set) pick(now time.Time, tried []*endpoint) *endpoint {
	from := s.live
	if len(tried) > 0 {
		fresh := func(in []*endpoint) []*endpoint {
			return slices.DeleteFunc(slices.Clone(in), func(e *endpoint) bool { return slices.Contains(tried, e) })
		}
		if from = fresh(s.live); len(from) == 0 {
			if from = fresh(s.all); len(from) == 0 {
				return nil
			}
			return slices.MinFunc(from, func(a, b *endpoint) int { return a.until.Compare(b.until) })
		}
	}
	if len(from) == 1 {
		return from[0]
	}
	i, j := rand.IntN(len(from)), rand.IntN(len(from)-1) //nolint:gosec // a draw is no secret
	if j >= i {
		j++
	}
	return s.better(from[i], from[j], now)
}

// outcome is what a request says of its endpoint.
type outcome int

const (
	unknown outcome = iota // the caller left
	good
	bad
)

// record takes the outcome of a request, and how long its response asked to be
// left alone.
func (s *set) record(e *endpoint, now time.Time, o outcome, wait time.Duration) {
	wait = min(wait, s.opts.MaxEjectFor)
	switch o {
	case good:
		e.failures = 0
		if !e.out {
			e.until = time.Time{}
		}
		if wait > 0 {
			s.rest(e, now, wait)
		}
	case bad:
		e.failed++
		e.failures++
		if e.out {
			s.extend(e, now.Add(wait))
		} else if wait > 0 || e.failures >= s.opts.Failures {
			s.eject(e, now, wait)
		}
	case unknown:
	}
}

// eject takes e out, for wait at least. If that would leave too few, e stays and
// is taken last for as long.
func (s *set) eject(e *endpoint, now time.Time, wait time.Duration) {
	room := s.spare(now)
	if e.fit(now) {
		if e.spell == 0 || now.Sub(e.back) > s.opts.MaxEjectFor {
			e.spell = s.opts.EjectFor // it did well for long
		} else {
			e.spell = min(2*e.spell, s.opts.MaxEjectFor)
		}
		e.until = now.Add(max(spread(e.spell), late(wait)))
		e.back = e.until
	}
	if room {
		s.takeOut(e, "an endpoint is ejected", now)
	}
}

// rest puts e aside for as long as it asked. If that would leave too few, e
// stays and is taken last for as long.
func (s *set) rest(e *endpoint, now time.Time, wait time.Duration) {
	switch until := now.Add(late(wait)); {
	case e.out:
		s.extend(e, until)
	case !s.spare(now):
		e.until = until
	default:
		e.until, e.resting = until, true
		s.takeOut(e, "an endpoint asked to be left alone", now)
	}
}

// extend keeps an endpoint that is out until then.
func (s *set) extend(e *endpoint, until time.Time) {
	if until.After(e.until) {
		e.until = until
		s.reckon()
	}
}

// spread is d, a quarter more or less, so that clients do not come back
// together.
func spread(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}

// late is d or up to a quarter more, for the same reason.
func late(d time.Duration) time.Duration {
	return d + rand.N(d/4+1) //nolint:gosec // jitter is no secret
}

// spare reports whether one more endpoint may be taken out. Where none may and
// one that stays is failing, those that are ejected are asked again soon.
func (s *set) spare(now time.Time) bool {
	if len(s.all)-len(s.live) < s.max {
		return true
	}
	soon := now.Add(s.opts.EjectFor)
	for _, e := range s.all {
		if e.out && !e.resting && e.until.After(soon) {
			e.until = soon
		}
	}
	s.reckon()
	return false
}

func (s *set) takeOut(e *endpoint, text string, now time.Time) {
	s.said = append(s.said, event{text, e, e.until.Sub(now)})
	e.out = true
	e.ejections++
	s.live = slices.DeleteFunc(s.live, func(l *endpoint) bool { return l == e })
	s.reckon()
}

// reckon finds out when the first endpoint may be back.
func (s *set) reckon() {
	s.due = time.Time{}
	for _, e := range s.all {
		if e.out && !e.probing && (s.due.IsZero() || e.until.Before(s.due)) {
			s.due = e.until
		}
	}
}

// claim returns an endpoint whose ejection is over, for the caller to ask for
// its health, or nil. Those that asked for a rest come back by themselves.
func (s *set) claim(now time.Time) *endpoint {
	if s.due.IsZero() || now.Before(s.due) {
		return nil
	}
	var claimed *endpoint
	for _, e := range s.all {
		switch {
		case !e.out || e.probing || now.Before(e.until):
		case e.resting:
			s.readmit(e, now)
		case claimed == nil:
			claimed, e.probing = e, true
		}
	}
	s.reckon()
	return claimed
}

// probed takes the outcome of the probe of a claimed endpoint.
func (s *set) probed(e *endpoint, now time.Time, o outcome) {
	e.probing = false
	switch o {
	case good:
		s.readmit(e, now)
	case bad:
		e.spell = min(2*e.spell, s.opts.MaxEjectFor)
		e.until = now.Add(spread(e.spell))
	case unknown: // the next request asks
	}
	s.reckon()
}

// readmit takes an endpoint back in. How fast it was is forgotten, how well it
// was is not: where it was ejected for failing, one more failure ejects it.
func (s *set) readmit(e *endpoint, now time.Time) {
	if !e.resting {
		e.failures = s.opts.Failures - 1
	}
	e.failures = min(e.failures, s.opts.Failures-1)
	e.out, e.resting, e.until, e.back, e.latency = false, false, time.Time{}, now, 0
	s.live = append(s.live, e)
	s.said = append(s.said, event{"an endpoint is back", e, 0})
}
