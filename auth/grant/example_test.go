package grant_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/grant"
)

func Example() {
	key := bytes.Repeat([]byte{7}, grant.KeySize) // random bytes, in earnest
	keys, err := grant.New(grant.Options{Keys: [][]byte{key}, Audience: "reports", MaxTTL: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, minted, err := keys.Mint(grant.Request{
		Principal: "ada@example.com", Purpose: "nightly report", Scopes: []string{"read"}, TTLSeconds: 86400,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.HasPrefix(token, grant.Prefix), minted.ExpiresAt.Sub(minted.IssuedAt))

	claims, err := keys.Verify(token)
	fmt.Println(claims.Principal, claims.Scopes, err)
	_, err = keys.Verify(token + "A")
	fmt.Println(errors.Is(err, grant.ErrInvalid))
	// Output:
	// true 1h0m0s
	// ada@example.com [read] <nil>
	// true
}
