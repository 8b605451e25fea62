package vgirpc

import "context"

// Headers are what a transport carries beside the metadata of a request, such as
// those of HTTP. http.Header is one.
type Headers interface {
	// Get returns the value of a header, the first when there are several, and
	// "" when there is none. Letter case does not count.
	Get(name string) string
}

// HeadersKey is the key of the [Headers] in the context that a transport gives to
// its calls. Transports that have any answer to it.
type HeadersKey struct{}

// HeadersFrom returns the headers that came with the call or request that ctx
// belongs to, nil where its transport has none. They are what a client has sent,
// or a proxy: nobody vouches for them, and credentials are among them.
func HeadersFrom(ctx context.Context) Headers {
	h, _ := ctx.Value(HeadersKey{}).(Headers)
	return h
}
