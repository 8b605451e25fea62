package gateways_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vgirpc/vgirpc-go/examples/production/ledger"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// callers is how many callers a load has, and turnsOfCall how long their streams
// are.
const (
	callers     = 6
	turnsOfCall = 20
)

// A load is callers that call through a gateway, one call after the other each,
// with the client that users have.
type load struct {
	failed  func(caller int, kind string, err error) // called by the caller
	done    [3]atomic.Int64                          // calls of each kind that succeeded
	steps   [callers]atomic.Int64                    // requests of each caller that were answered
	stopped atomic.Bool
	all     sync.WaitGroup
}

// kinds are the calls that callers make, in turn.
var kinds = [3]struct {
	name string
	call func(_ context.Context, _ *vgirpc.Client, answered *atomic.Int64) error
}{
	{"unary", convert},
	{"producer", readEntries},
	{"exchange", keepBalance},
}

// startLoad calls until the load is stopped, and at the latest until the test ends.
func startLoad(t *testing.T, base string, failed func(caller int, kind string, err error)) *load {
	t.Helper()
	l := &load{failed: failed}
	for caller := range callers {
		pool := &http.Transport{DisableCompression: true}
		client, err := httpclient.Dial(t.Context(), base, httpclient.Options{Transport: pool}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.all.Go(func() {
			defer pool.CloseIdleConnections()
			for i := caller; !l.stopped.Load(); i++ {
				kind := i % len(kinds)
				if err := kinds[kind].call(t.Context(), client, &l.steps[caller]); err != nil {
					l.failed(caller, kinds[kind].name, err)
					continue
				}
				l.done[kind].Add(1)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// stop lets every call that is under way finish.
func (l *load) stop() {
	l.stopped.Store(true)
	l.all.Wait()
}

// counts are the calls that succeeded, by kind.
func (l *load) counts() (n [3]int64) {
	for i := range n {
		n[i] = l.done[i].Load()
	}
	return n
}

// requests is how many were answered.
func (l *load) requests() (n int64) {
	for caller := range l.steps {
		n += l.steps[caller].Load()
	}
	return n
}

// awaitStuck waits until no caller gets an answer any more because each has a call at
// a replica that gives none. On a slow machine the gateway may find that replica dead
// before everybody has been sent there: then it waits until one has been there for
// long.
func (l *load) awaitStuck(t *testing.T) {
	t.Helper()
	var last, still [callers]int64 // still is how often in a row a caller had not moved
	poll(t, "callers have a call at a replica that does not answer", func(context.Context) bool {
		for caller := range callers {
			still[caller]++
			if now := l.steps[caller].Load(); now != last[caller] {
				last[caller], still[caller] = now, 0
			}
		}
		return slices.Min(still[:]) >= 50 || slices.Max(still[:]) >= 250
	})
}

func convert(ctx context.Context, c *vgirpc.Client, answered *atomic.Int64) error {
	got, err := ledger.Convert.Call(ctx, c, ledger.ConvertParams{Amount: 21, Rate: 2})
	if err != nil {
		return err
	}
	answered.Add(1)
	if got != 42 {
		return fmt.Errorf("convert answered %v", got)
	}
	return nil
}

func readEntries(ctx context.Context, c *vgirpc.Client, answered *atomic.Int64) error {
	stream, err := ledger.Entries.Open(ctx, c, ledger.EntriesParams{Count: turnsOfCall})
	if err != nil {
		return err
	}
	var want int64
	for rows, err := range stream.All() {
		if err != nil {
			return err
		}
		answered.Add(1)
		if want++; len(rows) != 1 || rows[0].Amount != want {
			return fmt.Errorf("batch %d of entries: %v", want, rows)
		}
	}
	if want != turnsOfCall {
		return fmt.Errorf("entries ended after %d batches", want)
	}
	return nil
}

func keepBalance(ctx context.Context, c *vgirpc.Client, answered *atomic.Int64) (err error) {
	stream, err := ledger.Balance.Open(ctx, c, vgirpc.None{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	var sum int64
	for n := range int64(turnsOfCall) {
		sum += n
		rows, err := stream.Exchange(ctx, ledger.Entry{Amount: n})
		if err != nil {
			return err
		}
		answered.Add(1)
		if len(rows) != 1 || rows[0].Total != sum {
			return fmt.Errorf("turn %d of balance: %v, want %d", n, rows, sum)
		}
	}
	return nil
}
