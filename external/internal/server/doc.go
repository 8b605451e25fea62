// Package server starts the storage servers that the tests of stores run against.
package server
