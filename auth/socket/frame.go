package socket

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// frameType is what a frame is.
type frameType byte

const (
	frameHello     frameType = 1
	frameChallenge frameType = 2
	frameProof     frameType = 3
	frameWelcome   frameType = 4
	frameRefused   frameType = 5
)

const (
	magic       = "VGIH" // no Arrow stream begins with it
	version     = 1      // of the frames and of what they mean
	headerBytes = 8
	nonceBytes  = 32
	macBytes    = 32

	maxKeyID   = 64
	maxKind    = 64
	maxMessage = 512
	maxPayload = 2 + maxKind + maxMessage // of the largest frame, a refusal
)

// payloads are the least and the greatest length of each type's payload.
var payloads = map[frameType]struct{ least, most int }{
	frameHello:     {4 + nonceBytes, 4 + nonceBytes + maxKeyID},
	frameChallenge: {2 + nonceBytes, 2 + nonceBytes},
	frameProof:     {macBytes, macBytes},
	frameWelcome:   {2 + macBytes, 2 + macBytes},
	frameRefused:   {2, maxPayload},
}

// FrameError says what is wrong with a frame of the handshake.
type FrameError struct{ Reason string }

// Error is the reason.
func (e *FrameError) Error() string { return "handshake: " + e.Reason }

func badFrame(format string, args ...any) error {
	return &FrameError{fmt.Sprintf(format, args...)}
}

// versionError is a frame of another version.
type versionError struct{ got byte }

func (e *versionError) Error() string {
	return fmt.Sprintf("handshake: version %d: want %d", e.got, version)
}

// frame is one frame as it travels, header included: what MACs are made of.
type frame []byte

func (f frame) payload() []byte { return f[headerBytes:] }

func (f frame) kind() frameType { return frameType(f[5]) }

// newFrame puts the header in front of a payload.
func newFrame(t frameType, payload ...[]byte) frame {
	f := frame(magic + string([]byte{version, byte(t), 0, 0}))
	for _, p := range payload {
		f = append(f, p...)
	}
	binary.BigEndian.PutUint16(f[6:], uint16(len(f)-headerBytes))
	return f
}

// readFrame reads one frame, of which start has been read, and nothing after it.
// The types that may come are wanted; the length is checked before there is
// memory for it.
func readFrame(r io.Reader, start []byte, wanted ...frameType) (frame, error) {
	var header [headerBytes]byte
	n := copy(header[:], start)
	if _, err := io.ReadFull(r, header[n:]); err != nil {
		return nil, err
	}
	t, length := frameType(header[5]), int(binary.BigEndian.Uint16(header[6:]))
	switch {
	case string(header[:4]) != magic:
		return nil, badFrame("no frame")
	case header[4] != version:
		return nil, &versionError{header[4]}
	case !slices.Contains(wanted, t):
		return nil, badFrame("a frame of type %d out of turn", t)
	}
	if limit := payloads[t]; length < limit.least || length > limit.most {
		return nil, badFrame("a frame of type %d with %d bytes: want %d to %d", t, length, limit.least, limit.most)
	}
	f := make(frame, headerBytes+length)
	copy(f, header[:])
	if _, err := io.ReadFull(r, f[headerBytes:]); err != nil {
		return nil, err
	}
	return f, nil
}

// hello is the client's first frame.
type hello struct {
	least, greatest byte // versions that the client speaks
	mode            byte
	nonce           [nonceBytes]byte
	keyID           string
}

func (h *hello) frame() frame {
	return newFrame(frameHello, []byte{h.least, h.greatest, h.mode}, h.nonce[:], []byte{byte(len(h.keyID))}, []byte(h.keyID))
}

func parseHello(f frame) (hello, error) {
	p := f.payload()
	h := hello{least: p[0], greatest: p[1], mode: p[2], keyID: string(p[4+nonceBytes:])}
	copy(h.nonce[:], p[3:])
	switch {
	case len(h.keyID) != int(p[3+nonceBytes]):
		return h, badFrame("a key id of %d bytes that says %d", len(h.keyID), p[3+nonceBytes])
	case h.least > h.greatest:
		return h, badFrame("versions from %d to %d", h.least, h.greatest)
	}
	return h, nil
}

// refusal is the frame that tells why. What does not fit is cut off.
func refusal(e *vgirpc.Error) frame {
	kind := e.Kind
	if len(kind) > maxKind {
		kind = ""
	}
	message := e.Message
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	return newFrame(frameRefused, []byte{codeNumber(e.Code), byte(len(kind))}, []byte(kind), []byte(message))
}

// parseRefusal is the error that a refusal stands for.
func parseRefusal(f frame) error {
	p := f.payload()
	if len(p) < 2+int(p[1]) || int(p[1]) > maxKind || !utf8.Valid(p[2:]) {
		return badFrame("a refusal that cannot be read")
	}
	kind, message := string(p[2:2+p[1]]), string(p[2+p[1]:])
	return &vgirpc.Error{Code: codeOf(p[0]), Kind: kind, Type: "HandshakeError", Message: "the server refuses: " + message}
}

// codes are the canonical codes at their numbers.
var codes = [...]vgirpc.Code{
	"", vgirpc.Cancelled, vgirpc.Unknown, vgirpc.InvalidArgument, vgirpc.DeadlineExceeded, vgirpc.NotFound,
	vgirpc.AlreadyExists, vgirpc.PermissionDenied, vgirpc.ResourceExhausted, vgirpc.FailedPrecondition,
	vgirpc.Aborted, vgirpc.OutOfRange, vgirpc.Unimplemented, vgirpc.Internal, vgirpc.Unavailable,
	vgirpc.DataLoss, vgirpc.Unauthenticated,
}

func codeNumber(c vgirpc.Code) byte {
	for i, known := range codes {
		if c == known && c != "" {
			return byte(i)
		}
	}
	return 2
}

func codeOf(number byte) vgirpc.Code {
	if number == 0 || int(number) >= len(codes) {
		return vgirpc.Unknown
	}
	return codes[number]
}
