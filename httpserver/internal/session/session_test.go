package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// counter is a state that counts how often it is closed.
type counter struct {
	n      int // guarded by the session's turn
	closes atomic.Int32
}

func (c *counter) Close() error {
	c.closes.Add(1)
	return nil
}

var (
	ada = &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "ada"}
	bob = &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "bob"}
)

func newRegistry(t *testing.T, o Options) *Registry {
	t.Helper()
	if o.ServerID == "" {
		o.ServerID = "server-1"
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begin begins a call that must be able to, with token unless that is empty.
func begin(t *testing.T, r *Registry, token string, who *vgirpc.Identity) *Call {
	t.Helper()
	c, err := r.Begin(t.Context(), token, token != "", true, who)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens a session in a call of its own and returns its token.
func open(t *testing.T, r *Registry, state any, ttl time.Duration, who *vgirpc.Identity) string {
	t.Helper()
	c := begin(t, r, "", who)
	if err := c.Open(state, ttl); err != nil {
		t.Fatal(err)
	}
	token, closed := c.Finish()
	if token == "" || closed {
		t.Fatalf("an opening call finished with token %q, closed %v", token, closed)
	}
	return token
}

// failure is what a client sees of an error.
type failure struct {
	Code       vgirpc.Code
	Kind, Type string
}

var isLost = failure{vgirpc.Aborted, vgirpc.KindSessionLost, "SessionLostError"}

func failureOf(err error) failure {
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok {
		return failure{}
	}
	return failure{e.Code, e.Kind, e.TypeName()}
}

func wantFailure(t *testing.T, what string, err error, want failure) {
	t.Helper()
	if diff := cmp.Diff(want, failureOf(err)); diff != "" {
		t.Errorf("%s: %v\n%s", what, err, diff)
	}
}

func wantLost(t *testing.T, r *Registry, token string, who *vgirpc.Identity) {
	t.Helper()
	c, err := r.Begin(t.Context(), token, true, true, who)
	if err == nil {
		c.Finish()
	}
	wantFailure(t, "beginning with a token of no session", err, isLost)
}

func TestACallResumesWhatAnotherOpened(t *testing.T) {
	r := newRegistry(t, Options{})
	state := &counter{n: 7}
	first := begin(t, r, "", ada)
	if first.State() != nil || first.ID() != "" || first.Action() != "none" {
		t.Errorf("before: %v, %q, %q", first.State(), first.ID(), first.Action())
	}
	if err := first.Open(state, 0); err != nil {
		t.Fatal(err)
	}
	name := first.ID()
	if first.State() != any(state) || len(name) != 24 || strings.Trim(name, "0123456789abcdef") != "" || first.Action() != "open" {
		t.Errorf("opened: %v, %q, %q", first.State(), name, first.Action())
	}
	token, closed := first.Finish()
	if closed || strings.ContainsAny(token, "+/= ") {
		t.Errorf("token %q, closed %v", token, closed)
	}
	for range 3 {
		c := begin(t, r, token, ada)
		if c.State() != any(state) || c.ID() != name || c.Action() != "resume" {
			t.Errorf("resumed: %v, %q, %q", c.State(), c.ID(), c.Action())
		}
		if token, closed := c.Finish(); token != "" || closed {
			t.Errorf("a resuming call finished with token %q, closed %v", token, closed)
		}
	}
	last := begin(t, r, token, ada)
	if err := errors.Join(last.Close(), last.Close()); err != nil {
		t.Error(err)
	}
	if last.State() != nil || last.ID() != name || last.Action() != "close" || r.Len() != 0 {
		t.Errorf("closed: %v, %q, %q, %d live", last.State(), last.ID(), last.Action(), r.Len())
	}
	if token, closed := last.Finish(); token != "" || !closed {
		t.Errorf("a closing call finished with token %q, closed %v", token, closed)
	}
	wantLost(t, r, token, ada)
	if n := state.closes.Load(); n != 1 {
		t.Errorf("the state was closed %d times", n)
	}
}

func TestACallMayCloseAndOpenAgain(t *testing.T) {
	r := newRegistry(t, Options{})
	a, b := &counter{n: 1}, &counter{n: 2}
	c := begin(t, r, open(t, r, a, 0, ada), ada)
	old := c.ID()
	if err := errors.Join(c.Close(), c.Open(b, 0)); err != nil {
		t.Fatal(err)
	}
	if c.State() != any(b) || c.ID() == old || c.Action() != "open" {
		t.Errorf("%v, %q, %q", c.State(), c.ID(), c.Action())
	}
	token, closed := c.Finish()
	if token == "" || !closed {
		t.Fatalf("token %q, closed %v", token, closed)
	}
	again := begin(t, r, token, ada)
	if again.State() != any(b) {
		t.Errorf("resumed %v", again.State())
	}
	again.Finish()
}

func TestACallThatClosesWhatItOpenedLeavesNoToken(t *testing.T) {
	r := newRegistry(t, Options{})
	c := begin(t, r, "", nil)
	if err := errors.Join(c.Close(), c.Open(new(counter), 0), c.Close()); err != nil {
		t.Fatal(err)
	}
	if token, closed := c.Finish(); token != "" || !closed {
		t.Errorf("token %q, closed %v", token, closed)
	}
}

func TestOpeningFailsWithWhatWentWrong(t *testing.T) {
	misused := failure{vgirpc.FailedPrecondition, "", "RuntimeError"}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, r *Registry) *Call
		ttl     time.Duration
		want    failure
		message string
		retry   float64 // seconds, where the client is told
	}{
		"the request does not accept sessions": {
			prepare: func(t *testing.T, r *Registry) *Call {
				t.Helper()
				c, err := r.Begin(t.Context(), "", false, false, nil)
				if err != nil {
					t.Fatal(err)
				}
				return c
			},
			want: misused, message: "VGI-Session-Accept",
		},
		"the call resumed one": {
			prepare: func(t *testing.T, r *Registry) *Call {
				t.Helper()
				return begin(t, r, open(t, r, nil, 0, nil), nil)
			},
			want: misused, message: "active",
		},
		"the call is over": {
			prepare: func(t *testing.T, r *Registry) *Call {
				t.Helper()
				c := begin(t, r, "", nil)
				c.Finish()
				return c
			},
			want: misused, message: "over",
		},
		"the lifetime is negative": {
			prepare: func(t *testing.T, r *Registry) *Call { t.Helper(); return begin(t, r, "", nil) },
			ttl:     -1, want: misused, message: "negative",
		},
		"the server is draining": {
			prepare: func(t *testing.T, r *Registry) *Call { t.Helper(); r.Drain(); return begin(t, r, "", nil) },
			want:    failure{vgirpc.Unavailable, vgirpc.KindServerDraining, "ServerDrainingError"}, message: "draining", retry: 1,
		},
		"there are too many": {
			prepare: func(t *testing.T, r *Registry) *Call {
				t.Helper()
				for range 3 {
					open(t, r, nil, 0, ada)
				}
				return begin(t, r, "", nil)
			},
			want: failure{vgirpc.ResourceExhausted, "", "SessionLimitError"}, message: "3 sticky sessions", retry: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t, Options{MaxSessions: 3})
			call := c.prepare(t, r)
			defer call.Finish()
			state, before := new(counter), r.Len()
			err := call.Open(state, c.ttl)
			wantFailure(t, "opening", err, c.want)
			if err != nil && !strings.Contains(err.Error(), c.message) {
				t.Errorf("%q does not say %q", err, c.message)
			}
			if retry, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err); retry.RetryDelaySeconds != c.retry {
				t.Errorf("retry after %v s, want %v", retry.RetryDelaySeconds, c.retry)
			}
			if state.closes.Load() != 0 || r.Len() != before {
				t.Error("a refused state was closed or kept")
			}
		})
	}
}

