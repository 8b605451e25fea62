package localstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/external/internal/objectkey"
)

// Names of the query's parameters.
const (
	paramExpires = "expires" // Unix seconds
	paramSeal    = "seal"
)

// seal is the MAC over what a URL allows: a method, on an object, until a time.
// Its parts cannot run into each other: none holds a NUL.
func (s *Store) seal(method, key string, expires int64) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("vgirpc localstore 1\x00" + method + "\x00" + key + "\x00" + strconv.FormatInt(expires, 10)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sealed is the URL that allows it.
func (s *Store) sealed(method, key string, expires time.Time) string {
	unix := expires.Unix()
	return s.base + "/" + key + "?" + paramExpires + "=" + strconv.FormatInt(unix, 10) + "&" + paramSeal + "=" + s.seal(method, key, unix)
}

// keyOf is the last part of a URL's path that can be a key, "" when none can. What
// comes before it is the business of whoever mounted the handler.
func keyOf(urlPath string) string {
	parts := strings.Split(urlPath, "/")
	if len(parts) < 4 {
		return ""
	}
	if key := strings.Join(parts[len(parts)-3:], "/"); objectkey.Valid(key) {
		return key
	}
	return ""
}

// ourFile reports whether a path below the root is that of an object or a draft.
func ourFile(name string) bool {
	switch ext := path.Ext(name); ext {
	case "", suffixes["zstd"], suffixes["gzip"], suffixDraft:
		return objectkey.Valid(strings.TrimSuffix(name, ext))
	}
	return false
}
