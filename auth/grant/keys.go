package grant

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/chacha20poly1305"
)

// The environment variables of [FromEnv].
const (
	EnvKeys     = "VGI_RPC_GRANT_KEYS"            // base64, commas between, the minting key first
	EnvAudience = "VGI_RPC_GRANT_AUDIENCE"        // any text
	EnvMaxTTL   = "VGI_RPC_GRANT_MAX_TTL_SECONDS" // a positive integer
)

const (
	// KeySize is the length of a key, in bytes.
	KeySize = chacha20poly1305.KeySize
	// DefaultMaxTTL is how long a grant lives at most, unless somebody says
	// otherwise.
	DefaultMaxTTL = 7 * 24 * time.Hour
	// Skew is how far the clocks of the server that mints a grant and of the one
	// that opens it may differ.
	Skew = time.Minute
)

const (
	kidDomain = "vgi_rpc.grant.kid.v1\x00"
	aadDomain = "vgi_rpc.grant.v1\x00"
	kidSize   = 8
	// maxText bounds each text of a payload, in bytes, and how many scopes
	// there are.
	maxText = math.MaxUint16
)

// Options configure [New].
type Options struct {
	// Keys of [KeySize] bytes each, of which there must be one at least. The
	// first mints and all of them open: a new key goes in front, and an old one
	// stays until the grants that it minted are over.
	Keys [][]byte
	// Audience keeps deployments apart that share a key against all advice: the
	// grants of one do not open at another. At most 65,535 bytes of UTF-8; it
	// may be empty.
	Audience string
	// MaxTTL is how long a grant lives at most, in whole seconds, when it is
	// minted and again when it is opened. [DefaultMaxTTL] when zero.
	MaxTTL time.Duration
}

// Keys mint grants and open them. They are immutable and safe for concurrent
// use. They are never printed.
type Keys struct {
	keys   []sealingKey
	maxTTL int64 // seconds
}

type sealingKey struct {
	id   [kidSize]byte
	aead cipher.AEAD
	aad  []byte
}

// New returns the keys of a deployment. It is an error when there is none, when
// one has not [KeySize] bytes or stands there twice, when the audience is no
// UTF-8 or too long, and when MaxTTL is negative or has a fraction of a second.
// It fails as well in a process that allows only FIPS 140 algorithms. Errors
// number the keys from 1 and never quote one.
func New(opts Options) (*Keys, error) {
	if opts.MaxTTL == 0 {
		opts.MaxTTL = DefaultMaxTTL
	}
	switch {
	case len(opts.Keys) == 0:
		return nil, errors.New("grant: no key")
	case opts.MaxTTL < 0 || opts.MaxTTL%time.Second != 0:
		return nil, fmt.Errorf("grant: a longest lifetime of %v: want a positive number of whole seconds", opts.MaxTTL)
	case len(opts.Audience) > maxText:
		return nil, fmt.Errorf("grant: an audience of %d bytes: want at most %d", len(opts.Audience), maxText)
	case !utf8.ValidString(opts.Audience):
		return nil, errors.New("grant: the audience is not UTF-8")
	}
	k := &Keys{maxTTL: int64(opts.MaxTTL / time.Second)}
	for i, key := range opts.Keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("grant: key %d has %d bytes: want %d", i+1, len(key), KeySize)
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("grant: key %d: %w", i+1, err)
		}
		s := sealingKey{id: keyID(key), aead: aead}
		s.aad = append(append([]byte(aadDomain), s.id[:]...), opts.Audience...)
		if k.find(s.id[:]) != nil {
			return nil, fmt.Errorf("grant: key %d stands there twice", i+1)
		}
		k.keys = append(k.keys, s)
	}
	return k, nil
}

// keyID is what names a key in the tokens that it seals.
func keyID(key []byte) (id [kidSize]byte) {
	digest := sha256.Sum256(append([]byte(kidDomain), key...))
	copy(id[:], digest[:])
	return id
}

// find is the key of that name, nil without. Names are no secrets.
func (k *Keys) find(id []byte) *sealingKey {
	for i := range k.keys {
		if string(k.keys[i].id[:]) == string(id) {
			return &k.keys[i]
		}
	}
	return nil
}

// MaxTTL is how long a grant lives at most.
func (k *Keys) MaxTTL() time.Duration { return time.Duration(k.maxTTL) * time.Second }

// String says how many keys there are, and nothing of them.
func (k *Keys) String() string { return fmt.Sprintf("%d grant keys", len(k.keys)) }

// GoString is String, so that %#v shows no key either.
func (k *Keys) GoString() string { return k.String() }

// LogValue is String, so that no log shows a key either.
func (k *Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// ParseKeys reads keys as configuration has them: standard base64, padded or
// not, with commas between. Blanks around a key are ignored, and so are empty
// places. It is an error when there is no key, or one that is not base64 of
// [KeySize] bytes; errors never quote a key.
func ParseKeys(text string) ([][]byte, error) {
	var keys [][]byte
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, err := parseKey(part)
		if err != nil {
			return nil, fmt.Errorf("grant: key %d %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("grant: no key")
	}
	return keys, nil
}

func parseKey(text string) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding
	}
	key, err := encoding.DecodeString(text)
	switch {
	case err != nil || strings.ContainsAny(text, "\r\n"): // which the decoder skips
		return nil, errors.New("is not base64")
	case len(key) != KeySize:
		return nil, fmt.Errorf("is %d bytes in base64: want %d", len(key), KeySize)
	}
	return key, nil
}

// FromEnv returns the keys that an environment configures, of which getenv
// returns a variable's value: [EnvKeys], and beside it [EnvAudience] and
// [EnvMaxTTL]. Without the first there are no grants, which configured says. A
// server must not start on an error: it would run with keys that it misread.
func FromEnv(getenv func(name string) string) (keys *Keys, configured bool, err error) {
	text := strings.TrimSpace(getenv(EnvKeys))
	if text == "" {
		return nil, false, nil
	}
	opts := Options{Audience: getenv(EnvAudience)}
	if opts.Keys, err = ParseKeys(text); err != nil {
		return nil, true, fmt.Errorf("%s: %w", EnvKeys, err)
	}
	if text = strings.TrimSpace(getenv(EnvMaxTTL)); text != "" {
		const longest = math.MaxInt64 / int64(time.Second)
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds <= 0 || seconds > longest {
			return nil, true, fmt.Errorf("%s: want a positive number of seconds", EnvMaxTTL)
		}
		opts.MaxTTL = time.Duration(seconds) * time.Second
	}
	if keys, err = New(opts); err != nil {
		return nil, true, fmt.Errorf("%s: %w", EnvKeys, err)
	}
	return keys, true, nil
}
