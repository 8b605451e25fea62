// Package jsoncall translates one unary call between JSON and Arrow, so that a
// method can be tried with curl or from a form.
//
// The parameters are one JSON object with a member for each parameter. Names
// that the method does not have, and names that are missing without a default,
// are refused; so is a null where the schema allows none. A value is written
// as:
//
//	bool                          true, false
//	integers, floats              a number; as a string, an integer beyond 2^53 and
//	                              "NaN", "Infinity", "-Infinity"
//	utf8, enums, dictionaries     a string
//	binary                        a string of base64
//	decimals                      a string such as "12.50"
//	timestamp                     a string of RFC 3339; without an offset when the
//	                              column has no time zone
//	date, time                    "2026-11-21", "13:45:00.5"
//	duration                      "90.5s", or as Go writes it: "1m30.5s"
//	intervals                     an object of months, days, milliseconds, nanoseconds
//	lists                         an array
//	maps                          an object when keys are text, else an array of
//	                              [key, value] pairs; both are accepted
//	structs                       an object with every field
//	structs packed into a binary  an object, or the IPC stream in base64
//
// Nothing is rounded, cut or guessed: what a column cannot hold exactly is
// refused. The one exception are floats, which take the nearest value.
//
// [Guard] holds the requests of browsers to the rules that keep other sites
// from making them. The package serves no route, checks no credentials and
// calls no method.
package jsoncall
