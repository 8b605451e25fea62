package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Admitter decides whether a connection that a listener has accepted is served,
// and may change what is known of it first: it reads what a proxy sends ahead,
// puts TLS around the socket, asks the kernel or the peer itself who is there.
// Package auth/socket has such admitters.
//
// Admit runs on the connection's own goroutine, before its first message. ctx
// ends with ConnOptions.AdmitTimeout, and when the listener is closed: reads and
// writes of the connection that are under way fail then, whoever began them.
// Many connections may be admitted at once.
//
// An error refuses the connection. The peer gets it as the answer to its first
// request, if it is or wraps an [*Error] with that error's code, kind, type and
// message, and else as PERMISSION_DENIED without a reason; the log gets all of
// it. It must hold no credential.
type Admitter interface {
	Admit(ctx context.Context, a *Admission) error
}

// Admission is a connection that was accepted and is not served yet.
type Admission struct {
	// Conn is what will be served. An admitter may put something around it,
	// whose Close closes what is inside. What it has read ahead of the first
	// message it must give back in that way.
	Conn net.Conn
	// Peer is what the calls of the connection will find in Call.Peer. An
	// admitter that knows better changes it.
	Peer *Peer
	// Binding, unless nil, tells this connection from every other one and is the
	// same at both ends: what a secure layer has agreed on. What is proven on
	// top is proven for it alone.
	Binding []byte
	// Forwarded is what a trusted proxy has said of the connection, nil without.
	Forwarded *Forwarded
	// Told says that the peer knows why it is refused, or cannot be told: no
	// error is written.
	Told bool

	socket net.Conn  // as it was accepted
	until  time.Time // zero for ever
	atEnd  []func()
}

// Forwarded are the two ends of a connection to a proxy, as that says, whose data
// comes over a connection of the proxy's own.
type Forwarded struct {
	Source, Destination netip.AddrPort
}

// NewAdmission is the admission of a connection, for a loop of one's own around
// [Server.NewConn] and for tests of an [Admitter]. Whoever made it calls End.
func NewAdmission(conn net.Conn, peer *Peer) *Admission {
	return &Admission{Conn: conn, Peer: peer, socket: conn}
}

// Socket is the connection as it was accepted, beneath all that was put around
// it.
func (a *Admission) Socket() net.Conn { return a.socket }

// AtEnd makes f run once when the connection has ended, be it that it was
// served or refused; the last one first.
func (a *Admission) AtEnd(f func()) { a.atEnd = append(a.atEnd, f) }

// EndBy makes the connection end at a time, when what its peer was let in by does:
// a certificate, for instance. A call that is in progress then is served to its
// end, and no further one is. Of several times the first one counts; the zero time
// is never.
func (a *Admission) EndBy(at time.Time) {
	if !at.IsZero() && (a.until.IsZero() || at.Before(a.until)) {
		a.until = at
	}
}

// Until is the time when the connection ends, zero for never.
func (a *Admission) Until() time.Time { return a.until }

// errExpired is why a connection was closed by [Admission.EndBy].
var errExpired = errors.New("vgirpc: connection closed: what its peer was let in by has ended")

// endBy closes the connection at a time if it waits for a call then. Else its
// serving loop sees to it.
func (c *Conn) endBy(at time.Time) (stop func() bool) {
	return time.AfterFunc(time.Until(at), func() {
		c.expired.Store(true)
		if c.state.Load() == connWaiting {
			_ = c.Close()
		}
	}).Stop
}

// End runs what AtEnd was given.
func (a *Admission) End() {
	for len(a.atEnd) > 0 {
		last := len(a.atEnd) - 1
		f := a.atEnd[last]
		a.atEnd = a.atEnd[:last]
		f()
	}
}

// Vouch makes id the peer's identity. The claims of an earlier one stay, unless
// id has others under the same names: each admitter adds its evidence, and the
// last one names the caller.
func (a *Admission) Vouch(id Identity) {
	if earlier := a.Peer.Identity.Claims; len(earlier) > 0 {
		merged := maps.Clone(earlier)
		maps.Copy(merged, id.Claims)
		id.Claims = merged
	}
	a.Peer.Identity = id
}

const (
	defaultAdmitTimeout = 10 * time.Second
	// refusalTime is how long a refused peer has to send its first request and
	// take the error.
	refusalTime = 10 * time.Second
	// refusalBytes is how much of what a refused peer sends is thrown away: its
	// first request, whose answer it waits for.
	refusalBytes = 1 << 20
)

