// Package unauthorized writes what a caller gets who is not served: the 401 of
// unauthorized-spec.md, the 503 of an authenticator that could not tell, and the
// 500 of one that broke. It also says which requests need no authentication.
//
// The note about a proxy follows from configuration alone: every 401 has it, or
// none. What an error wraps goes to the log and never into an answer.
package unauthorized
