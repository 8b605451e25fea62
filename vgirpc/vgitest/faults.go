package vgitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// FaultDialer starts serving s and returns a client of it whose connection has
// the faults: it passes that connection through [Faulty]. What it starts it also
// stops, and waits for, with t.Cleanup. For [TestFaults] it is called in a
// bubble of testing/synctest, so that everything it starts has to be able to
// live there.
type FaultDialer func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions, faults ...Fault) *vgirpc.Client

// TestFaults makes every kind of call over connections that are lost, stall,
// fail, turn bytes around or are slow, at each byte of the conversation. Each
// call has to end by its deadline, with the right result or with an error that
// has a code, and neither a wrong result nor a panic; the client must go on with
// errors of that sort, close its connection and leave nothing running; the
// server must be back to where it was.
//
// Time is that of a bubble of testing/synctest: to wait for a deadline takes
// none. Under the race detector a part of the offsets is tried.
func TestFaults(t *testing.T, dial FaultDialer) {
	(&faultSuite{dial: dial, bubble: true, brief: 10 * time.Second, long: 10 * time.Second, every: faultStride}).run(t)
}

// TestFaultsOnSockets is [TestFaults] for connections that cannot live in a
// bubble. It takes real time, and so tries a part of the offsets only.
func TestFaultsOnSockets(t *testing.T, dial FaultDialer) {
	(&faultSuite{dial: dial, brief: 20 * time.Millisecond, long: watchdog, every: 211}).run(t)
}

const (
	// watchdog is how long something may take before it counts as hung.
	watchdog = 30 * time.Second
	// slowly is how long a slow Close takes.
	slowly = time.Hour
)

// faultSuite is a run of the harness.
type faultSuite struct {
	dial   FaultDialer
	bubble bool
	brief  time.Duration // deadline of a call that is to miss it
	long   time.Duration // deadline of a call that is to meet it
	every  int64         // which offsets are tried
}

// faultCase is one connection with what may come of a call on it.
type faultCase struct {
	faults []Fault
	code   vgirpc.Code // of an error; any when empty
	fails  bool        // the call cannot succeed
	works  bool        // the call cannot fail
	spoilt bool        // the result may be another one
	broken bool        // the connection is lost, whether the call succeeds or not
	usable bool        // a call that failed may leave the connection usable
	waits  bool        // the call may wait for its deadline
	leaves bool        // the caller gives up instead
}

// faultFamily makes the cases of one sort of fault, from the number of bytes that
// the call moves where nothing goes wrong.
type faultFamily struct {
	name  string
	cases func(s *faultSuite, c faultCall, total [2]int64) []faultCase
}

func faultFamilies() []faultFamily {
	return []faultFamily{
		{"the connection is cut", cutCases},
		{"the connection is cut, bytes come singly", cutSingly},
		{"the peer stalls", stallCases},
		{"the peer stalls until the caller gives up", leaveCases},
		{"the peer stalls and closing is slow", slowCloseCases},
		{"an operation fails", failCases},
		{"a byte is wrong", corruptCases},
		{"the peer is slow", slowCases},
	}
}

func (s *faultSuite) run(t *testing.T) {
	t.Helper()
	contract := NewContract()
	// Stack traces would make the conversations long.
	server := NewServer(t, contract, vgirpc.ServerOptions{OmitTracebacks: true})
	for _, call := range faultCalls() {
		if call.grace && !s.bubble {
			continue
		}
		t.Run(call.name, func(t *testing.T) {
			total := s.measure(t, contract, server, call)
			for _, family := range faultFamilies() {
				t.Run(family.name, func(t *testing.T) {
					s.try(t, contract, server, call, family.cases(s, call, total))
				})
			}
		})
	}
}

