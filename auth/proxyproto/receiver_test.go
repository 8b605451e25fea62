package proxyproto_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/proxyproto"
	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// patience is how long a test waits before it fails instead of hanging.
const patience = 30 * time.Second

// asserted is where the header says that the client is.
const asserted = "192.0.2.7:4242"

// header is a header of TCP over IPv4, with additions.
func header(source string, additions ...byte) []byte {
	out := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11)
	out = binary.BigEndian.AppendUint16(out, uint16(12+len(additions)))
	s := netip.MustParseAddrPort(source)
	out = append(out, s.Addr().AsSlice()...)
	out = append(out, 198, 51, 100, 1)
	out = binary.BigEndian.AppendUint16(out, s.Port())
	return append(append(out, 1, 187), additions...)
}

// local is a header of a connection that is the proxy's own.
var local = append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0, 0, 0)

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

// receiver is one that waits for a header as long as a slow machine takes.
func receiver(t *testing.T, opts proxyproto.Options) *proxyproto.Receiver {
	t.Helper()
	opts.Timeout = patience
	return punctual(t, opts)
}

// punctual is a receiver with the default timeout, for tests whose clock stands
// still.
func punctual(t *testing.T, opts proxyproto.Options) *proxyproto.Receiver {
	t.Helper()
	if opts.Proxies == nil {
		opts.Proxies = []string{"127.0.0.1"}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return must[*proxyproto.Receiver](t)(proxyproto.New(opts))
}

// spy remembers who has been admitted.
type spy struct {
	mu   sync.Mutex
	seen []admitted
}

// admitted is what later admitters find.
type admitted struct{ Immediate, Addr, Source, Destination string }

func (s *spy) Admit(_ context.Context, a *vgirpc.Admission) error {
	at := must2(netip.ParseAddrPort(a.Conn.RemoteAddr().String()))
	seen := admitted{Immediate: at.Addr().String(), Addr: a.Peer.Addr}
	if at.String() == a.Peer.Addr {
		seen.Addr = "the same"
	}
	if a.Forwarded != nil {
		seen.Source, seen.Destination = a.Forwarded.Source.String(), a.Forwarded.Destination.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, seen)
	return nil
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// serve serves the contract on raw TCP behind admitters.
func serve(t *testing.T, c *vgitest.Contract, admit ...vgirpc.Admitter) net.Addr {
	t.Helper()
	opts := vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}
	opts.Conns.Admit = admit
	s := vgitest.NewServer(t, c, opts)
	l := must[net.Listener](t)(vgirpc.ListenTCP(t.Context(), "0"))
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

// from connects from an address of this machine.
func from(t *testing.T, address string, to net.Addr) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.DialContext(t.Context(), to.Network(), to.String())
	switch {
	case err == nil:
	case os.Getenv("CI") == "":
		t.Skipf("this machine has no %s: %v", address, err)
	default:
		t.Fatalf("this machine has no %s: %v", address, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestRawConnections(t *testing.T) {
	type outcome struct {
		Seen []admitted
		Code vgirpc.Code
		Kind string
	}
	good := outcome{Seen: []admitted{{"127.0.0.1", asserted, asserted, "198.51.100.1:443"}}}
	refused := func(code vgirpc.Code, kind string) outcome { return outcome{Code: code, Kind: kind} }
	big := append([]byte{0xea, 0xff, 0xff}, make([]byte, 65520)...)
	for _, tt := range []struct {
		name string
		opts proxyproto.Options
		from string
		send []byte
		want outcome
	}{
		{"a header", proxyproto.Options{}, "127.0.0.1", header(asserted), good},
		{"a header with an addition", proxyproto.Options{}, "127.0.0.1", header(asserted, 0xea, 0, 1, 'x'), good},
		{"the proxy's own connection where that is taken", proxyproto.Options{Local: true}, "127.0.0.1", local, outcome{Seen: []admitted{{"127.0.0.1", "the same", "", ""}}}},
		{"the proxy's own connection", proxyproto.Options{}, "127.0.0.1", local, refused(vgirpc.InvalidArgument, proxyproto.KindInvalid)},
		{"an untrusted address", proxyproto.Options{}, "127.0.0.2", header(asserted), refused(vgirpc.PermissionDenied, proxyproto.KindUntrusted)},
		{"an untrusted address that claims a trusted one", proxyproto.Options{}, "127.0.0.2", header("127.0.0.1:4242"), refused(vgirpc.PermissionDenied, proxyproto.KindUntrusted)},
		{"an untrusted address without a header", proxyproto.Options{}, "127.0.0.2", nil, refused(vgirpc.PermissionDenied, proxyproto.KindUntrusted)},
		{"an address beside the proxy's", proxyproto.Options{Proxies: []string{"127.0.0.2", "::1"}}, "127.0.0.1", header(asserted), refused(vgirpc.PermissionDenied, proxyproto.KindUntrusted)},
		{"no header", proxyproto.Options{}, "127.0.0.1", nil, refused(vgirpc.InvalidArgument, proxyproto.KindMissing)},
		{"version 1", proxyproto.Options{}, "127.0.0.1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 4242 443\r\n"), refused(vgirpc.InvalidArgument, proxyproto.KindMissing)},
		{"an oversized addition", proxyproto.Options{}, "127.0.0.1", header(asserted, big...), refused(vgirpc.InvalidArgument, proxyproto.KindInvalid)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contract, seen := vgitest.NewContract(), new(spy)
			addr := serve(t, contract, receiver(t, tt.opts), seen)
			conn := from(t, tt.from, addr)
			if _, err := conn.Write(tt.send); err != nil {
				t.Fatal(err)
			}
			client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
			defer func() { _ = client.Close() }()
			var got outcome
			for range 2 {
				sum, err := contract.Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2})
				if e, ok := errors.AsType[*vgirpc.Error](err); ok {
					got.Code, got.Kind = e.Code, e.Kind
					break
				}
				if sum != 3 || err != nil {
					t.Errorf("got %v, %v", sum, err)
				}
			}
			got.Seen = seen.seen
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatComesBehindTheHeaderIsTheProtocol: a second header is no header, and
// garbage is no call.
func TestWhatComesBehindTheHeaderIsTheProtocol(t *testing.T) {
	for name, behind := range map[string][]byte{
		"a second header": header("203.0.113.9:1"),
		"garbage":         bytes.Repeat([]byte("garbage "), 100),
	} {
		t.Run(name, func(t *testing.T) {
			contract, seen := vgitest.NewContract(), new(spy)
			conn := from(t, "127.0.0.1", serve(t, contract, receiver(t, proxyproto.Options{}), seen))
			if _, err := conn.Write(append(header(asserted), behind...)); err != nil {
				t.Fatal(err)
			}
			client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
			defer func() { _ = client.Close() }()
			if sum, err := contract.Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2}); err == nil {
				t.Errorf("the call is answered with %v", sum)
			}
			want := []admitted{{"127.0.0.1", asserted, asserted, "198.51.100.1:443"}}
			if diff := cmp.Diff(want, seen.seen); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLimitsCountTheClients behind one proxy, and not the proxy.
func TestLimitsCountTheClients(t *testing.T) {
	contract := vgitest.NewContract()
	policy := must[*socket.ConnectionPolicy](t)(socket.NewConnectionPolicy(socket.PolicyOptions{PerPeer: 1}))
	addr := serve(t, contract, receiver(t, proxyproto.Options{}), policy)
	call := func(source string) error {
		conn := from(t, "127.0.0.1", addr)
		if _, err := conn.Write(header(source)); err != nil {
			t.Fatal(err)
		}
		_, err := contract.Add.Call(t.Context(), vgirpc.NewClient(conn, vgirpc.ClientOptions{}), vgitest.AddParams{})
		return err
	}
	if err := errors.Join(call("192.0.2.7:1"), call("192.0.2.8:1")); err != nil {
		t.Error(err)
	}
	if err := call("192.0.2.7:2"); vgirpc.CodeOf(err) != vgirpc.ResourceExhausted {
		t.Errorf("a second connection of one client: %v", err)
	}
}

// endOf is one end of a pipe that has addresses.
type endOf struct {
	net.Conn
	from string
}

func (c endOf) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from)) }

func TestASlowHeaderIsNotWaitedFor(t *testing.T) {
	for name, pause := range map[string]time.Duration{
		"one byte and then nothing":      time.Hour,
		"a byte now and then, for long":  200 * time.Millisecond,
		"nothing at all, and no timeout": 0,
		"the last byte just too late":    5*time.Second/27 + 1,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				var writing sync.WaitGroup
				writing.Go(func() {
					if pause == 0 {
						return
					}
					for _, b := range header(asserted) {
						if _, err := near.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(pause)
					}
				})
				a := vgirpc.NewAdmission(endOf{far, "127.0.0.1:1"}, &vgirpc.Peer{})
				began := time.Now()
				err := punctual(t, proxyproto.Options{}).Admit(t.Context(), a)
				e, _ := errors.AsType[*vgirpc.Error](err)
				if e == nil || e.Kind != proxyproto.KindTimeout || e.Code != vgirpc.DeadlineExceeded || time.Since(began) != 5*time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if a.Forwarded != nil || a.Peer.Addr != "" {
					t.Errorf("the admission is changed: %+v", a)
				}
				_ = near.Close()
				_ = far.Close()
				writing.Wait()
			})
		})
	}
}

// untouchable fails a test when it is read.
type untouchable struct {
	endOf
	t *testing.T
}

func (c untouchable) Read([]byte) (int, error) {
	c.t.Error("it was read from")
	return 0, io.EOF
}

func TestNothingIsReadOfAnUntrustedConnection(t *testing.T) {
	conn := untouchable{endOf{nil, "192.0.2.1:1"}, t}
	err := receiver(t, proxyproto.Options{}).Admit(t.Context(), vgirpc.NewAdmission(conn, &vgirpc.Peer{}))
	if e, ok := errors.AsType[*vgirpc.Error](err); !ok || e.Kind != proxyproto.KindUntrusted {
		t.Error(err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, opts := range map[string]proxyproto.Options{
		"no proxies":       {},
		"a network":        {Proxies: []string{"10.0.0.0/8"}},
		"a name":           {Proxies: []string{"localhost"}},
		"everybody":        {Proxies: []string{"0.0.0.0"}},
		"a proxy twice":    {Proxies: []string{"10.0.0.1", "::ffff:10.0.0.1"}},
		"a negative time ": {Proxies: []string{"10.0.0.1"}, Timeout: -1},
	} {
		if _, err := proxyproto.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
