// Package latency counts how long calls took, in buckets that are 1/16 of their
// value wide: quantiles are right to 6 percent, from a nanosecond to centuries,
// in memory of a fixed size.
package latency