func TestATokenIsWorthNothingToAnybodyElse(t *testing.T) {
	keys := seal.RandomKeyRing()
	r := newRegistry(t, Options{Keys: keys, ServerID: "a"})
	peer := newRegistry(t, Options{Keys: keys, ServerID: "b"})
	anonymous := open(t, r, new(counter), 0, nil)
	token := open(t, r, new(counter), 0, ada)
	sealed := func(kind byte, inside string) string {
		return keys.SealText(kind, seal.AppendIdentity(nil, ada, seal.ServerScope), []byte(inside))
	}
	tenant := *ada
	tenant.Domain = "other"
	device := *ada
	device.Claims = map[string]any{"peer_evidence_binding": "digest"}

	for name, c := range map[string]struct {
		registry *Registry
		token    string
		who      *vgirpc.Identity
	}{
		"another principal":             {r, token, bob},
		"nobody in particular":          {r, token, nil},
		"the same name elsewhere":       {r, token, &tenant},
		"other evidence of the peer":    {r, token, &device},
		"an anonymous one, by somebody": {r, anonymous, ada},
		"another server with the keys":  {peer, token, ada},
		"another server's keys":         {newRegistry(t, Options{ServerID: "a"}), token, ada},
		"nothing":                       {r, "", ada},
		"garbage":                       {r, "not-a-real-token", ada},
		"much garbage":                  {r, strings.Repeat("A", 1<<16), ada},
		"no base64 at all":              {r, "\x00é ", ada},
		"a padded token":                {r, token + "=", ada},
		"half a token":                  {r, token[:len(token)/2], ada},
		"an empty inside":               {r, sealed(seal.KindSession, ""), ada},
		"an inside too short":           {r, sealed(seal.KindSession, "12345678901"), ada},
		"a name that was never given":   {r, sealed(seal.KindSession, "123456789012a"), ada},
		"a token of a stream":           {r, sealed(seal.KindCursor, "123456789012a"), ada},
	} {
		t.Run(name, func(t *testing.T) {
			wantLost(t, c.registry, c.token, c.who)
			if c.registry.Teardown(t.Context(), c.token, c.who) {
				t.Error("it was torn down")
			}
		})
	}
	for token, who := range map[string]*vgirpc.Identity{token: ada, anonymous: nil} {
		begin(t, r, token, who).Finish()
	}
	if r.Len() != 2 {
		t.Errorf("%d sessions are left of 2", r.Len())
	}
}

