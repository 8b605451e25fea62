// Package cors lets browsers of other origins call an HTTP server (wire
// protocol, section 10, "Response headers").
//
// It adds to github.com/go-chi/cors what the protocol's browser clients need:
// Access-Control-Expose-Headers on preflights too, and
// Cross-Origin-Resource-Policy on every response, without which a page that is
// cross-origin isolated may not read it. No route of the protocol takes a
// cookie as a credential, so Access-Control-Allow-Credentials is never sent.
//
// A server without CORS does not install the middleware: it sends neither an
// Access-Control header nor a resource policy.
package cors
