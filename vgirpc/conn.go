package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ConnOptions are the limits of byte-stream connections. The zero value has the
// defaults; a negative duration or number turns a limit off.
type ConnOptions struct {
	// MaxConns is how many connections a listener serves at once; further ones
	// wait to be accepted. 64 when 0.
	MaxConns int
	// FirstByteTimeout is how long a new connection may stay silent. 60 s when
	// 0.
	FirstByteTimeout time.Duration
	// ProgressTimeout is how long a message may stand still half-way, in
	// either direction. 30 s when 0.
	ProgressTimeout time.Duration
	// IdleTimeout is how long a connection may wait between two calls. Off
	// when 0.
	IdleTimeout time.Duration
	// QuietTimeout is how long a listener goes on without any connection
	// before it ends serving; the first connection has at least 60 s. Off when
	// 0.
	QuietTimeout time.Duration
	// DrainTimeout is how long a shutdown waits for calls in progress. 8 s
	// when 0.
	DrainTimeout time.Duration
	// Admit are asked about each connection that a listener accepts, in order,
	// before its first message. Nobody is when empty: not a byte differs then.
	Admit []Admitter
	// AdmitTimeout is how long all of Admit may take together. 10 s when 0.
	AdmitTimeout time.Duration
	// MaxFiles is how many files one call on a Unix socket may bring
	// ([WithFiles]), at most 128. 16 when 0; negative takes none.
	MaxFiles int
}

// Defaults of ConnOptions.
const (
	defaultMaxConns         = 64
	defaultFirstByteTimeout = 60 * time.Second
	defaultProgressTimeout  = 30 * time.Second
)

// DefaultDrainTimeout is how long a shutdown waits for calls in progress.
const DefaultDrainTimeout = 8 * time.Second

func (o ConnOptions) withDefaults() ConnOptions {
	pick := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultMaxConns
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = defaultMaxFiles
	}
	pick(&o.FirstByteTimeout, defaultFirstByteTimeout)
	pick(&o.ProgressTimeout, defaultProgressTimeout)
	pick(&o.DrainTimeout, DefaultDrainTimeout)
	pick(&o.AdmitTimeout, defaultAdmitTimeout)
	return o
}

// Validate reports an option that makes no sense, by name.
func (o ConnOptions) validate() error {
	if o.MaxFiles > mostFiles {
		return fmt.Errorf("connection option MaxFiles is %d: want at most %d, 0 for the default, or less to take none", o.MaxFiles, mostFiles)
	}
	const shortest = time.Millisecond
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"FirstByteTimeout", o.FirstByteTimeout},
		{"ProgressTimeout", o.ProgressTimeout},
		{"IdleTimeout", o.IdleTimeout},
		{"QuietTimeout", o.QuietTimeout},
		{"DrainTimeout", o.DrainTimeout},
		{"AdmitTimeout", o.AdmitTimeout},
	} {
		if f.value > 0 && f.value < shortest {
			return fmt.Errorf("connection option %s is %v: want at least %v, 0 for the default, or less to turn it off", f.name, f.value, shortest)
		}
	}
	return o.checkAdmitters()
}

// What a connection is doing, as the watchdog and a shutdown see it.
const (
	connWaiting  uint32 = iota // for a request: nothing of it has arrived
	connPartial                // part of a message has arrived
	connTurn                   // for the next input of an open stream
	connHandling               // user code runs, or a batch is fetched
	connWriting                // a reply is on its way
	connClosed
)

