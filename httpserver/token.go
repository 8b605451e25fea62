package httpserver

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The two tokens of a stream, before they are sealed. The call token is made
// once, when the stream is opened; the cursor anew with every turn.
//
//	cursor  created 8 | call 16 | state …
//	call    created 8 | call 16 | limit 8 | protocol, method, state type, output
//	        schema, stream id, request id, each with its length of 4 before it |
//	        deadline 8, in milliseconds, unless there is none
//
// Numbers are little-endian, times are Unix times, in seconds.
const (
	tokenHead  = 8 + len(callID{})
	maxCallLen = 32 << 20 // of one part
)

// errToken is the one answer to every token that cannot be honoured: nobody
// learns why (WIRE_PROTOCOL section 10).
func errToken() *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Type: "StateTokenError",
		Message: "the stream's state token is not valid here, or no longer: open the stream again",
	}
}

// bindTokens computes what the tokens of this request are bound to: the caller
// and the protocol.
func (q *request) bindTokens() {
	q.ws.aad = seal.AppendIdentity(q.ws.aad[:0], &q.peer.Identity, q.protocol)
}

// store turns an open stream into its cursor, and its call token when it has
// just been opened.
func (q *request) store(d *vgirpc.Dispatch, call *storedCall) (cursor string, opened *storedCall, err error) {
	snap, err := d.Snapshot()
	if err != nil {
		return "", nil, err
	}
	if call == nil {
		call = &storedCall{created: q.h.now().Unix(), limit: q.req.Budget.Limit, bound: string(q.ws.aad), snap: *snap}
		call.snap.State = nil
		_, _ = rand.Read(call.id[:]) // crypto/rand.Read does not fail
	}
	p := appendHead(q.ws.plain[:0], q.h.now().Unix(), call.id)
	p = append(p, snap.State...)
	q.ws.plain = p
	return q.h.keys.SealText(seal.KindCursor, q.ws.aad, p), call, nil
}

func appendHead(dst []byte, created int64, id callID) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(created))
	return append(dst, id[:]...)
}

// sealCall makes the call token.
func (q *request) sealCall(call *storedCall) string {
	s := &call.snap
	p := appendHead(q.ws.plain[:0], call.created, call.id)
	p = binary.LittleEndian.AppendUint64(p, uint64(call.limit))
	for _, part := range [...]string{s.Protocol, s.Method, s.StateType, string(s.OutputSchema), s.StreamID, s.RequestID} {
		p = binary.LittleEndian.AppendUint32(p, uint32(len(part)))
		p = append(p, part...)
	}
	if !s.Deadline.IsZero() {
		p = binary.LittleEndian.AppendUint64(p, uint64(s.Deadline.UnixMilli()))
	}
	q.ws.plain = p
	return q.h.keys.SealText(seal.KindCall, q.ws.aad, p)
}

// resolve opens the tokens of a continuation: the cursor first, which names the
// call that the server made it for, and the call token only if that call is not
// at hand. Nothing that the client controls is looked at before the cursor has
// been authenticated.
func (q *request) resolve(meta wire.Metadata) (call *storedCall, state []byte, err error) {
	token, ok := meta.Get(wire.KeyStreamState)
	if !ok {
		return nil, nil, &vgirpc.Error{
			Code: vgirpc.InvalidArgument, Type: "StateTokenError",
			Message: fmt.Sprintf("the input batch has no %q: /exchange takes up a stream that /init has opened", wire.KeyStreamState),
		}
	}
	q.delivery.RequestState = int64(len(token))
	// The state is decoded into values that may refer to it: it has memory of
	// its own.
	plain, err := q.h.keys.OpenText(nil, seal.KindCursor, q.ws.aad, token)
	if err != nil || len(plain) < tokenHead || q.expired(plain) {
		return nil, nil, errToken()
	}
	id, state := callID(plain[8:tokenHead]), plain[tokenHead:]
	call = q.h.calls.get(id, q.ws.aad)
	q.h.stats.looked(call != nil)
	if call == nil {
		if call = q.openCall(meta.Value(wire.KeyCallState)); call == nil || subtle.ConstantTimeCompare(call.id[:], id[:]) != 1 {
			return nil, nil, errToken()
		}
		q.h.calls.put(call)
	} else if q.tooOld(call.created) {
		return nil, nil, errToken()
	}
	if call.snap.Protocol != q.protocol || call.snap.Method != q.method {
		return nil, nil, errToken()
	}
	return call, state, nil
}

// openCall opens a call token, nil when it cannot be honoured.
func (q *request) openCall(token string) *storedCall {
	plain, err := q.h.keys.OpenText(nil, seal.KindCall, q.ws.aad, token)
	if err != nil || len(plain) < tokenHead+8 || q.expired(plain) {
		return nil
	}
	call := &storedCall{
		id: callID(plain[8:tokenHead]), bound: string(q.ws.aad),
		created: int64(binary.LittleEndian.Uint64(plain)),
		limit:   int64(binary.LittleEndian.Uint64(plain[tokenHead:])),
	}
	rest := plain[tokenHead+8:]
	var output string
	s := &call.snap
	for _, part := range [...]*string{&s.Protocol, &s.Method, &s.StateType, &output, &s.StreamID, &s.RequestID} {
		if len(rest) < 4 {
			return nil
		}
		n := binary.LittleEndian.Uint32(rest)
		if rest = rest[4:]; n > maxCallLen || int(n) > len(rest) {
			return nil
		}
		*part, rest = string(rest[:n]), rest[n:]
	}
	if output != "" {
		s.OutputSchema = []byte(output)
	}
	if len(rest) == 8 {
		s.Deadline = time.UnixMilli(int64(binary.LittleEndian.Uint64(rest)))
	}
	return call
}

// expired reports whether a token's time is over.
func (q *request) expired(plain []byte) bool {
	return q.tooOld(int64(binary.LittleEndian.Uint64(plain)))
}

func (q *request) tooOld(created int64) bool {
	ttl := q.h.opts.TokenTTL
	return ttl > 0 && q.h.now().Sub(time.Unix(created, 0)) > ttl
}
