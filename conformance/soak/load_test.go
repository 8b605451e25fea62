package soak

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

const (
	// patience is how long a caller on a connection that may break waits, and how
	// long one waits whose connection has no reason to.
	patience = 3 * time.Second
	calmly   = time.Minute
	// pause is how long a caller thinks, at most, before its next call.
	pause = 40 * time.Millisecond
	// poolSize is how many worker processes are killed and started again.
	poolSize = 6
)

// tally counts what happens.
type tally struct {
	mu       sync.Mutex
	calls    map[string]int // by kind
	ends     map[string]int // by how they ended
	dials    int
	victims  int
	problems []string
}

func newTally() *tally { return &tally{calls: map[string]int{}, ends: map[string]int{}} }

// problemf notes something that must not happen.
func (t *tally) problemf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.problems) < 20 {
		t.problems = append(t.problems, fmt.Sprintf(format, args...))
	}
}

// call counts a call and how it ended.
func (t *tally) call(kind string, err error) {
	end := "ok"
	if err != nil {
		end = string(vgirpc.CodeOf(err))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[kind]++
	t.ends[end]++
}

func (t *tally) count(n *int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*n++
}

// String is what happened, for the log.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections, %d clients killed\ncalls:", t.dials, t.victims)
	for _, m := range []map[string]int{t.calls, t.ends} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, " %s %d,", name, m[name])
		}
		b.WriteString("\nends:")
	}
	return strings.TrimSuffix(b.String(), ",\nends:")
}

// load is all callers of all sites.
type load struct {
	sites []*site
	seed  uint64
	// callers is how many there are for each kind of site, and for the pool of
	// processes under "pool".
	callers map[string]int
	tally   *tally
}

// source is a source of random choices that nobody else has.
func (l *load) source(phase, who uint64) *rand.Rand {
	return rand.New(rand.NewPCG(l.seed, phase<<32|who))
}

// run calls until ctx ends, and returns when nothing is left of it. phase tells
// this run from others of the same seed.
func (l *load) run(ctx context.Context, phase uint64) error {
	fetch, err := external.New(external.Options{AllowedOrigins: []string{loopback}})
	if err != nil {
		return err
	}
	herd, err := newHerd(l.source(phase, 0), poolSize)
	if err != nil {
		return errors.Join(err, fetch.Close())
	}
	var wg sync.WaitGroup
	who := uint64(1)
	for _, s := range l.sites {
		for i := range l.callers[s.kind] {
			a := &actor{site: s, fetch: fetch, rand: l.source(phase, who), tally: l.tally}
			// The first quarter has connections that last as long as the load.
			a.calm = i < (l.callers[s.kind]+3)/4
			who++
			wg.Go(func() { a.run(ctx) })
		}
	}
	for range l.callers["pool"] {
		c := &caller{client: vgirpc.NewClientOn(herd, vgirpc.ClientOptions{}), rand: l.source(phase, who), hasty: true, close: func() error { return nil }}
		who++
		a := &actor{site: &site{name: "pool", kind: "pool"}, pooled: c, rand: c.rand, tally: l.tally}
		wg.Go(func() { a.run(ctx) })
	}
	if l.callers["pool"] > 0 {
		wg.Go(func() { l.kill(ctx, herd) })
	}
	random := l.source(phase, who)
	wg.Go(func() { l.victims(ctx, random) })
	wg.Wait()
	_ = herd.Close() // with the errors of those that were killed
	return fetch.Close()
}

// kill kills a worker process every two seconds.
func (l *load) kill(ctx context.Context, h *herd) {
	for wait(ctx, 2*time.Second) {
		if err := h.kill(); err != nil {
			l.tally.problemf("killing a worker: %v", err)
		}
	}
}

// victims starts a client process on one site after the other, and kills it in the
// middle of its calls.
func (l *load) victims(ctx context.Context, r *rand.Rand) {
	var sites []*site
	for _, s := range l.sites {
		if s.kind != "stdio" {
			sites = append(sites, s)
		}
	}
	for i := 0; len(sites) > 0 && wait(ctx, time.Second); i++ {
		s := sites[i%len(sites)]
		cmd := exec.Command(os.Args[0], s.kind, s.address, strconv.FormatUint(r.Uint64(), 10), s.authority)
		cmd.Env = environment(roleVictim)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			l.tally.problemf("starting a client: %v", err)
			return
		}
		wait(ctx, 100*time.Millisecond+time.Duration(r.Int64N(int64(2*time.Second))))
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); !strings.Contains(fmt.Sprint(err), "killed") {
			l.tally.problemf("%s: a client that was to be killed ended by itself: %v", s.name, err)
		}
		l.tally.count(&l.tally.victims)
		if s.kind != "shm" {
			continue
		}
		// As a program does when it starts.
		if _, err := shm.RemoveStale(); err != nil {
			l.tally.problemf("removing the segments of killed clients: %v", err)
		}
	}
}