// Conn is one byte-stream connection being served. [Server.NewConn] is for
// embedding it in a loop of one's own; [Server.ServeConn] is that loop.
type Conn struct {
	s      *Server
	rw     io.ReadWriteCloser
	peer   *Peer
	socket net.Conn        // as it was accepted; nil for what was not
	ctx    context.Context //nolint:containedctx // the parent of every call of the connection
	cancel context.CancelFunc
	r      *wire.Reader
	w      *wire.Writer
	reply  Reply
	debug  bool

	shm      SharedMemory // nil without
	uploaded int64        // bytes that the call in progress moved to external storage

	incoming atomic.Pointer[incoming] // descriptors that arrive; nil as long as none may
	received int64                    // bytes read from the connection

	// strayInput says that the last call named no known method: the caller may
	// have sent the input stream of a stream call after it.
	strayInput bool

	state    atomic.Uint32
	progress atomic.Uint64 // reads and writes that moved bytes
	spoke    atomic.Bool   // the peer has sent something
	expired  atomic.Bool   // no further call is served
	stall    atomic.Pointer[StallError]

	closeOnce sync.Once
	closeErr  error
}

// NewConn prepares a connection for serving. peer says who is at the other end;
// its Kind is the transport. The caller closes the Conn.
func (s *Server) NewConn(ctx context.Context, rw io.ReadWriteCloser, peer *Peer) (*Conn, error) {
	if err := s.Start(ctx, peer.Kind); err != nil {
		return nil, err
	}
	ctx, err := s.Connect(ctx, peer)
	if err != nil {
		return nil, err
	}
	c := &Conn{s: s, rw: rw, peer: peer}
	if s.sharesMemory(peer) {
		if c.shm, err = s.opts.SharedMemory(peer); err != nil {
			return nil, fmt.Errorf("vgirpc: SharedMemory: %w", err)
		}
	}
	if _, ok := c.shm.(DescriptorMemory); !ok {
		closeFiles([]*os.File{c.inherited(InheritedDescriptor)}) // nobody can use it
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.r = wire.NewReader((*connSource)(c), s.opts.Limits, s.schemas)
	c.w = wire.NewWriter((*connSink)(c))
	return c, nil
}

// sharesMemory reports whether a peer may be offered shared memory: it has to be
// on this machine.
func (s *Server) sharesMemory(peer *Peer) bool {
	return s.opts.SharedMemory != nil && peer != nil && (peer.Kind == TransportPipe || peer.Kind == TransportUnix)
}

// Connect runs OnConnect for a new connection and returns the context of its
// calls. [Server.NewConn] does it; other transports call it themselves.
func (s *Server) Connect(ctx context.Context, peer *Peer) (context.Context, error) {
	if s.opts.OnConnect == nil {
		return ctx, nil
	}
	own, err := s.opts.OnConnect(ctx, peer)
	if err != nil {
		return nil, fmt.Errorf("vgirpc: OnConnect: %w", err)
	}
	return own, nil
}

// Close ends the connection and cancels the context of its calls. It may be
// called at any time and from any goroutine.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		c.state.Store(connClosed)
		c.cancel()
		c.closeErr = c.rw.Close()
		if c.shm != nil {
			c.closeErr = errors.Join(c.closeErr, c.shm.Close())
		}
		if in := c.incoming.Load(); in != nil {
			in.close()
		}
	})
	return c.closeErr
}

// Serve serves calls until the peer closes the connection, which is no error,
// or the connection fails. It returns a *StallError when a timeout closed it.
func (c *Conn) Serve() error {
	for {
		err := c.ServeOne()
		if why := c.stall.Load(); why != nil {
			return why
		}
		switch {
		case err == nil:
		case errors.Is(err, errLeaving):
			return errLeaving
		case c.expired.Load() && c.state.Load() == connClosed:
			return errExpired
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), c.state.Load() == connClosed:
			return nil
		default:
			return err
		}
	}
}

// ServeOne serves one call of whatever kind, waiting for it. It returns io.EOF
// when the peer has closed the connection between calls. After any other error
// the connection cannot be used any more; the peer was told why where possible.
func (c *Conn) ServeOne() error {
	err := c.serveOne()
	if err != nil {
		c.r.Close() // nothing more is read: the budget is for others
	}
	return err
}

