package gateways_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	steps   atomic.Int64                             // requests answered
	stopped atomic.Bool
	all     sync.WaitGroup
}

// kinds are the calls that callers make, in turn.
var kinds = [3]struct {
	name string
	call func(context.Context, *vgirpc.Client, *load) error
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
				if err := kinds[kind].call(t.Context(), client, l); err != nil {
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

func convert(ctx context.Context, c *vgirpc.Client, l *load) error {
	got, err := ledger.Convert.Call(ctx, c, ledger.ConvertParams{Amount: 21, Rate: 2})
	if err != nil {
		return err
	}
	l.steps.Add(1)
	if got != 42 {
		return fmt.Errorf("convert answered %v", got)
	}
	return nil
}

func readEntries(ctx context.Context, c *vgirpc.Client, l *load) error {
	stream, err := ledger.Entries.Open(ctx, c, ledger.EntriesParams{Count: turnsOfCall})
	if err != nil {
		return err
	}
	var want int64
	for rows, err := range stream.All() {
		if err != nil {
			return err
		}
		l.steps.Add(1)
		if want++; len(rows) != 1 || rows[0].Amount != want {
			return fmt.Errorf("batch %d of entries: %v", want, rows)
		}
	}
	if want != turnsOfCall {
		return fmt.Errorf("entries ended after %d batches", want)
	}
	return nil
}

func keepBalance(ctx context.Context, c *vgirpc.Client, l *load) (err error) {
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
		l.steps.Add(1)
		if len(rows) != 1 || rows[0].Total != sum {
			return fmt.Errorf("turn %d of balance: %v, want %d", n, rows, sum)
		}
	}
	return nil
}
