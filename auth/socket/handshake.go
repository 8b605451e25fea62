package socket

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Mode is what a handshake is about.
type Mode string

// The modes. None falls back to another one.
const (
	// Version agrees on the handshake's version and proves nothing: it tells
	// clients of this kind from others.
	Version Mode = "version"
	// HMAC has both sides prove that they have the same secret.
	HMAC Mode = "hmac"
	// Signed has the server look at the client's program, see [SignedProcess],
	// and the client at the server's if it wants to.
	Signed Mode = "signed"
)

// number is the mode in a frame, 0 for none.
func (m Mode) number() byte {
	switch m {
	case Version:
		return 1
	case HMAC:
		return 2
	case Signed:
		return 3
	}
	return 0
}

// ExporterLabel is the label under which TLS exports the binding of a connection
// (RFC 8446 section 7.5), without a context and 32 bytes long.
const ExporterLabel = "EXPORTER-vgi-rpc-handshake"

// ExporterBytes is how long the binding is that TLS exports.
const ExporterBytes = 32

// Kinds of the errors that refuse a peer.
const (
	// KindHandshakeRequired: the client has sent something else first. With
	// UNAUTHENTICATED.
	KindHandshakeRequired = "handshake_required"
	// KindHandshakeMode: the sides are configured for different modes. With
	// FAILED_PRECONDITION.
	KindHandshakeMode = "handshake_mode"
	// KindHandshakeVersion: they have no version in common. With UNIMPLEMENTED.
	KindHandshakeVersion = "handshake_version"
	// KindHandshakeFailed: the other side has not proven that it has the secret,
	// or its frames make no sense. With UNAUTHENTICATED or INVALID_ARGUMENT.
	KindHandshakeFailed = "handshake_failed"
	// KindPeerNotAllowed: user and group are known and not permitted. With
	// PERMISSION_DENIED.
	KindPeerNotAllowed = "peer_not_allowed"
	// KindProcessNotSigned: nobody who is trusted has signed the other side's
	// program. With PERMISSION_DENIED.
	KindProcessNotSigned = "process_not_signed"
	// KindConnectionLimit: there are as many connections as may be. With
	// RESOURCE_EXHAUSTED.
	KindConnectionLimit = "connection_limit"
)

func refuse(code vgirpc.Code, kind, format string, args ...any) *vgirpc.Error {
	return &vgirpc.Error{Code: code, Kind: kind, Type: "HandshakeError", Message: fmt.Sprintf(format, args...)}
}

// HandshakeOptions configure [NewHandshake].
type HandshakeOptions struct {
	Mode Mode // has no default
	// Secrets are what clients may have. For HMAC alone.
	Secrets *Secrets
	// Process is what the client's program must be. For Signed alone.
	Process *SignedProcess
}

// Handshake is the server's side of the handshake: an admitter. A client that has
// proven an HMAC secret is known by that secret's id, in domain "hmac".
type Handshake struct {
	opts  HandshakeOptions
	decoy []byte // stands in for secrets that nobody has
}

// NewHandshake returns the server's side. It fails when a mode lacks what it
// needs, or is given what it has no use for.
func NewHandshake(opts HandshakeOptions) (*Handshake, error) {
	switch {
	case opts.Mode.number() == 0:
		return nil, fmt.Errorf("socket: a handshake with mode %q: want %s, %s or %s", opts.Mode, Version, HMAC, Signed)
	case (opts.Mode == HMAC) != (opts.Secrets != nil):
		return nil, fmt.Errorf("socket: a handshake with mode %q: secrets go with mode %s, and the other way round", opts.Mode, HMAC)
	case (opts.Mode == Signed) != (opts.Process != nil):
		return nil, fmt.Errorf("socket: a handshake with mode %q: a signed process goes with mode %s, and the other way round", opts.Mode, Signed)
	}
	h := &Handshake{opts: opts, decoy: make([]byte, minSecret)}
	_, _ = rand.Read(h.decoy) // does not fail
	return h, nil
}

// frameTime is how long the other side has to take a refusal, as that of any other
// admitter.
const frameTime = 10 * time.Second

// Admit implements [vgirpc.Admitter].
func (h *Handshake) Admit(ctx context.Context, a *vgirpc.Admission) error {
	return vgirpc.RefusedFor(vgirpc.RefusedHandshake, h.admit(ctx, a))
}

