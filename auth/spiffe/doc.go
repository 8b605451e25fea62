// Package spiffe is evidence of SPIFFE IDs (cloud-and-proxy-identity.md): of
// whoever shows an X.509-SVID on the connection itself, or of whom a proxy says
// that it has.
//
// Each proxy has its own adapter, because each says it otherwise: [Nginx], [ALB],
// [GoogleLoadBalancer], [ApplicationGateway] and [Envoy]. They are providers for
// package auth/peer, which believe proxies by their exact addresses alone. The
// backend must not be reachable around the proxy, and the proxy must replace what
// clients send under its headers' names.
//
// [Direct] is the provider for TLS connections of this process. [ServerTLS] and
// [ClientTLS] are configurations for both ends of such connections, whose
// certificates and trust bundles may change while they serve: package
// auth/spiffe/workload keeps them current by the SPIFFE Workload API.
package spiffe
