package socket

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ProcessOptions say whose signatures count.
type ProcessOptions struct {
	// Keys are the public keys of those who sign. At least one.
	Keys []ed25519.PublicKey
	// Names, unless empty, are the only names that are permitted.
	Names []string
}

// SignedProcess looks at the program at the other end of a Unix socket, on Linux
// alone: the kernel names the process that connected (or, for a client, the one
// that listens), the program that it runs is opened and hashed, and a file beside
// the program must have a signature over that hash and a name (see [Sign]). It is
// an admitter that works with every client, and a part of a [Handshake].
//
// The program is opened by way of the kernel's link to what the process runs, and
// never by its path: another file put there since is not looked at, nor is a file
// changed while it runs. A handle of the process is held meanwhile, so that
// another process cannot take its number. What remains open: a process may hand
// its connection to another one, or connect and then start a signed program in its
// own place, keeping the connection in a child; and who may trace a process can
// make a signed program do anything. It keeps out wrong programs and other users',
// and not an attacker with the same user. An interpreter is signed for every
// script that it runs.
//
// Looking at a process of another user takes CAP_SYS_PTRACE; without that, it is
// refused. Each look hashes the program, at about a GB a second.
type SignedProcess struct {
	keys  map[string]ed25519.PublicKey // by their ids
	names []string
}

// NewSignedProcess returns it. It fails without a key, and on other systems than
// Linux.
func NewSignedProcess(opts ProcessOptions) (*SignedProcess, error) {
	if !knowsPrograms {
		return nil, errors.New("socket: signed processes: this system does not say which program is at the other end of a socket")
	}
	if len(opts.Keys) == 0 {
		return nil, errors.New("socket: signed processes: want at least one public key")
	}
	p := &SignedProcess{keys: map[string]ed25519.PublicKey{}, names: slices.Clone(opts.Names)}
	for i, key := range opts.Keys {
		if len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("socket: signed processes: key %d is no Ed25519 public key", i)
		}
		p.keys[KeyID(key)] = key
	}
	return p, nil
}

// Signer is what a signature says of a process.
type Signer struct {
	Name   string // of the signature
	KeyID  string // of the key that it was made with
	SHA256 string // of the program, in hexadecimal digits
	PID    int
}

// identity is the signer as the caller of methods.
func (s *Signer) identity() vgirpc.Identity {
	return vgirpc.Identity{
		Principal: s.Name, Domain: "signed", Authenticated: true,
		Claims: map[string]any{"program_sha256": s.SHA256, "signing_key": s.KeyID},
	}
}

// Admit implements [vgirpc.Admitter]. The principal is the signature's name, in
// domain "signed", with the claims program_sha256 and signing_key.
func (p *SignedProcess) Admit(ctx context.Context, a *vgirpc.Admission) error {
	signer, err := p.Verify(ctx, a.Socket())
	if err != nil {
		return err
	}
	a.Vouch(signer.identity())
	return nil
}

// Verify looks at the process at the other end of a connection. When it is not
// what it must be, the error has PERMISSION_DENIED; the reason, which is for this
// side alone, is its cause.
func (p *SignedProcess) Verify(ctx context.Context, conn net.Conn) (Signer, error) {
	signer, err := p.look(ctx, conn)
	if ctx.Err() != nil {
		return Signer{}, vgirpc.ContextError(ctx)
	}
	if err != nil {
		e := refuse(vgirpc.PermissionDenied, KindProcessNotSigned, "the peer's program is not signed by somebody who is trusted")
		e.Cause = err
		return Signer{}, fmt.Errorf("%w: %w", e, err)
	}
	return signer, nil
}

func (p *SignedProcess) look(ctx context.Context, conn net.Conn) (Signer, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return Signer{}, errors.New("signed processes want a Unix socket")
	}
	program, err := openPeer(local)
	if err != nil {
		return Signer{}, err
	}
	defer program.close()
	text, _, err := readSmall(program.path+SignatureSuffix, maxSignature)
	if err != nil {
		return Signer{}, fmt.Errorf("signature: %w", err)
	}
	var sig Signature
	if err := sig.UnmarshalText(text); err != nil {
		return Signer{}, err
	}
	key := p.keys[sig.KeyID]
	switch {
	case key == nil:
		return Signer{}, errors.New("the signature is made with a key that is not trusted")
	case len(p.names) > 0 && !slices.Contains(p.names, sig.Name):
		return Signer{}, fmt.Errorf("the signature's name %q is not permitted", sig.Name)
	}
	sum, err := hashFile(ctx, program.file)
	if err != nil {
		return Signer{}, fmt.Errorf("program: %w", err)
	}
	if !ed25519.Verify(key, signed(sig.Name, sum), sig.Signature) {
		return Signer{}, errors.New("the signature is not this program's")
	}
	if err := program.stillRuns(); err != nil {
		return Signer{}, err
	}
	return Signer{Name: sig.Name, KeyID: sig.KeyID, SHA256: hex.EncodeToString(sum[:]), PID: program.pid}, nil
}
