package vgirpc

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

// SharedMemoryClient agrees with the servers of connections on shared memory:
// package shm has one. It may be asked about many connections at once.
type SharedMemoryClient interface {
	// Negotiate returns the memory of one connection. It is called before the
	// connection's first call. An error says why there is none, and batches go
	// inline.
	Negotiate(link CapabilityLink) (SharedMemory, error)
	// Inherit makes memory for a process that is about to be started, and f, its
	// descriptor, which the process gets as number fd; own then negotiates it on
	// the connection to that process, instead of this one. The caller closes both:
	// f once the process has started, own when there is no connection; a transport
	// closes the one that it was given. f is nil, as is own, when there is no such
	// memory.
	Inherit(fd int) (f *os.File, own InheritedMemory, err error)
}

// InheritedMemory is the [SharedMemoryClient] of the connection to one process
// that was started with memory.
type InheritedMemory interface {
	SharedMemoryClient
	// Close gives the memory up, unless it was negotiated: then it is the
	// connection's. Closing again does nothing.
	Close() error
}

// CapabilityLink is a client's connection before its first call.
type CapabilityLink interface {
	// PassesFiles reports whether descriptors can travel over the connection.
	PassesFiles() bool
	// Ask sends a capability request with own metadata, and with file beside it
	// unless that is nil, and returns the metadata of the answer; none when the
	// server refused it. A server closes a file that it has not agreed to take.
	Ask(own wire.Metadata, file *os.File) (answer wire.Metadata, err error)
}

// capabilityLink is a connection that somebody has the turn of.
type capabilityLink struct {
	t   *streamTransport
	err error // of the connection
}

// PassesFiles implements [CapabilityLink].
func (l *capabilityLink) PassesFiles() bool { return fileConn(l.t.rw) != nil }

// Ask implements [CapabilityLink].
func (l *capabilityLink) Ask(own wire.Metadata, file *os.File) (wire.Metadata, error) {
	if l.err != nil {
		return nil, l.err
	}
	var fds duplicates
	if file != nil {
		if !l.PassesFiles() {
			return nil, errNoFiles()
		}
		var err error
		if fds, err = duplicate([]*os.File{file}); err != nil {
			return nil, err
		}
		defer fds.close()
	}
	var answer wire.Metadata
	answer, l.err = l.t.ask(own, fds)
	return answer, l.err
}

// sideChannel is the shared memory of a client's connection. There is none until
// the server has agreed to it, and none at all when the pointer is nil. Whoever
// has the turn of the connection uses it; close may be called at any time.
type sideChannel struct {
	client SharedMemoryClient
	asked  bool
	free   func() // gives the last batch back that was fetched; nil without

	mu     sync.Mutex
	memory SharedMemory // nil without
	closed bool
}

func newSideChannel(client SharedMemoryClient) *sideChannel {
	if client == nil {
		return nil
	}
	return &sideChannel{client: client}
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

// negotiate agrees with the server once on shared memory, if on any
// (WIRE_PROTOCOL section 15). An error is that of the connection: whatever else
// goes wrong, batches go inline.
func (s *sideChannel) negotiate(t *streamTransport) error {
	if s.asked {
		return nil
	}
	s.asked = true
	link := &capabilityLink{t: t}
	memory, err := s.client.Negotiate(link)
	if err != nil {
		return link.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || link.err != nil {
		_ = memory.Close() // nobody has used it
		return link.err
	}
	s.memory = memory
	return nil
}

// ask sends a capability request and reads the answer. An error is that of the
// connection.
func (t *streamTransport) ask(own wire.Metadata, fds duplicates) (answer wire.Metadata, err error) {
	request := CapabilityRequest(own...)
	if err := t.sendWith(&request, fds); err != nil {
		return nil, err
	}
	if _, err := t.r.NextStream(); err != nil {
		return nil, err
	}
	if b, err := t.r.Next(); err == nil && b.Kind() == wire.KindData {
		answer = slices.Clone(b.Meta)
	}
	return answer, t.r.Drain()
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

// allocator gives memory for the next input, which the client has the turn to
// build.
func (s *sideChannel) allocator() memory.Allocator {
	if shared := s.get(); shared != nil {
		return shared.Allocator()
	}
	return memory.DefaultAllocator
}

// built ends the use of that memory.
func (s *sideChannel) built() {
	if shared := s.get(); shared != nil {
		shared.Built()
	}
}

// fetch returns the batch that a pointer stands for, which lives as long as life
// says: the pointer itself where there is no memory, for a caller who has his own.
func (s *sideChannel) fetch(pointer *wire.Batch, life wire.Lifetime) (*wire.Batch, error) {
	memory := s.get()
	if memory == nil {
		return pointer, nil
	}
	b, free, err := memory.Fetch(pointer, life)
	if err != nil {
		return nil, err
	}
	s.free = free
	return b, nil
}

// giveBack ends the use of the batch that was fetched last: its memory is free
// from the next turn of this side on.
func (s *sideChannel) giveBack() {
	if s != nil && s.free != nil {
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
	if !first {
		return nil
	}
	var err error
	if c, ok := s.client.(InheritedMemory); ok {
		err = c.Close()
	}
	if memory != nil {
		err = errors.Join(err, memory.Close())
	}
	return err
}