func TestTheRegistryItselfKnowsWhoseASessionIs(t *testing.T) {
	r := newRegistry(t, Options{})
	c := begin(t, r, open(t, r, new(counter), 0, ada), ada)
	name := c.entry.id
	c.Finish()
	// What no client can make: a good seal for bob around ada's session.
	forged := r.keys.SealText(seal.KindSession, seal.AppendIdentity(nil, bob, seal.ServerScope), append(name[:], r.server...))
	wantLost(t, r, forged, bob)
}

func TestEveryLostSessionLooksTheSame(t *testing.T) {
	r := newRegistry(t, Options{})
	token := open(t, r, nil, 0, ada)
	_, garbage := r.Begin(t.Context(), "garbage", true, false, ada)
	_, stolen := r.Begin(t.Context(), token, true, false, bob)
	if !r.Teardown(t.Context(), token, ada) {
		t.Fatal("not torn down")
	}
	_, gone := r.Begin(t.Context(), token, true, false, ada)
	for name, err := range map[string]error{"stolen": stolen, "gone": gone} {
		if diff := cmp.Diff(garbage.Error(), err.Error()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestRotatedKeysKeepSessions(t *testing.T) {
	keys := [][]byte{[]byte("an old key of some length"), []byte("a new key of some length")}
	older, err := seal.NewKeyRing(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	both, err := seal.NewKeyRing(keys[1], keys[0])
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(t, Options{Keys: older})
	token := open(t, r, nil, 0, ada)
	r.keys = both
	begin(t, r, token, ada).Finish()
}

func TestATeardownClosesOnce(t *testing.T) {
	r := newRegistry(t, Options{})
	state := new(counter)
	token := open(t, r, state, 0, ada)
	got := []bool{
		r.Teardown(t.Context(), token, bob),
		r.Teardown(t.Context(), token, ada),
		r.Teardown(t.Context(), token, ada),
		r.Teardown(t.Context(), "", ada),
	}
	if diff := cmp.Diff([]bool{false, true, false, false}, got); diff != "" {
		t.Error(diff)
	}
	if state.closes.Load() != 1 || r.Len() != 0 {
		t.Errorf("closed %d times, %d live", state.closes.Load(), r.Len())
	}
}

func TestDrainingRefusesNewSessionsAndServesTheOthers(t *testing.T) {
	r := newRegistry(t, Options{})
	token := open(t, r, new(counter), 0, ada)
	r.Drain()
	if !r.Draining() {
		t.Error("not draining")
	}
	begin(t, r, token, ada).Finish()
	c := begin(t, r, "", ada)
	wantFailure(t, "opening", c.Open(nil, 0), failure{vgirpc.Unavailable, vgirpc.KindServerDraining, "ServerDrainingError"})
	c.Finish()
	last := begin(t, r, token, ada)
	if err := last.Close(); err != nil {
		t.Error(err)
	}
	last.Finish()
	r.Undrain()
	if r.Draining() {
		t.Error("still draining")
	}
	open(t, r, nil, 0, ada)
}

func TestTenThousandSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		r := newRegistry(t, Options{})
		states := make([]*counter, n)
		tokens := make([]string, n)
		start := time.Now()
		for i := range states {
			states[i] = new(counter)
			// Half end together, half one by one, in an order that is not theirs.
			ttl := time.Minute
			if i%2 == 1 {
				ttl += time.Duration(1+(i*7919)%n) * time.Millisecond
			}
			tokens[i] = open(t, r, states[i], ttl, ada)
		}
		if !time.Now().Equal(start) || r.Len() != n {
			t.Fatalf("%v later %d are live", time.Since(start), r.Len())
		}
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if r.Len() != n {
			t.Errorf("%d are live a moment before", r.Len())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if r.Len() != n/2 {
			t.Errorf("%d are live when half are due", r.Len())
		}
		wantLost(t, r, tokens[0], ada)
		begin(t, r, tokens[1], ada).Finish()
		time.Sleep(n * time.Millisecond)
		synctest.Wait()
		if r.Len() != 0 {
			t.Errorf("%d are live when all are due", r.Len())
		}
		for i, s := range states {
			if got := s.closes.Load(); got != 1 {
				t.Fatalf("state %d was closed %d times", i, got)
			}
		}
		// The timer is set again by who comes next.
		late := new(counter)
		open(t, r, late, time.Second, ada)
		time.Sleep(time.Second)
		synctest.Wait()
		if late.closes.Load() != 1 {
			t.Error("one that was opened after all had expired did not")
		}
	})
}

func TestUseDoesNotProlongASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{TTL: 3 * time.Second})
		token := open(t, r, nil, 0, ada)
		for range 2 {
			time.Sleep(time.Second)
			begin(t, r, token, ada).Finish()
		}
		time.Sleep(time.Second)
		wantLost(t, r, token, ada)
	})
}