func (c *Conn) serveOne() error {
	in, out := c.r.Consumed(), c.w.Produced()
	c.await(connWaiting)
	if c.expired.Load() { // endBy sees that this waits, or this sees that it is over
		return errExpired
	}
	// A shutdown or release that begins after this sees a connection that waits.
	releases := c.s.tracker.releases()
	if releases && c.leaves() {
		return errLeaving
	}
	if c.s.tracker.draining.Load() && (!releases || c.mobile() == nil || c.strayInput) {
		return io.EOF
	}
	if _, err := c.r.NextStream(); err != nil {
		if errors.Is(err, errLeaving) {
			return errLeaving
		}
		return c.unreadable(err, in)
	}
	meta, err := c.r.Announce()
	if c.strayInput {
		c.strayInput = false
		if !meta.Has(wire.KeyMethod) && (err == nil || errors.Is(err, io.EOF) || wire.InStep(err)) {
			return c.drain() // it was an input stream, of a call that was refused
		}
	}
	route := c.s.Route(meta)
	req := Request{Meta: meta, Peer: c.peer}
	if err := req.Read(c.r, err, route.Lifetime()); err != nil {
		return c.unreadable(err, in)
	}
	c.state.Store(connHandling)
	if c.incoming.Load() != nil {
		c.claim(&req, in)
	}
	if route.handler == nil && meta.Value(wire.KeyMethod) == wire.MethodTransport {
		req.Capabilities = c.capabilities(&req)
	}
	if c.shm != nil || c.s.opts.Offload != nil {
		if release := c.arrived(route, &req); release != nil {
			defer release()
		}
	}
	return c.call(route, &req, in, out)
}

// Read takes the batch of a request whose stream has been announced with the
// error that is given, and reads the stream to its end. What is wrong with the
// request while the reader is in step becomes its Err; any other error is
// returned.
func (req *Request) Read(r *wire.Reader, announced error, life wire.Lifetime) error {
	switch {
	case errors.Is(announced, io.EOF):
		req.Err = protocolErrorf("ProtocolError", "request stream without a batch: want exactly one")
	case announced == nil:
		req.Batch, req.Err = r.Take(life)
	default:
		req.Err = announced
	}
	read := r.Consumed()
	if err := r.Drain(); err != nil {
		return err
	}
	if req.Err == nil && r.Consumed()-read > wire.EndOfStreamBytes {
		req.Err = protocolErrorf("ProtocolError", "request stream with more than one batch: want exactly one")
	}
	return nil
}

// Poll serves one call when its request arrives within wait, and reports
// whether it did. The connection must have read deadlines, as a net.Conn has.
func (c *Conn) Poll(wait time.Duration) (bool, error) {
	d, ok := c.rw.(interface{ SetReadDeadline(time.Time) error })
	if !ok {
		return false, fmt.Errorf("vgirpc: Poll on a %T, which has no read deadlines", c.rw)
	}
	if err := d.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	ready, err := c.r.Ready()
	if err2 := d.SetReadDeadline(time.Time{}); err == nil {
		err = err2
	}
	if err != nil || !ready {
		return false, err
	}
	return true, c.ServeOne()
}

// call dispatches one request and sees it through.
func (c *Conn) call(route Route, req *Request, in, out int64) error {
	c.debug = c.s.wireLog.Enabled(c.ctx, slog.LevelDebug) // the level may change while the connection lives
	d := c.s.Begin(c.ctx, route, req, &c.reply)
	c.uploaded = 0
	defer func() {
		read := c.r.Consumed() - in
		d.End(Delivery{WireIn: read, WireOut: c.w.Produced() - out, Externalized: c.uploaded})
		if d.refused {
			c.reportCall(d, read)
		}
	}()
	c.place(d)
	if c.debug {
		c.logCall(d, req)
	}
	if d.Open() {
		return c.stream(d)
	}
	if err := c.write(d); err != nil {
		d.Abandon(err)
		return err
	}
	switch {
	case route.Streams(): // the caller sends its input all the same
		return c.drainInput()
	case !route.Resolved() && d.err != nil:
		// A request that could be read and names no method is nobody's stream call.
		c.strayInput = req.Meta.Has(wire.KeyMethod) || wire.InStep(req.Err)
	}
	return nil
}

