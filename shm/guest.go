package shm

import (
	"context"
	"strconv"
	"sync"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// GuestOptions say what a server attaches to. The zero value has the defaults.
type GuestOptions struct {
	Options

	// UID is the only user whose named segments are attached: a connection's
	// peer, so that nobody makes the server read a segment of somebody else's.
	// Nil accepts every segment that this process may open.
	UID *uint32
}

// Guest is the server's side of one connection. It attaches to the segments that
// its requests name, whether negotiated or not, and keeps the last one: later
// pointers may come without a name. It is not for connections from elsewhere, such
// as HTTP.
type Guest struct {
	*Channel

	uid *uint32

	mu    sync.Mutex
	reply bool // the request being answered is of a client that reads pointers
}

var _ vgirpc.DescriptorMemory = (*Guest)(nil)

// Serve is [vgirpc.ServerOptions.SharedMemory]: a Guest for each connection, of
// which only segments of the peer's own user are attached, where the kernel says
// who that is.
func Serve(opts Options) func(*vgirpc.Peer) (vgirpc.SharedMemory, error) {
	return func(peer *vgirpc.Peer) (vgirpc.SharedMemory, error) {
		g := GuestOptions{Options: opts}
		if peer.UID >= 0 {
			uid := uint32(peer.UID)
			g.UID = &uid
		}
		return NewGuest(g)
	}
}

// NewGuest returns a Guest that has no segment yet.
func NewGuest(opts GuestOptions) (*Guest, error) {
	c, err := NewChannel(nil, opts.Options)
	if err != nil {
		return nil, err
	}
	return &Guest{Channel: c, uid: opts.UID}, nil
}

// Request begins a call: it attaches to the segment that the request's metadata
// names, unless that is attached already, and decides whether the answer may be
// placed, which a client expects only for a request that named a segment or is
// itself a pointer. Regions of earlier calls that were never freed are left to
// the client. An error says why a segment cannot be used; the call goes on in
// band, and a pointer in it is refused. The metadata is returned as it is.
func (g *Guest) Request(meta wire.Metadata) (wire.Metadata, error) {
	g.forget()
	name, named := meta.Get(wire.KeySHMSegmentName)
	var err error
	if seg := g.Segment(); named && (seg == nil || seg.Name() != name) {
		err = g.attach(name, meta.Value(wire.KeySHMSegmentSize))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reply = err == nil && (named || meta.Has(wire.KeySHMOffset))
	return meta, err
}

// attach replaces the segment by a named one. When that fails there is none:
// pointers are meant for the one that was named.
func (g *Guest) attach(name, size string) error {
	g.detach()
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return segmentErrorf("%q is %.32q: want a number of bytes", wire.KeySHMSegmentSize, size)
	}
	seg, err := Attach(name, n)
	if err != nil {
		return err
	}
	if g.uid != nil && seg.uid != *g.uid {
		_ = seg.Close() // the error says why
		return seg.named(segmentErrorf("belongs to user %d, and the peer is user %d", seg.uid, *g.uid))
	}
	g.use(seg)
	return nil
}

// Adopt makes seg, whose descriptor was passed, the connection's segment. The
// Guest closes it.
func (g *Guest) Adopt(seg *Segment) {
	g.detach()
	g.use(seg)
}

// Capability implements [vgirpc.DescriptorMemory]: it says that descriptors are
// taken to whoever asks ([KeyDescriptor]), and adopts the segment whose descriptor
// was passed or inherited, once the kernel has confirmed its seals. A segment that
// is refused leaves the one in use in its place.
func (g *Guest) Capability(ask wire.Metadata, d vgirpc.Descriptors) (answer wire.Metadata, receive bool, err error) {
	name := ask.Value(KeyDescriptor)
	f := d.Passed
	if text, ok := ask.Get(KeyInherited); ok && f == nil && d.Inherited != nil {
		if fd, err := strconv.Atoi(text); err == nil {
			f = d.Inherited(fd)
		}
	}
	switch {
	case name == Ask && f == nil && d.Receives && Supported:
		return wire.Metadata{{Key: KeyDescriptor, Value: "true"}}, true, nil
	case f == nil:
		return nil, false, nil // it did not ask, or nothing came
	case name == Ask:
		_ = f.Close() // an offer has a name
		return nil, false, segmentErrorf("a descriptor came with the question whether any may")
	}
	seg, err := AttachFile(f, name)
	if err != nil {
		return nil, false, err
	}
	g.Adopt(seg)
	return wire.Metadata{{Key: KeyDescriptor, Value: name}}, false, nil
}

// Answers reports whether the answer to the request in progress may be placed. It
// is not stored anywhere else then, whether it fits or not.
func (g *Guest) Answers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reply
}

// Place implements [vgirpc.Offload] as [Channel.Place] does, for requests whose
// answer may be placed. Others keep theirs in band.
func (g *Guest) Place(ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) (placed []wire.Batch, moved int64, err error) {
	if !g.Answers() {
		return cycle, 0, nil
	}
	return g.Channel.Place(ctx, schema, cycle, budget)
}

func (g *Guest) detach() {
	if seg := g.Segment(); seg != nil {
		g.use(nil)
		_ = seg.Close() // it is the client's; unmapping cannot fail
	}
}

// Close detaches. Batches that lie in the segment stay valid until they are
// released. It may be called again.
func (g *Guest) Close() error {
	g.detach()
	return nil
}
