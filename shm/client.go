package shm

import (
	"errors"
	"os"
	"strconv"
	"sync"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Client is [vgirpc.ClientOptions.SharedMemory]: an [Owner] for each connection to
// a server that can use one. Where the server is of this module too, and on a Unix
// socket or a process that the client starts, the segment has no name: its
// descriptor is passed, nobody else can open it, and it ends with its last user.
// Every other server gets a named segment.
func Client(opts OwnerOptions) vgirpc.SharedMemoryClient { return client{opts} }

// client negotiates a segment of its own for each connection.
type client struct{ opts OwnerOptions }

// errDeclined says that the server attaches to no segment that may be offered.
var errDeclined = errors.New("shm: the server cannot use the shared memory that this client may offer")

// Negotiate implements [vgirpc.SharedMemoryClient].
func (c client) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	if err := c.opts.Validate(); err != nil {
		return nil, err
	}
	if !Supported {
		return nil, ErrUnsupported
	}
	ask := wire.Metadata{{Key: wire.KeyTransportSHM, Value: "true"}}
	if !c.opts.Named && link.PassesFiles() {
		ask = append(ask, wire.Pair{Key: KeyDescriptor, Value: Ask})
	}
	answer, err := link.Ask(ask, nil)
	if err != nil {
		return nil, err
	}
	if TakesDescriptors(answer) && len(ask) > 1 {
		if o, err := c.pass(link); o != nil || err != nil {
			return o, err
		}
	}
	return c.named(answer)
}

// named makes a named segment, for a server that has agreed to one.
func (c client) named(answer wire.Metadata) (vgirpc.SharedMemory, error) {
	if c.opts.Anonymous || !Agreed(answer) {
		return nil, errDeclined
	}
	return NewOwner(c.opts)
}

// pass offers memory without a name, and its descriptor beside that. It returns
// nil when the server does not attach it, or when there is none to be had. An
// error is the connection's.
func (c client) pass(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	o, f, err := c.anonymous()
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // a named one will do
	}
	answer, err := link.Ask(wire.Metadata{
		{Key: wire.KeyTransportSHM, Value: "true"}, {Key: KeyDescriptor, Value: o.seg.Name()},
	}, f)
	_ = f.Close() // the segment has its own
	if err == nil && Attached(answer, o.seg.Name()) {
		return o, nil
	}
	return nil, errors.Join(err, o.Close())
}

// anonymous is an owner of memory without a name, and a descriptor to pass.
func (c client) anonymous() (*Owner, *os.File, error) {
	opts := c.opts
	opts.Anonymous = true
	o, err := NewOwner(opts)
	if err != nil {
		return nil, nil, err
	}
	f, err := o.seg.File()
	if err != nil {
		return nil, nil, errors.Join(err, o.Close())
	}
	return o, f, nil
}

// Inherit implements [vgirpc.SharedMemoryClient].
func (c client) Inherit(fd int) (*os.File, vgirpc.InheritedMemory, error) {
	if err := c.opts.Validate(); err != nil {
		return nil, nil, err
	}
	if c.opts.Named || !Supported {
		return nil, nil, nil
	}
	o, f, err := c.anonymous()
	if err != nil {
		return nil, nil, err
	}
	return f, &inherited{client: c, fd: fd, owner: o}, nil
}

// inherited negotiates what one process was started with.
type inherited struct {
	client

	fd int

	mu    sync.Mutex
	owner *Owner // nil once it was negotiated or given up
}

// take hands the owner over.
func (i *inherited) take() *Owner {
	i.mu.Lock()
	defer i.mu.Unlock()
	o := i.owner
	i.owner = nil
	return o
}

// Negotiate offers the memory that the process has. Where it is not attached, the
// process gets a named segment.
func (i *inherited) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	o := i.take()
	if o == nil {
		return nil, ErrClosed
	}
	answer, err := link.Ask(wire.Metadata{
		{Key: wire.KeyTransportSHM, Value: "true"},
		{Key: KeyDescriptor, Value: o.seg.Name()},
		{Key: KeyInherited, Value: strconv.Itoa(i.fd)},
	}, nil)
	switch {
	case err == nil && Attached(answer, o.seg.Name()):
		return o, nil
	case err != nil:
		return nil, errors.Join(err, o.Close())
	}
	_ = o.Close() // nobody has used it
	return i.named(answer)
}

// Close implements [vgirpc.InheritedMemory].
func (i *inherited) Close() error {
	if o := i.take(); o != nil {
		return o.Close()
	}
	return nil
}
