// Package httpclient calls vgi-rpc servers over HTTP (WIRE_PROTOCOL sections 10
// and 17): it is a [vgirpc.Transport] over net/http.
//
// [Dial] gives a client for a base URL; [New] gives the [Transport] itself, with
// what only HTTP has: the server's [Capabilities] and sticky sessions. A
// Transport is safe for concurrent use, and calls on it run at once.
//
// # What it promises
//
// A call is sent once. Whether a server acted on a request that got no answer
// cannot be known, so only the discovery of capabilities is tried again. (What
// net/http sends again is what it never began to send, on a connection that the
// server had closed.) The one other exception is a compressed body that a server
// refuses with 415 and whose codings do not have ours: it was not dispatched, and
// goes out again uncompressed.
//
// A response is read up to [Options].MaxResponseBytes, counted after
// decompression, and no further; the server is told of the limit on every
// request, and a server that does not know the header is not called at all.
// Nothing but the Arrow content type is read as Arrow: the page of a gateway
// becomes a [vgirpc.Error] with a short excerpt. Redirects are not followed, and
// no cookies are kept.
//
// A request that is larger than the server takes is uploaded where the server
// says and sent as a pointer, with [Options].Uploads alone: the server names the
// place, so the caller names the origins.
//
// # Streams
//
// A stream over HTTP is a request for each turn. The tokens that tie them
// together reach the caller only through [Tokens], and [Transport.ResumeStream]
// goes on from them. A producer's first turn is part of the request that opens it,
// whose metadata is that of the tick: a producer without a header is therefore
// opened by its first Turn, so that the tick's metadata travels, and by Cancel or
// Close where there was no turn. A producer with a header is opened at once, and
// the metadata of its first tick stays behind.
package httpclient
