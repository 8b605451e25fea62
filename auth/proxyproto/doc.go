// Package proxyproto receives what load balancers send ahead of a connection:
// the addresses of their client, as a header of the PROXY protocol, version 2
// (transport-identity-spec.md, tailscale-identity.md).
//
// A [Receiver] is used in two ways. It is an admitter for
// vgirpc.ConnOptions.Admit, where it comes first, and it puts itself around the
// listener of an HTTP server:
//
//	receiver, err := proxyproto.New(proxyproto.Options{Proxies: []string{"10.0.0.8"}})
//	options.Conns.Admit = []vgirpc.Admitter{receiver, …}
//	err = server.Serve(ctx, receiver.Listener(listener))
//
// Once there is a Receiver, every connection has to come from one of the proxies,
// each named by its exact address, and has to begin with a header. Who connects
// from elsewhere is refused before a byte is read. A header is of version 2, the
// command PROXY, and TCP over IPv4 or IPv6; it has at most [MaxHeaderBytes] with
// all that a proxy adds, has to be there in time, and not a byte behind it is
// consumed. A second header is no header: it is what the peer says first.
//
// The address in the header is where the client is said to be. It is what logs
// and limits go by: vgirpc.Peer.Addr, the RemoteAddr of requests. It names
// nobody, and does not make a proxy of who has it: what decides whom to trust
// looks at the other end of the connection itself (peer.Conn.Immediate, and
// RemoteAddr of a vgirpc.Admission's Conn).
//
// Limits and logs of HTTP take it for the connection's own in one more way: an
// address within httpserver.Options.TrustedProxies may forward a request with
// X-Forwarded-For, and no other may, whoever sent the PROXY header. So a proxy in
// front of the one with the PROXY header can tell where its clients are; a network
// from which clients come is not to be named there. Identity never rests on it.
package proxyproto
