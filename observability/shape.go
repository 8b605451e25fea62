package observability

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// shape is the part of a record that is the same for every call of a method,
// encoded once: it is most of the record.
type shape struct {
	hash   string // of the protocol
	head   []byte // from the time to the status in the message
	names  []byte // from the server to the type of the method
	fields atomic.Pointer[encodedFields]
}

// encodedFields is what is said of the requests that have one schema.
type encodedFields struct {
	schema *arrow.Schema
	text   []byte
}

// newShape encodes what it can of a record.
func newShape(r *record) *shape {
	s := &shape{hash: r.hash}
	s.head = append(s.head, `","level":"INFO","logger":"vgi_rpc.access","message":"`...)
	s.head = append(appendEscaped(s.head, r.protocol), '.')
	s.head = append(appendEscaped(s.head, r.method), ' ')
	s.names = appendText(s.names, `,"server_id":`, r.serverID)
	s.names = appendText(s.names, `,"protocol":`, r.protocol)
	s.names = appendText(s.names, `,"protocol_hash":`, r.hash)
	s.names = appendText(s.names, `,"method":`, r.method)
	if r.stream {
		s.names = append(s.names, `,"method_type":"stream"`...)
	} else {
		s.names = append(s.names, `,"method_type":"unary"`...)
	}
	return s
}

// request is what is said of requests with a schema. The requests of a
// connection share theirs, so that the last one is remembered.
func (s *shape) request(schema *arrow.Schema) []byte {
	if last := s.fields.Load(); last != nil && last.schema == schema {
		return last.text
	}
	text := appendRequestFields(nil, schema)
	s.fields.Store(&encodedFields{schema, text})
	return text
}

// appendRequestFields appends names and types.
func appendRequestFields(dst []byte, schema *arrow.Schema) []byte {
	dst = append(dst, `,"request_fields":[`...)
	for i := range schema.NumFields() {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := schema.Field(i)
		dst = appendText(dst, `{"name":`, f.Name)
		dst = append(appendType(append(dst, `,"type":"`...), f.Type), `"}`...)
	}
	return append(dst, ']')
}

// shapes holds the shape of each method that was called. A server has so many
// methods and no more.
type shapes struct{ m sync.Map } // of *vgirpc.Method to *shape

// of returns the shape of a record of a method.
func (s *shapes) of(m *vgirpc.Method, r *record) *shape {
	if known, ok := s.m.Load(m); ok {
		if known, _ := known.(*shape); known.hash == r.hash {
			return known
		}
	}
	made := newShape(r)
	s.m.Store(m, made)
	return made
}

// appendTime appends a time of UTC with milliseconds, as RFC 3339 has it.
func appendTime(dst []byte, at time.Time) []byte {
	at = at.UTC()
	year, month, day := at.Date()
	hour, minute, second := at.Clock()
	if year < 0 || year > 9999 {
		return at.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	dst = append(dst, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-')
	dst = append(appendTwo(dst, int(month)), '-')
	dst = append(appendTwo(dst, day), 'T')
	dst = append(appendTwo(dst, hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	dst = append(appendTwo(dst, second), '.')
	millis := at.Nanosecond() / int(time.Millisecond)
	return append(dst, byte('0'+millis/100), byte('0'+millis/10%10), byte('0'+millis%10), 'Z')
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