// stream takes an open stream through its turns.
func (c *Conn) stream(d *Dispatch) error {
	if c.reply.HeaderSchema != nil {
		if err := c.writeHeader(); err != nil {
			d.Abandon(err)
			return err
		}
	}
	// What was logged while the stream opened goes out with the first turn.
	if len(c.reply.Batches) > 0 {
		if err := c.append(d); err != nil {
			d.Abandon(err)
			return err
		}
	}
	c.await(connTurn)
	if _, err := c.r.NextStream(); err != nil {
		d.Abandon(err)
		_, err = c.hopeless(err)
		return err
	}
	for {
		done, err := c.turn(d)
		if err != nil {
			d.Abandon(err)
			return err
		}
		if done {
			break
		}
	}
	return c.drain()
}

// turn reads one input batch, takes the stream a step further and answers.
func (c *Conn) turn(d *Dispatch) (done bool, err error) {
	c.await(connTurn)
	var batch *wire.Batch
	if _, err = c.r.Announce(); err == nil {
		batch, err = c.r.Take(d.InputLifetime())
	}
	c.state.Store(connHandling)
	if in := c.incoming.Load(); in != nil {
		in.stray(c.r.Consumed())
	}
	switch {
	case err == nil && c.shm == nil && c.s.opts.Offload == nil:
		d.Turn(batch, &c.reply)
	case err == nil:
		defer c.turnOn(d, batch)()
	case errors.Is(err, io.EOF):
		c.holdTurn()
		c.reply.reset(d.call.output)
		c.reply.Done = true
	case wire.InStep(err):
		d.Fail(err, &c.reply)
	default:
		d.Fail(err, &c.reply)
		d.refused = !broken(err)
		_ = c.write(d) // the connection is lost; the peer may still listen
		return true, c.lost(err)
	}
	if c.debug {
		c.logTurn(d)
	}
	return c.reply.Done, c.write(d)
}

// arrived fetches what a request points to. An error becomes the request's.
func (c *Conn) arrived(route Route, req *Request) (release func()) {
	if c.shm != nil {
		if _, err := c.shm.Request(req.Meta); err != nil {
			c.s.log.LogAttrs(c.ctx, slog.LevelWarn, "shared memory cannot be used", slog.Any("error", err))
		}
	}
	release, _ = c.fetch(c.ctx, req, route.Lifetime())
	// The caller of a stream may be at work on its first input already.
	if !route.Streams() {
		c.holdTurn()
		req.building = c.building()
	}
	return release
}

// fetch fetches what a request or an input points to. What lies in shared memory
// lives as long as life says.
func (c *Conn) fetch(ctx context.Context, req *Request, life wire.Lifetime) (release func(), err error) {
	if release, err = req.fetchShared(c.shm, life); release != nil || err != nil {
		return release, err
	}
	return req.Fetch(ctx, c.s.opts.Offload)
}

// holdTurn frees the shared memory that was read, now that the turn is ours.
func (c *Conn) holdTurn() {
	if c.shm == nil {
		return
	}
	if err := c.shm.Turn(); err != nil {
		c.s.log.LogAttrs(c.ctx, slog.LevelWarn, "shared memory could not be freed", slog.Any("error", err))
	}
}

// building is memory for the answer while the turn is ours, nil without.
func (c *Conn) building() SharedMemory {
	if c.shm == nil || !c.shm.Answers() {
		return nil
	}
	return c.shm
}

// built ends the use of memory in which the answer was built, once it is written.
func (c *Conn) built(d *Dispatch) {
	if memory := d.call.building; memory != nil {
		d.call.building = nil
		memory.Built()
	}
}