// errRefused is what a peer learns of an error that is not meant for it.
var errRefused = &Error{Code: PermissionDenied, Type: "ConnectionRefused", Message: "the connection is refused"}

// errClosing is why a connection is not served that was not in yet when the
// listener was closed.
var errClosing = errors.New("vgirpc: the listener was closed before the connection was admitted")

// admit asks the admitters in turn, as long as there is time.
func (s *Server) admit(ctx context.Context, a *Admission) error {
	conns := s.opts.Conns.withDefaults()
	if len(conns.Admit) == 0 {
		return nil
	}
	serving := ctx
	if conns.AdmitTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, conns.AdmitTimeout)
		defer cancel()
	}
	interrupted := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = a.socket.SetDeadline(time.Unix(1, 0)) // long ago: nothing blocks any more
		close(interrupted)
	})
	err := askAll(ctx, conns.Admit, a)
	over := !inTime()
	if over {
		<-interrupted // or it could interrupt what follows
	}
	// An admitter may learn of the end before the socket is interrupted.
	over = over || ctx.Err() != nil && errors.Is(err, ctx.Err())
	switch {
	case !over:
		return err
	case serving.Err() != nil:
		return errors.Join(errClosing, err)
	}
	return &Error{
		Code: DeadlineExceeded, Type: typeAdmissionTimeout, Cause: err,
		Message: fmt.Sprintf("the connection was not admitted within %v", conns.AdmitTimeout),
	}
}

// askAll asks the admitters in turn. One that panics refuses: it may have met
// bytes that nobody thought of.
func askAll(ctx context.Context, admitters []Admitter, a *Admission) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("admission: %w", panicError(p))
			a.Told = true // and the peer learns nothing of it
		}
	}()
	for _, admitter := range admitters {
		if err := admitter.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// sendAway closes a connection that is not served. The peer's first request is
// answered with the error, whether or not it has arrived, unless the peer knows.
// A socket that is closed with something unread takes back what was written, so
// what the peer sends is read for a while, as long as ctx lasts.
func (s *Server) sendAway(ctx context.Context, a *Admission, err error) {
	defer func() { _ = a.Conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = a.socket.Close() })
	defer stop()
	if ctx.Err() != nil || a.socket.SetDeadline(time.Now().Add(refusalTime)) != nil {
		return
	}
	if !a.Told && s.tellRefused(a.Conn, err) != nil {
		return
	}
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, a.Conn, refusalBytes)
}

// tellRefused writes the error as the answer to a request.
func (s *Server) tellRefused(conn io.Writer, err error) error {
	told, ok := errors.AsType[*Error](err)
	if !ok {
		told = errRefused
	}
	public := *told
	public.Cause, public.stack = nil, nil
	batch := s.ErrorBatch(&public, "")
	w := wire.NewWriter(conn)
	return errors.Join(w.Open(batch.Schema), w.Batch(&batch), w.Close(), w.Flush())
}

// refusalRead bounds what is read of a server that refuses.
var refusalRead = wire.Limits{MaxSchemaBytes: 64 << 10, MaxMessageBytes: 64 << 10}

// ReadRefusal reads the error that a server sends in place of what a client
// expected of it before the first message. It returns that error, for which
// [IsRemote] holds, or why there is none.
func ReadRefusal(r io.Reader) error {
	in := wire.NewReader(r, refusalRead, nil)
	defer in.Close()
	if _, err := in.NextStream(); err != nil {
		return transportError(err)
	}
	for {
		b, err := in.Next()
		if err != nil {
			return transportError(err)
		}
		if b.Kind() == wire.KindError {
			return remoteError(b.Meta)
		}
	}
}

// logRefused is the record of a connection that is not served.
func (s *Server) logRefused(ctx context.Context, peer *Peer, err error) {
	attrs := []slog.Attr{slog.String("peer", peer.Addr), slog.Any("error", err)}
	if peer.UID >= 0 {
		attrs = append(attrs, slog.Int("uid", peer.UID), slog.Int("gid", peer.GID), slog.Int("pid", peer.PID))
	}
	if code := CodeOf(err); code != Unknown {
		attrs = append(attrs, slog.String("code", string(code)))
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "connection refused", attrs...)
}

// checkAdmitters reports an admitter that is none.
func (o ConnOptions) checkAdmitters() error {
	if i := slices.Index(o.Admit, nil); i >= 0 {
		return fmt.Errorf("connection option Admit: admitter %d is nil", i)
	}
	return nil
}
