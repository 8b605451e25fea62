//go:build !race

package vgitest

// faultStride is how far the offsets lie apart that [TestFaults] tries.
const faultStride = 1
