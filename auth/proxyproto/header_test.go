package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pires/go-proxyproto"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Bytes of the command and of the family with the protocol.
const (
	proxyCommand = 0x21
	localCommand = 0x20
	tcp4         = 0x11
	tcp6         = 0x21
)

// written is a header with these bytes, which are said to be as many as they are.
func written(command, family byte, parts ...[]byte) []byte {
	rest := bytes.Join(parts, nil)
	out := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	out = binary.BigEndian.AppendUint16(out, uint16(len(rest)))
	return append(out, rest...)
}

// ends are addresses and ports as they are written.
func ends(source, destination string) []byte {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	out := append(s.Addr().AsSlice(), d.Addr().AsSlice()...)
	out = binary.BigEndian.AppendUint16(out, s.Port())
	return binary.BigEndian.AppendUint16(out, d.Port())
}

func tlv(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

var (
	ends4 = ends("192.0.2.7:4242", "198.51.100.1:443")
	ends6 = ends("[2001:db8::7]:4242", "[2001:db8::1]:443")
	sums  = written(proxyCommand, tcp4, ends4, tlv(0x03, make([]byte, 4)), tlv(0x04, nil))
)

// summed is a header with its checksum, which is at byte 31.
func summed(change byte) []byte {
	out := bytes.Clone(sums)
	binary.BigEndian.PutUint32(out[31:], crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
	out[31] ^= change
	return out
}

// result is what comes of reading a connection.
type result struct {
	Source, Destination, Kind string
	Rest                      string
}

func readAll(raw []byte, local bool) result {
	r := bytes.NewReader(raw)
	h, err := readHeader(r, local)
	var out result
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return result{Kind: e.Kind}
	}
	if h.source.IsValid() {
		out.Source, out.Destination = h.source.String(), h.destination.String()
	}
	rest, _ := io.ReadAll(r)
	out.Rest = string(rest)
	return out
}

func TestHeaders(t *testing.T) {
	four := result{Source: "192.0.2.7:4242", Destination: "198.51.100.1:443"}
	six := result{Source: "[2001:db8::7]:4242", Destination: "[2001:db8::1]:443"}
	missing, invalid := result{Kind: KindMissing}, result{Kind: KindInvalid}
	fill := func(n int) []byte { return tlv(0x04, make([]byte, n-prefixBytes-len(ends4)-3)) }
	good := written(proxyCommand, tcp4, ends4)
	with := func(r result, rest string) result {
		r.Rest = rest
		return r
	}
	for _, tt := range []struct {
		name  string
		raw   []byte
		local bool
		want  result
	}{
		{"IPv4", good, false, four},
		{"IPv6", written(proxyCommand, tcp6, ends6), false, six},
		{"IPv4 in IPv6", written(proxyCommand, tcp6, ends("[::ffff:192.0.2.7]:4242", "[::ffff:198.51.100.1]:443")), false, four},
		{"what comes behind it stays", append(bytes.Clone(good), "call"...), false, with(four, "call")},
		{"a second header stays", append(bytes.Clone(good), good...), false, with(four, string(good))},
		{"what comes behind additions stays", append(written(proxyCommand, tcp4, ends4, tlv(0xea, []byte("vpce"))), "call"...), false, with(four, "call")},
		{"as long as it may be", append(written(proxyCommand, tcp4, ends4, fill(MaxHeaderBytes)), "call"...), false, with(four, "call")},
		{"a byte longer", written(proxyCommand, tcp4, ends4, fill(MaxHeaderBytes+1)), false, invalid},
		{"as long as can be said", written(proxyCommand, tcp4, ends4, make([]byte, 65535-12)), false, invalid},
		{"an addition whose length goes beyond", written(proxyCommand, tcp4, ends4, []byte{0xea, 0, 9, 'x'}), false, invalid},
		{"an addition without a length", written(proxyCommand, tcp4, ends4, []byte{0xea, 0}), false, invalid},
		{"a checksum", summed(0), false, four},
		{"a checksum of something else", summed(1), false, invalid},
		{"a checksum of two bytes", written(proxyCommand, tcp4, ends4, tlv(0x03, []byte{1, 2})), false, invalid},
		{"the proxy's own connection", written(localCommand, 0), false, invalid},
		{"the proxy's own connection where it may be", append(written(localCommand, 0), "call"...), true, result{Rest: "call"}},
		{"the proxy's own with what does not count", append(written(localCommand, tcp4, ends4, tlv(0xea, nil)), "call"...), true, result{Rest: "call"}},
		{"the proxy's own with addresses that are too short", append(written(localCommand, tcp4, []byte{1}), "call"...), true, result{Rest: "call"}},
		{"the proxy's own, too long", written(localCommand, 0, make([]byte, MaxHeaderBytes)), true, invalid},
		{"no addresses", written(proxyCommand, 0), false, invalid},
		{"no addresses, and an endpoint of Iroh", written(proxyCommand, 0, tlv(0xe0, append([]byte{1}, make([]byte, 32)...))), false, invalid},
		{"UDP", written(proxyCommand, 0x12, ends4), false, invalid},
		{"UDP over IPv6", written(proxyCommand, 0x22, ends6), false, invalid},
		{"a Unix socket", written(proxyCommand, 0x31, make([]byte, 216)), false, invalid},
		{"a family without a name", written(proxyCommand, 0x41, ends4), false, invalid},
		{"a protocol without a name", written(proxyCommand, 0x13, ends4), false, invalid},
		{"a command without a name", written(0x22, tcp4, ends4), false, invalid},
		{"version 1 in the form of version 2", written(0x11, tcp4, ends4), false, invalid},
		{"version 3", written(0x31, tcp4, ends4), false, invalid},
		{"IPv4 addresses said to be of IPv6", written(proxyCommand, tcp6, ends4), false, invalid},
		{"half an address", written(proxyCommand, tcp4, ends4[:5]), false, invalid},
		{"from nowhere", written(proxyCommand, tcp4, ends("0.0.0.0:4242", "198.51.100.1:443")), false, invalid},
		{"from a group", written(proxyCommand, tcp4, ends("224.0.0.1:4242", "198.51.100.1:443")), false, invalid},
		{"from port 0", written(proxyCommand, tcp4, ends("192.0.2.7:0", "198.51.100.1:443")), false, invalid},
		{"version 1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 4242 443\r\n"), false, missing},
		{"a call", []byte("\xff\xff\xff\xff\x10\x00\x00\x00 and so on"), false, missing},
		{"a request", []byte("POST /Service/method HTTP/1.1\r\n\r\n"), false, missing},
		{"almost the signature", append([]byte("\r\n\r\n\x00\r\nQUIT\r"), good[12:]...), false, missing},
		{"nothing", nil, false, invalid},
		{"an end within the signature", good[:7], false, invalid},
		{"an end before the length", good[:14], false, invalid},
		{"an end within the addresses", good[:20], false, invalid},
		{"an end within the additions", written(proxyCommand, tcp4, ends4, tlv(4, make([]byte, 200)))[:100], false, invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, readAll(tt.raw, tt.local)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// counted counts what is read of it, one byte at a time at most.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p[:min(1, len(p))])
	c.n += n
	return n, err
}

func TestAHeaderThatIsRefusedIsNotReadAnyFurther(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  []byte
		want int
	}{
		{"version 1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 4242 443\r\n"), 1},
		{"another protocol", []byte("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), prefixBytes},
		{"an oversized addition", written(proxyCommand, tcp4, ends4, make([]byte, 60_000)), prefixBytes},
		{"a command that is not taken", written(localCommand, 0, make([]byte, 60)), prefixBytes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &counted{Reader: bytes.NewReader(tt.raw)}
			if _, err := readHeader(r, false); err == nil || r.n != tt.want {
				t.Errorf("%d bytes were read: want %d; %v", r.n, tt.want, err)
			}
		})
	}
}

func TestARefusalDoesNotRepeatWhatWasSent(t *testing.T) {
	raw := written(proxyCommand, tcp4, ends("224.0.0.9:4242", "198.51.100.1:443"), tlv(0x02, []byte("secret.example")))
	_, err := readHeader(bytes.NewReader(raw), false)
	if err == nil || strings.Contains(err.Error(), "224.0.0.9") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
}

// FuzzHeader compares with the library, for what both take.
func FuzzHeader(f *testing.F) {
	for _, raw := range [][]byte{
		written(proxyCommand, tcp4, ends4), written(proxyCommand, tcp6, ends6, tlv(0xea, []byte("x"))), summed(0), summed(1),
		written(localCommand, 0), written(proxyCommand, 0), []byte("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
		written(proxyCommand, tcp4, ends4, []byte{0xea, 0, 9, 'x'}), written(proxyCommand, tcp4, ends4, make([]byte, 5000)),
	} {
		f.Add(raw, false)
		f.Add(append(bytes.Clone(raw), "behind"...), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, local bool) {
		r := &counted{Reader: bytes.NewReader(raw)}
		h, err := readHeader(r, local)
		if r.n > MaxHeaderBytes {
			t.Fatalf("%d bytes were read", r.n)
		}
		if err != nil {
			e, ok := errors.AsType[*vgirpc.Error](err)
			if !ok || e.Kind == "" || h != (header{}) {
				t.Fatalf("%+v, %v", h, err)
			}
			return
		}
		if want := prefixBytes + int(binary.BigEndian.Uint16(raw[14:])); r.n != want {
			t.Fatalf("%d bytes were read: want %d", r.n, want)
		}
		theirs, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(raw[:r.n])))
		if err != nil {
			t.Fatal(err)
		}
		if theirs.Command == proxyproto.LOCAL {
			if h != (header{}) || !local {
				t.Fatalf("%+v", h)
			}
			return
		}
		source, destination, ok := theirs.TCPAddrs()
		want := []net.TCPAddr{*net.TCPAddrFromAddrPort(h.source), *net.TCPAddrFromAddrPort(h.destination)}
		got := []net.TCPAddr{*source, *destination}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(net.IP.Equal)); !ok || diff != "" {
			t.Fatalf("(-ours +theirs):\n%s", diff)
		}
	})
}
