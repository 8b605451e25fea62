package grant

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	keyA = bytes.Repeat([]byte{0xa1}, KeySize)
	keyB = bytes.Repeat([]byte{0xb2}, KeySize)
)

func TestAGrantLivesFromSkewBeforeItsBeginUntilSkewAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeys(t, Options{Keys: [][]byte{keyA}})
		token, minted, err := k.Mint(Request{Principal: "ada", Purpose: "nightly", Scopes: []string{"b", "a", "b"}, TTLSeconds: 600})
		if err != nil {
			t.Fatal(err)
		}
		want := Claims{
			ID: minted.ID, Principal: "ada", Purpose: "nightly", Scopes: []string{"b", "a", "b"},
			IssuedAt: time.Unix(time.Now().Unix(), 0), ExpiresAt: time.Unix(time.Now().Unix()+600, 0),
		}
		if diff := cmp.Diff(want, minted); diff != "" || len(minted.ID) != 32 {
			t.Errorf("minted %s", diff)
		}
		time.Sleep(600*time.Second + Skew - time.Nanosecond)
		got, err := k.Verify(token)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("within the skew: %s, %v", diff, err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := k.Verify(token); !errors.Is(err, ErrExpired) {
			t.Errorf("beyond the skew: %v", err)
		}
	})
}

