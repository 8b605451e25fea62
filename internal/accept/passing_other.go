//go:build !unix

package accept

// Passes reports an error of accept that is over some time later: none is known here.
func Passes(error) bool { return false }
