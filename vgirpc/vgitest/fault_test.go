package vgitest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// A worker is killed when it has sent 100 bytes of its answer.
func ExampleFaulty() {
	near, far := vgirpc.NewPair()
	go func() {
		_, _ = far.Write(make([]byte, 4096)) // stands for the worker
	}()
	rw := vgitest.Faulty(near, vgitest.Cut(vgitest.Reads, 100))
	answer, err := io.ReadAll(rw)
	fmt.Println(len(answer), err)
	fmt.Println(rw.Close())
	// Output:
	// 100 <nil>
	// <nil>
}

// outcome is what one direction of a faulty connection let through.
type outcome struct {
	Got  string
	Err  error // of the faulty end
	Took time.Duration
}

// receive sends "0123456789" to a faulty end, which reads it in pieces.
func receive(piece int, rw, far io.ReadWriteCloser) outcome {
	go func() {
		_, _ = far.Write([]byte("0123456789")) // nobody may read all of it
	}()
	start, o := time.Now(), outcome{}
	buf := make([]byte, piece)
	for len(o.Got) < 10 && o.Err == nil {
		var n int
		n, o.Err = rw.Read(buf)
		o.Got += string(buf[:n])
	}
	o.Took = time.Since(start)
	return o
}

// transmit sends "0123456789" through a faulty end in pieces.
func transmit(piece int, rw, far io.ReadWriteCloser) outcome {
	var got []byte
	var reading sync.WaitGroup
	reading.Go(func() { got, _ = io.ReadAll(far) }) // to the end, however it ends
	start, o := time.Now(), outcome{}
	text := []byte("0123456789")
	for rest := text; len(rest) > 0 && o.Err == nil; {
		n := min(piece, len(rest))
		_, o.Err = rw.Write(rest[:n])
		rest = rest[n:]
	}
	o.Took = time.Since(start)
	_ = rw.Close()
	reading.Wait()
	o.Got = string(got)
	if string(text) != "0123456789" {
		o.Err = errors.Join(o.Err, errors.New("the caller's bytes were changed"))
	}
	return o
}

func TestAFaultHappensAtItsByteHoweverLargeThePieces(t *testing.T) {
	type run struct {
		name  string
		fault vgitest.Fault
		end   func(piece int, rw, far io.ReadWriteCloser) outcome
		want  outcome
	}
	const r, w = vgitest.Reads, vgitest.Writes
	for _, tt := range []run{
		{"nothing", vgitest.Fault{}, receive, outcome{Got: "0123456789"}},
		{"nothing", vgitest.Fault{}, transmit, outcome{Got: "0123456789"}},
		{"cut before the first byte", vgitest.Cut(r, 0), receive, outcome{Err: io.EOF}},
		{"cut before the first byte", vgitest.Cut(w, 0), transmit, outcome{Err: io.ErrClosedPipe}},
		{"cut in the middle", vgitest.Cut(r, 4), receive, outcome{Got: "0123", Err: io.EOF}},
		{"cut in the middle", vgitest.Cut(w, 4), transmit, outcome{Got: "0123", Err: io.ErrClosedPipe}},
		{"an error in the middle", vgitest.Fail(r, 7, syscall.ECONNRESET), receive, outcome{Got: "0123456", Err: syscall.ECONNRESET}},
		{"an error in the middle", vgitest.Fail(w, 7, syscall.EPIPE), transmit, outcome{Got: "0123456", Err: syscall.EPIPE}},
		{"an error of the other direction", vgitest.Fail(w, 0, syscall.EPIPE), receive, outcome{Got: "0123456789"}},
		{"a wrong byte", vgitest.Corrupt(r, 3, 'x'^'3'), receive, outcome{Got: "012x456789"}},
		{"a wrong byte", vgitest.Corrupt(w, 3, 'x'^'3'), transmit, outcome{Got: "012x456789"}},
		{"a stall", vgitest.Stall(r, 5), receive, outcome{Got: "01234", Err: io.ErrClosedPipe, Took: time.Minute}},
		{"a stall", vgitest.Stall(w, 5), transmit, outcome{Got: "01234", Err: io.ErrClosedPipe, Took: time.Minute}},
	} {
		for _, piece := range []int{1, 3, 10} {
			t.Run(fmt.Sprintf("%s, %v, pieces of %d", tt.name, tt.fault, piece), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					rw := vgitest.Faulty(near, tt.fault)
					closing := time.AfterFunc(time.Minute, func() { _ = rw.Close() })
					got := tt.end(piece, rw, far)
					closing.Stop()
					_, _ = rw.Close(), far.Close()
					if diff := cmp.Diff(tt.want, got, cmp.Comparer(errors.Is)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

func TestASlowPeerTakesItsTimeInTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := vgirpc.NewPair()
		rw := vgitest.Faulty(near, vgitest.Slow(4, time.Second))
		if got := receive(10, rw, far); got != (outcome{Got: "0123456789", Took: 3 * time.Second}) {
			t.Errorf("received %+v", got)
		}
		if got := transmit(10, rw, far); got != (outcome{Got: "0123456789", Took: 3 * time.Second}) {
			t.Errorf("sent %+v", got)
		}
	})
}

func TestAProbeSeesAConnectionFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probe vgitest.Probe
		near, far := vgirpc.NewPair()
		rw := vgitest.Faulty(near, vgitest.Watch(&probe), vgitest.SlowClose(time.Hour))
		if got := receive(4, rw, far); got.Got != "0123456789" {
			t.Fatalf("received %+v", got)
		}
		read := make(chan error)
		go func() {
			_, err := rw.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		probe.Break()
		if err := <-read; !errors.Is(err, io.EOF) {
			t.Errorf("a read of a connection that breaks: %v", err)
		}
		if probe.Closed() {
			t.Error("a connection that broke counts as closed")
		}
		start := time.Now()
		if err := errors.Join(rw.Close(), rw.Close()); err != nil || !probe.Closed() || time.Since(start) != time.Hour {
			t.Errorf("close: %v after %v, closed %v", err, time.Since(start), probe.Closed())
		}
		if probe.Moved(vgitest.Reads) != 10 || probe.Moved(vgitest.Writes) != 0 {
			t.Errorf("moved %d and %d bytes", probe.Moved(vgitest.Reads), probe.Moved(vgitest.Writes))
		}
	})
}
