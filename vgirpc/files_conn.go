package vgirpc

import (
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// incoming are the descriptors that arrive on a server's connection once it has
// agreed to take some. They come beside bytes, and wait here for the request that
// those belong to: the reader is ahead of the requests.
//
// The kernel hands descriptors out with the read that takes the byte which they
// were sent with, and ends that read no later than the write that brought them.
// So they belong to the request that the last byte of that read is part of, or to
// one before it whose end the same read took.
type incoming struct {
	conn   *net.UnixConn
	most   int  // how many one request may bring
	always bool // calls may bring files; else only the next request may, one
	oob    []byte

	mu      sync.Mutex
	waiting []arrival
	closed  bool
}

// arrival is what came with one read.
type arrival struct {
	files    []*os.File
	from, to int64 // the bytes that the read took, counted from the connection's first
	cut      bool  // there were more of them, which are closed
}

// maxArrivals bounds the arrivals that wait. A request has one: more than a few
// come from a peer who sends what nobody asked for.
const maxArrivals = 8

// read reads as the connection does, which is at byte at, and keeps what comes
// beside the bytes.
func (in *incoming) read(p []byte, at int64) (int, error) {
	n, files, cut, err := receiveFiles(in.conn, p, in.oob, in.most)
	if len(files) > 0 || cut {
		in.add(arrival{files, at, at + int64(n), cut})
	}
	return n, err
}

func (in *incoming) add(a arrival) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || len(in.waiting) == maxArrivals {
		closeFiles(a.files)
		return
	}
	in.waiting = append(in.waiting, a)
}

// claim gives a request, whose bytes begin at from and end at to, the files that it
// says it brings. When others came, or not as many, all of them are closed and
// the request is refused: the connection goes on.
func (in *incoming) claim(req *Request, from, to int64) {
	n, err := filesIn(req.Meta, in.most)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop(from)
	taken, cut := 0, false
	for ; taken < len(in.waiting); taken++ {
		// A read that went on behind this request brought what comes next, unless
		// this one has to bring something as well.
		a := in.waiting[taken]
		if a.from >= to || (a.to > to && (n == 0 || taken > 0)) {
			break
		}
		req.Files, cut = append(req.Files, a.files...), cut || a.cut
	}
	in.waiting = slices.Delete(in.waiting, 0, taken)
	switch {
	case err != nil:
	case cut:
		err = filesErrorf(InvalidArgument, "more files came than the request may bring: all of them are closed")
	case len(req.Files) != n:
		err = filesErrorf(InvalidArgument, "the request says that it brings %d files, and %d came: all of them are closed", n, len(req.Files))
	}
	if err == nil {
		return
	}
	closeFiles(req.Files)
	req.Files = nil
	if req.Err == nil {
		req.Err = err
	}
}

// stray closes what came with bytes before to, which were no request's.
func (in *incoming) stray(to int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop(to)
}

func (in *incoming) drop(to int64) {
	in.waiting = slices.DeleteFunc(in.waiting, func(a arrival) bool {
		if a.to <= to {
			closeFiles(a.files)
		}
		return a.to <= to
	})
}

// close closes everything that waits, and what is still to come.
func (in *incoming) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, a := range in.waiting {
		closeFiles(a.files)
	}
	in.waiting = nil
}

// claim gives a request its files. Where only the one after a capability request
// could bring any, that is over now.
func (c *Conn) claim(req *Request, from int64) {
	in := c.incoming.Load()
	in.claim(req, from, c.r.Consumed())
	if !in.always {
		c.incoming.Store(nil)
		in.close()
	}
}

// take makes the connection receive descriptors from now on: files with every
// call, or one with the next request.
func (c *Conn) take(conn *net.UnixConn, most int, always bool) {
	in := &incoming{conn: conn, most: most, always: always, oob: make([]byte, controlBytes(most))}
	if old := c.incoming.Swap(in); old != nil {
		old.close() // nothing waits: its request was the last
	}
	if c.state.Load() == connClosed {
		in.close() // Close may have looked before
	}
}

// Descriptors are what a connection has for memory without a name.
type Descriptors struct {
	// Receives says that the next capability request may bring a descriptor.
	Receives bool
	// Passed is the file that came beside this one, nil without. Whoever is asked
	// takes it over.
	Passed *os.File
	// Inherited hands over the memory that this process was started with as
	// descriptor number fd, once; nil when there is none.
	Inherited func(fd int) *os.File
}

// DescriptorMemory is [SharedMemory] of a server that can attach memory without a
// name, whose descriptor its client passes beside a capability request
// (WIRE_PROTOCOL section 15).
type DescriptorMemory interface {
	SharedMemory
	// Capability returns what the answer to a capability request, of which ask is
	// the metadata, says about descriptors: nothing when it did not ask. receive
	// says that the next request is to bring one. An error says why what was
	// offered cannot be used.
	Capability(ask wire.Metadata, d Descriptors) (answer wire.Metadata, receive bool, err error)
}

// capabilities is what the answer to a capability request says of this connection
// beside what the server says.
func (c *Conn) capabilities(req *Request) (answer wire.Metadata) {
	files := req.Files
	req.Files = nil
	defer func() { closeFiles(files) }()
	if req.Err != nil {
		return nil
	}
	conn := fileConn(c.rw)
	if memory, ok := c.shm.(DescriptorMemory); ok {
		d := Descriptors{Receives: conn != nil, Inherited: c.inherited}
		if len(files) == 1 {
			d.Passed, files = files[0], nil
		}
		own, receive, err := memory.Capability(req.Meta, d)
		if err != nil {
			c.s.log.LogAttrs(c.ctx, slog.LevelWarn, "shared memory that was offered cannot be used", slog.Any("error", err))
		}
		answer = own
		if in := c.incoming.Load(); receive && conn != nil && (in == nil || !in.always) {
			c.take(conn, 1, false)
		}
	}
	if most := c.s.opts.Conns.withDefaults().MaxFiles; conn != nil && most > 0 && req.Meta.Value(KeyFiles) == AskFiles {
		c.take(conn, most, true)
		answer = append(answer, wire.Pair{Key: KeyFiles, Value: strconv.Itoa(most)})
	}
	return answer
}

// InheritedDescriptor is the number of the descriptor of the memory that a process
// is started with, where its client starts it.
const InheritedDescriptor = 3

// MemoryName is what the system is told of anonymous shared memory: a worker knows
// by it what it was started with.
const MemoryName = "vgi_rpc"

// inheritor is a connection of a process that was started with memory.
type inheritor interface {
	// Inherited hands the descriptor of that number over, once; nil without it.
	Inherited(fd int) *os.File
}

// inherited is the memory that the process was started with, when this is the
// connection to whoever started it.
func (c *Conn) inherited(fd int) *os.File {
	if from, ok := c.rw.(inheritor); ok {
		return from.Inherited(fd)
	}
	return nil
}

// fileConn is rw when it can pass files, else nil. What wraps a socket reads
// bytes of its own from it.
func fileConn(rw any) *net.UnixConn {
	conn, ok := rw.(*net.UnixConn)
	if !ok || !passesFiles {
		return nil
	}
	if addr := conn.LocalAddr(); addr == nil || addr.Network() != "unix" {
		return nil // packets, which are no stream of bytes
	}
	return conn
}
