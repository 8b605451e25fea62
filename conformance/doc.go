// Package conformance is everything that exists because of the canonical Python
// test suite: the protocols that it calls ([Service], [Secondary] and the small
// ones), the code behind them, and the command line of the fixture worker
// ([Main], which CONTRACT.md beside this file specifies).
//
// The methods are exported so that tests and benchmarks of other packages can
// call them with the Go client. None of it is for production, and nothing that
// a user's worker links may import it.
package conformance