func (h *Handshake) admit(ctx context.Context, a *vgirpc.Admission) error {
	var start [len(magic)]byte
	if _, err := io.ReadFull(a.Conn, start[:]); err != nil {
		a.Told = ctx.Err() == nil // it is gone
		return fmt.Errorf("socket: handshake: %w", err)
	}
	if string(start[:]) != magic {
		return refuse(vgirpc.Unauthenticated, KindHandshakeRequired,
			"this server wants a handshake (mode %s) before the first request", h.opts.Mode)
	}
	err := h.converse(ctx, a, start[:])
	if err == nil || ctx.Err() != nil {
		return err
	}
	a.Told = true
	if e := asRefusal(err); e != nil {
		_ = a.Conn.SetWriteDeadline(time.Now().Add(frameTime))
		_, _ = a.Conn.Write(refusal(e))
	}
	return err
}

// asRefusal is the error that the other side gets to see, nil when there is
// nobody to see it.
func asRefusal(err error) *vgirpc.Error {
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*versionError](err); ok {
		return refuse(vgirpc.Unimplemented, KindHandshakeVersion, "this server speaks version %d of the handshake", version)
	}
	if e, ok := errors.AsType[*FrameError](err); ok {
		return refuse(vgirpc.InvalidArgument, KindHandshakeFailed, "%s", e.Reason)
	}
	return nil
}

// converse is the handshake behind its first bytes.
func (h *Handshake) converse(ctx context.Context, a *vgirpc.Admission, start []byte) error {
	first, err := readFrame(a.Conn, start, frameHello)
	if err != nil {
		return err
	}
	hi, err := parseHello(first)
	switch {
	case err != nil:
		return err
	case hi.least > version || hi.greatest < version:
		return &versionError{hi.greatest}
	case hi.mode != h.opts.Mode.number():
		return refuse(vgirpc.FailedPrecondition, KindHandshakeMode, "this server's handshake has mode %s", h.opts.Mode)
	}
	proof := make([]byte, macBytes)
	var id vgirpc.Identity
	switch h.opts.Mode {
	case Version:
	case Signed:
		signer, err := h.opts.Process.Verify(ctx, a.Socket())
		if err != nil {
			return err
		}
		id = signer.identity()
	case HMAC:
		if proof, err = h.prove(a, first, &hi); err != nil {
			return err
		}
		id = vgirpc.Identity{Principal: hi.keyID, Domain: "hmac", Authenticated: true}
	}
	if _, err := a.Conn.Write(newFrame(frameWelcome, []byte{version, h.opts.Mode.number()}, proof)); err != nil {
		return err
	}
	if id.Authenticated {
		a.Vouch(id)
	}
	return nil
}

// prove has the client prove its secret, and returns the server's proof.
func (h *Handshake) prove(a *vgirpc.Admission, first frame, hi *hello) ([]byte, error) {
	s, known := h.opts.Secrets.find(hi.keyID)
	if !known || hi.keyID == "" {
		s, known = secret{key: h.decoy}, false // or it would show which ids there are
	}
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // does not fail
	challenge := newFrame(frameChallenge, []byte{version, HMAC.number()}, nonce[:])
	if _, err := a.Conn.Write(challenge); err != nil {
		return nil, err
	}
	proof, err := readFrame(a.Conn, nil, frameProof)
	if err != nil {
		return nil, err
	}
	binding := bindingOf(a.Binding, a.Conn)
	if !hmac.Equal(proof.payload(), mac(s.key, roleClient, binding, first, challenge)) || !known {
		return nil, refuse(vgirpc.Unauthenticated, KindHandshakeFailed, "no proof of a secret that this server knows, over this connection")
	}
	return mac(s.key, roleServer, binding, first, challenge, proof), nil
}

// The roles of those who prove something.
const (
	roleClient = "client"
	roleServer = "server"
)

// mac is the proof of a secret by one of the two roles.
func mac(key []byte, role string, binding []byte, frames ...frame) []byte {
	h := hmac.New(sha256.New, key)
	add := func(part []byte) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(part)))
		h.Write(part)
	}
	add([]byte("vgi-rpc handshake"))
	add([]byte(role))
	add(binding)
	for _, f := range frames {
		add(f)
	}
	return h.Sum(nil)
}

// bindingOf is what a proof is bound to.
func bindingOf(exported []byte, conn net.Conn) []byte {
	if exported != nil {
		return append([]byte("exporter "), exported...)
	}
	return []byte("socket " + conn.LocalAddr().Network())
}
