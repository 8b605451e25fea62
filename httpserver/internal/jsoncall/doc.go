// Package jsoncall translates one unary call between JSON and Arrow, so that a
// method can be tried with curl or from a form.
//
// The parameters are one JSON object with a member for each parameter. Names
// that the method does not have, and names that are missing without a default,
// are refused; so is a null where the schema allows none. A value is written as
// package arrowjson says, with an integer beyond 2^53 in a string, and read
// strictly: a struct has every field. A struct that travels packed into a binary
// is an object, or the IPC stream in base64.
//
// [Guard] holds the requests of browsers to the rules that keep other sites
// from making them. The package serves no route, checks no credentials and
// calls no method.
package jsoncall
