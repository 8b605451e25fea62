package main

import (
	"context"
	"io"
)

// interruptible is a reader whose reads end when ctx does, for standard input: its
// reads have no deadline, and nothing else wakes them. It is not safe for concurrent
// use.
type interruptible struct {
	ctx context.Context //nolint:containedctx // that of the command, which ends reads of all kinds
	r   io.Reader
	// buf is what r reads into, never the caller's memory: a read that was abandoned
	// may still come back, and there is none after it that could see what it wrote.
	buf []byte
}

// maxInterruptible bounds one read, in bytes.
const maxInterruptible = 64 << 10

// Read reads, or returns why the context has ended.
func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	n := min(len(p), maxInterruptible)
	if len(i.buf) < n {
		i.buf = make([]byte, n)
	}
	type result struct {
		n   int
		err error
	}
	came, into := make(chan result, 1), i.buf[:n]
	go func() {
		n, err := i.r.Read(into)
		came <- result{n, err}
	}()
	select {
	case got := <-came:
		return copy(p, into[:got.n]), got.err
	case <-i.ctx.Done():
		return 0, context.Cause(i.ctx)
	}
}
