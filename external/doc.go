// Package external moves large batches out of band through storage that speaks
// HTTP: a batch over a threshold is uploaded, and a zero-row pointer batch with
// its URL travels in its place (WIRE_PROTOCOL section 12).
//
// An [Offload] is both halves, for servers and for clients: [Offload.Place]
// uploads an output cycle, [Offload.Resolve] fetches what a pointer names. It
// implements [vgirpc.Offload], so every transport can use it. Where the objects
// lie is the business of a [Store]; one that can also vend URLs for a client's
// own uploads is an [UploadURLs]. Package localstore has both for one machine and
// needs no cloud; s3store, gcsstore and azurestore have them for buckets. A new
// store is one file, which opens a bucket for package blobstore, and one test,
// which calls package storetest.
//
// The URL of a pointer is the other side's word, so a fetch trusts nothing. Only
// https to public addresses is allowed unless an origin is listed by name; the
// rule holds for every redirect and, at the socket, for the address that the
// name resolved to. Proxies from the environment, cookies and transparent
// decompression are off. Encoded and decoded sizes have their own limits, and no
// error or log line shows userinfo, query or fragment of a URL. A digest that the
// pointer carries is verified before anything of the object is handed on; the
// object is parsed meanwhile, as untrusted as one without a digest. The origin of
// the program's own store is trusted without being listed.
//
// Large objects come in ranges, several at once, where storage can say that the
// object is the same for all of them. There is no probe: the answer to a plain GET
// says all that has to be known, and is the first range.
//
// The package never deletes an object: storage has lifecycle rules for that. It
// never resolves file URLs.
package external