// measure makes the call without faults and counts the bytes.
func (s *faultSuite) measure(t *testing.T, c *Contract, server *vgirpc.Server, call faultCall) (total [2]int64) {
	t.Helper()
	var problem string
	s.inBubble(t, func(t *testing.T) {
		var probe Probe
		client := s.dial(t, server, vgirpc.ClientOptions{}, Watch(&probe))
		ctx, cancel := context.WithTimeout(t.Context(), s.long)
		defer cancel()
		got, err := call.run(ctx, c, client, func(error) {})
		if err != nil || got != call.want {
			problem = fmt.Sprintf("without faults: %q, %v, want %q", got, err, call.want)
		}
		total = [2]int64{probe.Moved(Reads), probe.Moved(Writes)}
	})
	if problem != "" {
		t.Fatal(problem)
	}
	return total
}

func (s *faultSuite) inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if s.bubble {
		synctest.Test(t, f)
		return
	}
	// A subtest, for its clean-ups.
	t.Run("", f)
}

// try runs cases, and reports those with the same problem together.
func (s *faultSuite) try(t *testing.T, c *Contract, server *vgirpc.Server, call faultCall, cases []faultCase) {
	t.Helper()
	var order []string
	where := map[string][]string{}
	example := map[string]string{}
	for i := range cases {
		s.inBubble(t, func(t *testing.T) {
			trial := trial{suite: s, t: t, contract: c, server: server, call: call, faultCase: &cases[i]}
			for _, problem := range trial.run() {
				if where[problem.what] == nil {
					order = append(order, problem.what)
					example[problem.what] = problem.detail
				}
				where[problem.what] = append(where[problem.what], fmt.Sprint(cases[i].faults))
			}
		})
	}
	for _, what := range order {
		at := where[what]
		if n := len(at); n > 8 {
			at = append(at[:4:4], append([]string{"…"}, at[n-3:]...)...)
		}
		t.Errorf("%s\n  first: %s\n  in %d of %d cases: %s", what, example[what], len(where[what]), len(cases), strings.Join(at, ", "))
	}
}

// problem is what is wrong in a case. Cases in which the same thing is wrong
// differ in the detail.
type problem struct{ what, detail string }

// trial is one case being tried.
type trial struct {
	*faultCase

	suite    *faultSuite
	t        *testing.T
	contract *Contract
	server   *vgirpc.Server
	call     faultCall

	probe    Probe
	client   *vgirpc.Client
	problems []problem
}

func (r *trial) problem(what string, detail any) {
	r.problems = append(r.problems, problem{what, fmt.Sprint(detail)})
}

// run makes the call, another one, and closes the client.
func (r *trial) run() []problem {
	r.client = r.suite.dial(r.t, r.server, vgirpc.ClientOptions{}, append(slices.Clip(r.faults), Watch(&r.probe))...)
	r.t.Cleanup(r.settle) // before the client is closed by whoever dialled
	var got string
	var err error
	if !r.ends("the call", func() { got, err = r.first() }) {
		return r.problems
	}
	r.judge(got, err)
	if !r.ends("the next call", func() { r.next(err != nil) }) {
		return r.problems
	}
	r.settle()
	r.ends("Close", func() {
		_ = r.client.Close() // that it returns is enough: the connection may be broken
		_ = r.client.Close()
	})
	if !r.probe.Closed() {
		r.problem("the connection was never closed", r.probe.Moved(Reads))
	}
	r.ends("a call after Close", func() {
		_, err := r.contract.Add.Call(r.t.Context(), r.client, AddParams{1, 2})
		if e, ok := errorOf(err); !ok || e.Code != vgirpc.Unavailable {
			r.problem("a call after Close failed with "+string(vgirpc.CodeOf(err))+", want UNAVAILABLE", err)
		}
	})
	r.whole()
	return r.problems
}

// settle waits for a slow Close that is under way: a second one would wait for
// a mutex, and that stops the clock of a bubble.
func (r *trial) settle() {
	for _, f := range r.faults {
		if f.what == slowClose {
			time.Sleep(f.delay)
		}
	}
}

