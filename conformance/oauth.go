package conformance

import (
	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/oauth"
	"github.com/vgirpc/vgirpc-go/httpserver"
)

// What --http-pkce is, as tests of other implementations know it.
const (
	pkcePrefix       = "/vgi"
	pkceClientID     = "my-client-id"
	pkceClientSecret = "my-client-secret"
	pkceFrontend     = "https://cupola.query-farm.services"
)

// signIn serves the sign-in of browsers. Nobody is let in: its tests are about
// the way there.
func (f *fixture) signIn(o *httpserver.Options) error {
	server, err := oauth.New(oauth.Options{
		Resource: f.resource, Prefix: o.Prefix, AuthorizationServers: []string{f.idpURL},
		ClientID: pkceClientID, ClientSecret: pkceClientSecret, FrontendOrigins: []string{pkceFrontend},
		AllowHTTP: true,
	})
	if err != nil {
		return err
	}
	o.Auth, o.OAuth = auth.Func(refuse), server
	return nil
}
