//go:build unix

package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// patience is how long a test waits before it fails instead of hanging.
const patience = 30 * time.Second

const (
	oneKey   = "1111111111111111111111111111111111111111111111111111111111111111"
	otherKey = "2222222222222222222222222222222222222222222222222222222222222222"
)

// verdict is what became of somebody who knocked.
type verdict struct {
	Code vgirpc.Code
	Kind string
}

func verdictOf(err error) verdict {
	var e *vgirpc.Error
	if !errors.As(err, &e) {
		return verdict{}
	}
	return verdict{e.Code, e.Kind}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func secretsOf(t *testing.T, lines ...string) *Secrets {
	t.Helper()
	return must[*Secrets](t)(ParseSecrets(strings.Join(lines, "\n")))
}

// returnsEverything checks when the test is over that goroutines and descriptors
// are as many as now.
func returnsEverything(t *testing.T) {
	t.Helper()
	if l, err := vgirpc.ListenTCP(t.Context(), "0"); err == nil {
		_ = l.Close() // the runtime keeps descriptors of its own from the first socket on
	}
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(names)
	}
	goroutines, files := runtime.NumGoroutine(), count()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines || count() > files; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d goroutines of %d and %d descriptors of %d are left\n%s", runtime.NumGoroutine(), goroutines,
					count(), files, stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
}

// guarded serves the contract of vgitest on a socket behind admitters.
func guarded(t *testing.T, network string, admit ...vgirpc.Admitter) net.Addr {
	t.Helper()
	returnsEverything(t)
	var opts vgirpc.ServerOptions
	opts.Conns.Admit = admit
	s := vgitest.NewServer(t, vgitest.NewContract(), opts)
	var l net.Listener
	if network == "unix" {
		l = must[net.Listener](t)(vgirpc.ListenUnix(t.Context(), filepath.Join(t.TempDir(), "s"), vgirpc.UnixOptions{}))
	} else {
		l = must[net.Listener](t)(vgirpc.ListenTCP(t.Context(), "0"))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(context.Background(), l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-done
	})
	return l.Addr()
}

