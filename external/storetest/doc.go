// Package storetest is what every store must pass: one call of [Run] in the tests
// of its package. A store is tested as servers and clients use it, through an
// [external.Offload] and its signed URLs, and with a gateway in between that
// delays, cuts off and redirects.
//
// It is for tests only: nothing else imports it.
package storetest
