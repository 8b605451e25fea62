// Package dial turns a URL into a client, for programs that learn at run time
// where their server is. It links every transport; a program that knows its
// transport uses [vgirpc.DialUnix], package subprocess or package httpclient and
// stays small.
package dial