func knock(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c := must[net.Conn](t)(new(net.Dialer).DialContext(t.Context(), addr.Network(), addr.String()))
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// helloOf is a hello with a nonce of the byte n.
func helloOf(mode Mode, keyID string, n byte) frame {
	h := hello{least: version, greatest: version, mode: mode.number(), keyID: keyID}
	for i := range h.nonce {
		h.nonce[i] = n
	}
	return h.frame()
}

func with(f frame, at int, value byte) frame {
	out := append(frame(nil), f...)
	out[at] = value
	return out
}

// shakeBy does a good handshake by hand, up to a proof that alter may change.
func shakeBy(c net.Conn, key string, alter func(first, challenge, proof frame) frame) error {
	secrets, err := ParseSecrets("one " + key)
	if err != nil {
		return err
	}
	first := helloOf(HMAC, "one", 7)
	if _, err := c.Write(first); err != nil {
		return err
	}
	challenge, err := readAnswer(c, frameChallenge)
	if err != nil {
		return err
	}
	s, _ := secrets.find("one")
	proof := newFrame(frameProof, mac(s.key, roleClient, bindingOf(nil, c), first, challenge))
	_, _ = c.Write(alter(first, challenge, proof)) // what the server says counts
	_, err = readAnswer(c, frameWelcome)
	return err
}

func TestAttacksOnTheServerAreRefusedWithAReason(t *testing.T) {
	hmacOf := func(key, role string, binding []byte, frames ...frame) frame {
		ring, _ := ParseSecrets("one " + key)
		s, _ := ring.find("one")
		return newFrame(frameProof, mac(s.key, role, binding, frames...))
	}
	send := func(f frame) func(net.Conn) error {
		return func(c net.Conn) error {
			_, _ = c.Write(f) // the server may have refused before the end
			_, err := readAnswer(c, frameWelcome)
			return err
		}
	}
	prove := func(alter func(first, challenge, proof frame) frame) func(net.Conn) error {
		return func(c net.Conn) error { return shakeBy(c, oneKey, alter) }
	}
	asIs := func(_, _, proof frame) frame { return proof }
	var recorded struct{ first, proof frame }
	failed := verdict{vgirpc.Unauthenticated, KindHandshakeFailed}
	garbage := verdict{vgirpc.InvalidArgument, KindHandshakeFailed}
	good := helloOf(HMAC, "one", 7)
	for _, tt := range []struct {
		name   string
		attack func(net.Conn) error
		want   verdict
	}{
		{"nothing is wrong", prove(func(first, _, proof frame) frame {
			recorded.first, recorded.proof = first, proof
			return proof
		}), verdict{}},
		{"hello and proof of an earlier connection are replayed", func(c net.Conn) error {
			_, _ = c.Write(recorded.first)
			if _, err := readAnswer(c, frameChallenge); err != nil {
				return err
			}
			return send(recorded.proof)(c)
		}, failed},
		{"the secret is another one", func(c net.Conn) error { return shakeBy(c, otherKey, asIs) }, failed},
		{"the key's id is nobody's", func(c net.Conn) error {
			_, _ = c.Write(helloOf(HMAC, "two", 7))
			if _, err := readAnswer(c, frameChallenge); err != nil {
				return err // or it would show which ids there are
			}
			return send(newFrame(frameProof, make([]byte, macBytes)))(c)
		}, failed},
		{"the key's id is empty", func(c net.Conn) error {
			first := helloOf(HMAC, "", 7)
			_, _ = c.Write(first)
			challenge, err := readAnswer(c, frameChallenge)
			if err != nil {
				return err
			}
			return send(hmacOf(oneKey, roleClient, bindingOf(nil, c), first, challenge))(c)
		}, failed},
		{"the challenge is sent back as the proof", prove(func(_, challenge, _ frame) frame {
			return newFrame(frameProof, challenge.payload()[2:])
		}), failed},
		{"the proof is one that a server would give", prove(func(first, challenge, _ frame) frame {
			return hmacOf(oneKey, roleServer, []byte("socket unix"), first, challenge)
		}), failed},
		{"the proof is for another kind of socket", prove(func(first, challenge, _ frame) frame {
			return hmacOf(oneKey, roleClient, []byte("socket tcp"), first, challenge)
		}), failed},
		{"the proof is for a TLS connection", prove(func(first, challenge, _ frame) frame {
			return hmacOf(oneKey, roleClient, bindingOf(make([]byte, ExporterBytes), nil), first, challenge)
		}), failed},
		{"the proof is for another hello", prove(func(first, challenge, _ frame) frame {
			return hmacOf(oneKey, roleClient, []byte("socket unix"), with(first, headerBytes+1, 9), challenge)
		}), failed},
		{"the proof is for another challenge", prove(func(first, challenge, _ frame) frame {
			return hmacOf(oneKey, roleClient, []byte("socket unix"), first, with(challenge, len(challenge)-1, challenge[len(challenge)-1]^1))
		}), failed},
		{"one bit of the proof differs", prove(func(_, _, proof frame) frame {
			return with(proof, len(proof)-1, proof[len(proof)-1]^1)
		}), failed},
		{"the proof is empty", prove(func(frame, frame, frame) frame { return newFrame(frameProof) }), garbage},
		{"the proof is longer", prove(func(_, _, proof frame) frame {
			return newFrame(frameProof, proof.payload(), []byte{0})
		}), garbage},
		{"a hello in the place of the proof", prove(func(first, _, _ frame) frame { return first }), garbage},
		{"a proof in the place of the hello", send(newFrame(frameProof, make([]byte, macBytes))), garbage},
		{"a welcome in the place of the hello", send(newFrame(frameWelcome, make([]byte, 2+macBytes))), garbage},
		{"a type that there is not", send(with(good, 5, 99)), garbage},
		{"a giant length", send(with(with(good, 6, 0xFF), 7, 0xFF)), garbage},
		{"a length of nothing", send(with(with(good, 6, 0), 7, 0)), garbage},
		{"a key id that is longer than the frame", send(with(good, headerBytes+3+nonceBytes, 200)), garbage},
		{"a key id that is shorter than the frame", send(with(good, headerBytes+3+nonceBytes, 1)), garbage},
		{"versions that end before they begin", send(with(good, headerBytes, 9)), garbage},
		{"frames of another version", send(with(good, 4, 2)), verdict{vgirpc.Unimplemented, KindHandshakeVersion}},
		{"only versions to come", send(with(with(good, headerBytes, 2), headerBytes+1, 3)), verdict{vgirpc.Unimplemented, KindHandshakeVersion}},
		{"a version of nothing", send(with(with(good, headerBytes, 0), headerBytes+1, 0)), verdict{vgirpc.Unimplemented, KindHandshakeVersion}},
		{"the mode that proves nothing", send(helloOf(Version, "", 7)), verdict{vgirpc.FailedPrecondition, KindHandshakeMode}},
		{"another mode", send(helloOf(Signed, "", 7)), verdict{vgirpc.FailedPrecondition, KindHandshakeMode}},
		{"a mode that there is not", send(with(good, headerBytes+2, 200)), verdict{vgirpc.FailedPrecondition, KindHandshakeMode}},
		{"no mode", send(with(good, headerBytes+2, 0)), verdict{vgirpc.FailedPrecondition, KindHandshakeMode}},
		{"something else altogether", send(frame("GET / HTTP/1.1\r\n\r\n")), verdict{vgirpc.Unauthenticated, KindHandshakeRequired}},
		{"an Arrow stream", send(frame("\xff\xff\xff\xff\x10\x00\x00\x00")), verdict{vgirpc.Unauthenticated, KindHandshakeRequired}},
		{"a frame that is cut off", func(c net.Conn) error {
			_, _ = c.Write(good[:len(good)-1])
			_ = c.(*net.UnixConn).CloseWrite()
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				return errors.New("the server answers")
			}
			return nil
		}, verdict{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := must[*Handshake](t)(NewHandshake(HandshakeOptions{Mode: HMAC, Secrets: secretsOf(t, "one "+oneKey)}))
			c := knock(t, guarded(t, "unix", h))
			err := tt.attack(c)
			if (err == nil) != (tt.want == verdict{}) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, verdictOf(err)); diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// play is a server that says what it likes.
func play(t *testing.T, script func(net.Conn)) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = far.Close() }()
		script(far)
	}()
	t.Cleanup(func() {
		_ = near.Close()
		<-done
	})
	return near
}

