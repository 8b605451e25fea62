package wire

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// Pair is one entry of a batch's custom metadata. Values are bytes held in a
// string: any value survives the way through, valid UTF-8 or not.
type Pair struct{ Key, Value string }

// Metadata is the custom metadata of one record batch message, in wire order.
// Keys may repeat; the first one counts. A nil Metadata and an empty one mean
// the same.
type Metadata []Pair

// Get returns the value of key and whether it is there.
func (m Metadata) Get(key string) (string, bool) {
	for i := range m {
		if m[i].Key == key {
			return m[i].Value, true
		}
	}
	return "", false
}

// Value returns the value of key, or "" when it is absent.
func (m Metadata) Value(key string) string {
	v, _ := m.Get(key)
	return v
}

// Has reports whether key is there.
func (m Metadata) Has(key string) bool {
	_, ok := m.Get(key)
	return ok
}

// With returns m with key set to value: the first entry of that key is
// replaced, or a new one appended. It never changes m's own entries.
func (m Metadata) With(key, value string) Metadata {
	out := slices.Clone(m)
	for i := range out {
		if out[i].Key == key {
			out[i].Value = value
			return out
		}
	}
	return append(out, Pair{key, value})
}

// Without returns m less every entry whose key satisfies drop.
func (m Metadata) Without(drop func(key string) bool) Metadata {
	return slices.DeleteFunc(slices.Clone(m), func(p Pair) bool { return drop(p.Key) })
}

// Arrow converts m to arrow-go's form.
func (m Metadata) Arrow() arrow.Metadata {
	if len(m) == 0 {
		return arrow.Metadata{}
	}
	keys, values := make([]string, len(m)), make([]string, len(m))
	for i, p := range m {
		keys[i], values[i] = p.Key, p.Value
	}
	return arrow.NewMetadata(keys, values)
}

// MetadataFromArrow converts arrow-go's form, keeping order and duplicates.
func MetadataFromArrow(md arrow.Metadata) Metadata {
	if md.Len() == 0 {
		return nil
	}
	out := make(Metadata, md.Len())
	keys, values := md.Keys(), md.Values()
	for i := range out {
		out[i] = Pair{keys[i], values[i]}
	}
	return out
}
