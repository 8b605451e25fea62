// Package schemacmp compares Arrow schemas as the vgi-rpc protocol means it:
// count, order, names, types and nullability must match exactly, and what Arrow
// does not count as part of a type must not matter (WIRE_PROTOCOL section 5;
// section 14 on what is normalised).
//
// arrow-go's own comparison is not used for anything with children. It compares
// the names of list children for some kinds of list and not for others, looks
// at metadata inside list views, and compares whole values where a type caches
// something.
//
// The package reads schemas only. It never looks at data, and it never converts
// anything: that is the work of whoever tolerates a difference.
package schemacmp
