// Package jwtsvid names callers by the JWT-SVIDs that they present as bearer
// tokens.
//
// An [Authenticator] verifies a token against the JWT bundle of its own trust
// domain, which package auth/spiffe/workload keeps current. Unlike an X.509-SVID
// a token can be repeated by whoever has seen it: it is a credential of the
// application, and no evidence about the other end of the connection.
package jwtsvid