// first makes the call, as it is under test.
func (r *trial) first() (got string, err error) {
	deadline := r.suite.long
	if r.waits {
		deadline = r.suite.brief
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), deadline)
	defer cancel()
	if r.leaves {
		var leave context.CancelFunc
		ctx, leave = context.WithCancel(r.t.Context())
		defer leave()
		timer := time.AfterFunc(deadline, leave)
		defer timer.Stop()
	}
	start := time.Now()
	got, err = r.call.run(ctx, r.contract, r.client, func(err error) {
		if what := untyped(err); what != "" {
			r.problem("closing the stream after the failure: "+what, err)
		}
	})
	if took := time.Since(start); r.suite.bubble && took > deadline {
		r.problem("the call went on after its deadline", took)
	}
	return got, err
}

// judge says whether the call may have ended in this way.
func (r *trial) judge(got string, err error) {
	switch {
	case err == nil && r.fails:
		r.problem("the call succeeded without all of the answer", got)
	case err == nil && got != r.call.want && !r.spoilt:
		r.problem("the call succeeded with a wrong result", got)
	case err == nil:
	case r.works:
		r.problem("the call failed", err)
	case untyped(err) != "":
		r.problem("the call failed with "+untyped(err), err)
	case r.code != "" && vgirpc.CodeOf(err) != r.code:
		r.problem(fmt.Sprintf("the call failed with %s, want %s", vgirpc.CodeOf(err), r.code), err)
	}
}

// next makes another call on the same client.
func (r *trial) next(failed bool) {
	ctx, cancel := context.WithTimeout(r.t.Context(), r.suite.long)
	defer cancel()
	if !r.suite.bubble && !r.works && !r.broken && (!failed || r.usable) {
		ctx, cancel = context.WithTimeout(ctx, r.suite.brief) // it may have to wait
		defer cancel()
	}
	sum, err := r.contract.Add.Call(ctx, r.client, AddParams{1, 2})
	lost := r.broken || failed && !r.usable
	switch {
	case err == nil && sum != 3 && !r.spoilt:
		r.problem("the next call succeeded with a wrong result", sum)
	case err == nil && lost:
		r.problem("the next call succeeded on a broken connection", sum)
	case err == nil:
	case r.works:
		r.problem("the next call failed", err)
	case untyped(err) != "":
		r.problem("the next call failed with "+untyped(err), err)
	case lost && vgirpc.CodeOf(err) != vgirpc.Unavailable:
		r.problem("the next call failed with "+string(vgirpc.CodeOf(err))+", want UNAVAILABLE", err)
	case lost && errors.Is(err, context.DeadlineExceeded):
		r.problem("the next call failed with the deadline of the call before", err)
	}
}

// whole checks that the server has given back what it took.
func (r *trial) whole() {
	budget := r.server.Limits().Budget
	if r.suite.bubble {
		synctest.Wait()
	}
	for end := time.Now().Add(watchdog); budget.Held() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.problem("the server did not give its budget back", budget.Held())
			return
		}
	}
}

// ends reports whether f returns in time. What does not is woken, by breaking
// its connection.
func (r *trial) ends(what string, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				stack := make([]byte, 8<<10)
				r.problem(what+" panicked", fmt.Sprintf("%v\n%s", p, stack[:runtime.Stack(stack, false)]))
			}
		}()
		f()
	}()
	timer := time.NewTimer(watchdog)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	stack := make([]byte, 16<<10)
	stack = stack[:runtime.Stack(stack, true)]
	r.probe.Break()
	timer.Reset(watchdog)
	select {
	case <-done:
		r.problem(what+" hung until its connection was broken", string(stack))
	case <-timer.C:
		r.t.Fatalf("%v: %s hangs\n%s", r.faults, what, stack)
	}
	return false
}

