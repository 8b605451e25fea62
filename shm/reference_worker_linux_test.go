package shm

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/wire"
)

// worker is a conformance worker of the reference, on its standard streams.
type worker struct {
	w *wire.Writer
	r *wire.Reader
}

func startWorker(t *testing.T) *worker {
	t.Helper()
	cmd := exec.Command(pyref.Python(t), "-W", "ignore", "../conformance/reference/reference_worker.py")
	cmd.Env = append(os.Environ(), "VGI_RPC_SHM_MIN_BATCH_BYTES=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	noError(t, err)
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &worker{wire.NewWriter(in), wire.NewReader(bufio.NewReader(out), wire.Limits{}, nil)}
}

// request writes a request stream.
func (w *worker) request(t *testing.T, b *wire.Batch) {
	t.Helper()
	noError(t, errors.Join(w.w.Open(b.Schema), w.w.Batch(b), w.w.Close(), w.w.Flush()))
}

// next reads the next batch of the open stream; nil is its end.
func (w *worker) next(t *testing.T) *wire.Batch {
	t.Helper()
	_, err := w.r.Announce()
	if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
		return nil
	}
	noError(t, err)
	b, err := w.r.Take(wire.Own)
	noError(t, err)
	if b.Kind() == wire.KindError {
		t.Fatalf("the worker: %v", b.Meta)
	}
	return b
}

// answer reads a reply of one batch to its end.
func (w *worker) answer(t *testing.T) *wire.Batch {
	t.Helper()
	_, err := w.r.NextStream()
	noError(t, err)
	b := *w.next(t)
	noError(t, w.r.Drain())
	return &b
}

func callTo(method string) wire.Metadata {
	return wire.Metadata{
		{Key: wire.KeyMethod, Value: method},
		{Key: wire.KeyProtocol, Value: "ConformanceService"},
		{Key: wire.KeyProtocolVersion, Value: "2.0.0"},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	}
}

func oneText(name, value string) arrow.RecordBatch {
	return build([]arrow.Field{{Name: name, Type: arrow.BinaryTypes.String}}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.StringBuilder).Append(value)
	})
}

func numbers(name string, nullable bool, values ...float64) arrow.RecordBatch {
	return build([]arrow.Field{{Name: name, Type: arrow.PrimitiveTypes.Float64, Nullable: nullable}}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Float64Builder).AppendValues(values, nil)
	})
}

// TestCallsToTheReference takes the turns of a client against a worker of the
// reference: it negotiates, calls with and without a pointer, and exchanges.
func TestCallsToTheReference(t *testing.T) {
	w := startWorker(t)
	owner, _ := pair(t, 4<<20, Options{MinBatchBytes: -1})

	ask := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
		{Key: wire.KeyMethod, Value: wire.MethodTransport},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
		{Key: wire.KeyTransportSHM, Value: "true"},
		{Key: KeyDescriptor, Value: Ask},
	})
	ask.Rows = 1
	w.request(t, &ask)
	answer := w.answer(t)
	equal(t, []bool{Agreed(answer.Meta), TakesDescriptors(answer.Meta)}, []bool{true, false})

	for _, pointer := range []bool{false, true} {
		t.Run("a unary call, with the request as a pointer: "+strconv.FormatBool(pointer), func(t *testing.T) {
			text := strings.Repeat("ü", 5000)
			noError(t, owner.Begin())
			req := batch(t, oneText("value", text), owner.Advertise(callTo("echo_string"))...)
			if pointer {
				placed, _, err := owner.Place(t.Context(), req.Schema, []wire.Batch{*req}, -1)
				noError(t, err)
				req = &placed[0]
			}
			w.request(t, req)
			got := w.answer(t)
			equal(t, []any{got.Kind(), regionsOf(t, owner.Segment())}, []any{wire.KindSHM, 1}) // the request's is free
			result, release, err := owner.Resolve(t.Context(), got, nil, nil)
			noError(t, err)
			sameRecord(t, result, oneText("result", text))
			release()
			noError(t, owner.Turn())
			equal(t, regionsOf(t, owner.Segment()), 0)
		})
	}

	t.Run("an exchange", func(t *testing.T) {
		noError(t, owner.Begin())
		w.request(t, batch(t, numbers("factor", false, 3), owner.Advertise(callTo("exchange_scale"))...))
		in := batch(t, numbers("value", true, 1, 2, 4))
		noError(t, w.w.Open(in.Schema))
		for turn := range 4 {
			noError(t, owner.Turn())
			placed, _, err := owner.Place(t.Context(), in.Schema, []wire.Batch{*in}, -1)
			noError(t, err)
			equal(t, placed[0].Kind(), wire.KindSHM)
			noError(t, errors.Join(w.w.Batch(&placed[0]), w.w.Flush()))
			if turn == 0 {
				_, err := w.r.NextStream()
				noError(t, err)
			}
			out := w.next(t)
			equal(t, out.Kind(), wire.KindSHM)
			result, release, err := owner.Resolve(t.Context(), out, nil, nil)
			noError(t, err)
			equal(t, wire.Values[float64](&result.Cols[0]), []float64{3, 6, 12})
			release()
		}
		noError(t, errors.Join(w.w.Close(), w.w.Flush()))
		if b := w.next(t); b != nil {
			t.Fatalf("more output: %v", b)
		}
		noError(t, owner.Turn())
		equal(t, regionsOf(t, owner.Segment()), 0) // the worker has given back the last input before the end
	})
}
