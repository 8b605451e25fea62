package typetoken

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// hashDomain goes before the preimage under the digest, and carries the version
// of the definition (WIRE_PROTOCOL section 14).
const hashDomain = "vgi_rpc.protocol_hash.v1|"

// The two kinds of method that a description tells apart. Whether a stream is a
// producer or an exchange is not part of it.
const (
	typeUnary  = "unary"
	typeStream = "stream"
)

// ErrDescription is wrapped by the errors of [Preimage] for a method that
// contradicts itself: an unknown type, a second method of the same name, or a
// result or header that is announced and not given.
var ErrDescription = errors.New("typetoken: invalid description")

// Method is what the protocol hash knows of one method (WIRE_PROTOCOL
// section 14, "protocol_hash"). Metadata in the schemas does not count, except
// for the names of extensions.
type Method struct {
	// Name is the method's name on the wire.
	Name string
	// Type is "unary" or "stream".
	Type string
	// HasReturn says that the method answers with a value of the schema Result.
	HasReturn bool
	// HasHeader says that the stream begins with a header of the schema Header.
	HasHeader bool
	// Params are the parameters in their declared order. Nil stands for none.
	Params *arrow.Schema
	// Result is used only with HasReturn, and must then be set. A method that
	// returns nothing and one that returns a value without fields differ.
	Result *arrow.Schema
	// Header is used only with HasHeader, and must then be set.
	Header *arrow.Schema
}

// Preimage returns the canonical JSON of a protocol's description: the text over
// which [ProtocolHash] is taken, without the domain tag, and the thing to
// compare when two ports disagree (WIRE_PROTOCOL section 14).
//
// Methods may come in any order. An error names the method and wraps
// [ErrDescription], [ErrNotCanonical] (a name that is not valid UTF-8) or an
// [UnsupportedTypeError].
func Preimage(protocol string, methods []Method) ([]byte, error) {
	sorted := slices.SortedFunc(slices.Values(methods), func(a, b Method) int {
		return strings.Compare(a.Name, b.Name)
	})
	entries := make([]any, len(sorted))
	for i, m := range sorted {
		if i > 0 && sorted[i-1].Name == m.Name {
			return nil, fmt.Errorf("%w: two methods named %q", ErrDescription, m.Name)
		}
		entry, err := describe(m)
		if err != nil {
			return nil, fmt.Errorf("method %q: %w", m.Name, err)
		}
		entries[i] = entry
	}
	return AppendJCS(nil, map[string]any{"protocol": protocol, "methods": entries})
}

// ProtocolHash returns the fingerprint of a protocol's wire surface as 64
// lowercase hexadecimal digits (WIRE_PROTOCOL section 14). protocol is the wire
// name that requests are routed by. Errors are those of [Preimage].
func ProtocolHash(protocol string, methods []Method) (string, error) {
	preimage, err := Preimage(protocol, methods)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(append([]byte(hashDomain), preimage...))
	return hex.EncodeToString(digest[:]), nil
}

func describe(m Method) (map[string]any, error) {
	if m.Type != typeUnary && m.Type != typeStream {
		return nil, fmt.Errorf("%w: type %q is neither %s nor %s", ErrDescription, m.Type, typeUnary, typeStream)
	}
	entry := map[string]any{
		"name":       m.Name,
		"type":       m.Type,
		"has_return": m.HasReturn,
		"has_header": m.HasHeader,
	}
	params := m.Params
	if params == nil {
		params = arrow.NewSchema(nil, nil)
	}
	schemas := []struct {
		key     string
		present bool
		schema  *arrow.Schema
	}{
		{"params", true, params},
		{"result", m.HasReturn, m.Result},
		{"header", m.HasHeader, m.Header},
	}
	for _, s := range schemas {
		if !s.present {
			continue
		}
		if s.schema == nil {
			return nil, fmt.Errorf("%w: a %s is announced and has no schema", ErrDescription, s.key)
		}
		fields, err := describeFields(s.schema)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.key, err)
		}
		entry[s.key] = fields
	}
	return entry, nil
}

func describeFields(schema *arrow.Schema) ([]any, error) {
	fields := make([]any, schema.NumFields())
	for i, f := range schema.Fields() {
		token, err := OfField(f)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		fields[i] = map[string]any{"name": f.Name, "nullable": f.Nullable, "type": token}
	}
	return fields, nil
}
