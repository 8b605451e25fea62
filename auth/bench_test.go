package auth_test

import (
	"fmt"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
)

// bearerOf accepts a number of tokens, and returns the first and the last.
func bearerOf(tb testing.TB, n int) (a *auth.Bearer, first, last string) {
	tb.Helper()
	var tokens []auth.BearerToken
	for i := range n {
		tokens = append(tokens, auth.BearerToken{Token: fmt.Sprintf("token-of-the-caller-%08d", i), Principal: "p"})
	}
	a, err := auth.NewBearer(auth.BearerOptions{Tokens: tokens})
	if err != nil {
		tb.Fatal(err)
	}
	return a, tokens[0].Token, tokens[n-1].Token
}

func TestNoNumberOfTokensMakesABearerAllocate(t *testing.T) {
	for _, n := range []int{1, 16, 4096} {
		a, first, last := bearerOf(t, n)
		for _, token := range []string{first, last, "unknown"} {
			r := request("Authorization", "Bearer "+token)
			most := 0.0
			if token == "unknown" {
				most = 2 // the refusal
			}
			if got := testing.AllocsPerRun(20, func() { _, _ = a.Authenticate(r) }); got > most {
				t.Errorf("%d tokens, with %s: %v allocations", n, token, got)
			}
		}
	}
}

// With 16 tokens a request should take at most 2 µs, and no number of them should
// make it allocate.
func BenchmarkBearer(b *testing.B) {
	for _, n := range []int{1, 16, 1024} {
		a, first, last := bearerOf(b, n)
		for name, token := range map[string]string{"first": first, "last": last} {
			r := request("Authorization", "Bearer "+token)
			b.Run(fmt.Sprintf("%d tokens/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := a.Authenticate(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