// untyped says what is wrong with an error as an error of a call, "" when
// nothing is.
func untyped(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errorOf(err)
	switch {
	case !ok && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
		return fmt.Sprintf("a %T, which is no *vgirpc.Error", err)
	case ok && !e.Code.Valid():
		return fmt.Sprintf("an error without a code (%q)", e.Code)
	}
	return ""
}

func errorOf(err error) (*vgirpc.Error, bool) { return errors.AsType[*vgirpc.Error](err) }

// offsets are those to try, the first and the last ones always.
func (s *faultSuite) offsets(last int64) []int64 {
	var out []int64
	for at := int64(0); at < last; at += s.every {
		out = append(out, at)
	}
	return append(out, last)
}

// each makes a case for each offset in both directions, the end included.
func (s *faultSuite) each(total [2]int64, with func(d Direction, at int64) faultCase) []faultCase {
	var out []faultCase
	for _, d := range []Direction{Reads, Writes} {
		for _, at := range s.offsets(total[d]) {
			out = append(out, with(d, at))
		}
	}
	return out
}

func cutCases(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	return s.each(total, func(d Direction, at int64) faultCase {
		return faultCase{
			faults: []Fault{Cut(d, at)}, code: vgirpc.Unavailable, broken: true,
			fails: c.whole && d == Reads && at < total[d],
		}
	})
}

func cutSingly(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	cases := cutCases(s, c, total)
	for i := range cases {
		cases[i].faults = append(cases[i].faults, Slow(1, 0))
	}
	return cases
}

func stallCases(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	return s.each(total, func(d Direction, at int64) faultCase {
		return faultCase{
			faults: []Fault{Stall(d, at)}, code: vgirpc.DeadlineExceeded, waits: true,
			fails: c.whole && d == Reads && at < total[d],
		}
	})
}

func leaveCases(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	cases := stallCases(s, c, total)
	for i := range cases {
		cases[i].leaves, cases[i].code = true, vgirpc.Cancelled
	}
	return cases
}

func slowCloseCases(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	if !s.bubble {
		return nil // it takes too long
	}
	cases := stallCases(s, c, total)
	for i := range cases {
		cases[i].faults = append(cases[i].faults, SlowClose(slowly))
	}
	return cases
}

func failCases(s *faultSuite, c faultCall, total [2]int64) []faultCase {
	var out []faultCase
	for d, errs := range [][]error{Reads: {io.EOF, syscall.ECONNRESET}, Writes: {syscall.EPIPE}} {
		for _, err := range errs {
			for _, at := range s.offsets(total[d] - 1) {
				out = append(out, faultCase{
					faults: []Fault{Fail(Direction(d), at, err)}, code: vgirpc.Unavailable, fails: c.whole && Direction(d) == Reads,
				})
			}
		}
	}
	return out
}

func corruptCases(s *faultSuite, _ faultCall, total [2]int64) []faultCase {
	var out []faultCase
	for _, mask := range []byte{0x01, 0xFF} {
		out = append(out, s.each([2]int64{total[Reads] - 1, total[Writes] - 1}, func(d Direction, at int64) faultCase {
			return faultCase{faults: []Fault{Corrupt(d, at, mask)}, spoilt: true, usable: true, waits: true}
		})...)
	}
	return out
}

func slowCases(s *faultSuite, _ faultCall, _ [2]int64) []faultCase {
	cases := []faultCase{
		{faults: []Fault{Slow(1, 0)}, works: true},
		{faults: []Fault{Slow(7, 0)}, works: true},
		{faults: []Fault{Slow(512, time.Millisecond)}, works: true},
		{faults: []Fault{Slow(1, s.brief)}, code: vgirpc.DeadlineExceeded, waits: true, fails: true},
	}
	if s.bubble {
		cases = append(cases,
			faultCase{faults: []Fault{Slow(1, time.Millisecond)}, works: true},
			faultCase{faults: []Fault{Slow(1, 100*time.Millisecond)}, code: vgirpc.DeadlineExceeded, waits: true, fails: true},
		)
	}
	return cases
}
