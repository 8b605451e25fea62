// Package httpserver serves the calls of a [vgirpc.Server] over HTTP, as a plain
// http.Handler that can be mounted anywhere (WIRE_PROTOCOL section 10).
//
// It is stateless between the turns of a stream: what a stream remembers
// travels in two sealed tokens, so that any replica that has the same keys
// answers any turn. [Sticky] sessions are the exception, for what cannot
// travel.
//
// A request passes, in this order: identifier and capabilities, the number of
// requests in flight, CORS, authentication, the route, the bounds of the
// response, the content type, the body, the sticky session, and the core's
// dispatch. A method's own error is status 200 with X-VGI-RPC-Error; what never
// became a call is a 4xx whose body is an Arrow stream with the error.
//
// The package never takes a cookie for a credential, never decodes what a path
// escapes, and never reads a body that is larger than it has to be.
package httpserver
