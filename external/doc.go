// Package external moves large batches out of band through storage that speaks
// HTTP: a batch over a threshold is uploaded, and a zero-row pointer batch with
// its URL travels in its place (WIRE_PROTOCOL section 12).
//
// An [Offload] is both halves, for servers and for clients: [Offload.Place]
// uploads an output cycle, [Offload.Resolve] fetches what a pointer names. It
// implements [vgirpc.Offload], so every transport can use it. Where the objects
// lie is the business of a [Store]; one that can also vend URLs for a client's
// own uploads is an [UploadURLs].
//
// The URL of a pointer is the other side's word, so a fetch trusts nothing. Only
// https to public addresses is allowed unless an origin is listed by name; the
// rule holds for every redirect and, at the socket, for the address that the
// name resolved to. Proxies from the environment, cookies and transparent
// decompression are off. Encoded and decoded sizes have their own limits, a
// digest that the pointer carries is verified before anything is parsed, and
// no error or log line shows userinfo, query or fragment of a URL.
//
// The package never deletes an object: storage has lifecycle rules for that. It
// never resolves file URLs.
package external
