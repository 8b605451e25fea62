package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const (
	// prefixBytes come before what has the length that the last two of them say:
	// the signature, version and command, family and protocol, and the length.
	prefixBytes = 16
	// MaxHeaderBytes is how long a header may be with everything in it. There is
	// room for a certificate that a proxy has seen.
	MaxHeaderBytes = 4096
)

// header is what a proxy says.
type header struct {
	// source and destination are the ends of the client's connection to the
	// proxy, invalid when this connection is the proxy's own.
	source, destination netip.AddrPort
}

// readHeader reads a header and nothing behind it. With local, one may say that
// the connection is the proxy's own.
//
// The library parses, and this function reads, because the library's buffer would
// swallow what comes after the header.
func readHeader(r io.Reader, local bool) (header, error) {
	var buf [prefixBytes + 36 + 64]byte // most headers
	raw := buf[:prefixBytes]
	if _, err := io.ReadFull(r, raw[:1]); err != nil {
		return header{}, cutOff(err) // io.EOF of somebody who has only knocked
	}
	if raw[0] != proxyproto.SIGV2[0] {
		return header{}, missing(raw[0])
	}
	if _, err := io.ReadFull(r, raw[1:]); err != nil {
		return header{}, cutOff(io.ErrUnexpectedEOF)
	}
	if !bytes.Equal(raw[:len(proxyproto.SIGV2)], proxyproto.SIGV2) {
		return header{}, missing(raw[0])
	}
	if err := checkPrefix(raw, local); err != nil {
		return header{}, err
	}
	rest := int(binary.BigEndian.Uint16(raw[prefixBytes-2:]))
	if rest > MaxHeaderBytes-prefixBytes {
		return header{}, invalid("%d bytes: want at most %d", prefixBytes+rest, MaxHeaderBytes)
	}
	if prefixBytes+rest <= len(buf) {
		raw = buf[:prefixBytes+rest]
	} else {
		raw = append(make([]byte, 0, prefixBytes+rest), raw...)[:prefixBytes+rest]
	}
	if _, err := io.ReadFull(r, raw[prefixBytes:]); err != nil {
		return header{}, cutOff(io.ErrUnexpectedEOF)
	}
	return parse(raw)
}

// checkPrefix looks at version, command, family and protocol.
func checkPrefix(raw []byte, local bool) error {
	command, family := proxyproto.ProtocolVersionAndCommand(raw[12]), proxyproto.AddressFamilyAndProtocol(raw[13])
	switch {
	case raw[12]>>4 != 2:
		return invalid("version %d: want 2", raw[12]>>4)
	case command == proxyproto.LOCAL && local:
		return nil // whatever the family
	case command == proxyproto.LOCAL:
		return invalid("the command LOCAL, of a proxy that connects for itself: only PROXY is taken")
	case command != proxyproto.PROXY:
		return invalid("command %d: want PROXY", raw[12]&0xf)
	case family != proxyproto.TCPv4 && family != proxyproto.TCPv6:
		return invalid("family and protocol 0x%02x: want TCP over IPv4 or IPv6", raw[13])
	}
	return nil
}

// parse reads a header that is whole.
func parse(raw []byte) (header, error) {
	parsed, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), prefixBytes))
	if err != nil {
		return header{}, invalid("%w", err)
	}
	if parsed.Command == proxyproto.LOCAL {
		return header{}, nil
	}
	if _, err = parsed.TLVs(); err == nil {
		at := prefixBytes + 12
		if parsed.TransportProtocol == proxyproto.TCPv6 {
			at = prefixBytes + 36
		}
		err = checkSum(raw, at)
	}
	if err != nil {
		return header{}, invalid("%w", err)
	}
	source, ok := addrPort(parsed.SourceAddr)
	destination, ok2 := addrPort(parsed.DestinationAddr)
	if !ok || !ok2 {
		return header{}, invalid("an address that no TCP connection has")
	}
	return header{source, destination}, nil
}

// checkSum compares a header with the checksum in it, if there is one: the library
// leaves that to its callers. What is added to the addresses begins at byte at, and
// is well formed.
func checkSum(raw []byte, at int) error {
	const head = 3 // type and length
	for at < len(raw) {
		kind, size := proxyproto.PP2Type(raw[at]), int(binary.BigEndian.Uint16(raw[at+1:]))
		at += head
		if kind != proxyproto.PP2_TYPE_CRC32C {
			at += size
			continue
		}
		if size != crc32.Size {
			return errors.New("a checksum that is none")
		}
		field := raw[at : at+size]
		want := binary.BigEndian.Uint32(field)
		clear(field) // as when it was computed
		if crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)) != want {
			return errors.New("its checksum does not fit")
		}
		return nil
	}
	return nil
}

// addrPort is one end of a TCP connection, whose address and port are somebody's.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	at := tcp.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	ip := at.Addr()
	return at, ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && at.Port() != 0
}

// The kinds of refusals.
const (
	// KindUntrusted: the connection does not come from one of the proxies. With
	// PERMISSION_DENIED.
	KindUntrusted = "untrusted_proxy"
	// KindMissing: the first bytes are no header of version 2. With
	// INVALID_ARGUMENT.
	KindMissing = "proxy_header_missing"
	// KindInvalid: the header says something that is not allowed, or is broken.
	// With INVALID_ARGUMENT.
	KindInvalid = "proxy_header_invalid"
	// KindTimeout: the header was not there in time. With DEADLINE_EXCEEDED.
	KindTimeout = "proxy_header_timeout"
)

// errType is the name of refusals on the wire.
const errType = "ProxyProtocolError"

func missing(first byte) error {
	message := "the connection does not begin with a PROXY header of version 2"
	if first == proxyproto.SIGV1[0] {
		message += " (one of version 1 is not taken)"
	}
	return &vgirpc.Error{Code: vgirpc.InvalidArgument, Kind: KindMissing, Type: errType, Message: message}
}

func invalid(format string, args ...any) error {
	cause := fmt.Errorf(format, args...)
	return &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Kind: KindInvalid, Type: errType, Cause: errors.Unwrap(cause),
		Message: "the PROXY header is refused: " + cause.Error(),
	}
}

// cutOff is the error of a connection that ends within its header.
func cutOff(err error) error {
	return &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Kind: KindInvalid, Type: errType, Cause: err,
		Message: "the connection ended before its PROXY header did",
	}
}
