// Package values turns what people write on a command line into Arrow columns of
// a declared type, and columns into JSON.
//
// A value is read as JSON ([Object], [Record]) or as plain text ([FromText]),
// checked against the declared type down to the last nested member, and only
// then converted. Every refusal is an [*Error] that names the place and the type
// that was wanted. [AppendJSON] writes values in the form in which they are
// read, members in the order of the schema.
//
//	bool                     true, false
//	integers, floats         a number; "NaN", "Inf" and "-Inf" as strings
//	utf8, enums              a string
//	binary                   a string of base64
//	decimals                 a number, or a string such as "12.50"
//	timestamp                "2026-11-21T13:45:00Z"
//	date, time               "2026-11-21", "13:45:00.5"
//	duration                 "90.5s", "1m30s", "1500us"
//	lists, structs           an array, an object
//	maps                     an object, or an array of [key, value] pairs
package values
