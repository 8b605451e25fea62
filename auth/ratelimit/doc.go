// Package ratelimit limits how often each address and each caller is served,
// with token buckets in memory that has a bound.
//
// [Addresses] is for what comes before anybody knows who is calling. It takes
// the /64 of an IPv6 address for one, and a failed authentication for many
// requests. [Principals] is for what authenticated callers do. Both refuse with
// RESOURCE_EXHAUSTED and the time to wait as a [vgirpc.RetryInfo], which package
// httpserver makes a status 429 with Retry-After of; as an admitter and an
// interceptor they serve raw sockets as well.
//
// A table remembers so many keys and no more. The bucket that is nearest to full
// gives way to another, and its lack is held against whoever is not known: so
// nobody gets rid of an empty bucket by coming from many addresses in between
// (package internal/bucket). Limits are those of one process: with N replicas
// behind a load balancer a caller has N times as much.
package ratelimit
