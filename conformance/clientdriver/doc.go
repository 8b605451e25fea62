// Package clientdriver lets a program in another language drive the Go client
// (CLIENT_DRIVER_PROTOCOL): one connection, one operation per JSON line, one
// answer per line. The canonical conformance suite calls the Go client through
// it.
//
// The driver is a relay. Batches go through as they are, with all their metadata;
// it retries nothing, repairs nothing and makes nothing up, since what it hides
// the suite cannot find. An answer has "ok": false when the driver could not do
// as it was told, and an "error" when it did and the call failed.
package clientdriver
