package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// wrong is an answer that is not what was asked for.
type wrong struct{ what string }

func (w wrong) Error() string { return w.what }

// same is nil when got is what was wanted.
func same[T any](what string, got, want T) error {
	if cmp.Equal(got, want) {
		return nil
	}
	return wrong{fmt.Sprintf("%s: got %.80s, want %.80s", what, fmt.Sprint(got), fmt.Sprint(want))}
}

// A kind of call: it returns what it could not account for.
type call struct {
	name   string
	weight int
	run    func(ctx context.Context, c *caller) error
}

// calls are all kinds of calls, and how often each is made.
func calls() []call {
	return []call{
		{"scalars", 20, scalars},
		{"containers", 8, containers},
		{"bytes", 6, payload},
		{"large bytes", 1, largePayload},
		{"producer", 10, producer},
		{"producer of large batches", 4, largeBatches},
		{"producer with a header", 4, headed},
		{"producer left early", 6, leftEarly},
		{"producer cancelled", 6, cancelled},
		{"exchange", 10, exchange},
		{"exchange cancelled", 4, exchangeCancelled},
		{"error", 8, refusals},
		{"error in a stream", 6, brokenStreams},
		{"method that there is not", 3, unknown},
		{"logs", 4, logs},
		{"reflection", 1, reflection},
		{"sticky session", 8, session},
		{"caller gives up", 3, givenUp},
	}
}

func scalars(ctx context.Context, c *caller) error {
	for range 1 + c.rand.IntN(20) {
		n := c.rand.Int64()
		got, err := conformance.EchoInt.Call(ctx, c.client, conformance.Value[int64]{Value: n})
		if err != nil {
			return err
		}
		if err := same("echo_int", got, n); err != nil {
			return err
		}
	}
	return nil
}

func containers(ctx context.Context, c *caller) error {
	matrix := make([][]int64, c.rand.IntN(50))
	for i := range matrix {
		matrix[i] = make([]int64, 1+c.rand.IntN(50))
	}
	list, err := conformance.EchoNestedList.Call(ctx, c.client, conformance.MatrixParams{Matrix: matrix})
	if err != nil {
		return err
	}
	if err := same("echo_nested_list", len(list), len(matrix)); err != nil {
		return err
	}
	text := strings.Repeat("ünïcode-λ ", c.rand.IntN(1000))
	got, err := conformance.EchoDictString.Call(ctx, c.client, conformance.DictStringParams{Value: text})
	if err != nil {
		return err
	}
	return same("echo_dict_encoded_string", got, text)
}

// echoBytes sends so many bytes there and back.
func echoBytes(ctx context.Context, c *caller, size int) error {
	sent := bytes.Repeat([]byte{byte(c.rand.Int())}, size)
	got, err := conformance.EchoBytes.Call(ctx, c.client, conformance.BytesParams{Data: sent})
	if err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		at := 0
		for at < min(len(got), len(sent)) && got[at] == sent[at] {
			at++
		}
		return wrong{fmt.Sprintf("echo_bytes: of %d bytes %d came back, with % x at %d, want %x",
			len(sent), len(got), got[at:min(at+16, len(got))], at, sent[0])}
	}
	return nil
}

// payload is larger than what HTTP may carry, at times.
func payload(ctx context.Context, c *caller) error { return echoBytes(ctx, c, c.rand.IntN(1<<20)) }

// largePayload is larger than what connections keep a buffer for, at times.
func largePayload(ctx context.Context, c *caller) error {
	return echoBytes(ctx, c, 4<<20+c.rand.IntN(6<<20))
}

func producer(ctx context.Context, c *caller) error {
	count := int64(c.rand.IntN(40))
	s, err := conformance.ProduceN.Open(ctx, c.client, conformance.CountParams{Count: count})
	if err != nil {
		return err
	}
	return counted(s, "produce_n", count, 1)
}

// counted reads a stream to its end.
func counted(s *vgirpc.ProducerStream[conformance.CounterRow], what string, batches, rows int64) error {
	var n int64
	for got, err := range s.All() {
		if err != nil {
			return err
		}
		if int64(len(got)) != rows {
			return wrong{fmt.Sprintf("%s: batch %d has %d rows, want %d", what, n, len(got), rows)}
		}
		n++
	}
	return same(what+": batches", n, batches)
}

func largeBatches(ctx context.Context, c *caller) error {
	if c.spoilt { // a wrong byte could ask for a thousand times as much
		return producer(ctx, c)
	}
	p := conformance.LargeParams{RowsPerBatch: int64(1000 + c.rand.IntN(40_000)), BatchCount: int64(1 + c.rand.IntN(4))}
	s, err := conformance.ProduceLargeBatches.Open(ctx, c.client, p)
	if err != nil {
		return err
	}
	return counted(s, "produce_large_batches", p.BatchCount, p.RowsPerBatch)
}

func headed(ctx context.Context, c *caller) error {
	count := int64(c.rand.IntN(10))
	s, header, err := conformance.ProduceWithHeader.OpenHeader(ctx, c.client, conformance.CountParams{Count: count})
	if err != nil {
		return err
	}
	if err := same("header", header.TotalExpected, count); err != nil {
		return errors.Join(err, s.Close())
	}
	return counted(s, "produce_with_header", count, 1)
}

