package grant

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vectors are the language-neutral cases of sealed grants.
type vectors struct {
	Defaults vectorKeys   `json:"defaults"`
	Mint     []vectorMint `json:"mint"`
	Accept   []vectorOpen `json:"accept"`
	Reject   []vectorOpen `json:"reject"`
}

// vectorKeys is what a token is opened with.
type vectorKeys struct {
	Keys     [][]byte `json:"verify_keys_b64"` // base64, as encoding/json has bytes
	Audience *string  `json:"audience"`
	MaxTTL   int64    `json:"max_ttl_seconds"`
	Skew     int64    `json:"clock_skew_seconds"`
	Now      int64    `json:"now"`
}

type vectorMint struct {
	Name     string `json:"name"`
	Key      []byte `json:"minting_key_b64"`
	Audience string `json:"audience"`
	MaxTTL   int64  `json:"max_ttl_seconds"`
	Nonce    string `json:"nonce_hex"`
	Now      int64  `json:"now"`
	Request  struct {
		Principal string   `json:"principal"`
		Scopes    []string `json:"scopes"`
		Purpose   string   `json:"purpose"`
		TTL       int64    `json:"ttl_seconds"`
		ID        string   `json:"grant_id"`
	} `json:"request"`
	Claims struct {
		Principal string   `json:"principal"`
		Scopes    []string `json:"scopes"`
		Purpose   string   `json:"purpose"`
		ID        string   `json:"grant_id"`
		IssuedAt  int64    `json:"issued_at"`
		ExpiresAt int64    `json:"expires_at"`
	} `json:"claims"`
	KeyID   string `json:"kid_hex"`
	AAD     string `json:"aad_hex"`
	Payload string `json:"payload_hex"`
	Token   string `json:"token"`
}

type vectorOpen struct {
	vectorKeys

	Name    string `json:"name"`
	Token   string `json:"token"`
	Expired bool   `json:"expired"`
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/grant_token_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Mint) == 0 || len(v.Accept) == 0 || len(v.Reject) == 0 || len(v.Defaults.Keys) == 0 {
		t.Fatal("the vectors lack cases")
	}
	if v.Defaults.Skew != int64(Skew/time.Second) || v.Defaults.MaxTTL != int64(DefaultMaxTTL/time.Second) {
		t.Errorf("skew %d s and lifetime %d s are not ours", v.Defaults.Skew, v.Defaults.MaxTTL)
	}
	return v
}

func newKeys(tb testing.TB, opts Options) *Keys {
	tb.Helper()
	k, err := New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// over is d with what a case says otherwise.
func (d vectorKeys) over(t *testing.T, c vectorKeys) (k *Keys, now time.Time) {
	t.Helper()
	if c.Keys != nil {
		d.Keys = c.Keys
	}
	if c.Audience != nil {
		d.Audience = c.Audience
	}
	if c.MaxTTL != 0 {
		d.MaxTTL = c.MaxTTL
	}
	if c.Now != 0 {
		d.Now = c.Now
	}
	return newKeys(t, Options{Keys: d.Keys, Audience: *d.Audience, MaxTTL: time.Duration(d.MaxTTL) * time.Second}), time.Unix(d.Now, 0)
}

func TestGrantsAreMintedByteForByteAsTheVectorsSay(t *testing.T) {
	for _, v := range readVectors(t).Mint {
		t.Run(v.Name, func(t *testing.T) {
			k := newKeys(t, Options{Keys: [][]byte{v.Key}, Audience: v.Audience, MaxTTL: time.Duration(v.MaxTTL) * time.Second})
			nonce, err := hex.DecodeString(v.Nonce)
			if err != nil {
				t.Fatal(err)
			}
			req := Request{Principal: v.Request.Principal, Purpose: v.Request.Purpose, Scopes: v.Request.Scopes, TTLSeconds: v.Request.TTL}
			token, claims, err := k.mint(req, time.Unix(v.Now, 999_999_999), v.Request.ID, [nonceSize]byte(nonce))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.Token, token); diff != "" {
				t.Errorf("token (-want +got):\n%s", diff)
			}
			want := Claims{
				ID: v.Claims.ID, Principal: v.Claims.Principal, Purpose: v.Claims.Purpose, Scopes: v.Claims.Scopes,
				IssuedAt: time.Unix(v.Claims.IssuedAt, 0), ExpiresAt: time.Unix(v.Claims.ExpiresAt, 0),
			}
			if diff := cmp.Diff(want, claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			payload, err := appendPayload(nil, &claims)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{hex.EncodeToString(k.keys[0].id[:]), hex.EncodeToString(k.keys[0].aad), hex.EncodeToString(payload)}
			if diff := cmp.Diff([]string{v.KeyID, v.AAD, v.Payload}, got); diff != "" {
				t.Errorf("key id, additional data, payload (-want +got):\n%s", diff)
			}
			opened, err := k.verify(token, time.Unix(v.Now, 0))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, opened); diff != "" {
				t.Errorf("opened again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGrantsAreOpenedAsTheVectorsSay(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Accept {
		t.Run(c.Name, func(t *testing.T) {
			k, now := v.Defaults.over(t, c.vectorKeys)
			got, err := k.verify(c.Token, now)
			if err != nil || got.Principal == "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, c := range v.Reject {
		t.Run(c.Name, func(t *testing.T) {
			k, now := v.Defaults.over(t, c.vectorKeys)
			got, err := k.verify(c.Token, now)
			if diff := cmp.Diff(Claims{}, got); diff != "" {
				t.Errorf("a grant that is refused says something: %s", diff)
			}
			if errors.Is(err, ErrExpired) != c.Expired || errors.Is(err, ErrInvalid) == c.Expired {
				t.Errorf("got %v, want expired: %t", err, c.Expired)
			}
		})
	}
}

func TestTheVectorsAreTrueForTheirKeysAlone(t *testing.T) {
	v := readVectors(t)
	flipped := v.Mint[0]
	raw, err := base64.RawURLEncoding.DecodeString(flipped.Token[len(Prefix):])
	if err != nil {
		t.Fatal(err)
	}
	k, now := v.Defaults.over(t, vectorKeys{})
	for i := range raw {
		raw[i] ^= 0x80
		if _, err := k.verify(Prefix+base64.RawURLEncoding.EncodeToString(raw), now); !errors.Is(err, ErrInvalid) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
		raw[i] ^= 0x80
	}
}
