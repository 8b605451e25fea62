package workeridentity_test

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeridentity"
)

func ExampleNew() {
	callers := workeridentity.New(workeridentity.Options{})
	http := workerhttp.With(callers.In(workerhttp.Options{}))
	// worker.Main(server, callers, http) serves with these flags among others:
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	callers.AddFlags(flags)
	http.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, "jwt-") {
			fmt.Println("--" + f.Name)
		}
	})
	// Output:
	// --jwt-algorithms
	// --jwt-allow-http
	// --jwt-audience
	// --jwt-issuer
	// --jwt-jwks-url
	// --jwt-leeway
	// --jwt-principal-claim
	// --jwt-scope
}
