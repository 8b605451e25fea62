package iroh_test

import (
	"encoding/hex"
	"fmt"

	"github.com/vgirpc/vgirpc-go/auth/peer/iroh"
)

func ExampleEndpoint() {
	// What a bridge has put ahead of a connection.
	endpoint, err := hex.DecodeString("01" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(iroh.Endpoint(iroh.FamilyProtocol, []iroh.TLV{{Type: iroh.TLVType, Value: endpoint}}))
	// Output: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f <nil>
}