func TestAttacksOnTheClientAreErrorsOfTheClient(t *testing.T) {
	ring := secretsOf(t, "one "+oneKey)
	s, _ := ring.find("one")
	binding := []byte("socket pipe")
	// talk answers the hello with a challenge and the proof with what welcome makes.
	talk := func(challengeOf func(first frame) frame, welcome func(first, challenge, proof frame) frame) func(net.Conn) {
		return func(c net.Conn) {
			first, err := readFrame(c, nil, frameHello)
			if err != nil {
				return
			}
			challenge := challengeOf(first)
			if _, err := c.Write(challenge); err != nil || welcome == nil {
				return
			}
			if proof, err := readFrame(c, nil, frameProof); err == nil {
				_, _ = c.Write(welcome(first, challenge, proof))
			}
		}
	}
	fresh := func(frame) frame {
		return newFrame(frameChallenge, []byte{version, HMAC.number()}, make([]byte, nonceBytes))
	}
	welcomeWith := func(mac []byte) frame { return newFrame(frameWelcome, []byte{version, HMAC.number()}, mac) }
	always := func(f frame) func(frame) frame { return func(frame) frame { return f } }
	failed := verdict{vgirpc.Unauthenticated, KindHandshakeFailed}
	garbage := verdict{vgirpc.FailedPrecondition, KindHandshakeFailed}
	for _, tt := range []struct {
		name   string
		script func(net.Conn)
		want   verdict
	}{
		{"nothing is wrong", talk(fresh, func(first, challenge, proof frame) frame {
			return welcomeWith(mac(s.key, roleServer, binding, first, challenge, proof))
		}), verdict{}},
		{"the client's proof is sent back", talk(fresh, func(_, _, proof frame) frame {
			return welcomeWith(proof.payload())
		}), failed},
		{"the client's nonce is sent back", talk(func(first frame) frame {
			return newFrame(frameChallenge, []byte{version, HMAC.number()}, first.payload()[3:3+nonceBytes])
		}, nil), failed},
		{"the server takes the client's part", talk(fresh, func(first, challenge, proof frame) frame {
			return welcomeWith(mac(s.key, roleClient, binding, first, challenge, proof))
		}), failed},
		{"the server has no secret", talk(fresh, func(frame, frame, frame) frame {
			return welcomeWith(make([]byte, macBytes))
		}), failed},
		{"the server welcomes at once", talk(always(welcomeWith(make([]byte, macBytes))), nil), garbage},
		{
			"the server asks for less", talk(always(newFrame(frameChallenge, []byte{version, Version.number()}, make([]byte, nonceBytes))), nil),
			verdict{vgirpc.FailedPrecondition, KindHandshakeMode},
		},
		{"the welcome is for another mode", talk(fresh, func(first, challenge, proof frame) frame {
			return with(welcomeWith(mac(s.key, roleServer, binding, first, challenge, proof)), headerBytes+1, Version.number())
		}), verdict{vgirpc.FailedPrecondition, KindHandshakeMode}},
		{
			"the server chooses another version", talk(always(newFrame(frameChallenge, []byte{0, HMAC.number()}, make([]byte, nonceBytes))), nil),
			verdict{vgirpc.Unimplemented, KindHandshakeVersion},
		},
		{"the frames are of another version", talk(always(with(fresh(nil), 4, 9)), nil), verdict{vgirpc.Unimplemented, KindHandshakeVersion}},
		{"a giant length", talk(always(with(fresh(nil), 6, 0xFF)), nil), garbage},
		{"a refusal that cannot be read", talk(always(newFrame(frameRefused, []byte{7, 60})), nil), garbage},
		{"a refusal with a code of no meaning", talk(always(newFrame(frameRefused, []byte{99, 1}, []byte("kwhy"))), nil), verdict{vgirpc.Unknown, "k"}},
		{
			"a refusal in good form", talk(always(refusal(refuse(vgirpc.PermissionDenied, KindPeerNotAllowed, "no"))), nil),
			verdict{vgirpc.PermissionDenied, KindPeerNotAllowed},
		},
		{"not a word of it", talk(always(frame("HTTP/1.1 400 Bad Request\r\n\r\n")), nil), garbage},
		{"the connection ends", func(c net.Conn) { _, _ = readFrame(c, nil, frameHello) }, verdict{vgirpc.Unavailable, ""}},
		{"the connection ends in a frame", talk(always(fresh(nil)[:20]), nil), verdict{vgirpc.Unavailable, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := must[*Client](t)(NewClient(ClientOptions{Mode: HMAC, Secrets: ring}))
			err := client.Shake(t.Context(), play(t, tt.script), nil)
			if (err == nil) != (tt.want == verdict{}) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, verdictOf(err)); diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAClientWithAHandshakeAtAServerWithoutIsToldSo(t *testing.T) {
	addr := guarded(t, "tcp")
	client := must[*Client](t)(NewClient(ClientOptions{Mode: Version}))
	err := client.Shake(t.Context(), knock(t, addr), nil)
	if diff := cmp.Diff(verdict{vgirpc.FailedPrecondition, KindHandshakeMode}, verdictOf(err)); diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(helloOf(HMAC, "one", 7)))
	f.Add([]byte(newFrame(frameChallenge, []byte{1, 2}, make([]byte, nonceBytes))))
	f.Add([]byte(newFrame(frameProof, make([]byte, macBytes))))
	f.Add([]byte(newFrame(frameWelcome, make([]byte, 2+macBytes))))
	f.Add([]byte(refusal(refuse(vgirpc.Unauthenticated, KindHandshakeFailed, "why"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &counting{rest: data}
		got, err := readFrame(r, nil, frameHello, frameChallenge, frameProof, frameWelcome, frameRefused)
		if r.read > headerBytes+maxPayload {
			t.Errorf("%d bytes read", r.read)
		}
		if err != nil {
			return
		}
		if len(got) != r.read || string(got) != string(data[:r.read]) {
			t.Errorf("a frame of %d bytes of which %d were read", len(got), r.read)
		}
		switch got.kind() {
		case frameHello:
			if h, err := parseHello(got); err == nil && string(h.frame()) != string(got) {
				t.Errorf("%x is written as %x", got, h.frame())
			}
		case frameRefused:
			if err := parseRefusal(got); err == nil {
				t.Error("a refusal is no error")
			}
		}
	})
}

// counting counts what is read.
type counting struct {
	rest []byte
	read int
}

func (c *counting) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest)
	c.rest, c.read = c.rest[n:], c.read+n
	return n, nil
}

func FuzzSignatures(f *testing.F) {
	f.Add([]byte("vgi-signature-v1\nname a\nkey b\ned25519 " + strings.Repeat("A", 86) + "==\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Signature
		if s.UnmarshalText(text) != nil {
			return
		}
		if again, err := s.MarshalText(); err != nil || string(again) != string(text) {
			t.Errorf("%q is written as %q, %v", text, again, err)
		}
	})
}
