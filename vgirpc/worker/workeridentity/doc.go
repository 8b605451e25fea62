// Package workeridentity lets a worker that serves HTTP decide who is calling by
// everything that package auth and those below it can tell: JSON Web Tokens,
// client certificates, proofs of proxies, SPIFFE IDs and tailnets. Its option
// goes to [worker.Main] beside that of package workerhttp, whose options go
// through [Option.In]:
//
//	callers := workeridentity.New(workeridentity.Options{})
//	worker.Main(server, callers, workerhttp.With(callers.In(workerhttp.Options{})))
//
// With sign-in by OAuth 2 as well:
//
//	signIn := workeroauth.New(workeroauth.Options{})
//	worker.Main(server, signIn, callers, workerhttp.With(callers.In(workerhttp.Options{Prepare: signIn.Prepare})))
//
// Such a worker understands, besides the flags of these packages:
//
//	--jwt-issuer URL             takes tokens of this issuer; may be repeated
//	--jwt-audience NAME          of this service in tokens; may be repeated
//	--jwt-jwks-url URL           where the keys of the one issuer are, without discovery
//	--jwt-algorithms LIST        that signatures may have
//	--jwt-leeway SECONDS         that clocks may be apart
//	--jwt-principal-claim NAME   that names the caller
//	--jwt-scope SCOPE            that a token needs; may be repeated
//	--jwt-allow-http             lets URLs be http:
//
//	--mtls-principal NAME        of a client certificate is the caller
//	--mtls-allow PRINCIPAL       lets these in alone; may be repeated
//	--mtls-fingerprint HEX       takes these certificates alone; may be repeated
//	--mtls-trust-domain DOMAIN   whose SPIFFE IDs count; may be repeated
//	--forwarded-cert FORM        a proxy forwards the certificate: xfcc, pem,
//	                             client-cert, fingerprint, subject, google-spiffe
//	--forwarded-cert-header NAME, --forwarded-cert-verify-header NAME
//	                             where the proxy says so
//	--forwarded-cert-proxy-verifies  it forwards what it has verified alone
//	--forwarded-cert-element only|last|first  of an xfcc with several
//	--trusted-proxy ADDR         the address of a proxy; may be repeated; shared
//	                             with package workerproxy
//
//	--proxy-proof off|allow|require  of requests by a trusted proxy
//	--proxy-proof-origin ID      this service's name in proofs
//	--proxy-proof-secrets KEYS   kid:hex, commas between, or a file of them with
//	                             --proxy-proof-secrets-file
//	--proxy-proof-skew SECONDS   that clocks may be apart
//
//	--spiffe FORM                evidence of SPIFFE IDs: direct, envoy, nginx,
//	                             alb, google, azure
//	--spiffe-trust-domain DOMAIN whose IDs count; may be repeated
//	--spiffe-allow-id ID         lets these in alone; may be repeated
//	--spiffe-workload-api[=ADDR] TLS with certificates of the Workload API
//	--spiffe-client-optional     and clients may come without one
//	--spiffe-jwt-audience NAME   takes JWT-SVIDs for this name; may be repeated
//	--tailscale serve|local      evidence of who calls over a tailnet
//	--tailscale-issuer NAME      the operator's name for the tailnet
//	--tailscale-socket PATH      of the daemon
//	--peer-policy POLICY         what evidence counts for: observe, require:NAME,
//	                             primary:NAME, any:NAME,… or all:NAME,…
//
// VGI_PROXY_PROOF_SECRETS and VGI_PROXY_PROOF_SECRETS_FILE set the secrets as
// well. The flags of the Workload API are there in programs with
// [Options].Workload alone (package workerspiffe).
//
// Who calls is found out in this order: the program's own authenticator, client
// certificates, tokens, JWT-SVIDs, the tokens of --bearer-tokens, sealed grants,
// tokens that the program resolves. Each is asked when the one before has found
// nothing, or nothing good. Evidence is weighed around all of that, and the proof
// of a proxy is demanded before anything else. See docs/auth.md.
package workeridentity
