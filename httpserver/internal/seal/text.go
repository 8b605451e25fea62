package seal

import (
	"encoding/base64"
	"strings"
	"sync"
)

// text is the two buffers that a token needs on its way to and from base64.
type text struct{ sealed, coded []byte }

var texts = sync.Pool{New: func() any { return new(text) }}

func (t *text) free() {
	if cap(t.sealed) <= maxScratch && cap(t.coded) <= maxScratch {
		texts.Put(t)
	}
}

// encoding is how tokens of kind are written: what goes into a header has to be
// safe there, what goes into metadata is base64 as everybody knows it.
func encoding(kind byte) *base64.Encoding {
	if kind == KindSession {
		return rawURL
	}
	return standard
}

var (
	rawURL   = base64.RawURLEncoding.Strict()
	standard = base64.StdEncoding.Strict()
)

// SealText is [KeyRing.Seal] in base64: URL-safe and without padding for
// [KindSession], the standard one for other kinds.
func (r *KeyRing) SealText(kind byte, aad, plaintext []byte) string {
	t := texts.Get().(*text)
	defer t.free()
	t.sealed = r.Seal(t.sealed[:0], kind, aad, plaintext)
	t.coded = encoding(kind).AppendEncode(t.coded[:0], t.sealed)
	return string(t.coded)
}

// OpenText is [KeyRing.Open] of a token in base64, as [KeyRing.SealText] writes
// it. What is not that base64 is [ErrOpen] as well.
func (r *KeyRing) OpenText(dst []byte, kind byte, aad []byte, token string) ([]byte, error) {
	if strings.ContainsAny(token, "\r\n") { // which base64 ignores, and SealText never writes
		return nil, ErrOpen
	}
	t := texts.Get().(*text)
	defer t.free()
	t.coded = append(t.coded[:0], token...)
	var err error
	if t.sealed, err = encoding(kind).AppendDecode(t.sealed[:0], t.coded); err != nil {
		return nil, ErrOpen
	}
	return r.Open(dst, kind, aad, t.sealed)
}
