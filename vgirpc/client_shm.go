package vgirpc

import (
	"context"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// sideChannel is the shared memory of a client's connection. There is none until
// the server has agreed to it, and none at all when the pointer is nil. Whoever
// has the turn of the connection uses it; close may be called at any time.
type sideChannel struct {
	create func() (SharedMemory, error)
	asked  bool
	free   func() // gives the last batch back that was fetched; nil without

	mu     sync.Mutex
	memory SharedMemory // nil without
	closed bool
}

func newSideChannel(create func() (SharedMemory, error)) *sideChannel {
	if create == nil {
		return nil
	}
	return &sideChannel{create: create}
}

// get is the memory in use, nil without.
func (s *sideChannel) get() SharedMemory {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory
}

// negotiate asks the server once whether it can use shared memory
// (WIRE_PROTOCOL section 15). An error is that of the connection: whatever else
// goes wrong, batches go inline.
func (s *sideChannel) negotiate(t *streamTransport) error {
	if s.asked {
		return nil
	}
	s.asked = true
	ask := CapabilityRequest(wire.Pair{Key: wire.KeyTransportSHM, Value: "true"})
	if err := t.send(&ask); err != nil {
		return err
	}
	if _, err := t.r.NextStream(); err != nil {
		return err
	}
	b, err := t.r.Next()
	agreed := err == nil && b.Meta.Value(wire.KeyTransportSHM) == "true"
	if err := t.r.Drain(); err != nil {
		return err
	}
	if !agreed {
		return nil
	}
	memory, err := s.create()
	if err != nil {
		return nil // there is none to be had: batches go inline
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = memory.Close() // nobody has used it
		return nil
	}
	s.memory = memory
	return nil
}

// request is a request's batch as it is sent: with the segment's name, and in the
// segment where that is wanted and worth it.
func (s *sideChannel) request(batch *wire.Batch, placed bool) wire.Batch {
	out := *batch
	memory := s.get()
	if memory == nil {
		return out
	}
	s.giveBack()
	meta, err := memory.Request(out.Meta)
	if err != nil {
		return out // it is broken: inline
	}
	out.Meta = meta
	if placed {
		return place(memory, out)
	}
	return out
}

// input is an input batch as it is sent.
func (s *sideChannel) input(batch *wire.Batch) wire.Batch {
	memory := s.get()
	if memory == nil {
		return *batch
	}
	s.giveBack()
	_ = memory.Turn() // what cannot be freed is reclaimed by the next call
	return place(memory, *batch)
}

func place(memory SharedMemory, b wire.Batch) wire.Batch {
	placed, _, err := memory.Place(context.Background(), b.Schema, []wire.Batch{b}, -1)
	if err != nil {
		return b
	}
	return placed[0]
}

// fetch returns the batch that a pointer stands for: the pointer itself where
// there is no memory, for a caller who has his own.
func (s *sideChannel) fetch(pointer *wire.Batch) (*wire.Batch, error) {
	memory := s.get()
	if memory == nil {
		return pointer, nil
	}
	b, free, err := memory.Resolve(context.Background(), pointer, nil, nil)
	if err != nil {
		return nil, err
	}
	s.free = free
	return b, nil
}

func (s *sideChannel) giveBack() {
	if s.free != nil {
		s.free()
		s.free = nil
	}
}

// holdTurn frees what was read, now that the turn is the client's.
func (s *sideChannel) holdTurn() {
	if memory := s.get(); memory != nil {
		_ = memory.Turn() // what cannot be freed is reclaimed by the next call
	}
}

// close removes the memory.
func (s *sideChannel) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	memory, first := s.memory, !s.closed
	s.closed = true
	s.mu.Unlock()
	if memory == nil || !first {
		return nil
	}
	return memory.Close()
}
