package gateways_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Turns of each stream, and how often one turn may be sent again.
const (
	turns      = 1000
	shortTurns = 100
	attempts   = 20
)

// A stream is a call in progress, as its client sees it: the tokens.
type stream struct {
	client       client
	method       string
	cursor, call string
	again        int // turns that were sent once more
}

// open starts a call. Nothing hangs on an answer that was lost, so it may be sent
// again like a turn.
func (s *stream) open(ctx context.Context, params ...param) (*turn, error) {
	body, err := request(s.method, params)
	if err != nil {
		return nil, err
	}
	got, err := s.post(ctx, s.method+"/init", body)
	if err != nil {
		return nil, err
	}
	s.cursor, s.call = got.cursor, got.call
	return got, nil
}

// next sends one turn, as often as it takes: its tokens are the whole state, so a
// turn whose answer was lost is the same turn when it is sent again.
func (s *stream) next(ctx context.Context, input ...param) (*turn, error) {
	body, err := continuation(s.cursor, s.call, input)
	if err != nil {
		return nil, err
	}
	got, err := s.post(ctx, s.method+"/exchange", body)
	if err != nil {
		return nil, err
	}
	s.cursor = got.cursor
	return got, nil
}

func (s *stream) post(ctx context.Context, path string, body []byte) (*turn, error) {
	var failed error
	for range attempts {
		got, _, err := s.client.post(ctx, path, body)
		if err == nil {
			return got, nil
		}
		if !lost(ctx, err) {
			return nil, err
		}
		failed = err
		s.again++
	}
	return nil, fmt.Errorf("gave up after %d attempts: %w", attempts, failed)
}

// lost reports whether a gateway lost a turn on its way, and the worker did not
// refuse it.
func lost(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var refused *gatewayError
	if !errors.As(err, &refused) {
		return strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "connection reset")
	}
	switch refused.answer.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return refused.answer.header.Get("Content-Type") != contentType
	default:
		return false
	}
}

// accumulate runs exchange_accumulate for n turns and checks every sum: one turn
// lost, or done twice, and it is wrong from there on. before is called before each.
func accumulate(ctx context.Context, base string, n int, before func(i int)) (again int, err error) {
	s := stream{client: client{base: base}, method: "exchange_accumulate"}
	if _, err := s.open(ctx); err != nil {
		return 0, fmt.Errorf("init: %w", err)
	}
	var sum float64
	for i := 1; i <= n; i++ {
		before(i)
		sum += float64(i)
		got, err := s.next(ctx, param{"value", float64(i)})
		if err != nil {
			return 0, fmt.Errorf("turn %d: %w", i, err)
		}
		if got.rows != 1 || len(got.columns) != 2 || got.columns[0].floats[0] != sum || got.columns[1].ints[0] != int64(i) {
			return 0, fmt.Errorf("turn %d: got %d rows of %+v, want the sum %v", i, got.rows, got.columns, sum)
		}
	}
	return s.again, nil
}

// produce runs produce_n for n batches and checks every one.
func produce(ctx context.Context, base string, n int) (again int, err error) {
	s := stream{client: client{base: base}, method: "produce_n"}
	got, err := s.open(ctx, param{"count", int64(n)})
	if err != nil {
		return 0, fmt.Errorf("init: %w", err)
	}
	for i := range int64(n) {
		if got.rows != 1 || len(got.columns) != 2 || got.columns[0].ints[0] != i || got.columns[1].ints[0] != 10*i {
			return 0, fmt.Errorf("batch %d: got %d rows of %+v", i, got.rows, got.columns)
		}
		if s.cursor == "" {
			return 0, fmt.Errorf("batch %d: no token to continue by", i)
		}
		if got, err = s.next(ctx); err != nil {
			return 0, fmt.Errorf("tick %d: %w", i+1, err)
		}
	}
	if got.rows != 0 || s.cursor != "" {
		return 0, fmt.Errorf("the stream goes on after %d batches: %+v", n, got)
	}
	return s.again, nil
}

// Two streams run through the gateway at once. Meanwhile one replica is killed,
// missed for a while, and started again on its port.
func TestStreamsSurviveTurnsOnEitherReplicaAndTheLossOfOne(t *testing.T) {
	t.Parallel()
	n := turns
	if testing.Short() {
		n = shortTurns
	}
	for i := range gateways {
		g := &gateways[i]
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.find(t)
			one, two := startReplica(t, "replica-one"), startReplica(t, "replica-two")
			base := g.start(t, one.port, two.port)

			var producing sync.WaitGroup
			defer producing.Wait()
			producing.Go(func() {
				again, err := produce(t.Context(), base, n)
				if err != nil {
					t.Errorf("producer: %v", err)
				}
				t.Logf("producer: %d turns sent again", again)
			})

			var killing sync.WaitGroup
			defer killing.Wait()
			atRestart := 0
			again, err := accumulate(t.Context(), base, n, func(turn int) {
				switch turn {
				case n / 4: // beside the turns that are under way
					killing.Go(two.kill)
				case n / 2:
					killing.Wait()
					atRestart = two.served(t, "exchange_accumulate")
					if err := two.start(); err != nil {
						t.Error(err)
					}
					two.await(t)
					poll(t, "the gateway uses the replica again", func(ctx context.Context) bool {
						return two.answers(health(ctx, base))
					})
				}
			})
			if err != nil {
				t.Fatalf("exchange: %v", err)
			}
			t.Logf("exchange: %d turns sent again", again)

			producing.Wait()
			for _, method := range []string{"exchange_accumulate", "produce_n"} {
				if a, b := one.served(t, method), two.served(t, method); a == 0 || b == 0 {
					t.Errorf("%s: the replicas served %d and %d turns, so state did not travel", method, a, b)
				}
			}
			if atRestart == 0 || two.served(t, "exchange_accumulate") == atRestart {
				t.Errorf("the killed replica served %d turns before its restart and none after it", atRestart)
			}
		})
	}
}
