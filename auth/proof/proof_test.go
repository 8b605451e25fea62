package proof_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const origin = "conformance-origin"

func key(id string, fill byte) proof.Key {
	return proof.Key{ID: id, Secret: [32]byte(bytes.Repeat([]byte{fill}, 32))}
}

func newSigner(tb testing.TB, k proof.Key, origin string) *proof.Signer {
	tb.Helper()
	s, err := proof.NewSigner(k, origin)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newGate(tb testing.TB, change func(*proof.Options)) *proof.Gate {
	tb.Helper()
	opts := proof.Options{Mode: proof.Require, OriginID: origin, Keys: []proof.Key{key("conformance-proxy", 0x11)}}
	if change != nil {
		change(&opts)
	}
	g, err := proof.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func request(tokens ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	for _, token := range tokens {
		r.Header.Add(proof.Header, token)
	}
	return r
}

// outcome is what a gate made of a request with the given header values.
func outcome(g *proof.Gate, tokens ...string) proof.Outcome {
	claims, err := g.Admit(request(tokens...))
	if err == nil {
		return proof.Outcome(claims["reason"])
	}
	o, _ := proof.OutcomeOf(err)
	return o
}

// The vectors come from another implementation of the specification: one that
// frames the canonical string wrongly would still agree with itself.
func TestSignerAgreesWithVectors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		key    proof.Key
		origin string
		at     int64
		nonce  [16]byte
		want   string
	}{
		{
			"the key of the conformance suite", key("conformance-proxy", 0x11), origin, 1700000000, [16]byte([]byte("CFORMANCENONCE11")),
			"v1.conformance-proxy.1700000000.Q0ZPUk1BTkNFTk9OQ0UxMQ.XQ2QBf35oajjaP7HIas3OfyEvNhyXTTptbrxWFxWk3I",
		},
		{
			"an origin with every kind of character", key("k_2-b", 0x22), "https://svc.example:8443/vgi", 0,
			[16]byte{},
			"v1.k_2-b.0.AAAAAAAAAAAAAAAAAAAAAA.Kkx8cBXiHuijdcfhx4CI2P1GGVevskVM5D8EXzCPxKg",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, newSigner(t, tt.key, tt.origin).MintAt(time.Unix(tt.at, 0), tt.nonce)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDerive(t *testing.T) {
	var base [32]byte
	for i := range base {
		base[i] = byte(i)
	}
	got, err := proof.Derive(base, "edge-eu.1", "https://svc.example:8443/vgi")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("13c62a4bbfeefafcd11e80aaa837490668c2c77aa72cefe401bf2b7c7796b320", hex.EncodeToString(got[:])); diff != "" {
		t.Error(diff)
	}
	for _, bad := range [][2]string{{"", "o"}, {"p", ""}, {"a\x00b", "o"}, {"p", "o o"}, {strings.Repeat("p", 256), "o"}} {
		if _, err := proof.Derive(base, bad[0], bad[1]); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// epoch is the time at which a synctest bubble begins. It stands still there
// until somebody sleeps.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestOutcomes(t *testing.T) {
	k := key("conformance-proxy", 0x11)
	signer := newSigner(t, k, origin)
	at := func(offset time.Duration) string { return signer.MintAt(epoch.Add(offset), [16]byte{1}) }
	good := at(0)
	field := func(i int, value string) string {
		parts := strings.Split(good, ".")
		parts[i] = value
		return strings.Join(parts, ".")
	}
	// The low two bits of the last character are no part of the MAC. One that
	// ends in A has them clear, as B does but for spelling.
	endsInA := good
	for n := byte(2); endsInA[len(endsInA)-1] != 'A'; n++ {
		endsInA = signer.MintAt(epoch, [16]byte{n})
	}
	lastOf := func(token, last string) string { return token[:len(token)-1] + last }
	for _, tt := range []struct {
		name   string
		tokens []string
		want   proof.Outcome
	}{
		{"a good proof", []string{good}, proof.OK},
		{"a proof at the end of the window", []string{at(-30 * time.Second)}, proof.OK},
		{"one past it", []string{at(-31 * time.Second)}, proof.Expired},
		{"a proof at the beginning of the window", []string{at(30 * time.Second)}, proof.OK},
		{"one before it", []string{at(31 * time.Second)}, proof.NotYetValid},
		{"a time beyond any clock", []string{field(2, "99999999999999999999")}, proof.NotYetValid},
		{"a time of zero", []string{field(2, "0")}, proof.Expired},
		{"the same time in another spelling", []string{field(2, "0946684800")}, proof.BadMAC},
		{"no header", nil, proof.NoProof},
		{"two headers", []string{good, at(1)}, proof.Malformed},
		{"the same header twice", []string{good, good}, proof.Malformed},
		{"two proofs in one header", []string{good + ", " + good}, proof.Malformed},
		{"an empty header", []string{""}, proof.Malformed},
		{"garbage", []string{"garbage"}, proof.Malformed},
		{"four fields", []string{"v1.a.b.c"}, proof.Malformed},
		{"six fields", []string{good + ".x"}, proof.Malformed},
		{"dots alone", []string{"v1...."}, proof.Malformed},
		{"another version", []string{field(0, "v2")}, proof.Malformed},
		{"an empty key id", []string{field(1, "")}, proof.Malformed},
		{"a key id beyond its charset", []string{field(1, "bad!kid")}, proof.Malformed},
		{"a long key id", []string{field(1, strings.Repeat("k", 65))}, proof.Malformed},
		{"the longest key id", []string{field(1, strings.Repeat("k", 64))}, proof.UnknownKID},
		{"a time that is no number", []string{field(2, "notanumber")}, proof.Malformed},
		{"a time with a sign", []string{field(2, "+1")}, proof.Malformed},
		{"a long time", []string{field(2, strings.Repeat("1", 21))}, proof.Malformed},
		{"a short nonce", []string{field(3, "short")}, proof.Malformed},
		{"a nonce with padding", []string{field(3, strings.Repeat("A", 21)+"=")}, proof.Malformed},
		{"a short MAC", []string{lastOf(good, "")}, proof.Malformed},
		{"a MAC in the other base64", []string{lastOf(good, "+")}, proof.Malformed},
		{"a header of more than 512 bytes", []string{good + strings.Repeat("A", 512)}, proof.Malformed},
		{"an unknown key", []string{newSigner(t, key("no-such-kid", 0x11), origin).MintAt(epoch, [16]byte{})}, proof.UnknownKID},
		{"an unknown key is found before the time", []string{newSigner(t, key("no-such-kid", 0x11), origin).MintAt(time.Time{}, [16]byte{})}, proof.UnknownKID},
		{"another secret", []string{newSigner(t, key(k.ID, 0x22), origin).MintAt(epoch, [16]byte{})}, proof.BadMAC},
		{"another origin", []string{newSigner(t, k, "some-other-worker").MintAt(epoch, [16]byte{})}, proof.BadMAC},
		{"another time", []string{field(2, "946684801")}, proof.BadMAC},
		{"another nonce", []string{field(3, strings.Repeat("B", 22))}, proof.BadMAC},
		{"another MAC", []string{field(4, strings.Repeat("A", 43))}, proof.BadMAC},
		{"a MAC in another spelling", []string{lastOf(endsInA, "B")}, proof.BadMAC},
		{"which is good in its own", []string{endsInA}, proof.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(t, nil)
				if got := outcome(g, tt.tokens...); got != tt.want {
					t.Errorf("got %q", got)
				}
				if diff := cmp.Diff(map[proof.Outcome]uint64{tt.want: 1}, g.Stats().Outcomes); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRequireTellsTheCallerNothing(t *testing.T) {
	g := newGate(t, nil)
	good := newSigner(t, key("conformance-proxy", 0x11), origin).Mint()
	if got := outcome(g, good); got != proof.OK {
		t.Fatal(got)
	}
	type said struct {
		Reason auth.Reason
		Detail string
		Final  bool
	}
	want := said{auth.ProxyRequired, "proxy proof required", true}
	for _, tokens := range [][]string{nil, {"not-a-proof"}, {good[:len(good)-2] + "xx"}, {good}, {good, good}, {strings.Replace(good, "proxy", "other", 1)}} {
		claims, err := g.Admit(request(tokens...))
		var f *auth.Failure
		if !errors.As(err, &f) || claims != nil {
			t.Fatalf("%q: %v, %v", tokens, claims, err)
		}
		if diff := cmp.Diff(want, said{f.Reason, f.Detail, f.Final}); diff != "" {
			t.Errorf("%q: %s", tokens, diff)
		}
	}
}

func TestClaims(t *testing.T) {
	blue := key("edge-v2", 0x11)
	blue.Label = "edge"
	gate := func(t *testing.T, mode proof.Mode) *proof.Gate {
		return newGate(t, func(o *proof.Options) {
			o.Mode, o.Keys = mode, []proof.Key{key("edge-v1", 0x22), blue}
		})
	}
	for _, tt := range []struct {
		name   string
		mode   proof.Mode
		tokens []string
		want   map[string]string
	}{
		{"the label of the key that verified", proof.Require, []string{newSigner(t, blue, origin).Mint()}, map[string]string{
			"verified": "true", "proxy": "edge", "kid": "edge-v2", "origin_id": origin, "reason": "ok",
		}},
		{"the key id when it has none", proof.Allow, []string{newSigner(t, key("edge-v1", 0x22), origin).Mint()}, map[string]string{
			"verified": "true", "proxy": "edge-v1", "kid": "edge-v1", "origin_id": origin, "reason": "ok",
		}},
		{"no proxy when a key id is only claimed", proof.Allow, []string{newSigner(t, key("edge-v1", 0x11), origin).Mint()}, map[string]string{
			"verified": "false", "kid": "edge-v1", "origin_id": origin, "reason": "bad_mac",
		}},
		{"no key id of a malformed proof", proof.Allow, []string{"v1.<script>.1.2.3"}, map[string]string{
			"verified": "false", "kid": "", "origin_id": origin, "reason": "malformed",
		}},
		{"nothing claimed", proof.Allow, nil, map[string]string{
			"verified": "false", "kid": "", "origin_id": origin, "reason": "no_proof",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := gate(t, tt.mode).Admit(request(tt.tokens...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestModes(t *testing.T) {
	user := auth.Func(func(r *http.Request) (vgirpc.Identity, error) {
		if r.Header.Get("X-User") == "" {
			return vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential}
		}
		return vgirpc.Identity{Principal: r.Header.Get("X-User"), Authenticated: true}, nil
	})
	good := newSigner(t, key("conformance-proxy", 0x11), origin)
	for _, tt := range []struct {
		name     string
		mode     proof.Mode
		proved   bool
		user     string
		want     string // the reason of the refusal
		required bool
		headers  []string
	}{
		{"off asks for nothing", proof.Off, false, "ann", "", false, nil},
		{"and leaves the credential", proof.Off, false, "", "missing_credential", false, nil},
		{"allow refuses nothing", proof.Allow, false, "ann", "", false, nil},
		{"and leaves the credential too", proof.Allow, true, "", "missing_credential", false, nil},
		{"require refuses without a proof", proof.Require, false, "ann", "proxy_required", true, []string{proof.Header}},
		{"and without a credential", proof.Require, true, "", "missing_credential", true, []string{proof.Header}},
		{"and passes with both", proof.Require, true, "ann", "", true, []string{proof.Header}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, func(o *proof.Options) { o.Mode = tt.mode })
			a, err := g.Guard(user)
			if err != nil {
				t.Fatal(err)
			}
			r := request()
			if tt.proved {
				good.Sign(r)
			}
			if tt.user != "" {
				r.Header.Set("X-User", tt.user)
			}
			id, err := a.Authenticate(r)
			if reason, _ := auth.ReasonOf(err); string(reason) != tt.want || (err == nil && id.Principal != tt.user) {
				t.Errorf("got %+v, %v", id, err)
			}
			if got := g.Required(); got != tt.required {
				t.Errorf("required: %t", got)
			}
			if diff := cmp.Diff(tt.headers, auth.ProxyHeaders(a)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOffInstallsNothing(t *testing.T) {
	g, err := proof.New(proof.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := g.Guard(nil); a != nil || err != nil {
		t.Errorf("got %v, %v", a, err)
	}
	if claims, err := g.Admit(request("v1.whatever.0.not-a-real-nonce.nope")); claims != nil || err != nil {
		t.Errorf("got %v, %v", claims, err)
	}
	if diff := cmp.Diff(proof.Stats{Outcomes: map[proof.Outcome]uint64{}}, g.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestProofAloneLeavesTheCallerAnonymous(t *testing.T) {
	a, err := newGate(t, nil).Guard(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Authenticate(request(newSigner(t, key("conformance-proxy", 0x11), origin).Mint()))
	if err != nil || id.Authenticated || id.Principal != "" || id.Claims[proof.ClaimKey] == nil {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestOptionsAreCheckedAtConstruction(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*proof.Options)
		want   string
	}{
		{"a mode that is none", func(o *proof.Options) { o.Mode = "on" }, `mode "on"`},
		{"no keys", func(o *proof.Options) { o.Keys = nil }, "at least one key"},
		{"no keys to allow", func(o *proof.Options) { o.Mode, o.Keys = proof.Allow, nil }, "at least one key"},
		{"a bad key id", func(o *proof.Options) { o.Keys[0].ID = "a.b" }, `"a.b"`},
		{"a key id twice", func(o *proof.Options) { o.Keys = append(o.Keys, o.Keys[0]) }, "twice"},
		{"a secret of zeros", func(o *proof.Options) { o.Keys[0].Secret = [32]byte{} }, "all zeros"},
		{"no origin", func(o *proof.Options) { o.OriginID = "" }, "origin id"},
		{"a bad origin", func(o *proof.Options) { o.OriginID = "a b" }, "origin id"},
		{"a long origin", func(o *proof.Options) { o.OriginID = strings.Repeat("a", 256) }, "origin id"},
		{"a negative skew", func(o *proof.Options) { o.Skew = -time.Second }, "skew"},
		{"a skew of fractions", func(o *proof.Options) { o.Skew = 1500 * time.Millisecond }, "skew"},
		{"a skew of days", func(o *proof.Options) { o.Skew = 48 * time.Hour }, "skew"},
		{"a negative capacity", func(o *proof.Options) { o.ReplayCapacity = -1 }, "nonces"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := proof.Options{Mode: proof.Require, OriginID: origin, Keys: []proof.Key{key("a", 1)}}
			tt.change(&opts)
			if g, err := proof.New(opts); g != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v", g, err)
			}
		})
	}
	if _, err := proof.NewSigner(proof.Key{ID: "a.b"}, origin); err == nil {
		t.Error("a signer took a bad key id")
	}
	if _, err := proof.NewSigner(key("a", 1), ""); err == nil {
		t.Error("a signer took no origin")
	}
}

func TestParseKeys(t *testing.T) {
	one, two := strings.Repeat("11", 32), strings.Repeat("aB", 32)
	got, err := proof.ParseKeys("prod-use1:" + one + ", staging_2:" + two)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]proof.Key{key("prod-use1", 0x11), key("staging_2", 0xab)}, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "no colon"},
		{"an empty pair", "a:" + one + ",", "key 1 has no colon"},
		{"no secret", "a", "no colon"},
		{"no key id", ":" + one, "key id"},
		{"a blank before the secret", "a: " + one, "65 characters"},
		{"a dot in a key id", "a.b:" + one, `"a.b"`},
		{"a short secret", "a:" + one[2:], "62 characters"},
		{"a long one", "a:" + one + "11", "66 characters"},
		{"one that is not hexadecimal", "a:" + one[1:] + "g", "hexadecimal"},
		{"a key id twice", "a:" + one + ",a:" + two, "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := proof.ParseKeys(tt.text)
			if keys != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, %v", keys, err)
			}
			if strings.Contains(err.Error(), "1111") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	if s := fmt.Sprintf("%v %+v %#v", got, got[0], got); strings.Contains(s, "17") || strings.Contains(s, "0x11") {
		t.Errorf("a format shows a secret: %s", s)
	}
}

func TestReplays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*proof.Options)
		run    func(t *testing.T, g *proof.Gate, mint func(offset time.Duration, n byte) string)
	}{
		{"a proof serves once, and another of the same second too", nil, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			want(t, g, mint(0, 1), proof.OK)
			want(t, g, mint(0, 1), proof.Replayed)
			want(t, g, mint(0, 2), proof.OK)
			want(t, g, mint(time.Second, 1), proof.Replayed)
		}},
		{"a proof that does not verify is not remembered", nil, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			good := mint(0, 1)
			want(t, g, good[:len(good)-2]+"xx", proof.BadMAC)
			want(t, g, good, proof.OK)
		}},
		{"without the cache a proof serves until it expires", func(o *proof.Options) { o.NoReplayCache = true }, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			good := mint(0, 1)
			want(t, g, good, proof.OK)
			time.Sleep(30 * time.Second)
			want(t, g, good, proof.OK)
			time.Sleep(time.Second)
			want(t, g, good, proof.Expired)
		}},
		{"a nonce is forgotten once its proof cannot verify", nil, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			want(t, g, mint(0, 1), proof.OK)
			time.Sleep(30 * time.Second)
			want(t, g, mint(0, 1), proof.Replayed)
			time.Sleep(time.Second)
			want(t, g, mint(0, 1), proof.OK)
			if n := g.Stats().Remembered; n != 1 {
				t.Errorf("%d nonces are remembered", n)
			}
		}},
		{"and not before, when the proxy's clock runs ahead", nil, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			early := mint(30*time.Second, 1)
			want(t, g, early, proof.OK)
			time.Sleep(60 * time.Second)
			want(t, g, early, proof.Replayed)
			time.Sleep(time.Second)
			want(t, g, early, proof.Expired)
		}},
		{"one may come again while an older one is still remembered", nil, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			want(t, g, mint(30*time.Second, 1), proof.OK)
			want(t, g, mint(0, 2), proof.OK)
			time.Sleep(31 * time.Second)
			want(t, g, mint(0, 2), proof.OK)
			want(t, g, mint(0, 2), proof.Replayed)
			time.Sleep(30 * time.Second) // the first and the void slot behind it go
			want(t, g, mint(0, 2), proof.Replayed)
			time.Sleep(time.Second)
			want(t, g, mint(0, 3), proof.OK)
			if n := g.Stats().Remembered; n != 1 {
				t.Errorf("%d nonces are remembered", n)
			}
		}},
		{"a full cache forgets the oldest and counts it", func(o *proof.Options) { o.ReplayCapacity = 3 }, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			for n := range byte(5) {
				want(t, g, mint(0, n), proof.OK)
			}
			if got := g.Stats(); got.Evicted != 2 || got.Remembered != 3 {
				t.Errorf("got %+v", got)
			}
			want(t, g, mint(0, 2), proof.Replayed)
			want(t, g, mint(0, 4), proof.Replayed)
			want(t, g, mint(0, 0), proof.OK)
			if got := g.Stats(); got.Evicted != 3 || got.Verified() != 6 || got.Unverified() != 2 {
				t.Errorf("got %+v", got)
			}
		}},
		{"a cache stays within its bounds for ever", func(o *proof.Options) { o.ReplayCapacity = 16 }, func(t *testing.T, g *proof.Gate, mint func(time.Duration, byte) string) {
			for i := range 1000 {
				want(t, g, mint(time.Duration(i%3)*10*time.Second, byte(i%200)), proof.OK)
				if n := g.Stats().Remembered; n > 16 {
					t.Fatalf("%d nonces are remembered", n)
				}
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signer := newSigner(t, key("conformance-proxy", 0x11), origin)
				tt.run(t, newGate(t, tt.change), func(offset time.Duration, n byte) string {
					return signer.MintAt(time.Now().Add(offset), [16]byte{n})
				})
			})
		})
	}
}

func want(t *testing.T, g *proof.Gate, token string, want proof.Outcome) {
	t.Helper()
	if got := outcome(g, token); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOfManyCopiesAtOnceOneIsFirst(t *testing.T) {
	g := newGate(t, func(o *proof.Options) { o.ReplayCapacity = 64 })
	signer := newSigner(t, key("conformance-proxy", 0x11), origin)
	for range 50 {
		token := signer.Mint()
		var first atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if outcome(g, token) == proof.OK {
					first.Add(1)
				}
				if got := outcome(g, signer.Mint()); got != proof.OK {
					t.Errorf("a fresh proof: %q", got)
				}
			})
		}
		wg.Wait()
		if n := first.Load(); n != 1 {
			t.Errorf("%d copies of one proof were accepted", n)
		}
	}
	if got := g.Stats(); got.Verified() != 450 || got.Remembered != 64 || got.Evicted != 450-64 {
		t.Errorf("got %+v", got)
	}
}

func TestReasonsAreLoggedUnderDebugAlone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		level slog.Level
		want  bool
	}{{"debug", slog.LevelDebug, true}, {"info", slog.LevelInfo, false}} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			g := newGate(t, func(o *proof.Options) {
				o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: tt.level}))
			})
			outcome(g, newSigner(t, key("stranger", 1), origin).Mint())
			if got := strings.Contains(log.String(), "reason=unknown_kid claimed_kid=stranger"); got != tt.want {
				t.Errorf("logged %q", &log)
			}
		})
	}
}

func BenchmarkAdmit(b *testing.B) {
	g := newGate(b, nil)
	signer := newSigner(b, key("conformance-proxy", 0x11), origin)
	r := request()
	b.ReportAllocs()
	for b.Loop() {
		signer.Sign(r)
		if _, err := g.Admit(r); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleGate_Guard() {
	keys, err := proof.ParseKeys("edge:" + strings.Repeat("11", 32))
	if err != nil {
		fmt.Println(err)
		return
	}
	gate, err := proof.New(proof.Options{Mode: proof.Require, OriginID: "orders", Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	service, err := gate.Guard(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	proxy, err := proof.NewSigner(keys[0], "orders")
	if err != nil {
		fmt.Println(err)
		return
	}

	r := httptest.NewRequest(http.MethodPost, "/Orders/list", http.NoBody)
	_, err = service.Authenticate(r)
	fmt.Println(err)
	proxy.Sign(r)
	id, err := service.Authenticate(r)
	fmt.Println(id.Claims[proof.ClaimKey].(map[string]string)["proxy"], err)
	// Output:
	// authentication rejected: proxy_required: proxy proof: no_proof
	// edge <nil>
}
