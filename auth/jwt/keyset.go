package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxKeys    = 128 // in a set
	maxTried   = 8   // for a token that names no key
	minRSABits = 2048
	maxRSABits = 8192
)

var (
	// errNoKey: the set has no key for the token. Another one might.
	errNoKey = errors.New("no key for the token")
	// errWrongKey: the key that the token names is for something else.
	errWrongKey  = errors.New("the token's key is for another algorithm")
	errAmbiguous = errors.New("the token names no key, and there are many")
)

// keySet is the keys of an issuer as they were at one time. It never changes.
type keySet struct {
	keyfunc keyfunc.Keyfunc
	storage jwkset.Storage
	size    int
	number  uint64 // of the fetch; see remote
	fetched time.Time
}

// parseKeySet reads a JSON Web Key Set (RFC 7517). Keys that are no good for any
// of the algorithms are left out; it is an error when no key remains.
func parseKeySet(text []byte, algorithms []string) (*keySet, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, errors.New("no JSON Web Key Set")
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("a key set of %d keys: want at most %d", len(doc.Keys), maxKeys)
	}
	var keys []jwkset.JWK
	for _, raw := range doc.Keys {
		if key, ok := parseKey(raw, algorithms); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("a key set of %d keys, none of which is of use", len(doc.Keys))
	}
	return newKeySet(keys)
}

func newKeySet(keys []jwkset.JWK) (*keySet, error) {
	storage := jwkset.NewMemoryStorage()
	if err := storage.KeyReplaceAll(context.Background(), keys); err != nil {
		return nil, err
	}
	kf, err := keyfunc.New(keyfunc.Options{Storage: storage})
	if err != nil {
		return nil, err
	}
	return &keySet{keyfunc: kf, storage: storage, size: len(keys)}, nil
}

// parseKey reads a public key that may verify signatures of an algorithm that is
// pinned. Secrets are left out: what is published is none.
func parseKey(raw []byte, algorithms []string) (jwkset.JWK, bool) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil {
		return jwkset.JWK{}, false
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return jwkset.JWK{}, false
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return jwkset.JWK{}, false
	}
	// The key is what it says and not what a certificate says, which may have
	// expired or be somewhere else: nothing is fetched.
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, false
	}
	for _, a := range algorithms {
		if (m.ALG == "" || m.ALG.String() == a) && fits(a, key.Key()) {
			return key, true
		}
	}
	return jwkset.JWK{}, false
}

// fits reports whether a published key is one for an algorithm: of its kind, its
// curve and of a size that is safe and can be borne.
func fits(algorithm string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (algorithm[0] == 'R' || algorithm[0] == 'P') && bits >= minRSABits && bits <= maxRSABits
	case *ecdsa.PublicKey:
		method, ok := jwt.GetSigningMethod(algorithm).(*jwt.SigningMethodECDSA)
		return ok && method.CurveBits == k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// key is what the token's signature is verified with: one key, or several when
// the token names none. It fails with errNoKey, errWrongKey or errAmbiguous.
func (s *keySet) key(ctx context.Context, token *jwt.Token) (any, error) {
	algorithm := token.Method.Alg()
	if _, named := token.Header["kid"]; !named {
		return s.unnamed(ctx, algorithm)
	}
	key, err := s.keyfunc.KeyfuncCtx(ctx)(token)
	switch {
	case errors.Is(err, jwkset.ErrKeyNotFound):
		return nil, errNoKey
	case err != nil, !fits(algorithm, key):
		return nil, errWrongKey // the error repeats what the token says
	}
	return key, nil
}

// unnamed is every key that a token of an algorithm may be signed with.
func (s *keySet) unnamed(ctx context.Context, algorithm string) (any, error) {
	all, err := s.storage.KeyReadAll(ctx)
	if err != nil {
		return nil, err
	}
	var set jwt.VerificationKeySet
	for _, k := range all {
		if a := k.Marshal().ALG.String(); (a == "" || a == algorithm) && fits(algorithm, k.Key()) {
			set.Keys = append(set.Keys, k.Key())
		}
	}
	switch {
	case len(set.Keys) == 0:
		return nil, errNoKey
	case len(set.Keys) > maxTried:
		return nil, errAmbiguous
	}
	return set, nil
}
