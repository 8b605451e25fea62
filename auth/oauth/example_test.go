package oauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/vgirpc/vgirpc-go/auth/oauth"
)

func ExampleNew() {
	server, err := oauth.New(oauth.Options{
		Resource:             "https://service.example/vgi",
		Prefix:               "/vgi",
		AuthorizationServers: []string{"https://id.example"},
		ClientID:             "my-service",
		Keys:                 [][]byte{[]byte("32 bytes or more, from a secret store")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// httpserver.Options{Prefix: "/vgi", Auth: authenticator, OAuth: server}
	// serves it. Clients find it by the challenge of a refusal:
	fmt.Println(server.Challenge())

	answer := httptest.NewRecorder()
	server.Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-protected-resource/vgi", nil))
	fmt.Println(answer.Body)
	// Output:
	// Bearer resource_metadata="https://service.example/.well-known/oauth-protected-resource/vgi", client_id="my-service"
	// {"resource":"https://service.example/vgi","authorization_servers":["https://id.example"],"client_id":"my-service"}
}
