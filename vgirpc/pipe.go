package vgirpc

import (
	"context"
	"io"
	"sync"
)

// pairBuffer is how many bytes one direction of a pair holds before a write
// waits for a read.
const pairBuffer = 1 << 20

// NewPair returns the two ends of an in-process connection. Each direction
// buffers up to 1 MiB. Closing an end lets the other read what is there and then
// io.EOF; its writes fail with io.ErrClosedPipe.
func NewPair() (io.ReadWriteCloser, io.ReadWriteCloser) {
	a, b := newQueue(), newQueue()
	return &pairEnd{a, b}, &pairEnd{b, a}
}

type pairEnd struct{ in, out *queue }

// Read reads what the other end wrote.
func (p *pairEnd) Read(b []byte) (int, error) { return p.in.read(b) }

// Write writes for the other end to read.
func (p *pairEnd) Write(b []byte) (int, error) { return p.out.write(b) }

// Close closes both directions.
func (p *pairEnd) Close() error {
	p.in.close(true)
	p.out.close(false)
	return nil
}

// queue is one direction: bytes in a buffer that is filled and emptied.
type queue struct {
	mu         sync.Mutex
	more, room sync.Cond
	buf        []byte
	start      int
	closed     bool
	abandoned  bool // the reader is gone: what is buffered is lost
}

func newQueue() *queue {
	q := &queue{}
	q.more.L, q.room.L = &q.mu, &q.mu
	return q
}

func (q *queue) read(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) == q.start {
		if q.closed {
			return 0, io.EOF
		}
		q.more.Wait()
	}
	if q.abandoned {
		return 0, io.ErrClosedPipe
	}
	n := copy(b, q.buf[q.start:])
	if q.start += n; q.start == len(q.buf) {
		q.buf, q.start = q.buf[:0], 0
	}
	q.room.Signal()
	return n, nil
}

func (q *queue) write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	written := 0
	for len(b) > 0 {
		for len(q.buf)-q.start >= pairBuffer && !q.closed {
			q.room.Wait()
		}
		if q.closed {
			return written, io.ErrClosedPipe
		}
		if q.start > 0 && len(q.buf)+len(b) > cap(q.buf) {
			q.buf = q.buf[:copy(q.buf, q.buf[q.start:])]
			q.start = 0
		}
		n := min(len(b), pairBuffer-(len(q.buf)-q.start))
		q.buf = append(q.buf, b[:n]...)
		b, written = b[n:], written+n
		q.more.Signal()
	}
	return written, nil
}

func (q *queue) close(abandoned bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.abandoned = q.abandoned || abandoned
	q.more.Broadcast()
	q.room.Broadcast()
}

// ServePipe serves one connection over a pipe or an in-process pair until the
// peer closes it, or until ctx ends and rw's reads end with its Close. Those of
// a [Stdio] do not: package worker knows what to do about it.
func (s *Server) ServePipe(ctx context.Context, rw io.ReadWriteCloser) error {
	c, err := s.NewConn(ctx, rw, &Peer{Kind: TransportPipe, UID: -1, GID: -1, PID: -1})
	if err != nil {
		_ = rw.Close()
		return err
	}
	return s.ServeConn(ctx, c)
}
