package recording

import (
	"strings"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Header returns the rows and the metadata of a batch message, none of it when it
// cannot be read.
func Header(message []byte) (rows int64, meta wire.Metadata) {
	if len(message) <= prefixBytes {
		return 0, nil
	}
	m, err := parseMessage(message[prefixBytes:], true)
	if err != nil {
		return 0, nil
	}
	return m.rows, m.meta
}

// Columns are the columns of a schema message as "name type, name type".
func Columns(message []byte) string {
	if message == nil {
		return ""
	}
	s, err := new(wire.SchemaCache).Parse(message)
	if err != nil {
		return "(unreadable: " + err.Error() + ")"
	}
	if s.NumFields() == 0 {
		return "no columns"
	}
	var parts []string
	for _, f := range s.Arrow().Fields() {
		text := f.Name + " " + f.Type.String()
		if f.Nullable {
			text += "?"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