// turnOn takes a stream a step further with a batch, or with what it points to.
func (c *Conn) turnOn(d *Dispatch, batch *wire.Batch) (release func()) {
	in := Request{Meta: batch.Meta, Batch: batch}
	release, err := c.fetch(&d.ctx, &in, d.InputLifetime())
	if release == nil {
		release = func() {}
	}
	c.holdTurn()
	if err != nil {
		d.Fail(err, &c.reply)
		return release
	}
	d.call.building = c.building()
	d.Turn(in.Batch, &c.reply)
	c.place(d)
	return release
}

// place lets what the reply sends leave through shared memory or for external
// storage. When that fails, the reply is the error.
func (c *Conn) place(d *Dispatch) {
	if c.shm != nil && c.shm.Answers() {
		placed, _, err := d.placeIn(c.shm, c.reply.Schema, c.reply.Batches, -1)
		c.reply.Batches = append(c.reply.Batches[:0], placed...)
		if err != nil {
			d.Replace(err, &c.reply)
		}
		return
	}
	if c.s.opts.Offload == nil {
		return
	}
	header, n, err := d.Place(c.reply.HeaderSchema, c.reply.Header, -1)
	c.uploaded += n
	if err == nil {
		c.reply.Header = append(c.reply.Header[:0], header...)
		var placed []wire.Batch
		placed, n, err = d.Place(c.reply.Schema, c.reply.Batches, -1)
		c.uploaded += n
		c.reply.Batches = append(c.reply.Batches[:0], placed...)
	}
	if err != nil {
		d.Replace(err, &c.reply)
	}
}

// write sends the reply as it stands.
func (c *Conn) write(d *Dispatch) error {
	defer c.built(d)
	if err := c.append(d); err != nil {
		return err
	}
	if c.reply.Done {
		if err := c.w.Close(); err != nil {
			return err
		}
	}
	return c.flush()
}

// append writes the reply's batches into the write buffer, opening the stream
// when this is its first reply. A batch that cannot be encoded is answered with
// an error in its place.
func (c *Conn) append(d *Dispatch) error {
	if !c.w.IsOpen() {
		if err := c.w.Open(c.reply.Schema); err != nil {
			return err
		}
	}
	for i := range c.reply.Batches {
		if err := c.w.Batch(&c.reply.Batches[i]); err != nil {
			b := d.encodingFailed(err)
			c.reply.Done = true
			return c.w.Batch(&b)
		}
	}
	return nil
}

// writeHeader sends the header stream.
func (c *Conn) writeHeader() error {
	if err := c.w.Open(c.reply.HeaderSchema); err != nil {
		return err
	}
	for i := range c.reply.Header {
		if err := c.w.Batch(&c.reply.Header[i]); err != nil {
			return err
		}
	}
	if err := c.w.Close(); err != nil {
		return err
	}
	return c.flush()
}

func (c *Conn) flush() error {
	c.state.Store(connWriting)
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("vgirpc: reply: %w", err)
	}
	return nil
}

// drainInput throws away the input stream of a stream call that was refused.
func (c *Conn) drainInput() error {
	c.await(connTurn)
	if _, err := c.r.NextStream(); err != nil {
		return c.lost(err)
	}
	return c.drain()
}

// drain throws the open input stream away. Its caller may take its time between
// two batches, as in a stream that is served.
func (c *Conn) drain() error {
	for err := c.r.Skip(); err == nil; err = c.r.Skip() {
		c.await(connTurn)
		if _, err := c.r.Announce(); err != nil {
			break // the end of the stream, a batch that is refused, or a lost connection
		}
	}
	if err := c.r.Drain(); err != nil {
		return c.lost(err)
	}
	return nil
}

// unreadable ends the connection over a request that cannot be read, which began
// after in bytes.
func (c *Conn) unreadable(err error, in int64) error {
	broke := broken(err)
	told, err := c.hopeless(err)
	if told != nil && !broke {
		c.reportCall(told, c.r.Consumed()-in)
	}
	return err
}

// broken reports an error of the connection, and not of what came over it: then
// nothing was refused.
func broken(err error) bool {
	var limit *wire.LimitError
	var format *wire.FormatError
	return !errors.As(err, &limit) && !errors.As(err, &format)
}

