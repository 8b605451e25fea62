package socket

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ClientOptions configure [NewClient].
type ClientOptions struct {
	Mode Mode // has no default
	// Secrets are what the server may have; the client uses the one with the id
	// KeyID, the first one when that is empty. For HMAC alone.
	Secrets *Secrets
	KeyID   string
	// Server, unless nil, is what the server's program must be. For Signed alone.
	Server *SignedProcess
	// Timeout is how long a handshake may take, besides its context. 10 s when 0.
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Second

// Client is the client's side of the handshake. It may be used for any number of
// connections at once.
type Client struct{ opts ClientOptions }

// NewClient returns the client's side. It fails when a mode lacks what it needs,
// or is given what it has no use for.
func NewClient(opts ClientOptions) (*Client, error) {
	switch {
	case opts.Mode.number() == 0:
		return nil, fmt.Errorf("socket: a handshake with mode %q: want %s, %s or %s", opts.Mode, Version, HMAC, Signed)
	case (opts.Mode == HMAC) != (opts.Secrets != nil):
		return nil, fmt.Errorf("socket: a handshake with mode %q: secrets go with mode %s, and the other way round", opts.Mode, HMAC)
	case opts.Server != nil && opts.Mode != Signed:
		return nil, fmt.Errorf("socket: a handshake with mode %q: the server's program is for mode %s", opts.Mode, Signed)
	case opts.Timeout < 0:
		return nil, fmt.Errorf("socket: Timeout %v: want a positive time, or 0 for %v", opts.Timeout, defaultTimeout)
	case opts.KeyID != "":
		if opts.Secrets == nil {
			return nil, errors.New("socket: KeyID without Secrets")
		}
		if _, ok := opts.Secrets.find(opts.KeyID); !ok {
			return nil, errors.New("socket: KeyID names none of the Secrets")
		}
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	return &Client{opts}, nil
}

// Shake does the handshake over a connection that nobody uses yet. binding is what
// TLS exports under [ExporterLabel], nil without TLS. When it fails, the
// connection cannot be used; the caller closes it either way.
//
// What the server refuses is an *vgirpc.Error with the server's code and one of
// the kinds of this package. A server that does not prove what it must is
// UNAUTHENTICATED, one that is lost UNAVAILABLE.
func (c *Client) Shake(ctx context.Context, conn net.Conn, binding []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	interrupted := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // long ago: nothing blocks any more
		close(interrupted)
	})
	err := c.converse(ctx, conn, binding)
	if !inTime() {
		<-interrupted
		return vgirpc.ContextError(ctx)
	}
	return clientError(err)
}

// clientError is an error of the handshake as dialing reports it.
func clientError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return e
	}
	if v, ok := errors.AsType[*versionError](err); ok {
		return refuse(vgirpc.Unimplemented, KindHandshakeVersion, "the server answers with version %d of the handshake: want %d", v.got, version)
	}
	if f, ok := errors.AsType[*FrameError](err); ok {
		return refuse(vgirpc.FailedPrecondition, KindHandshakeFailed, "the server's answer: %s", f.Reason)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the server closed the connection")
	}
	return &vgirpc.Error{Code: vgirpc.Unavailable, Type: "ConnectionLost", Message: "handshake: " + err.Error(), Cause: err}
}

func (c *Client) converse(ctx context.Context, conn net.Conn, exported []byte) error {
	if c.opts.Server != nil {
		if _, err := c.opts.Server.Verify(ctx, conn); err != nil {
			return err
		}
	}
	hi := hello{least: version, greatest: version, mode: c.opts.Mode.number()}
	_, _ = rand.Read(hi.nonce[:]) // does not fail
	var s secret
	if c.opts.Mode == HMAC {
		var ok bool
		if s, ok = c.opts.Secrets.find(c.opts.KeyID); !ok {
			return refuse(vgirpc.FailedPrecondition, KindHandshakeFailed, "the secret with the id that ClientOptions names is not there any more")
		}
		hi.keyID = s.id
	}
	first := hi.frame()
	if _, err := conn.Write(first); err != nil {
		return answerOr(conn, err)
	}
	if c.opts.Mode != HMAC {
		_, err := c.next(conn, frameWelcome)
		return err
	}
	challenge, err := c.next(conn, frameChallenge)
	if err != nil {
		return err
	}
	if bytes.Equal(challenge.payload()[2:], hi.nonce[:]) {
		return refuse(vgirpc.Unauthenticated, KindHandshakeFailed, "the server sends back what it was sent")
	}
	binding := bindingOf(exported, conn)
	proof := newFrame(frameProof, mac(s.key, roleClient, binding, first, challenge))
	if _, err := conn.Write(proof); err != nil {
		return answerOr(conn, err)
	}
	welcome, err := c.next(conn, frameWelcome)
	if err != nil {
		return err
	}
	if !hmac.Equal(welcome.payload()[2:], mac(s.key, roleServer, binding, first, challenge, proof)) {
		return refuse(vgirpc.Unauthenticated, KindHandshakeFailed, "the server has not proven that it has the secret")
	}
	return nil
}

// next reads the server's next frame, or the error in its place. Version and mode
// of a frame must be what was asked for.
func (c *Client) next(conn net.Conn, wanted frameType) (frame, error) {
	f, err := readAnswer(conn, wanted)
	if err != nil {
		return nil, err
	}
	switch p := f.payload(); {
	case p[0] != version:
		return nil, &versionError{p[0]}
	case p[1] != c.opts.Mode.number():
		return nil, refuse(vgirpc.FailedPrecondition, KindHandshakeMode, "the server answers with another mode than %s", c.opts.Mode)
	}
	return f, nil
}

// arrowStart is how an Arrow stream begins.
const arrowStart = 0xFFFFFFFF

// readAnswer reads a frame of the server. One that refuses is an error, as is an
// Arrow stream with an error: that is how a server speaks that refuses everybody,
// or knows of no handshake.
func readAnswer(conn net.Conn, wanted frameType) (frame, error) {
	var start [len(magic)]byte
	if _, err := io.ReadFull(conn, start[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(start[:]) == arrowStart {
		return nil, notOffered(vgirpc.ReadRefusal(io.MultiReader(bytes.NewReader(start[:]), conn)))
	}
	f, err := readFrame(conn, start[:], wanted, frameRefused)
	if err != nil {
		return nil, err
	}
	if f.kind() == frameRefused {
		return nil, parseRefusal(f)
	}
	return f, nil
}

// notOffered is the error that a server has sent in place of a frame. One that
// knows of no handshake could not read the client's.
func notOffered(err error) error {
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok || !vgirpc.IsRemote(err) || e.Kind != "" {
		return err
	}
	switch e.Code {
	case vgirpc.InvalidArgument, vgirpc.ResourceExhausted:
		return &vgirpc.Error{
			Code: vgirpc.FailedPrecondition, Kind: KindHandshakeMode, Type: "HandshakeError", Cause: err,
			Message: "the server seems to know of no handshake, it answers: " + e.Message,
		}
	default:
		return err
	}
}

// answerOr is the error that the server has sent before it closed the connection,
// or else the one of writing to it.
func answerOr(conn net.Conn, writing error) error {
	_, err := readAnswer(conn, frameRefused)
	if _, ok := errors.AsType[*vgirpc.Error](err); ok {
		return err
	}
	return writing
}
