package keyring_test

import (
	"fmt"
	"os"
	"path/filepath"

	gokeyring "github.com/zalando/go-keyring"

	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth/keyring"
)

// What a client needs in order to keep its logins in the keyring.
func Example() {
	gokeyring.MockInit() // so that the example leaves the keyring of this machine alone
	dir, err := os.MkdirTemp("", "logins")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := keyring.New(filepath.Join(dir, "notes"), keyring.Options{Service: "my-program"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	login, err := oauth.New("https://api.example.com/rpc", oauth.Options{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(login.Close())
	// Output: <nil>
}