// hopeless tells the peer why the connection cannot go on, and returns what it was
// told, nil for nothing, and why. A clean end of the connection is io.EOF.
func (c *Conn) hopeless(err error) (*Dispatch, error) {
	if err = c.lost(err); errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || c.w.IsOpen() {
		return nil, err
	}
	d := &Dispatch{reply: &c.reply}
	d.call = Call{server: c.s, dispatch: d, peer: c.peer}
	d.ctx = callContext{c.ctx, &d.call}
	c.reply.reset(wire.EmptySchema())
	d.refuse(err)
	_ = c.write(d) // the error is returned anyway
	return d, err
}

// lost is the error of a connection that cannot be read any further.
func (c *Conn) lost(err error) error {
	if errors.Is(err, io.EOF) || c.state.Load() == connClosed {
		return io.EOF
	}
	return fmt.Errorf("vgirpc: request: %w", err)
}

// await marks that the connection waits for its peer.
func (c *Conn) await(state uint32) {
	if c.r.Buffered() {
		state = connPartial
	}
	if c.state.Load() != connClosed {
		c.state.Store(state)
	}
}

func (c *Conn) logCall(d *Dispatch, req *Request) {
	rows := 0
	if req.Batch != nil {
		rows = req.Batch.Rows
	}
	name := "(none)"
	if d.call.method != nil {
		name = d.call.method.fullName
	}
	c.s.wireLog.LogAttrs(c.ctx, slog.LevelDebug, "request", slog.String("method", name), slog.Int("rows", rows),
		slog.Int("metadata_keys", len(req.Meta)), slog.Int("reply_batches", len(c.reply.Batches)))
}

func (c *Conn) logTurn(d *Dispatch) {
	c.s.wireLog.LogAttrs(c.ctx, slog.LevelDebug, "turn", slog.String("method", d.call.method.fullName),
		slog.Int("reply_batches", len(c.reply.Batches)), slog.Bool("done", c.reply.Done))
}

// connSource reads from the connection and keeps account of it.
type connSource Conn

// Read reads once.
func (c *connSource) Read(p []byte) (int, error) {
	var n int
	var err error
	if in := c.incoming.Load(); in != nil {
		n, err = in.read(p, c.received)
	} else {
		n, err = c.rw.Read(p)
	}
	if err != nil && n <= 0 && c.s.tracker.releases() {
		if err = (*Conn)(c).interrupted(err); err == nil {
			return c.Read(p)
		}
	}
	c.received += int64(max(n, 0))
	if n > 0 {
		c.progress.Add(1)
		c.spoke.Store(true)
		if !c.state.CompareAndSwap(connWaiting, connPartial) {
			c.state.CompareAndSwap(connTurn, connPartial)
		}
	}
	return n, err
}

// connSink writes to the connection and keeps account of it.
type connSink Conn

// writeChunk is the largest single write, in bytes: progress shows between two.
// There is room for a header beside a body of 1 MiB.
const writeChunk = 1<<20 + 4<<10

// Write writes p.
func (c *connSink) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := c.rw.Write(p[:min(len(p), writeChunk)])
		c.progress.Add(1)
		written += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}

// WriteBuffers writes parts, the small ones together.
func (c *connSink) WriteBuffers(parts net.Buffers) (int64, error) {
	var total int64
	for len(parts) > 0 {
		size, n := 0, 0
		for n < len(parts) && (n == 0 || size+len(parts[n]) <= writeChunk) {
			size += len(parts[n])
			n++
		}
		if n == 1 {
			k, err := c.Write(parts[0])
			total += int64(k)
			if err != nil {
				return total, err
			}
			parts = parts[1:]
			continue
		}
		group := parts[:n:n]
		k, err := group.WriteTo(c.rw)
		c.progress.Add(1)
		total += k
		if err != nil {
			return total, err
		}
		parts = parts[n:]
	}
	return total, nil
}