func leftEarly(ctx context.Context, c *caller) error {
	s, err := conformance.ProduceN.Open(ctx, c.client, conformance.CountParams{Count: 1000})
	if err != nil {
		return err
	}
	left := c.rand.IntN(5)
	for _, err := range s.All() {
		if err != nil {
			return err
		}
		if left--; left < 0 {
			break
		}
	}
	return nil
}

func cancelled(ctx context.Context, c *caller) error {
	s, err := conformance.CancellableProducer.Open(ctx, c.client, vgirpc.None{})
	if err != nil {
		return err
	}
	for _, err := range s.All() {
		if err != nil {
			return err
		}
		if c.rand.IntN(3) == 0 {
			return s.Cancel()
		}
	}
	return wrong{"cancellable_producer: it ended"}
}

func exchange(ctx context.Context, c *caller) error {
	s, err := conformance.ExchangeAccumulate.Open(ctx, c.client, vgirpc.None{})
	if err != nil {
		return err
	}
	var sum float64
	for range c.rand.IntN(20) {
		rows := make([]conformance.FloatRow, 1+c.rand.IntN(200))
		for i := range rows {
			rows[i].Value = float64(c.rand.IntN(1000))
			sum += rows[i].Value
		}
		got, err := s.Exchange(ctx, rows...)
		if err == nil && len(got) == 1 {
			err = same("exchange_accumulate", got[0].RunningSum, sum)
		}
		if errors.Is(err, io.EOF) {
			err = wrong{"exchange_accumulate: the server ended it"} // so it seems when a byte of the token's key is another one
		}
		if err != nil {
			_ = s.Close()
			return err
		}
	}
	return s.Close()
}

func exchangeCancelled(ctx context.Context, c *caller) error {
	s, err := conformance.CancellableExchange.Open(ctx, c.client, vgirpc.None{})
	if err != nil {
		return err
	}
	if _, err := s.Exchange(ctx, conformance.FloatRow{Value: 1}); err != nil {
		_ = s.Close()
		return err
	}
	return s.Cancel()
}

// remote is nil when the server has said so, with the message that it must have. A
// caller's time may be over before, and the server may be the one to say it.
func remote(what string, err error, message string) error {
	switch {
	case err == nil:
		return wrong{what + ": it did not fail"}
	case !vgirpc.IsRemote(err), vgirpc.CodeOf(err) == vgirpc.DeadlineExceeded:
		return err
	case !strings.Contains(err.Error(), message):
		return wrong{fmt.Sprintf("%s: got %v, want %q", what, err, message)}
	}
	return nil
}

func refusals(ctx context.Context, c *caller) error {
	_, err := conformance.RaiseValueError.Call(ctx, c.client, conformance.MessageParams{Message: "as asked for"})
	return remote("raise_value_error", err, "as asked for")
}

func brokenStreams(ctx context.Context, c *caller) error {
	if c.rand.IntN(2) == 0 {
		s, err := conformance.ProduceErrorOnInit.Open(ctx, c.client, vgirpc.None{})
		if err == nil {
			err = counted(s, "produce_error_on_init", -1, 1)
		}
		return remote("produce_error_on_init", err, "intentional")
	}
	s, err := conformance.ProduceErrorMidStream.Open(ctx, c.client, conformance.EmitParams{EmitBeforeError: int64(c.rand.IntN(4))})
	if err == nil {
		err = counted(s, "produce_error_mid_stream", -1, 1)
	}
	return remote("produce_error_mid_stream", err, "intentional")
}

func unknown(ctx context.Context, c *caller) error {
	_, err := conformance.ZetaPing.Call(ctx, c.client, vgirpc.None{})
	return remote("ping of a protocol that is not hosted", err, "")
}

func logs(ctx context.Context, c *caller) error {
	got, err := conformance.EchoWithAllLogLevels.Call(ctx, c.client, conformance.Value[string]{Value: "v"})
	if err != nil {
		return err
	}
	return same("echo_with_all_log_levels", got, "v")
}

func reflection(ctx context.Context, c *caller) error {
	_, err := c.client.Describe(ctx)
	return err
}

// session has a sticky session over HTTP, which it forgets at times: then the
// server has to.
func session(ctx context.Context, c *caller) error {
	if c.http == nil {
		return scalars(ctx, c)
	}
	scope := c.http.Session()
	client := scope.Client()
	initial := int64(c.rand.IntN(100))
	if _, err := conformance.OpenCounter.Call(ctx, client, conformance.InitialParams{Initial: initial}); err != nil {
		return err
	}
	var sum int64
	for range 3 {
		by := int64(c.rand.IntN(10))
		sum += by
		got, err := conformance.IncrementCounter.Call(ctx, client, conformance.ByParams{By: by})
		if err != nil {
			return err
		}
		if err := same("increment_counter", got, initial+sum); err != nil {
			return err
		}
	}
	if c.rand.IntN(3) == 0 {
		return nil
	}
	return scope.End(ctx)
}

// givenUp leaves a call in the middle. A caller that is not hasty makes another one.
func givenUp(ctx context.Context, c *caller) error {
	if !c.hasty {
		return scalars(ctx, c)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.rand.IntN(int(20*time.Millisecond))))
	defer cancel()
	s, err := conformance.CancellableProducer.Open(ctx, c.client, vgirpc.None{})
	if err != nil {
		return err
	}
	for _, err := range s.All() {
		if err != nil {
			return err
		}
	}
	return wrong{"cancellable_producer: it ended"}
}