func TestASessionInUseWhenItsTimeIsOverClosesWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{TTL: time.Second})
		state := new(counter)
		token := open(t, r, state, 0, ada)
		c := begin(t, r, token, ada)
		waiting := make(chan error)
		go func() {
			_, err := r.Begin(t.Context(), token, true, true, ada)
			waiting <- err
		}()
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if state.closes.Load() != 0 || c.State() != any(state) {
			t.Error("the state was closed under the call")
		}
		wantLost(t, r, token, ada)
		if _, closed := c.Finish(); closed {
			t.Error("the call closed nothing")
		}
		wantFailure(t, "who waited for its turn", <-waiting, isLost)
		if got := state.closes.Load(); got != 1 {
			t.Errorf("closed %d times", got)
		}
	})
}

func TestACallMayCloseASessionWhoseTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{TTL: time.Second})
		state := new(counter)
		c := begin(t, r, open(t, r, state, 0, ada), ada)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, closed := c.Finish(); !closed || state.closes.Load() != 1 {
			t.Errorf("closed %v, %d times", closed, state.closes.Load())
		}
	})
}

func TestASlowCloseDoesNotKeepOthersOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		hang := make(chan struct{})
		open(t, r, closeFunc(func() { <-hang }), time.Second, ada)
		states := make([]*counter, 100)
		for i := range states {
			states[i] = new(counter)
			open(t, r, states[i], time.Second+time.Duration(i%2)*time.Second, ada)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, s := range states {
			if s.closes.Load() != 1 {
				t.Fatalf("state %d was closed %d times", i, s.closes.Load())
			}
		}
		close(hang)
	})
}

// closeFunc is a state with a Close that has no error.
type closeFunc func()

func (f closeFunc) Close() { f() }

// closeError is a state with a Close that has one.
type closeError func() error

func (f closeError) Close() error { return f() }

