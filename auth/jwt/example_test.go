package jwt_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
)

func ExampleNew() {
	// The usual issuer is jwt.Issuer{Name: "https://issuer.example"}: its keys are
	// discovered, and no algorithm has to be named. This one shares a secret.
	secret := []byte("32 bytes or more, from a secret store")
	authenticator, err := jwt.New(context.Background(), jwt.Options{
		Issuers:        []jwt.Issuer{{Name: "internal", Secret: secret}},
		Algorithms:     []string{"HS256"},
		Audiences:      []string{"https://service.example"},
		RequiredScopes: []string{"read"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer authenticator.Close()

	for _, scope := range []string{"read write", "write"} {
		token, err := golangjwt.NewWithClaims(golangjwt.SigningMethodHS256, golangjwt.MapClaims{
			"iss": "internal", "aud": "https://service.example", "sub": "alice", "scope": scope,
			"exp": time.Now().Add(time.Minute).Unix(),
		}).SignedString(secret)
		if err != nil {
			fmt.Println(err)
			return
		}
		request := &http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
		identity, err := authenticator.Authenticate(request)
		fmt.Println(identity.Domain, identity.Principal, err)
	}
	// Output:
	// internal alice <nil>
	//   authentication rejected: insufficient_scope: the token lacks a scope
}
