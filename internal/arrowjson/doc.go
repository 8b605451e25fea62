// Package arrowjson has the rules by which a value of an Arrow column is written
// as JSON and read from JSON, for all who speak JSON with people and programs:
// the HTTP server's JSON gateway and the command line.
//
// A value is written as:
//
//	bool                          true, false
//	integers, floats              a number; "NaN" and infinities as strings
//	utf8, enums, dictionaries     a string
//	binary                        a string of base64
//	decimals                      a string such as "12.50"
//	timestamp                     a string of RFC 3339, in UTC; without a zone when the
//	                              column has none
//	date, time                    "2026-11-21", "13:45:00.5"
//	duration                      "90.5s"
//	intervals                     an object of months, days, milliseconds, nanoseconds
//	lists                         an array
//	maps                          an object when keys are text and differ, else an array
//	                              of [key, value] pairs
//	structs                       an object, members in the order of the type
//	unions                        [type code, value]
//
// and read in that form and in those that mean the same: 1e3 for 1000, "1m30s"
// for "90s", base64 without padding. A year beyond four digits has a sign and at
// least six, as in "+010000-01-01". What is read is never rounded, cut or
// guessed, but for floats, which take the nearest value. What is written is read
// back as the same value, but for unions, which are not read.
//
// The package knows columns and JSON alone: no method, no parameter, no default.
package arrowjson
