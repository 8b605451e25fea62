package jwt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
)

// In a bubble of synctest a goroutine that outlives Close fails the test, and
// the clock moves only when everybody waits.

func TestRotationIsNoticedWithTheFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newSigner(t, "old", "ES256"), newSigner(t, "new", "ES256")
		n := &network{jwks: keys(t, old)}
		a := newAuthenticator(t, n.options())
		began := time.Now()
		mustAccept(t, a, old.token(t, nil))
		n.set(func(n *network) { n.jwks = keys(t, fresh) })
		mustAccept(t, a, fresh.token(t, nil))
		if got := outcome(t, a, old.token(t, nil)); got != "invalid_credential" {
			t.Errorf("the key that is gone: %s", got)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %s", waited)
		}
		if fetches, looks := n.counts(); fetches != 3 || looks != 1 {
			t.Errorf("%d fetches, %d discoveries", fetches, looks)
		}
	})
}

func TestManyRequestsShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newSigner(t, "old", "ES256"), newSigner(t, "new", "ES256")
		n := &network{jwks: keys(t, old), slow: 100 * time.Millisecond}
		a := newAuthenticator(t, n.options())
		n.set(func(n *network) { n.jwks = keys(t, old, fresh) })
		token := fresh.token(t, nil)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got := outcome(t, a, token); got != "ok" {
					t.Error(got)
				}
			})
		}
		all.Wait()
		if fetches, _ := n.counts(); fetches != 2 {
			t.Errorf("%d fetches, with the first", fetches)
		}
	})
}

// A fetch that was under way when the issuer rotated does not see the new key.
func TestRotationDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newSigner(t, "old", "ES256"), newSigner(t, "new", "ES256")
		n := &network{jwks: keys(t, old), slow: 100 * time.Millisecond}
		a := newAuthenticator(t, n.options())
		go outcome(t, a, newSigner(t, "junk", "ES256").token(t, nil))
		time.Sleep(50 * time.Millisecond)
		n.set(func(n *network) { n.jwks = keys(t, fresh) })
		mustAccept(t, a, fresh.token(t, nil))
		synctest.Wait()
	})
}

func TestStormOfUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh, junk := newSigner(t, "old", "ES256"), newSigner(t, "new", "ES256"), newSigner(t, "", "ES256")
		n := &network{jwks: keys(t, old)}
		a := newAuthenticator(t, n.options())
		ctx, stop := context.WithCancel(t.Context())
		var storm sync.WaitGroup
		for i := range 50 {
			storm.Go(func() {
				for j := 0; ctx.Err() == nil; j++ {
					junk := junk
					junk.kid = fmt.Sprint("junk", i, "-", j)
					if got := outcome(t, a, junk.token(t, nil)); got != "invalid_credential" {
						t.Error(got)
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Minute)
		fetches, _ := n.counts()
		if fetches < 30 || fetches > 40 {
			t.Errorf("%d fetches in a minute: want the first, 5 at once, and one every 2 s", fetches)
		}
		mustAccept(t, a, old.token(t, nil)) // nobody waits whose key is known
		n.set(func(n *network) { n.jwks = keys(t, old, fresh) })
		rotated := time.Now()
		mustAccept(t, a, fresh.token(t, nil))
		if waited := time.Since(rotated); waited > 2*time.Second {
			t.Errorf("the rotation was noticed after %s", waited)
		}
		stop()
		storm.Wait()
	})
}

func TestOneUnknownKeyOverAndOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, gone := newSigner(t, "known", "ES256"), newSigner(t, "gone", "ES256")
		n := &network{jwks: keys(t, known)}
		a := newAuthenticator(t, n.options())
		began := time.Now()
		for range 1000 {
			if got := outcome(t, a, gone.token(t, nil)); got != "invalid_credential" {
				t.Fatal(got)
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("they waited for %s", waited)
		}
		if fetches, _ := n.counts(); fetches != 2 {
			t.Errorf("%d fetches, with the first", fetches)
		}
		time.Sleep(6 * time.Second) // it may have come back
		n.set(func(n *network) { n.jwks = keys(t, known, gone) })
		mustAccept(t, a, gone.token(t, nil))
	})
}

func TestTokensThatCannotBeGoodFetchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{jwks: keys(t, newSigner(t, "known", "ES256"))}
		a := newAuthenticator(t, n.options())
		other := newSigner(t, "other", "ES256")
		for name, token := range map[string]string{
			"expired":               other.token(t, map[string]any{"exp": time.Now().Unix() - 60}),
			"for another audience":  other.token(t, map[string]any{"aud": "other"}),
			"from another issuer":   other.token(t, map[string]any{"iss": "https://other.example"}),
			"of another type":       other.sign(t, map[string]any{"typ": "logout+jwt"}, goodClaims()),
			"with another key kind": newSigner(t, "known", "ES384").token(t, nil),
		} {
			if got := outcome(t, a, token); got != "invalid_credential" && got != "expired_credential" {
				t.Errorf("%s: %s", name, got)
			}
		}
		if fetches, _ := n.counts(); fetches != 1 {
			t.Errorf("%d fetches, with the first", fetches)
		}
	})
}

