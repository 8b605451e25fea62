package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
)

// Mode is what a [Gate] does with a proof (section 7).
type Mode string

// The modes.
const (
	// Off looks at nothing: the service is as if it had no gate.
	Off Mode = "off"
	// Allow verifies and records, and lets every request pass.
	Allow Mode = "allow"
	// Require refuses a request without a valid proof.
	Require Mode = "require"
)

// ParseMode reads a mode as it stands in configuration; "" is [Off].
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Off, nil
	case Off, Allow, Require:
		return m, nil
	}
	return "", fmt.Errorf("proof: mode %q is none of off, allow and require", s)
}

// Outcome is what verifying a request's proof came to (section 6). It is for
// counters and logs on this side, and never for the caller.
type Outcome string

// The outcomes, in the order in which they are looked for; the last is success.
const (
	NoProof     Outcome = "no_proof"
	Malformed   Outcome = "malformed"
	UnknownKID  Outcome = "unknown_kid"
	Expired     Outcome = "expired"
	NotYetValid Outcome = "not_yet_valid"
	BadMAC      Outcome = "bad_mac"
	Replayed    Outcome = "replayed"
	OK          Outcome = "ok"
)

// outcomeError is an outcome as the cause of a failure.
type outcomeError struct{ outcome Outcome }

func (e *outcomeError) Error() string { return "proxy proof: " + string(e.outcome) }

// ClaimKey is the claim under which a proof is recorded (section 9).
const ClaimKey = "vgi_proxy_proof"

// detail is all that a refused caller is told.
const detail = "proxy proof required"

const (
	defaultSkew     = 30 * time.Second
	maxSkew         = time.Hour
	defaultCapacity = 100_000
)

// Options configure [New]. Only Mode is looked at when it is [Off].
type Options struct {
	Mode Mode // [Off] when empty
	// OriginID is the service's own name, which proofs are minted for and which
	// never travels: 1 to 255 of A-Z, a-z, 0-9 and "._:/-".
	OriginID string
	Keys     []Key // at least one; see [ParseKeys]
	// Skew is how far a proof's timestamp may be from the clock, either way:
	// whole seconds, at most an hour; 30 s when zero.
	Skew time.Duration
	// ReplayCapacity is how many nonces are remembered at most; 100,000 when
	// zero. It should be the requests that come in a skew, with a margin: beyond
	// it the oldest is forgotten early, and Evicted of [Stats] counts that.
	ReplayCapacity int
	// NoReplayCache lets a proof be used again until it expires.
	NoReplayCache bool
	// Logger hears, at level debug, why a proof failed; nobody does when nil.
	Logger *slog.Logger
}

// Gate verifies the proofs of requests. It is an [auth.Gate]; [Gate.Guard] puts
// it in front of an authenticator.
type Gate struct {
	mode    Mode
	origin  string
	keys    map[string]*macer
	skew    int64    // seconds
	replays *replays // nil without a cache
	logger  *slog.Logger
	counts  [len(outcomes)]atomic.Uint64
}

// outcomes orders the counters.
var outcomes = [...]Outcome{NoProof, Malformed, UnknownKID, Expired, NotYetValid, BadMAC, Replayed, OK}

// New returns a gate. In modes [Allow] and [Require] it is an error when there
// is no key, no origin id, or anything is out of its form: a service must not
// start as something weaker than was configured (section 5.3).
func New(opts Options) (*Gate, error) {
	mode, err := ParseMode(string(opts.Mode))
	if err != nil {
		return nil, err
	}
	g := &Gate{mode: mode, origin: opts.OriginID, logger: opts.Logger, keys: map[string]*macer{}}
	if mode == Off {
		return g, nil
	}
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	if !validOrigin(opts.OriginID) {
		return nil, fmt.Errorf("proof: mode %s needs an origin id, and %q is none: %w", mode, opts.OriginID, errOriginForm)
	}
	if err := g.takeKeys(opts.Keys); err != nil {
		return nil, err
	}
	if err := g.takeWindow(opts); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Gate) takeKeys(keys []Key) error {
	if len(keys) == 0 {
		return fmt.Errorf("proof: mode %s needs at least one key", g.mode)
	}
	for _, k := range keys {
		if err := k.check(); err != nil {
			return fmt.Errorf("proof: %w", err)
		}
		if g.keys[k.ID] != nil {
			return fmt.Errorf("proof: the key id %q appears twice", k.ID)
		}
		if k.Secret == ([32]byte{}) {
			return fmt.Errorf("proof: the secret of %q is all zeros", k.ID)
		}
		if k.Label == "" {
			k.Label = k.ID
		}
		g.keys[k.ID] = newMacer(k, g.origin)
	}
	return nil
}

func (g *Gate) takeWindow(opts Options) error {
	if opts.Skew == 0 {
		opts.Skew = defaultSkew
	}
	if opts.Skew < time.Second || opts.Skew > maxSkew || opts.Skew%time.Second != 0 {
		return fmt.Errorf("proof: a skew of %s is not whole seconds from 1 s to %s", opts.Skew, maxSkew)
	}
	g.skew = int64(opts.Skew / time.Second)
	if opts.ReplayCapacity == 0 {
		opts.ReplayCapacity = defaultCapacity
	}
	if opts.ReplayCapacity < 0 {
		return fmt.Errorf("proof: a replay cache cannot hold %d nonces", opts.ReplayCapacity)
	}
	if !opts.NoReplayCache {
		g.replays = newReplays(g.skew, opts.ReplayCapacity)
	}
	return nil
}

