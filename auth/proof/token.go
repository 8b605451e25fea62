package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// Header carries the proof. A request has exactly one.
const Header = "VGI-Proxy-Proof"

// RequiredHeader is the capability "true" that a service in mode [Require] puts
// on every response, and no other service does (section 2.2).
const RequiredHeader = "VGI-Proxy-Proof-Required"

// canonicalHeader is [Header] as net/http keeps it.
const canonicalHeader = "Vgi-Proxy-Proof"

const (
	version     = "v1"
	macPrefix   = "vgi.proxy.proof.v1\x00"
	deriveLabel = "vgi.proxy.proof.v1/"

	maxToken  = 512 // bytes of a header value
	maxKID    = 64
	maxTS     = 20
	nonceText = 22 // unpadded base64url of 16 bytes
	macText   = 43 // unpadded base64url of 32 bytes
	maxOrigin = 255
)

// claimed is what a header says before anything is verified: its fields are of
// the right form, and no more is known of them.
type claimed struct {
	kid, ts, nonce, mac string
}

// parse splits a header value by form alone (section 6, steps 2 to 4). Nothing
// is decoded: decoders differ in what they forgive.
func parse(value string) (claimed, bool) {
	if len(value) > maxToken {
		return claimed{}, false
	}
	first, rest, _ := strings.Cut(value, ".")
	if first != version {
		return claimed{}, false
	}
	var c claimed
	var dots [3]bool
	c.kid, rest, dots[0] = strings.Cut(rest, ".")
	c.ts, rest, dots[1] = strings.Cut(rest, ".")
	c.nonce, c.mac, dots[2] = strings.Cut(rest, ".")
	if dots != [3]bool{true, true, true} {
		return claimed{}, false
	}
	ok := validKID(c.kid) && validTS(c.ts) &&
		len(c.nonce) == nonceText && all(c.nonce, base64Char) &&
		len(c.mac) == macText && all(c.mac, base64Char) // a sixth field's dot fails here
	return c, ok
}

func validKID(s string) bool { return s != "" && len(s) <= maxKID && all(s, base64Char) }

func validTS(s string) bool { return s != "" && len(s) <= maxTS && all(s, digit) }

// validOrigin is the charset of an origin id and a proxy id (section 4).
func validOrigin(s string) bool { return s != "" && len(s) <= maxOrigin && all(s, originChar) }

func all(s string, valid func(byte) bool) bool {
	for i := range len(s) {
		if !valid(s[i]) {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// base64Char is the URL-safe alphabet, which is a key id's too.
func base64Char(c byte) bool {
	return digit(c) || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || c == '-' || c == '_'
}

func originChar(c byte) bool { return base64Char(c) || c == '.' || c == ':' || c == '/' }

// unixSeconds reads a valid timestamp. One beyond an int64 is the far future,
// and is read as the end of it.
func unixSeconds(ts string) int64 {
	n, err := strconv.ParseInt(ts, 10, 64)
	if err != nil {
		return 1<<63 - 1
	}
	return n
}

// macer computes proofs' MACs under one key for one origin. It may be used by
// many goroutines at once.
type macer struct {
	key    Key
	origin string
	pool   sync.Pool // of *macScratch
}

type macScratch struct {
	hash hash.Hash
	buf  []byte // the canonical string
	sum  [sha256.Size]byte
}

func newMacer(key Key, origin string) *macer {
	m := &macer{key: key, origin: origin}
	m.pool.New = func() any { return &macScratch{hash: hmac.New(sha256.New, m.key.Secret[:])} }
	return m
}

// appendMAC appends the MAC as text. The canonical string has NUL between its
// parts, and no part can hold one (section 4).
func (m *macer) appendMAC(dst []byte, ts, nonce string) []byte {
	s := m.pool.Get().(*macScratch)
	defer m.pool.Put(s)
	s.hash.Reset()
	s.buf = append(s.buf[:0], macPrefix...)
	s.buf = append(append(s.buf, m.key.ID...), 0)
	s.buf = append(append(s.buf, ts...), 0)
	s.buf = append(append(s.buf, nonce...), 0)
	s.buf = append(s.buf, m.origin...)
	s.hash.Write(s.buf)
	return base64.RawURLEncoding.AppendEncode(dst, s.hash.Sum(s.sum[:0]))
}

// verify compares as text: 43 characters carry two bits more than a MAC, and a
// proof has one form only.
func (m *macer) verify(c claimed) bool {
	var want, got [macText]byte
	m.appendMAC(want[:0], c.ts, c.nonce)
	copy(got[:], c.mac)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
