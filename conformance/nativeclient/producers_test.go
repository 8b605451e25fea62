package nativeclient_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// testProducers reads every producer to its end, on whatever carries c.
func testProducers(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	cases := []struct {
		name    string
		run     func(t *testing.T) ([]Item, int)
		want    []Item
		batches int
	}{
		{"a sequence yields each index exactly once", func(t *testing.T) ([]Item, int) {
			t.Helper()
			return produce(t, c, producerSequence, SequenceParams{Count: 3, PayloadBytes: 4})
		}, items(3, 4), 3},
		{"a sequence of none ends at once", func(t *testing.T) ([]Item, int) {
			t.Helper()
			return produce(t, c, producerSequence, SequenceParams{PayloadBytes: 4})
		}, nil, 0},
		{"a batch without rows is delivered, and what follows it", func(t *testing.T) ([]Item, int) {
			t.Helper()
			return produce(t, c, producerZeroRow, vgirpc.None{})
		}, []Item{{7, []byte("after-zero")}}, 2},
		{"a batch sent with the end is delivered", func(t *testing.T) ([]Item, int) {
			t.Helper()
			return produce(t, c, producerEmitAndEnd, vgirpc.None{})
		}, []Item{{99, []byte("terminal")}}, 1},
		{"a producer without batches ends at once", func(t *testing.T) ([]Item, int) {
			t.Helper()
			return produce(t, c, producerEmpty, vgirpc.None{})
		}, nil, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, n := tc.run(t)
			equal(t, got, tc.want)
			equal(t, n, tc.batches)
		})
	}
	t.Run("a producer that is left early leaves the transport to the next call", func(t *testing.T) {
		s, err := producerSequence.Open(t.Context(), c, SequenceParams{Count: 1 << 40, PayloadBytes: 4})
		noError(t, err)
		for _, err := range s.All() {
			noError(t, err)
			break
		}
		got, _ := produce(t, c, producerSequence, SequenceParams{Count: 1, PayloadBytes: 1})
		equal(t, got, items(1, 1))
	})
	t.Run("a producer whose context ends is cancelled, and the transport goes on", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := producerSequence.Open(ctx, c, SequenceParams{Count: 1 << 40, PayloadBytes: 4})
		noError(t, err)
		n := 0
		for _, e := range s.All() {
			if err = e; err == nil {
				n++
			}
			cancel()
		}
		equal(t, []any{n, vgirpc.CodeOf(err), errors.Is(err, context.Canceled)}, []any{1, vgirpc.Cancelled, true})
		got, _ := produce(t, c, producerSequence, SequenceParams{Count: 1, PayloadBytes: 1})
		equal(t, got, items(1, 1))
	})
}

const (
	sequenceInit = "POST /vgi/ClientConformanceService/producer_sequence/init"
	sequenceTick = "POST /vgi/ClientConformanceService/producer_sequence/exchange"
)

// TestProducersOverHTTP is the state machine of the producer lane, as it shows in
// the requests.
func TestProducersOverHTTP(t *testing.T) {
	bothServers(t, mode{prefix: "/vgi"}, func(t *testing.T, e endpoint) {
		tr, rec := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
		c := tr.Client()
		testProducers(t, c)
		testErrors(t, c)
		testReflection(t, c)
		t.Run("the response to the opening has data, before any tick was sent", func(t *testing.T) {
			rec.take()
			s, err := producerSequence.Open(t.Context(), c, SequenceParams{Count: 2, PayloadBytes: 4})
			noError(t, err)
			for rows, err := range s.All() {
				noError(t, err)
				equal(t, rows, items(1, 4))
				equal(t, lines(rec.take()), []string{sequenceInit})
				break
			}
		})
		t.Run("a sequence is an opening and resumptions, and ends with an empty response", func(t *testing.T) {
			rec.take()
			got, _ := produce(t, c, producerSequence, SequenceParams{Count: 2, PayloadBytes: 4})
			equal(t, got, items(2, 4))
			seen := rec.take()
			equal(t, lines(seen), []string{sequenceInit, sequenceTick, sequenceTick})
			testTokens(t, seen)
			equal(t, len(batches(t, seen[2].respBody)), 0)
		})
		t.Run("what ends in its opening is one request", func(t *testing.T) {
			rec.take()
			_, _ = produce(t, c, producerEmitAndEnd, vgirpc.None{})
			_, _ = produce(t, c, producerEmpty, vgirpc.None{})
			equal(t, lines(rec.take()), []string{
				"POST /vgi/ClientConformanceService/producer_emit_and_finish/init",
				"POST /vgi/ClientConformanceService/producer_empty/init",
			})
		})
		t.Run("data without rows has no framework metadata on the wire, and the continuation has", func(t *testing.T) {
			rec.take()
			_, _ = produce(t, c, producerZeroRow, vgirpc.None{})
			got := batches(t, rec.take()[0].respBody)
			equal(t, []any{got[0].kind, got[0].rows, len(got[0].meta)}, []any{wire.KindData, 0, 0})
			equal(t, []any{got[1].kind, got[1].rows}, []any{wire.KindState, 0})
		})
		t.Run("a stream at its end is at its end, without a request", func(t *testing.T) {
			s, err := producerSequence.Open(t.Context(), c, SequenceParams{Count: 1, PayloadBytes: 4})
			noError(t, err)
			got, _ := collect(t, s)
			equal(t, got, items(1, 4))
			rec.take()
			got, n := collect(t, s)
			equal(t, []int{len(got), n}, []int{0, 0})
			tick := wire.EmptyBatch(wire.EmptySchema(), nil)
			_, err = s.Stream().Turn(t.Context(), &tick)
			equal(t, errors.Is(err, io.EOF), true)
			noError(t, s.Close())
			equal(t, len(rec.take()), 0)
		})
		t.Run("a stream that is left is cancelled with both tokens", func(t *testing.T) {
			s, err := producerSequence.Open(t.Context(), c, SequenceParams{Count: 9, PayloadBytes: 4})
			noError(t, err)
			rec.take()
			for range s.All() {
				break
			}
			seen := rec.take()
			equal(t, lines(seen), []string{sequenceInit, sequenceTick})
			testTokens(t, seen)
			equal(t, only(t, seen[1].body).meta.Has(wire.KeyCancel), true)
		})
		testElsewhere(t, e, tr)
		testLimit(t, e)
	})
}

