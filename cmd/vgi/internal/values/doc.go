// Package values turns what people write on a command line into Arrow columns of
// a declared type, and columns into JSON.
//
// A value is read as JSON ([Object], [Record]) or as plain text ([FromText]), in
// the forms that package arrowjson knows, leniently: "1.5" is a number, a member
// that a nullable field lacks is null, a time may lack seconds and zone. Every
// refusal is an [*Error] that names the place, the type that was wanted and what
// came. [AppendJSON] writes values in the form in which they are read, members
// in the order of the schema: integers with all their digits, infinities as "Inf"
// and "-Inf", decimals without zeros at the end, and durations in the column's
// unit, as "1500us".
package values
