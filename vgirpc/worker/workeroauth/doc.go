// Package workeroauth lets a worker that serves HTTP take the tokens of an
// OAuth 2 authorization server, tell clients where they are to be had, and sign
// people in who come with a browser. Its option goes to [worker.Main] beside that
// of package workerhttp, which asks it:
//
//	signIn := workeroauth.New(workeroauth.Options{})
//	worker.Main(server, signIn, workerhttp.With(workerhttp.Options{Prepare: signIn.Prepare}))
//
// Such a worker understands, besides the flags of these packages:
//
//	--oauth-issuer URL               takes tokens of this issuer; may be repeated
//	--oauth-resource URL             of this service, as its clients know it
//	--oauth-audience NAME            of this service in tokens; may be repeated
//	--oauth-scope SCOPE              that a sign-in asks for; may be repeated
//	--oauth-client-id ID             lets people sign in, at the first issuer
//	--oauth-client-secret-file PATH  where the client's secret is
//	--oauth-client-secret-basic      sends it in a header
//	--oauth-publish-secret           tells it to everybody
//	--oauth-id-token                 takes id_tokens for bearer tokens
//	--oauth-frontend ORIGIN          whose pages get tokens; may be repeated
//	--oauth-end-session              signs out at the issuer as well
//	--oauth-key-file PATH            keys of sign-ins, which replicas share
//	--oauth-allow-http               lets URLs be http:
//
// The audience is the resource unless a flag says otherwise, and the client with
// --oauth-id-token. Without --oauth-issuer nothing changes, and the other flags
// are an error. A worker without --http takes none of them on its command line;
// what the environment and the file of --config say is for others then.
package workeroauth
