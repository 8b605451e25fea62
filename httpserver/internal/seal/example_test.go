package seal_test

import (
	"fmt"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func Example() {
	keys := seal.RandomKeyRing()
	ada := &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "ada"}
	bob := &vgirpc.Identity{Authenticated: true, Domain: "jwt", Principal: "bob"}

	token := keys.SealText(seal.KindCursor, seal.AppendIdentity(nil, ada, "Calc"), []byte("row 7"))

	state, err := keys.OpenText(nil, seal.KindCursor, seal.AppendIdentity(nil, ada, "Calc"), token)
	fmt.Printf("%s, %v\n", state, err)
	_, err = keys.OpenText(nil, seal.KindCursor, seal.AppendIdentity(nil, bob, "Calc"), token)
	fmt.Println(err)
	// Output:
	// row 7, <nil>
	// token verification failed
}