func TestWhatGoesWrongWhenAStateClosesIsToldAndLogged(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, c := range map[string]struct {
		state any
		want  string // of the error
		log   string
	}{
		"an error":            {closeError(func() error { return broken }), "closing the session's state: broken pipe", "closing a session's state failed"},
		"a panic":             {closeFunc(func() { panic("boom") }), "closing the session's state: panic: boom", "closing a session's state panicked"},
		"a panic of an error": {closeError(func() error { panic(broken) }), "closing the session's state: panic: broken pipe", "closing a session's state panicked"},
		"a typed nil":         {(*counter)(nil), "closing the session's state: panic: runtime error: invalid memory address or nil pointer dereference", "panicked"},
		"nothing":             {closeFunc(func() {}), "", ""},
		"no Close at all":     {7, "", ""},
		"no state at all":     {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			r := newRegistry(t, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			call := begin(t, r, "", ada)
			if err := call.Open(c.state, 0); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := call.Close(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(logged.String(), c.log) || (c.log == "") != (logged.Len() == 0) {
				t.Errorf("logged %q", logged.String())
			}
			if c.log != "" && !strings.Contains(logged.String(), call.ID()) {
				t.Errorf("the session %s is not named in %q", call.ID(), logged.String())
			}
			if _, closed := call.Finish(); !closed || r.Len() != 0 {
				t.Errorf("closed %v, %d live", closed, r.Len())
			}
			if err := r.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPanicWhileExpiringStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		states := make([]*counter, 50)
		for i := range states {
			states[i] = new(counter)
			open(t, r, closeFunc(func() { panic("boom") }), time.Second, ada)
			open(t, r, states[i], time.Second, ada)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, s := range states {
			if s.closes.Load() != 1 {
				t.Fatalf("state %d was closed %d times", i, s.closes.Load())
			}
		}
	})
}

func TestAStateMayUseItsCallWhileItCloses(t *testing.T) {
	r := newRegistry(t, Options{})
	c := begin(t, r, "", ada)
	var seen any
	state := closeFunc(func() {
		seen = c.State()
		_ = c.Close()
		_ = r.Len()
	})
	if err := errors.Join(c.Open(state, 0), c.Close()); err != nil {
		t.Error(err)
	}
	if seen != nil {
		t.Errorf("it saw %v", seen)
	}
	c.Finish()
}

func TestCallsOfOneSessionTakeTurnsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		token := open(t, r, new(counter), 0, ada)
		first := begin(t, r, token, ada)
		var order []int // guarded by the turn
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				c, err := r.Begin(t.Context(), token, true, true, ada)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				time.Sleep(time.Millisecond) // fake time: others would get in if they could
				order = append(order, i)
				c.Finish()
			})
			synctest.Wait() // in line now
		}
		if len(order) != 0 {
			t.Errorf("%v went before their turn", order)
		}
		first.Finish()
		wait.Wait()
		var want []int
		for i := range 20 {
			want = append(want, i, i)
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCallsOfDifferentSessionsRunAtOnce(t *testing.T) {
	r := newRegistry(t, Options{})
	a, b := open(t, r, new(counter), 0, ada), open(t, r, new(counter), 0, ada)
	first := begin(t, r, a, ada)
	second := begin(t, r, b, ada) // would wait for ever if they shared a turn
	third := begin(t, r, "", ada)
	if first.State() == second.State() {
		t.Error("two sessions with one state")
	}
	for _, c := range []*Call{first, second, third} {
		c.Finish()
	}
}

func TestWhoWaitsForATurnMayGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		token := open(t, r, new(counter), 0, ada)
		busy := begin(t, r, token, ada)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Begin(ctx, token, true, true, ada)
		if !errors.Is(err, context.DeadlineExceeded) || vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded {
			t.Errorf("gave up with %v", err)
		}
		if r.Teardown(ctx, token, ada) {
			t.Error("torn down without its turn")
		}
		busy.Finish()
		begin(t, r, token, ada).Finish()
	})
}

func TestATeardownWaitsForTheCallInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		state := new(counter)
		token := open(t, r, state, 0, ada)
		busy := begin(t, r, token, ada)
		done := make(chan bool)
		go func() { done <- r.Teardown(t.Context(), token, ada) }()
		synctest.Wait()
		if state.closes.Load() != 0 {
			t.Error("closed under the call")
		}
		behind := make(chan error)
		go func() {
			_, err := r.Begin(t.Context(), token, true, true, ada)
			behind <- err
		}()
		synctest.Wait()
		busy.Finish()
		if !<-done || state.closes.Load() != 1 {
			t.Errorf("closed %d times", state.closes.Load())
		}
		wantFailure(t, "who waited behind the teardown", <-behind, isLost)
	})
}

