package recording

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

// redactor takes from frames what an application, a user or a credential said.
type redactor struct {
	keys    map[string]*regexp.Regexp
	schemas map[string][]byte // by the schema's message
	held    int               // bytes of schemas
}

// Bounds of what a redactor remembers of schemas, in bytes: one message, and all of
// them with what is left of them.
const (
	maxSchemaBytes  = 64 << 10
	maxSchemasBytes = 8 << 20
)

func newRedactor() *redactor {
	return &redactor{keys: allowedKeys(), schemas: map[string][]byte{}}
}

// allowedKeys are the keys of a batch's metadata whose values are kept, each with
// the shape that a value must have: anybody may put anything under a known key.
//
// Not among them: log_message, whose text quotes arguments as errors like to do
// ("no user alice@example.com"), log_extra and error_details, which hold the same
// text again, every token, everything that is a name or a URL of shared memory or
// storage, and what an application sends of its own.
func allowedKeys() map[string]*regexp.Regexp {
	name := regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_.]{0,254}\z`)
	id := regexp.MustCompile(`\A[A-Za-z0-9._-]{1,64}\z`)
	digits := regexp.MustCompile(`\A[0-9]{1,19}\z`)
	flag := regexp.MustCompile(`\A(0|1|true|false)?\z`)
	return map[string]*regexp.Regexp{
		wire.KeyMethod:          name,
		wire.KeyProtocol:        name,
		wire.KeyRequestVersion:  digits,
		wire.KeyProtocolVersion: regexp.MustCompile(`\A[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}\z`),
		wire.KeyRequestID:       id,
		wire.KeyServerID:        id,
		wire.KeyTimeout:         digits,
		wire.KeyCancel:          flag,
		wire.KeyTraceParent:     regexp.MustCompile(`\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\z`),
		wire.KeyLogLevel:        regexp.MustCompile(`\A(TRACE|DEBUG|INFO|WARN|ERROR|EXCEPTION)\z`),
		wire.KeyErrorCode:       regexp.MustCompile(`\A[A-Z_]{1,32}\z`),
		wire.KeyErrorKind:       name,
		wire.KeySHMOffset:       digits,
		wire.KeySHMLength:       digits,
		wire.KeySHMSegmentSize:  digits,
		wire.KeyTransportSHM:    flag,
		wire.KeyLocationFetchMS: digits,
	}
}

// Redact returns what a recording without payloads keeps of a frame: its kind,
// size, rows and time; of a schema names and types; of a batch the keys of its
// metadata, and the values of those that say what kind of call it is; of an HTTP
// head the names of headers and the values of those that say how the body is
// packed; of an error its class. Everything else is gone, or replaced by its length.
func Redact(f Frame) Frame { return newRedactor().redact(f) }

func (r *redactor) redact(f Frame) Frame {
	message := f.Bytes
	f.Bytes = nil
	switch f.Kind {
	case KindSchema:
		f.Bytes = r.schema(message)
	case KindBatch, KindDictionary:
		if len(message) <= prefixBytes {
			break
		}
		m, err := parseMessage(message[prefixBytes:], true)
		if err != nil {
			break
		}
		f.Rows, f.Meta = m.rows, m.meta
		for i, p := range f.Meta {
			if shape := r.keys[p.Key]; shape == nil || !shape.MatchString(p.Value) {
				f.Meta[i].Value = hidden(p.Value)
			}
		}
	case KindRequest, KindResponse:
		f.Meta = redactHead(f.Meta)
	case KindError:
		f.Meta = slices.Clone(f.Meta)
		for i, p := range f.Meta {
			if p.Key != MetaClass || !slices.Contains(classes(), p.Value) {
				f.Meta[i].Value = hidden(p.Value)
			}
		}
	default: // the recorder's own, or nothing but bytes
	}
	return f
}

func hidden(value string) string { return fmt.Sprintf("[redacted, %d bytes]", len(value)) }

// schema is a schema message without the values of its metadata; nil when it is
// none.
func (r *redactor) schema(message []byte) []byte {
	if clean, ok := r.schemas[string(message)]; ok {
		return clean
	}
	parsed, err := new(wire.SchemaCache).Parse(message)
	if err != nil {
		return nil
	}
	s := parsed.Arrow()
	meta := redactArrow(s.Metadata())
	clean, err := wire.NewSchema(arrow.NewSchema(redactFields(s.Fields()), &meta))
	if err != nil {
		return nil
	}
	size := len(message) + len(clean.Message())
	if len(message) > maxSchemaBytes || size > maxSchemasBytes {
		return clean.Message()
	}
	if r.held += size; r.held > maxSchemasBytes {
		clear(r.schemas)
		r.held = size
	}
	r.schemas[string(message)] = clean.Message()
	return clean.Message()
}

func redactArrow(meta arrow.Metadata) arrow.Metadata {
	values := slices.Clone(meta.Values())
	for i, v := range values {
		values[i] = hidden(v)
	}
	return arrow.NewMetadata(slices.Clone(meta.Keys()), values)
}

func redactFields(fields []arrow.Field) []arrow.Field {
	fields = slices.Clone(fields)
	for i := range fields {
		fields[i].Metadata = redactArrow(fields[i].Metadata)
		fields[i].Type = redactType(fields[i].Type)
	}
	return fields
}

// redactType is a type whose fields, at any depth, have no metadata.
func redactType(t arrow.DataType) arrow.DataType {
	one := func(f arrow.Field) arrow.Field { return redactFields([]arrow.Field{f})[0] }
	switch t := t.(type) {
	case *arrow.StructType:
		return arrow.StructOf(redactFields(t.Fields())...)
	case *arrow.MapType:
		key, item := one(t.KeyField()), one(t.ItemField())
		m := arrow.MapOfWithMetadata(key.Type, key.Metadata, item.Type, item.Metadata)
		m.KeysSorted = t.KeysSorted
		m.SetItemNullable(item.Nullable)
		return m
	case *arrow.ListType:
		return arrow.ListOfField(one(t.ElemField()))
	case *arrow.LargeListType:
		return arrow.LargeListOfField(one(t.ElemField()))
	case *arrow.FixedSizeListType:
		return arrow.FixedSizeListOfField(t.Len(), one(t.ElemField()))
	case *arrow.DictionaryType:
		return &arrow.DictionaryType{IndexType: t.IndexType, ValueType: redactType(t.ValueType), Ordered: t.Ordered}
	case arrow.ExtensionType:
		return redactType(t.StorageType())
	case arrow.NestedType:
		return arrow.Null // views and unions: nobody needs their names here
	}
	return t
}

// redactHead is the head of an HTTP message without what could be a secret: the
// query, paths but those of calls, and values of headers but a few.
func redactHead(meta wire.Metadata) wire.Metadata {
	meta = slices.Clone(meta)
	arrowBody := strings.EqualFold(metaFold(meta, "Content-Type"), contentTypeArrow)
	for i, p := range meta {
		if !headAllowed(p.Key, p.Value) {
			meta[i].Value = hidden(p.Value)
		}
		if p.Key == MetaPath {
			meta[i].Value = redactPath(p.Value, arrowBody && meta.Value(MetaMethod) == "POST")
		}
	}
	return meta
}

// contentTypeArrow is the media type of every body of the protocol.
const contentTypeArrow = "application/vnd.apache.arrow.stream"

func metaFold(meta wire.Metadata, key string) string {
	for _, p := range meta {
		if strings.EqualFold(p.Key, key) {
			return p.Value
		}
	}
	return ""
}

// headAllowed reports whether a header's value is kept: it is one of a few words.
func headAllowed(name, value string) bool {
	words := map[string][]string{
		MetaMethod:         {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
		"content-type":     {contentTypeArrow, "application/json", "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/octet-stream"},
		"content-encoding": {"zstd", "gzip", "identity"},
		"x-vgi-rpc-error":  {"true", "false"},
	}
	switch name = strings.ToLower(name); name {
	case MetaStatus, "content-length":
		return digitsOnly(value)
	case "x-request-id":
		return regexp.MustCompile(`\A[A-Za-z0-9._-]{1,64}\z`).MatchString(value)
	}
	return slices.Contains(words[name], value)
}

func digitsOnly(s string) bool {
	return len(s) < 20 && strings.Trim(s, "0123456789") == "" && s != ""
}

// redactPath keeps the protocol and the method of a call, and the routes that say
// nothing of anybody.
func redactPath(path string, call bool) string {
	path, query, _ := strings.Cut(path, "?")
	tail := ""
	if query != "" {
		tail = "?" + hidden(query)
	}
	if path == "/" || path == "/health" {
		return path + tail
	}
	rest, route := path, ""
	for _, r := range []string{routeInit, routeExchange} {
		if before, ok := strings.CutSuffix(rest, r); ok && strings.Count(before, "/") >= 2 {
			rest, route = before, r
		}
	}
	m := regexp.MustCompile(`\A(.*)(/[A-Za-z_][A-Za-z0-9_.]{0,254}/[A-Za-z_][A-Za-z0-9_.]{0,254})\z`).FindStringSubmatch(rest)
	if !call || m == nil {
		return hidden(path) + tail
	}
	if m[1] != "" {
		return hidden(m[1]) + m[2] + route + tail
	}
	return m[2] + route + tail
}