func TestTwoGrantsAreNeverTheSame(t *testing.T) {
	k := newKeys(t, Options{Keys: [][]byte{keyA}})
	a, first, err := k.Mint(Request{Principal: "ada", TTLSeconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	b, second, err := k.Mint(Request{Principal: "ada", TTLSeconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	if a == b || first.ID == second.ID {
		t.Errorf("grants %s and %s", first.ID, second.ID)
	}
}

// sealed is a token around any payload, which only who has the key can make.
func sealed(k *Keys, payload []byte) string {
	key := &k.keys[0]
	raw := append(append(append([]byte{}, key.id[:]...), envelopeVersion), make([]byte, nonceSize)...)
	raw = key.aead.Seal(raw, make([]byte, nonceSize), payload, key.aad)
	return Prefix + base64.RawURLEncoding.EncodeToString(raw)
}

// payload is the record of a grant with the given times and then the given
// bytes.
func payload(issued, expires int64, rest string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(issued))
	return append(binary.LittleEndian.AppendUint64(b, uint64(expires)), rest...)
}

func TestWhatIsSealedIsReadStrictly(t *testing.T) {
	const now = 1_000_000
	k := newKeys(t, Options{Keys: [][]byte{keyA}, MaxTTL: time.Hour})
	for _, tt := range []struct {
		name    string
		payload []byte
		want    error
	}{
		{"a grant without scopes", payload(now, now+10, "\x01\x00i\x01\x00p\x00\x00\x00\x00"), nil},
		{"a scope may be empty", payload(now, now+10, "\x00\x00\x01\x00p\x00\x00\x02\x00\x00\x00\x00\x00"), nil},
		{"nothing", nil, errPayload},
		{"times alone", payload(now, now+10, ""), errPayload},
		{"half a length", payload(now, now+10, "\x01"), errPayload},
		{"a text that is cut off", payload(now, now+10, "\x05\x00i"), errPayload},
		{"fewer scopes than said", payload(now, now+10, "\x00\x00\x01\x00p\x00\x00\xff\xff\x00\x00"), errPayload},
		{"a byte too many", payload(now, now+10, "\x00\x00\x01\x00p\x00\x00\x00\x00\x00"), errPayload},
		{"text that is not UTF-8", payload(now, now+10, "\x00\x00\x01\x00\xff\x00\x00\x00\x00"), errPayload},
		{"nobody's grant", payload(now, now+10, "\x00\x00\x00\x00\x00\x00\x00\x00"), errPrincipal},
		{"it ends when it begins", payload(now, now, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLifetime},
		{"it ends before it begins", payload(now, now-1, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLifetime},
		{"the longest lifetime", payload(now, now+3600, "\x00\x00\x01\x00p\x00\x00\x00\x00"), nil},
		{"a second too long", payload(now, now+3601, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLifetime},
		{"a lifetime that is no number of ours", payload(math.MinInt64, math.MaxInt64, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLifetime},
		{"the end of time", payload(math.MaxInt64-1, math.MaxInt64, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errEarly},
		{"before time", payload(math.MinInt64, math.MinInt64+1, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLate},
		{"begins at the skew", payload(now+60, now+70, "\x00\x00\x01\x00p\x00\x00\x00\x00"), nil},
		{"begins beyond the skew", payload(now+61, now+70, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errEarly},
		{"too long comes before expired", payload(now-9000, now-60, "\x00\x00\x01\x00p\x00\x00\x00\x00"), errLifetime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := k.verify(sealed(k, tt.payload), time.Unix(now, 0)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestATokenHasOneSpelling(t *testing.T) {
	k := newKeys(t, Options{Keys: [][]byte{keyA}})
	token, _, err := k.Mint(Request{Principal: "adams", TTLSeconds: 60}) // 110 bytes: two spare bits
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	body, last := token[len(Prefix):len(token)-1], token[len(token)-1]
	next := alphabet[strings.IndexByte(alphabet, last)+1]
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"as minted", token, nil},
		{"spare bits that are set", token[:len(token)-1] + string(next), errBase64},
		{"padding", token + "=", errBase64},
		{"a line end at the end", token + "\n", errBase64},
		{"a line end within", Prefix + body[:10] + "\r\n" + body[10:] + string(last), errBase64},
		{"a blank", token + " ", errBase64},
		{"the other alphabet", Prefix + "+/" + token[len(Prefix)+2:], errBase64},
		{"a character too many", token + "A", errSeal},
		{"an impossible length", token + "AA", errBase64},
		{"nothing", "", errPrefix},
		{"the prefix alone", Prefix, errShort},
		{"a prefix in capitals", "VGIG1." + token[len(Prefix):], errPrefix},
		{"a blank in front", " " + token, errPrefix},
		{"a key and no more", Prefix + body[:12], errShort},
		{"more than is ever read", Prefix + strings.Repeat("A", MaxTokenBytes-len(Prefix)+1), errLong},
		{"as much as is read", Prefix + strings.Repeat("A", MaxTokenBytes-len(Prefix)-2), errKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := k.Verify(tt.token); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTheFirstKeyMintsAndAllOpen(t *testing.T) {
	old := newKeys(t, Options{Keys: [][]byte{keyA}, Audience: "here"})
	both := newKeys(t, Options{Keys: [][]byte{keyB, keyA}, Audience: "here"})
	rotated := newKeys(t, Options{Keys: [][]byte{keyB}, Audience: "here"})
	elsewhere := newKeys(t, Options{Keys: [][]byte{keyA, keyB}, Audience: "there"})
	byOld, _, err := old.Mint(Request{Principal: "ada", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	byBoth, _, err := both.Mint(Request{Principal: "ada", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		keys  *Keys
		token string
		want  error
	}{
		{"the old key's while it is there", both, byOld, nil},
		{"the new key's", both, byBoth, nil},
		{"the new key's where it alone is", rotated, byBoth, nil},
		{"the new key's where it is not yet", old, byBoth, errKey},
		{"the old key's after it was taken away", rotated, byOld, errKey},
		{"another audience's", elsewhere, byOld, errSeal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.keys.Verify(tt.token); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestARequestThatCannotBeGranted(t *testing.T) {
	k := newKeys(t, Options{Keys: [][]byte{keyA}})
	for _, tt := range []struct {
		name string
		req  Request
		want string // of the error; "" for a grant
	}{
		{"no lifetime", Request{Principal: "ada"}, "positive"},
		{"a negative one", Request{Principal: "ada", TTLSeconds: math.MinInt64}, "positive"},
		{"the longest one", Request{Principal: "ada", TTLSeconds: math.MaxInt64}, ""},
		{"nobody", Request{TTLSeconds: 1}, "principal"},
		{"a purpose that fits", Request{Principal: "ada", Purpose: strings.Repeat("p", 2900), TTLSeconds: 1}, ""},
		{"a purpose that makes too long a token", Request{Principal: "ada", Purpose: strings.Repeat("p", 3100), TTLSeconds: 1}, "4096"},
		{"a purpose beyond the format", Request{Principal: "ada", Purpose: strings.Repeat("p", maxText+1), TTLSeconds: 1}, "4096"},
		{"scopes beyond the format", Request{Principal: "ada", Scopes: make([]string, maxText+1), TTLSeconds: 1}, "4096"},
		{"a scope that is not UTF-8", Request{Principal: "ada", Scopes: []string{"\xff"}, TTLSeconds: 1}, "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, _, err := k.Mint(tt.req)
			switch {
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || token != ""):
				t.Errorf("got %q, %v, want an error with %q", token, err, tt.want)
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "":
				if _, err := k.Verify(token); err != nil {
					t.Errorf("what was minted does not open: %v", err)
				}
			}
		})
	}
}

func TestKeysAreCheckedAtConstruction(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"none", Options{}, "no key"},
		{"a short one", Options{Keys: [][]byte{keyA, keyB[1:]}}, "key 2 has 31 bytes"},
		{"a long one", Options{Keys: [][]byte{append([]byte{1}, keyA...)}}, "key 1 has 33 bytes"},
		{"one twice", Options{Keys: [][]byte{keyA, keyB, keyA}}, "key 3 stands there twice"},
		{"a negative lifetime", Options{Keys: [][]byte{keyA}, MaxTTL: -time.Second}, "lifetime"},
		{"half a second", Options{Keys: [][]byte{keyA}, MaxTTL: time.Second / 2}, "lifetime"},
		{"an endless audience", Options{Keys: [][]byte{keyA}, Audience: strings.Repeat("a", maxText+1)}, "audience"},
		{"an audience that is no text", Options{Keys: [][]byte{keyA}, Audience: "\xff"}, "audience"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTheEnvironmentConfiguresKeys(t *testing.T) {
	a, b := base64.StdEncoding.EncodeToString(keyA), base64.RawStdEncoding.EncodeToString(keyB)
	for _, tt := range []struct {
		name       string
		env        map[string]string
		configured bool
		keys       int
		maxTTL     time.Duration
		want       string // of the error
	}{
		{name: "nothing: no grants"},
		{name: "blanks: no grants", env: map[string]string{EnvKeys: " \n"}},
		{name: "an audience alone: no grants", env: map[string]string{EnvAudience: "x", EnvMaxTTL: "x"}},
		{name: "one key", env: map[string]string{EnvKeys: a}, configured: true, keys: 1, maxTTL: 7 * 24 * time.Hour},
		{
			name: "two keys, blanks and an empty place", env: map[string]string{EnvKeys: " " + b + " ,, " + a + "\n", EnvMaxTTL: " 60 ", EnvAudience: "x"},
			configured: true, keys: 2, maxTTL: time.Minute,
		},
		{name: "commas alone", env: map[string]string{EnvKeys: ","}, configured: true, want: "no key"},
		{name: "not base64", env: map[string]string{EnvKeys: a + ",!!!"}, configured: true, want: "key 2 is not base64"},
		{name: "too much padding", env: map[string]string{EnvKeys: a + "="}, configured: true, want: "not base64"},
		{name: "a line end within", env: map[string]string{EnvKeys: a[:8] + "\n" + a[8:]}, configured: true, want: "not base64"},
		{name: "hex", env: map[string]string{EnvKeys: strings.Repeat("ab", 32)}, configured: true, want: "is 48 bytes"},
		{name: "a key twice", env: map[string]string{EnvKeys: a + "," + a}, configured: true, want: "twice"},
		{name: "a lifetime of none", env: map[string]string{EnvKeys: a, EnvMaxTTL: "0"}, configured: true, want: EnvMaxTTL},
		{name: "a lifetime in words", env: map[string]string{EnvKeys: a, EnvMaxTTL: "1h"}, configured: true, want: EnvMaxTTL},
		{name: "a lifetime without end", env: map[string]string{EnvKeys: a, EnvMaxTTL: "9223372037"}, configured: true, want: EnvMaxTTL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, configured, err := FromEnv(func(name string) string { return tt.env[name] })
			if configured != tt.configured {
				t.Errorf("configured: %t", configured)
			}
			switch {
			case tt.want != "":
				if k != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, %v, want an error with %q", k, err, tt.want)
				}
				if err != nil && (strings.Contains(err.Error(), a) || strings.Contains(err.Error(), "!!!")) {
					t.Errorf("the error quotes a key: %v", err)
				}
			case err != nil:
				t.Error(err)
			case (k != nil) != tt.configured:
				t.Errorf("keys %v", k)
			case k != nil && (len(k.keys) != tt.keys || k.MaxTTL() != tt.maxTTL):
				t.Errorf("%v, at most %v", k, k.MaxTTL())
			}
		})
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	k := newKeys(t, Options{Keys: [][]byte{keyA}, Audience: "secret audience"})
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "keys", k)
	for _, text := range []string{fmt.Sprintf("%v", k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), k.String()} {
		if diff := cmp.Diff("1 grant keys", text); diff != "" {
			t.Error(diff)
		}
	}
	if !strings.Contains(logged.String(), `"keys":"1 grant keys"`) {
		t.Errorf("logged %s", &logged)
	}
}

// FuzzVerify: nothing panics, nothing but what the key sealed opens, and what
// opens is spelled as it would be minted.
func FuzzVerify(f *testing.F) {
	const now = 1_767_225_660
	k := newKeys(f, Options{Keys: [][]byte{keyA, keyB}})
	f.Add("", false)
	f.Add(Prefix+"nI0zNHOqAxkBQEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZX", false)
	f.Add(string(payload(now, now+10, "\x01\x00i\x01\x00p\x00\x00\x01\x00\x01\x00s")), true)
	f.Add(string(payload(now, now+10, "\x00\x00\x01\x00p\x00\x00\xff\xff\x00\x00")), true)
	f.Fuzz(func(t *testing.T, text string, inside bool) {
		token := text
		if inside {
			token = sealed(k, []byte(text))
		}
		c, err := k.verify(token, time.Unix(now, 0))
		if err != nil {
			if errors.Is(err, ErrInvalid) == errors.Is(err, ErrExpired) || c.Principal != "" {
				t.Errorf("got %+v, %v", c, err)
			}
			return
		}
		if !inside {
			t.Fatalf("%q opened", token)
		}
		again, err := appendPayload(nil, &c)
		if err != nil || string(again) != text {
			t.Errorf("%q was read as %+v, which is %q, %v", text, c, again, err)
		}
	})
}
