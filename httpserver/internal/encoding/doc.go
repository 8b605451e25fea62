// Package encoding is the content codings of the HTTP transport: which one a
// response gets, which one a request has, and the pooled codecs that apply and
// undo them (wire protocol, section 10, "Content-encoding negotiation").
//
// [Codings] holds the pools of one server. [Codings.Negotiate] chooses the
// coding of a response and [Codings.Encode] applies it. [Codings.Requested]
// reads the coding of a request, and [Codings.NewReader] decodes its body as a
// stream that stops at a limit: a few bytes that expand to gigabytes cost the
// limit and one window, never the gigabytes.
//
// The package knows no status and writes no response. Its errors are typed, so
// that the caller can: [UnsupportedError] is 415, [TooLargeError] is 413 and
// [CorruptError] is 400.
package encoding
