// Package soak has a test that calls workers over every transport at once for
// minutes, on connections that break at random, and looks at what the workers
// and this process hold meanwhile: memory, goroutines, descriptors, connections,
// sessions, shared memory, stored files. All of it has to stay flat under load,
// and to go back to where it was afterwards. It exports nothing.
//
// Time is what this test is about, so that it has to be asked for: make soak
// runs it for ten minutes, make soak-short for two, and
//
//	VGI_SOAK=30s go test -v -run TestSoak ./conformance/soak
//
// for as long as VGI_SOAK says; VGI_SOAK_SEED repeats the choices of an earlier
// run. A graph is written to .cache/soak/soak.svg, and beside it every sample, what
// the workers logged, and profiles from before the load and after it.
//
// It is not for the race detector, whose own memory grows.
//
// The directory canonical has the resource soak of the canonical suite, on every
// transport that its client speaks.
package soak
