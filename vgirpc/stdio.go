//go:build unix

package vgirpc

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeBuffer is the size that pipes are widened to where the kernel allows it.
const pipeBuffer = 1 << 20

// Stdio is standard input and output as one connection, taken away from the
// rest of the process: see [TakeStdio].
type Stdio struct {
	in, out   *os.File
	closeOnce sync.Once

	mu     sync.Mutex
	memory *os.File // that the process was started with, until somebody takes it
}

// TakeStdio moves standard input and output to descriptors of their own and
// returns them as a connection. From then on descriptor 0 reads nothing, and
// what anybody prints to standard output goes to standard error, so that a
// stray print cannot break the stream. The descriptors are closed in child
// processes: a child that outlives the worker does not keep the pipe open.
//
// Memory that a client of this module starts its worker with
// ([InheritedDescriptor]) is made close-on-exec as well, and is closed with the
// connection unless shared memory was negotiated.
//
// What a program prints before it calls TakeStdio cannot be caught.
func TakeStdio() (*Stdio, error) {
	in, err := moveAway(os.Stdin, "vgirpc-stdin")
	if err != nil {
		return nil, err
	}
	out, err := moveAway(os.Stdout, "vgirpc-stdout")
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("vgirpc: stdio: %w", err)
	}
	defer func() { _ = null.Close() }()
	if err := replace(null, 0); err != nil {
		return nil, err
	}
	if err := replace(os.Stderr, 1); err != nil {
		return nil, err
	}
	for _, f := range []*os.File{in, out} {
		widenPipe(f)
	}
	return &Stdio{in: in, out: out, memory: inheritedMemory(InheritedDescriptor)}, nil
}

// moveAway duplicates a descriptor to a new one that children do not inherit.
func moveAway(f *os.File, name string) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("vgirpc: stdio: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// replace makes descriptor number fd another name for f.
func replace(f *os.File, fd int) error {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if err := dup2(int(f.Fd()), fd); err != nil {
		return fmt.Errorf("vgirpc: stdio: %w", err)
	}
	return nil
}

// Read reads from what was standard input.
func (s *Stdio) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write writes to what was standard output.
func (s *Stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close closes the output, so that the peer sees the end. The input is left
// open: a read that blocks on a pipe cannot be interrupted, and the process is
// about to end.
func (s *Stdio) Close() error {
	var err error
	s.closeOnce.Do(func() {
		closeFiles([]*os.File{s.Inherited(InheritedDescriptor)})
		err = s.out.Close()
	})
	return err
}

// Inherited hands over the memory that the process was started with as descriptor
// number fd, once; nil when there is none.
func (s *Stdio) Inherited(fd int) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd != InheritedDescriptor {
		return nil
	}
	memory := s.memory
	s.memory = nil
	return memory
}
