//go:build race

package vgitest

// faultStride is how far the offsets lie apart that [TestFaults] tries. It is
// prime to the alignment of messages, so that each kind of place is met.
const faultStride = 11
