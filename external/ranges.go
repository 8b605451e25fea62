package external

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// ranges returns the body of a response, as it comes or in ranges that are
// fetched at once, and what ends it. There is no probe: signed URLs are for one
// method, and of what the answer to a plain GET says, nothing is missing. Its body
// is the first range, so that a small object costs one request and a large one
// none that carries nothing.
func (o *Offload) ranges(ctx context.Context, resp *http.Response, u *url.URL, budget *wire.Budget) (body io.Reader, end func()) {
	size, tag := resp.ContentLength, resp.Header.Get("ETag")
	step, most := o.opts.RangeBytes, int64(o.opts.Ranges)
	if o.opts.ParallelFrom < 0 || size < o.opts.ParallelFrom || size <= step || most < 2 ||
		resp.Header.Get("Accept-Ranges") != "bytes" || !strings.HasPrefix(tag, `"`) {
		return resp.Body, func() {}
	}
	window := step * min(most, (size+step-1)/step)
	if budget.Acquire(window) != nil {
		return resp.Body, func() {} // slower, and needs nothing
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &rangeFetch{o: o, u: u, size: size, step: step, tag: tag, coding: codingOf(resp), first: resp}
	f.results, f.free = make(chan *chunk, window/step-1), make(chan []byte, window/step)
	f.owned.Go(func() { f.run(ctx) })
	return f, func() {
		cancel()
		_ = resp.Body.Close() // the first range may be waiting for it
		f.owned.Wait()
		f.giveBack()
		budget.Release(window)
	}
}

// rangeFetch reads one object in ranges: it is their bytes in order.
type rangeFetch struct {
	o          *Offload
	u          *url.URL
	size, step int64
	tag        string // of the object, strong
	coding     string
	first      *http.Response

	results chan *chunk // one for each range, in order; its length bounds how many there are at once
	free    chan []byte // memory of ranges that were read
	owned   sync.WaitGroup

	current *chunk // what Read is in
	rest    []byte // of its last piece
	read    int64
	err     error
}

// A chunk is what came of one range, in pieces, and its end.
type chunk struct {
	pieces chan []byte
	data   []byte // all of it; this and err once pieces is closed
	err    error
}

// headStart is how long a range has before the next one is begun: where it is over
// by then, more connections would only keep the first bytes waiting.
const headStart = 5 * time.Millisecond

// run starts the fetch of each range in turn, as fast as they are read.
func (f *rangeFetch) run(ctx context.Context) {
	defer close(f.results)
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	for from := int64(0); from < f.size; from += f.step {
		to := min(from+f.step, f.size)
		c := &chunk{pieces: make(chan []byte, f.step/piece+1)}
		select {
		case f.results <- c:
		case <-ctx.Done():
			return
		}
		over := make(chan struct{})
		f.owned.Go(func() {
			defer close(over)
			defer close(c.pieces)
			c.data, c.err = f.fetch(ctx, from, to, c.pieces)
		})
		timer.Reset(headStart)
		select {
		case <-over:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// fetch returns the bytes in [from, to), and sends them piece by piece before.
func (f *rangeFetch) fetch(ctx context.Context, from, to int64, pieces chan<- []byte) ([]byte, error) {
	if from == 0 {
		data, err := f.readRange(f.first.Body, to, pieces)
		_ = f.first.Body.Close() // the rest comes in other ways
		return data, err
	}
	resp, err := f.o.get(ctx, f.u, http.Header{
		"Range":    {fmt.Sprintf("bytes=%d-%d", from, to-1)},
		"If-Range": {f.tag},
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	where := fmt.Sprintf("bytes %d-%d/%d", from, to-1, f.size)
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent && resp.Header.Get("Content-Range") == where &&
		resp.Header.Get("ETag") == f.tag && (codingOf(resp) == f.coding || codingOf(resp) == ""): // RFC 9110 lets it be left out
		return f.readRange(resp.Body, to-from, pieces)
	case code == http.StatusPartialContent, code == http.StatusOK, code == http.StatusPreconditionFailed,
		code == http.StatusRequestedRangeNotSatisfiable, code == http.StatusNotFound:
		return nil, refusef(vgirpc.DataLoss, "object at %s changed while it was fetched", redactURL(f.u))
	case code/100 == 3:
		return nil, refusef(vgirpc.FailedPrecondition, "redirect of a range at %s", redactURL(f.u))
	default:
		_, err := redirect(resp, f.u)
		return nil, err
	}
}

// readRange reads exactly n bytes.
func (f *rangeFetch) readRange(r io.Reader, n int64, pieces chan<- []byte) (data []byte, err error) {
	select {
	case data = <-f.free:
	default:
		if data = f.o.chunks.take(f.step); data == nil {
			data = make([]byte, f.step)
		}
	}
	data = data[:f.step]
	for rest := data[:n]; len(rest) > 0 && err == nil; {
		var got int
		got, err = io.ReadFull(r, rest[:min(len(rest), piece)])
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		pieces <- rest[:got] // has room for all that there are
		rest = rest[got:]
	}
	return data, err
}

// Read returns the ranges in order. It fails with the first that failed.
func (f *rangeFetch) Read(p []byte) (int, error) {
	for len(f.rest) == 0 && f.err == nil {
		f.err = f.next()
	}
	if f.err != nil {
		return 0, f.err
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	f.read += int64(n)
	return n, nil
}

// next goes on to the next piece, of the next range after the last one.
func (f *rangeFetch) next() error {
	if f.current != nil {
		if p, ok := <-f.current.pieces; ok {
			f.rest = p
			return nil
		}
		if f.current.err != nil {
			return f.current.err
		}
		f.free <- f.current.data // has room for all that there are
		f.current = nil
	}
	var ok bool
	if f.current, ok = <-f.results; ok {
		return nil
	}
	if f.read < f.size { // the context ended
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// giveBack keeps the memory of ranges for other objects. Nobody fetches any more.
func (f *rangeFetch) giveBack() {
	close(f.free)
	for data := range f.free {
		f.o.chunks.give(data)
	}
}

// codingOf is a response's content coding, as it says it.
func codingOf(resp *http.Response) string {
	return strings.Join(resp.Header.Values("Content-Encoding"), ",")
}