func TestAShutdownClosesEverySession(t *testing.T) {
	r := newRegistry(t, Options{})
	states := make([]*counter, 100)
	var token string
	for i := range states {
		states[i] = new(counter)
		token = open(t, r, states[i], 0, ada)
	}
	for range 2 {
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for i, s := range states {
		if s.closes.Load() != 1 {
			t.Fatalf("state %d was closed %d times", i, s.closes.Load())
		}
	}
	wantLost(t, r, token, ada)
	r.Undrain()
	c := begin(t, r, "", ada)
	wantFailure(t, "opening", c.Open(nil, 0), failure{vgirpc.Unavailable, vgirpc.KindServerDraining, "ServerDrainingError"})
	c.Finish()
	if !r.Draining() || r.Len() != 0 {
		t.Errorf("draining %v, %d live", r.Draining(), r.Len())
	}
}

func TestAnEmptyRegistryShutsDownAtOnce(t *testing.T) {
	r := newRegistry(t, Options{})
	if err := errors.Join(r.Shutdown(t.Context()), r.Shutdown(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestAShutdownWaitsForCallsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		idle, inUse, fresh := new(counter), new(counter), new(counter)
		open(t, r, idle, 0, ada)
		token := open(t, r, inUse, 0, ada)
		busy := begin(t, r, token, ada)
		opening := begin(t, r, "", ada)
		if err := opening.Open(fresh, 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := r.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "2 sessions") {
			t.Errorf("shut down with %v", err)
		}
		if idle.closes.Load() != 1 || inUse.closes.Load() != 0 || fresh.closes.Load() != 0 {
			t.Errorf("closed %d, %d, %d", idle.closes.Load(), inUse.closes.Load(), fresh.closes.Load())
		}
		done := make(chan error)
		go func() { done <- r.Shutdown(t.Context()) }()
		synctest.Wait()
		busy.Finish()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("done with one still in use: %v", err)
		default:
		}
		opening.Finish()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if inUse.closes.Load() != 1 || fresh.closes.Load() != 1 {
			t.Errorf("closed %d, %d", inUse.closes.Load(), fresh.closes.Load())
		}
	})
}

func TestEverythingAtOnceClosesEachStateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		var states []*counter
		var wait sync.WaitGroup
		for i := range 60 {
			state := new(counter)
			states = append(states, state)
			token := open(t, r, state, time.Duration(1+i%3)*time.Millisecond, ada)
			for j := range 6 {
				wait.Go(func() {
					time.Sleep(time.Duration(j%4) * time.Millisecond)
					if j == 5 {
						r.Teardown(t.Context(), token, ada)
						return
					}
					c, err := r.Begin(t.Context(), token, true, true, ada)
					if err != nil {
						return // ended: that is the point
					}
					if s, ok := c.State().(*counter); ok {
						s.n++ // the race detector watches the turn
					}
					if j == 4 {
						_ = c.Close()
					}
					time.Sleep(time.Millisecond)
					c.Finish()
				})
			}
		}
		time.Sleep(2 * time.Millisecond)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wait.Wait()
		for i, s := range states {
			if got := s.closes.Load(); got != 1 {
				t.Errorf("state %d was closed %d times", i, got)
			}
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"a negative TTL":   {Options{TTL: -1}, "session: a TTL of -1ns is negative"},
		"a negative limit": {Options{MaxSessions: -1}, "session: MaxSessions of -1 is negative"},
		"nothing at all":   {Options{}, "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(c.options)
			if diff := cmp.Diff(c.want, fmt.Sprint(err)); diff != "" {
				t.Error(diff)
			}
			if err == nil && r.TTL() != DefaultTTL {
				t.Errorf("a TTL of %v", r.TTL())
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	r, err := New(Options{ServerID: "server-1"})
	if err != nil {
		b.Fatal(err)
	}
	opener, err := r.Begin(b.Context(), "", false, true, ada)
	if err != nil {
		b.Fatal(err)
	}
	if err := opener.Open(new(counter), 0); err != nil {
		b.Fatal(err)
	}
	token, _ := opener.Finish()
	for name, token := range map[string]string{"without a session": "", "resuming": token} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := r.Begin(b.Context(), token, token != "", true, ada)
				if err != nil {
					b.Fatal(err)
				}
				c.Finish()
			}
		})
	}
}