// suffer is a client that calls until it is killed.
func suffer(args []string) int {
	s := &site{name: args[0], kind: args[0], address: args[1]}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err == nil && args[3] != "" {
		var authority []byte
		authority, err = os.ReadFile(args[3])
		s.trust = x509.NewCertPool()
		s.trust.AppendCertsFromPEM(authority)
	}
	fetch, err1 := external.New(external.Options{AllowedOrigins: []string{loopback}})
	if err := errors.Join(err, err1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l := &load{seed: seed}
	var wg sync.WaitGroup
	for i := range uint64(2) {
		a := &actor{site: s, fetch: fetch, rand: l.source(0, i), tally: newTally()}
		wg.Go(func() { a.run(context.Background()) })
	}
	wg.Wait()
	return 0
}

// wait waits, and reports whether ctx has not ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// An actor makes one call after the other.
type actor struct {
	site   *site
	fetch  vgirpc.Offload
	calm   bool    // on one connection without faults
	pooled *caller // the caller to use, nil to connect
	rand   *rand.Rand
	tally  *tally
}

// run connects and calls, and connects again, until ctx ends.
func (a *actor) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !a.calm && a.pooled == nil && a.site.kind != "http" && a.rand.IntN(60) == 0 {
			if err := a.site.stall(ctx, a.rand); err != nil && ctx.Err() == nil {
				a.tally.problemf("%v", err)
			}
			continue
		}
		c, err := a.connect(ctx)
		if err != nil {
			if ctx.Err() == nil {
				a.tally.problemf("%s: connecting: %v", a.site.name, err)
				wait(ctx, time.Second)
			}
			continue
		}
		a.tally.count(&a.tally.dials)
		left := 1 + a.rand.IntN(60)
		for a.call(ctx, c) {
			if left--; left == 0 && !a.calm {
				break
			}
		}
		_ = c.close() // of a connection that may be broken
	}
}

func (a *actor) connect(ctx context.Context) (*caller, error) {
	switch {
	case a.pooled != nil:
		return a.pooled, nil
	case a.site.client != nil:
		return &caller{client: a.site.client, rand: a.rand, close: func() error { return nil }}, nil
	case a.calm:
		return a.site.dial(ctx, a.rand, a.fetch, nil)
	}
	var faults []vgitest.Fault
	var spoilt bool
	faults, spoilt = misfortune(a.rand)
	c, err := a.site.dial(ctx, a.rand, a.fetch, faults)
	if err == nil {
		c.spoilt, c.hasty = spoilt, true
	}
	return c, err
}

// kinds are all kinds of calls, as often as they are to be made.
var kinds = func() (all []call) {
	for _, c := range calls() {
		for range c.weight {
			all = append(all, c)
		}
	}
	return all
}()

// call makes one call, and reports whether there can be another on the same
// connection.
func (a *actor) call(ctx context.Context, c *caller) bool {
	if !wait(ctx, time.Duration(a.rand.Int64N(int64(pause)))) {
		return false
	}
	kind := kinds[a.rand.IntN(len(kinds))]
	limit := patience
	if a.calm {
		limit = calmly
	}
	// A caller that is calm ends its last call.
	base := ctx
	if a.calm {
		base = context.WithoutCancel(ctx)
	}
	bounded, cancel := context.WithTimeout(base, limit)
	defer cancel()
	err := kind.run(bounded, c)
	a.tally.call(kind.name, err)
	return a.judge(kind, c, err)
}

// judge says whether a call may end in such a way.
func (a *actor) judge(kind call, c *caller, err error) bool {
	var w wrong
	var typed *vgirpc.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &w) && !c.spoilt:
		a.tally.problemf("%s: %s, faults %v: %s", a.site.name, kind.name, c.faults, w.what)
		return false
	case a.calm:
		a.tally.problemf("%s: %s on a connection without faults: %v", a.site.name, kind.name, err)
		return false
	case errors.As(err, &w):
		return false
	case !errors.As(err, &typed) || !typed.Code.Valid():
		a.tally.problemf("%s: %s: an error without a code: %v", a.site.name, kind.name, err)
		return false
	}
	return vgirpc.IsRemote(err) || a.pooled != nil
}
