// Package httpserver serves the calls of a [vgirpc.Server] over HTTP, as a plain
// http.Handler that can be mounted anywhere (WIRE_PROTOCOL section 10).
//
// It is stateless between the turns of a stream: what a stream remembers
// travels in two sealed tokens, so that any replica that has the same keys
// answers any turn. [Sticky] sessions are the exception, for what cannot
// travel.
//
// A request passes, in this order: its identifier and the capabilities, the
// routes of [SignIn], CORS, the limit of its address, authentication, the limit
// of its caller, the shape of the path, the verb, the
// client's bound of the response, the protocol and method, the content type,
// whether the method streams, the coding, the announced length, the number of
// calls in flight, the body, the sticky session, and the core's dispatch. The
// request that takes a stream further has its tokens and its session checked
// when the metadata is read, and before the rest of the body is. A method's own error is status 200 with X-VGI-RPC-Error; what never
// became a call is a 4xx whose body is an Arrow stream with the error.
//
// Whatever refuses a request on its way, the server's RefusalObservers are told
// once, without anything that the caller wrote but its identifier.
//
// The package never takes a cookie for a credential, never decodes what a path
// escapes, and never reads a body that is larger than it has to be.
package httpserver
