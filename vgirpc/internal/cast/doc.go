// Package cast makes the input of an exchange fit the schema that the method
// declared. A client may send the declared columns in another order, or with
// other types, as long as no value changes by it; it may not send other columns
// (the reference implementation's input check, and the shared suite's
// exchange_cast_compatible).
//
// Two things can be wrong, and they are two types: a [MismatchError] is about
// the schema and can be known before any row arrives ([Compatible]); a
// [ValueError] is about one value in one batch.
//
// These casts exist. In all of them a null stays a null, and what does not fit
// is an error, never a changed value:
//
//   - integers to integers of any width, and to float and double where the
//     magnitude is at most 2^24 and 2^53;
//   - half, float and double to integers where the value is whole, to float and
//     double always, except that a finite double beyond float's range is an
//     error;
//   - decimal128 to another precision and scale, and to the nearest double;
//   - text and binary in all their layouts, with a check of UTF-8 on the way
//     from binary to text;
//   - a dictionary to its value type and on from there, and text to a dictionary
//     of strings that is not ordered;
//   - date32 and date64; timestamps of the same zone, durations and times to
//     another unit;
//   - the null type to any type that can be built here, where nulls are allowed;
//   - lists, large lists, fixed-size lists of the same length (and those to
//     both others), maps, and structs of the same field names, through their
//     children.
//
// Everything else must be of the declared type already. pyarrow, which the
// reference implementation uses, casts more (numbers to text and back, booleans
// to numbers, one zone to another, structs with missing fields); it lets a
// double overflow to infinity; and it leaves nulls alone in a list whose items
// are declared not null.
//
// The package does not log, keeps no state, and does not use arrow/compute,
// which would double the size of every binary.
package cast
