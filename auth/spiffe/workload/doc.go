// Package workload keeps SVIDs and trust bundles current by the SPIFFE Workload
// API, for the TLS connections of package auth/spiffe and the tokens of package
// auth/spiffe/jwtsvid.
//
// An agent on the machine, such as SPIRE's, issues certificates that live for an
// hour or so and pushes new ones ahead of their end; a [Source] always has the
// last, and a [JWTSource] the keys of tokens. While the agent cannot be reached it goes on with what it has, and the
// certificates' own time is the limit.
package workload