func TestIssuerDownAtStart(t *testing.T) {
	for name, fault := range map[string]func(n *network, broken bool){
		"it refuses connections":      func(n *network, broken bool) { n.down = broken },
		"it accepts them and is mute": func(n *network, broken bool) { n.hang = broken },
		"it has no keys": func(n *network, broken bool) {
			if broken {
				n.jwks = []byte(`{"keys":[]}`)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key := newSigner(t, "k", "ES256")
				n := &network{jwks: keys(t, key)}
				fault(n, true)
				a := newAuthenticator(t, n.options())
				token := key.token(t, nil)
				for range 20 {
					if got := outcome(t, a, token); got != "unavailable" {
						t.Fatal(got)
					}
					time.Sleep(time.Second)
				}
				if a.Ready() == nil {
					t.Error("it says that it is ready")
				}
				if got := outcome(t, a, key.token(t, map[string]any{"exp": time.Now().Unix() - 60})); got != "expired_credential" {
					t.Errorf("a token that is bad without any key: %s", got)
				}
				if fetches, looks := n.counts(); fetches+looks > 20 {
					t.Errorf("%d attempts", fetches+looks)
				}
				n.set(func(n *network) { fault(n, false); n.jwks = keys(t, key) })
				time.Sleep(22 * time.Second) // the longest pause and the longest attempt
				mustAccept(t, a, key.token(t, nil))
				if err := a.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestOutageLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		key, fresh := newSigner(t, "k", "ES256"), newSigner(t, "new", "ES256")
		n := &network{jwks: keys(t, key)}
		opts := n.options()
		opts.Logger = logTo(&log)
		a := newAuthenticator(t, opts)
		n.set(func(n *network) { n.down = true })
		time.Sleep(time.Hour)
		mustAccept(t, a, key.token(t, nil))
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		_, err := a.Authenticate(bearer(fresh.token(t, nil)))
		if outage, ok := errors.AsType[*auth.Unavailable](err); !ok || outage.RetryAfter <= 0 || outage.RetryAfter > 16*time.Second {
			t.Errorf("a key that may be new: %v", err)
		}
		n.set(func(n *network) { n.down, n.jwks = false, keys(t, fresh) })
		time.Sleep(16 * time.Second)
		mustAccept(t, a, fresh.token(t, nil))
		a.Close()
		for _, want := range []string{"cannot be fetched", "have_old_keys=true", "connection refused", "can be fetched again", issuerName} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
	})
}

func TestOutageBeginsWithARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, fresh := newSigner(t, "k", "ES256"), newSigner(t, "new", "ES256")
		n := &network{jwks: keys(t, key)}
		a := newAuthenticator(t, n.options())
		n.set(func(n *network) { n.down = true })
		if got := outcome(t, a, fresh.token(t, nil)); got != "unavailable" {
			t.Errorf("it was asked and did not answer: %s", got)
		}
		mustAccept(t, a, key.token(t, nil))
	})
}

func TestKeysAreRefreshedWithoutBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "k", "ES256")
		n := &network{jwks: keys(t, key)}
		opts := n.options()
		opts.RefreshInterval = time.Minute
		a := newAuthenticator(t, opts)
		n.set(func(n *network) { n.jwks = keys(t, newSigner(t, "other", "ES256")) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := outcome(t, a, key.token(t, nil)); got != "invalid_credential" {
			t.Errorf("a key that was revoked: %s", got)
		}
		if _, looks := n.counts(); looks != 2 {
			t.Errorf("%d discoveries", looks)
		}
	})
}

func TestKeysThatAreTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "k", "ES256")
		n := &network{jwks: keys(t, key)}
		opts := n.options()
		opts.RefreshInterval, opts.MaxStale = time.Minute, time.Hour
		a := newAuthenticator(t, opts)
		n.set(func(n *network) { n.down = true })
		time.Sleep(time.Hour)
		mustAccept(t, a, key.token(t, nil))
		time.Sleep(time.Second)
		if got := outcome(t, a, key.token(t, nil)); got != "unavailable" {
			t.Error(got)
		}
		if a.Ready() == nil {
			t.Error("it says that it is ready")
		}
	})
}

func TestRequestThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{jwks: keys(t, newSigner(t, "k", "ES256"))}
		a := newAuthenticator(t, n.options())
		n.set(func(n *network) { n.hang = true })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := a.Authenticate(bearer(newSigner(t, "new", "ES256").token(t, nil)).WithContext(ctx))
		if got := outcomeOf(t, err); got != "unavailable" || time.Since(began) != time.Second {
			t.Errorf("%s after %s", got, time.Since(began))
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "k", "ES256")
		n := &network{jwks: keys(t, key)}
		a := newAuthenticator(t, n.options())
		n.set(func(n *network) { n.hang = true })
		var got string
		var waiting sync.WaitGroup
		waiting.Go(func() { got = outcome(t, a, newSigner(t, "new", "ES256").token(t, nil)) })
		synctest.Wait()
		began := time.Now()
		a.Close()
		a.Close()
		waiting.Wait()
		if diff := cmp.Diff([]any{"unavailable", time.Duration(0)}, []any{got, time.Since(began)}); diff != "" {
			t.Error(diff)
		}
		mustAccept(t, a, key.token(t, nil))
		if got := outcome(t, a, newSigner(t, "newer", "ES256").token(t, nil)); got != "unavailable" {
			t.Error(got)
		}
	})
}

func TestNewIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hang: true}
		opts := n.options()
		opts.Audiences = []string{audience}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := jwt.New(ctx, opts); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
