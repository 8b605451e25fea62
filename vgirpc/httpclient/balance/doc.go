// Package balance spreads the requests of an HTTP client over several servers
// that stand in for each other. A turn of a stream over HTTP carries its state
// (WIRE_PROTOCOL section 10), so that any replica that shares the token keys can
// answer it: a [Transport] picks one for each request, and goes into the options
// of package httpclient.
//
// # Which endpoint
//
// Of two endpoints drawn at random the one with less to do is taken: requests in
// flight times a moving average of the time to the response's headers. The
// average jumps up at once and comes down slowly, and counts up to a factor of
// four, because methods differ as well as servers.
//
// # Ejection
//
// An endpoint that fails several times in a row is left out for a time that
// doubles from one ejection to the next, with jitter. Failures are connections
// that cannot be made or break off, and 502, 503 and 504 from a gateway; an
// answer of the server itself is none, whatever it says. A 503 with Retry-After
// puts the endpoint aside for that time at once. A share of the endpoints always
// stays, and the worst of those is taken last.
//
// When the time of an ejected endpoint is over, the next request asks for its
// health first (HEAD {prefix}/health) and goes on, to wherever, when there is an
// answer or [Options].ProbeTimeout has passed. There is no goroutine that does so
// in the background: a client that does not call does not ask.
//
// # What it never does
//
// It never sends a request twice that a server may have seen. A request goes to
// the next endpoint only when the connection could not be dialled, so that
// nothing was sent, and when its body can be had again.
//
// # Sticky sessions
//
// A session lives in one process. A request with a VGI-Session header goes to the
// endpoint whose response brought that token, ejected or not, and to no other
// one; a token that is not known, such as one from another process, goes
// anywhere.
package balance
