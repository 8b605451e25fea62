package oauth_test

import (
	"context"
	"fmt"
	"os"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

// A program that signs a person in when the server asks for it, and finds the
// login again when it runs the next time.
func Example() {
	const server = "https://api.example.com/rpc"
	dir, err := os.MkdirTemp("", "logins")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := oauth.NewFileStore(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	login, err := oauth.New(server, oauth.Options{
		Store: store,
		ShowCode: func(_ context.Context, code oauth.DeviceCode) error {
			_, err := fmt.Printf("Open %s and enter %s\n", code.URL, code.UserCode)
			return err
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = login.Close() }()
	wrap, err := oauth.Authorize(server, login)
	if err != nil {
		fmt.Println(err)
		return
	}
	transport, err := httpclient.New(server, httpclient.Options{Wrap: wrap}, vgirpc.ClientOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = transport.Close() }()
	_, signedIn := login.Identity()
	fmt.Println("signed in before the first call:", signedIn)
	// Output: signed in before the first call: false
}