// testTokens follows the tokens of a stream: the requests are an opening and what
// came after it.
func testTokens(t *testing.T, all []seen) {
	t.Helper()
	var cursors []string
	call := ""
	for i, s := range all {
		if i > 0 {
			tick := only(t, s.body)
			equal(t, []int{tick.rows, tick.cols}, []int{0, 0})
			equal(t, tick.meta.Value(wire.KeyStreamState), cursors[i-1])
			equal(t, tick.meta.Value(wire.KeyCallState), call)
		}
		for _, b := range batches(t, s.respBody) {
			if b.kind != wire.KindState {
				equal(t, b.meta.Has(wire.KeyStreamState), false)
				continue
			}
			equal(t, b.rows, 0)
			cursors = append(cursors, b.meta.Value(wire.KeyStreamState))
			equal(t, b.meta.Has(wire.KeyCallState), i == 0)
			if i == 0 {
				call = b.meta.Value(wire.KeyCallState)
			}
		}
	}
	equal(t, call != "", true)
	for i := range cursors {
		if i > 0 && cursors[i] == cursors[i-1] {
			t.Error("the cursor did not rotate")
		}
	}
}

// testElsewhere goes on with a stream on a second transport.
func testElsewhere(t *testing.T, e endpoint, tr *httpclient.Transport) {
	t.Helper()
	t.Run("a stream goes on elsewhere from its tokens", func(t *testing.T) {
		s, err := producerSequence.Open(t.Context(), tr.Client(), SequenceParams{Count: 3, PayloadBytes: 4})
		noError(t, err)
		tick := wire.EmptyBatch(wire.EmptySchema(), nil)
		_, err = s.Stream().Turn(t.Context(), &tick)
		noError(t, err)
		tokens, ok := httpclient.Tokens(s.Stream())
		equal(t, ok, true)
		other, _ := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
		moved, err := other.ResumeStream(t.Context(), producerSequence.Method, tokens)
		noError(t, err)
		for _, want := range []int64{1, 2} {
			b, err := moved.Turn(t.Context(), &tick)
			noError(t, err)
			equal(t, wire.Values[int64](&b.Cols[0]), []int64{want})
		}
		_, err = moved.Turn(t.Context(), &tick)
		equal(t, errors.Is(err, io.EOF), true)
	})
}

// testLimit has the server keep to the client's response limit.
func testLimit(t *testing.T, e endpoint) {
	t.Helper()
	t.Run("a response over the client's limit is refused by the server, by name", func(t *testing.T) {
		tr, rec := newTransport(t, e.url, httpclient.Options{MaxResponseBytes: httpclient.MinMaxResponseBytes}, vgirpc.ClientOptions{})
		caps, err := tr.Capabilities(t.Context())
		noError(t, err)
		equal(t, caps.ResponseLimit, true)
		_, err = largeResponse.Call(t.Context(), tr.Client(), SizeParams{Size: 1 << 20})
		remote(t, err, "ResponseTooLargeError")
		for _, s := range rec.take() {
			equal(t, s.header["Vgi-Accept-Max-Response-Bytes"], []string{"65536"})
		}
		got, err := largeResponse.Call(t.Context(), tr.Client(), SizeParams{Size: 32 << 10})
		noError(t, err)
		equal(t, string(got) == string(pattern(32<<10)), true)
	})
}

// TestTurnBytes is the case of the producer whose worker has a budget for its
// responses. The document starts it with 16,384 bytes; the least that a response
// budget can be is 65,536 since http-response-budgets.md.
func TestTurnBytes(t *testing.T) {
	bothServers(t, mode{prefix: "/vgi", turnBytes: httpclient.MinMaxResponseBytes}, func(t *testing.T, e endpoint) {
		tr, rec := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
		t.Run("every batch of every response is delivered once, in order", func(t *testing.T) {
			got, n := produce(t, tr.Client(), producerSequence, SequenceParams{Count: 100, PayloadBytes: 1024})
			equal(t, got, items(100, 1024))
			equal(t, n, 100)
			seen := rec.take()
			testTokens(t, seen)
			onWire := 0
			for _, s := range seen {
				for _, b := range batches(t, s.respBody) {
					if b.kind == wire.KindData {
						onWire++
					}
				}
			}
			equal(t, onWire, 100)
			equal(t, strings.HasSuffix(seen[0].path, "/init"), true)
		})
	})
}
