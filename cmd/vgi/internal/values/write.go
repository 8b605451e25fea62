package values

import (
	"bytes"
	"encoding/json"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// Unpack replaces bytes by what they hold: it returns nil for bytes that stand
// for themselves.
type Unpack func(data []byte) arrow.RecordBatch

// written is the form of values for people, who count on every digit of a
// number and see no zeros that say nothing.
func written(unpack Unpack) *arrowjson.WriteOptions {
	return &arrowjson.WriteOptions{ShortInf: true, TrimDecimals: true, DurationUnits: true, Unpack: unpack}
}

// AppendRow writes row i of rec as an object, members in the order of the
// schema. unpack may be nil.
func AppendRow(dst []byte, rec arrow.RecordBatch, i int, unpack Unpack) ([]byte, error) {
	return written(unpack).AppendRow(dst, rec, i)
}

// AppendJSON writes value i of an array.
func AppendJSON(dst []byte, arr arrow.Array, i int, unpack Unpack) ([]byte, error) {
	return written(unpack).Append(dst, arr, i)
}

// AppendString writes s in quotes, safe for a terminal.
func AppendString(dst []byte, s string) []byte { return arrowjson.AppendString(dst, s) }

// Indent is JSON over several lines, for people.
func Indent(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return text
	}
	return b.Bytes()
}
