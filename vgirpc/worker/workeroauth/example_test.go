package workeroauth_test

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeroauth"
)

func ExampleNew() {
	signIn := workeroauth.New(workeroauth.Options{})
	// worker.Main(server, signIn, workerhttp.With(workerhttp.Options{Prepare: signIn.Prepare}))
	// serves with these flags:
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	signIn.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) { fmt.Println("--" + f.Name) })
	// Output:
	// --oauth-allow-http
	// --oauth-audience
	// --oauth-client-id
	// --oauth-client-secret-basic
	// --oauth-client-secret-file
	// --oauth-end-session
	// --oauth-frontend
	// --oauth-id-token
	// --oauth-issuer
	// --oauth-key-file
	// --oauth-publish-secret
	// --oauth-resource
	// --oauth-scope
}
