package seal

import (
	"encoding/binary"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ServerScope is the scope of tokens that belong to no protocol: those of sticky
// sessions.
const ServerScope = "vgi_rpc.server"

// evidenceClaim is the one claim that is stable for as long as tokens live: the
// digest of what the transport vouches for about the peer.
const evidenceClaim = "peer_evidence_binding"

// AppendIdentity appends what binds a token to the caller that it is made for,
// and to scope, the name of a protocol or [ServerScope]: whether the caller is
// authenticated, then its domain and principal, then the digest of its peer's
// evidence, if it has one. No other claim counts: credentials are renewed while
// tokens live (sticky-sessions-spec section 3.1). All callers that are not
// authenticated and have the same evidence are one; nil is such a caller.
//
// Every part has its length before it, so different inputs never come to the
// same bytes.
func AppendIdentity(dst []byte, id *vgirpc.Identity, scope string) []byte {
	if id != nil && id.Authenticated {
		dst = append(dst, 1)
		dst = appendPart(dst, id.Domain)
		dst = appendPart(dst, id.Principal)
	} else {
		dst = append(dst, 0)
	}
	if id != nil {
		if evidence, ok := id.Claims[evidenceClaim].(string); ok {
			dst = appendPart(append(dst, 1), evidence)
			return appendPart(dst, scope)
		}
	}
	return appendPart(append(dst, 0), scope)
}

func appendPart(dst []byte, part string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(part))), part...)
}