// Guard puts the gate in front of inner, which may be nil, as [auth.All] does.
// In mode [Off] it returns inner itself: nothing is installed.
func (g *Gate) Guard(inner auth.Authenticator) (auth.Authenticator, error) {
	if g.mode == Off {
		return inner, nil
	}
	return auth.All(g, inner)
}

// Required reports whether the gate refuses requests, which the service then
// advertises with [RequiredHeader].
func (g *Gate) Required() bool { return g.mode == Require }

// ClaimKey is [ClaimKey].
func (g *Gate) ClaimKey() string { return ClaimKey }

// ProxyHeaders is [Header] in mode [Require]. In the others a missing proof
// refuses nobody, and a note about proxies would mislead.
func (g *Gate) ProxyHeaders() []string {
	if g.mode != Require {
		return nil
	}
	return []string{Header}
}

// Admit verifies a request's proof and returns what there is to record of it:
// "verified", "proxy" (the label of the key that verified, and only then),
// "kid" as claimed, "origin_id" and "reason" (section 9). In mode [Require] it
// refuses with [auth.ProxyRequired] and the same words whatever was wrong;
// [OutcomeOf] the failure says what it was.
func (g *Gate) Admit(r *http.Request) (map[string]string, error) {
	if g.mode == Off {
		return nil, nil //nolint:nilnil // the gate has nothing to say and no objection
	}
	c, key, outcome := g.verify(r.Header[canonicalHeader], time.Now().Unix())
	g.counts[slices.Index(outcomes[:], outcome)].Add(1)
	if outcome != OK {
		g.log(r.Context(), outcome, c)
		if g.mode == Require {
			return nil, &auth.Failure{Reason: auth.ProxyRequired, Detail: detail, Err: &outcomeError{outcome}, Final: true}
		}
	}
	claims := map[string]string{
		"verified": "false", "kid": c.kid, "origin_id": g.origin, "reason": string(outcome),
	}
	if outcome == OK {
		claims["verified"], claims["proxy"] = "true", key.Label
	}
	return claims, nil
}

// log says what failed. A key id is a claim, of a charset that a log can bear.
func (g *Gate) log(ctx context.Context, outcome Outcome, c claimed) {
	if g.logger.Enabled(ctx, slog.LevelDebug) {
		g.logger.LogAttrs(ctx, slog.LevelDebug, "proxy proof failed",
			slog.String("reason", string(outcome)), slog.String("claimed_kid", c.kid))
	}
}

// verify takes the steps of section 6 in their order. The claimed fields are
// returned as soon as they are of the right form.
func (g *Gate) verify(values []string, now int64) (claimed, *Key, Outcome) {
	if len(values) == 0 {
		return claimed{}, nil, NoProof
	}
	if len(values) > 1 {
		return claimed{}, nil, Malformed
	}
	c, ok := parse(values[0])
	if !ok {
		return claimed{}, nil, Malformed
	}
	m := g.keys[c.kid]
	if m == nil {
		return c, nil, UnknownKID
	}
	ts := unixSeconds(c.ts)
	switch {
	case now-ts > g.skew:
		return c, nil, Expired
	case ts-now > g.skew:
		return c, nil, NotYetValid
	case !m.verify(c):
		return c, nil, BadMAC
	case g.replays != nil && !g.replays.first(c.nonce, now, ts):
		return c, nil, Replayed
	}
	return c, &m.key, OK
}

// Stats counts what a gate has seen since it was made.
type Stats struct {
	Outcomes   map[Outcome]uint64 // only those that occurred
	Remembered int                // nonces in the replay cache
	Evicted    uint64             // nonces forgotten early because the cache was full
}

// Verified is the number of requests whose proof was valid.
func (s Stats) Verified() uint64 { return s.Outcomes[OK] }

// Unverified is the number of requests without a valid proof. When it stays zero
// in mode [Allow], the service is ready for [Require].
func (s Stats) Unverified() uint64 {
	var n uint64
	for outcome, count := range s.Outcomes {
		if outcome != OK {
			n += count
		}
	}
	return n
}

// Stats returns the counters as they are now.
func (g *Gate) Stats() Stats {
	s := Stats{Outcomes: map[Outcome]uint64{}}
	for i, outcome := range outcomes {
		if n := g.counts[i].Load(); n > 0 {
			s.Outcomes[outcome] = n
		}
	}
	if g.replays != nil {
		s.Remembered, s.Evicted = g.replays.counts()
	}
	return s
}

// OutcomeOf is the outcome that a gate's refusal was caused by, for logs; it
// reports false for any other error.
func OutcomeOf(err error) (Outcome, bool) {
	e, ok := errors.AsType[*outcomeError](err)
	if !ok {
		return "", false
	}
	return e.outcome, true
}
