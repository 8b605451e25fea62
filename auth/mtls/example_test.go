package mtls_test

import (
	"fmt"
	"net/http"

	"github.com/vgirpc/vgirpc-go/auth/mtls"
)

func ExampleNew() {
	// Envoy beside the service, with forward_client_cert_details: SANITIZE_SET.
	authenticator, err := mtls.New(mtls.Options{
		Source:       mtls.XFCC,
		Proxies:      []string{"127.0.0.1"},
		TrustDomains: []string{"example.org"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := &http.Request{Header: http.Header{}, RemoteAddr: "127.0.0.1:40000"}
	request.Header.Set("X-Forwarded-Client-Cert",
		"Hash=d3b07384d113edec49eaa6238ad5ff00d3b07384d113edec49eaa6238ad5ff00;URI=spiffe://example.org/ns/default/sa/worker")
	identity, err := authenticator.Authenticate(request)
	fmt.Println(identity.Domain, identity.Principal, err)

	request.RemoteAddr = "192.0.2.7:40000"
	_, err = authenticator.Authenticate(request)
	fmt.Println(err)
	// Output:
	// spiffe spiffe://example.org/ns/default/sa/worker <nil>
	// authentication rejected: proxy_required: not from a trusted proxy
}
