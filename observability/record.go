package observability

import (
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// record is one line of the access log, before it is encoded: the fields of
// access-log-spec.md sections 3 and 4 that a call has on every transport.
type record struct {
	shape     *shape // nil: not known beforehand
	at        time.Time
	serverID  string
	version   string // of the server's build
	protocol  string // that owns the method
	hash      string // of that protocol
	method    string
	stream    bool
	streamID  string
	identity  vgirpc.Identity
	claims    map[string]any // redacted
	addr      string
	duration  time.Duration
	request   string // its identifier
	trace     string // of the span it ran in
	span      string
	rate      float64 // of sampling; 0: none
	fields    *arrow.Schema
	rows      int
	stats     vgirpc.CallStats
	delivery  vgirpc.Delivery
	cancelled bool

	failed    bool
	errorType string
	errorCode vgirpc.Code
	errorText string
}

// newRecord collects what is known of a call that has ended.
func newRecord(call *vgirpc.Call, end *vgirpc.CallEnd, at time.Time) record {
	m := call.Method()
	r := record{
		at: at, protocol: m.Protocol().Name(), hash: call.ProtocolHash(), method: m.Name(),
		stream: m.Type() == vgirpc.TypeStream, streamID: call.StreamID(), duration: end.Duration,
		request: call.RequestID(), fields: call.RequestFields(), rows: call.RequestRows(),
		stats: end.Stats, delivery: end.Delivery, cancelled: end.Cancelled,
	}
	if peer := call.Peer(); peer != nil {
		r.addr, r.identity = peer.Addr, peer.Identity
	}
	if end.Err != nil {
		r.fail(end.Err)
	}
	return r
}

// fail says how the call failed. The message is never empty, and the code one
// of the sixteen.
func (r *record) fail(e *vgirpc.Error) {
	r.failed, r.errorType, r.errorCode, r.errorText = true, e.TypeName(), vgirpc.CodeOf(e), e.Message
	if r.errorText == "" {
		r.errorText = r.errorType
	}
	if !r.errorCode.Valid() {
		r.errorCode = vgirpc.Unknown
	}
}

// detail is how much of a record is written (access-log-spec.md section 5b).
type detail uint8

const (
	everything detail = iota
	emptyClaims
	sentinel // what every record must have, and the error's message
)

// appendWithin appends the record as a JSON object of at most limit bytes, or
// of any size when limit is not positive. It sheds the claims first, then all
// that is optional; what is left may exceed the limit, because the message of
// an error is never cut.
func (r *record) appendWithin(dst []byte, limit int) []byte {
	start := len(dst)
	dst = r.append(dst, everything)
	if limit <= 0 || len(dst)-start <= limit {
		return dst
	}
	if len(r.claims) > 0 {
		if dst = r.append(dst[:start], emptyClaims); len(dst)-start <= limit {
			return dst
		}
	}
	return r.append(dst[:start], sentinel)
}

func (r *record) append(dst []byte, d detail) []byte {
	dst = r.appendRequired(dst)
	if d != sentinel {
		dst = r.appendCall(dst)
		dst = r.appendRequest(dst)
		dst = r.appendClaims(dst, d)
		dst = r.appendStats(dst)
		dst = r.appendDelivery(dst)
	}
	if r.rate > 0 { // even the shortest record is of no use for counting without it
		dst = strconv.AppendFloat(append(dst, `,"sample_rate":`...), r.rate, 'g', -1, 64)
	}
	switch d {
	case emptyClaims:
		dst = append(dst, `,"truncated":true`...)
	case sentinel:
		dst = append(dst, `,"truncated":"record_too_large"`...)
	case everything:
	}
	return append(dst, '}')
}

// appendRequired appends the fields that the schema asks of every record of
// this kind.
func (r *record) appendRequired(dst []byte) []byte {
	shape := r.shape
	if shape == nil {
		shape = newShape(r)
	}
	dst = append(dst, `{"timestamp":"`...)
	dst = appendTime(dst, r.at)
	dst = append(dst, shape.head...)
	dst = append(append(dst, r.status()...), '"')
	dst = append(dst, shape.names...)
	if r.stream {
		dst = appendText(dst, `,"stream_id":`, r.streamID)
	}
	dst = appendText(dst, `,"principal":`, r.identity.Principal)
	dst = appendText(dst, `,"auth_domain":`, r.identity.Domain)
	dst = strconv.AppendBool(append(dst, `,"authenticated":`...), r.identity.Authenticated)
	dst = appendText(dst, `,"remote_addr":`, r.addr)
	dst = appendMillis(append(dst, `,"duration_ms":`...), r.duration)
	dst = appendText(dst, `,"status":`, r.status())
	dst = appendText(dst, `,"error_type":`, r.errorType)
	if r.failed {
		dst = appendText(dst, `,"error_message":`, r.errorText)
	}
	return dst
}

func (r *record) status() string {
	if r.failed {
		return "error"
	}
	return "ok"
}

// appendCall appends what is said of a call where it applies.
func (r *record) appendCall(dst []byte) []byte {
	if r.failed {
		dst = appendText(dst, `,"error_code":`, string(r.errorCode))
	}
	if r.cancelled {
		dst = append(dst, `,"cancelled":true`...)
	}
	if r.version != "" {
		dst = appendText(dst, `,"server_version":`, r.version)
	}
	if r.request != "" {
		dst = appendText(dst, `,"request_id":`, r.request)
	}
	if isHex(r.trace, 32) && isHex(r.span, 16) {
		dst = appendText(dst, `,"trace_id":`, r.trace)
		dst = appendText(dst, `,"span_id":`, r.span)
	}
	return dst
}

// isHex reports whether s is n lowercase hex digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range n {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// appendRequest appends the shape of the request: names and types, no value.
func (r *record) appendRequest(dst []byte) []byte {
	switch {
	case r.fields == nil:
		return dst
	case r.shape != nil:
		dst = append(dst, r.shape.request(r.fields)...)
	default:
		dst = appendRequestFields(dst, r.fields)
	}
	return strconv.AppendInt(append(dst, `,"request_rows":`...), int64(r.rows), 10)
}

// appendClaims appends the redacted claims of the caller's credential.
func (r *record) appendClaims(dst []byte, d detail) []byte {
	if len(r.claims) == 0 {
		return dst
	}
	dst = append(dst, `,"claims":`...)
	if d == emptyClaims {
		return append(dst, '{', '}')
	}
	return append(dst, encodeClaims(r.claims)...)
}

// appendStats appends what the call moved. The six logical figures come
// together or not at all.
func (r *record) appendStats(dst []byte) []byte {
	s := &r.stats
	dst = strconv.AppendInt(append(dst, `,"input_batches":`...), s.InputBatches, 10)
	dst = strconv.AppendInt(append(dst, `,"output_batches":`...), s.OutputBatches, 10)
	dst = strconv.AppendInt(append(dst, `,"input_rows":`...), s.InputRows, 10)
	dst = strconv.AppendInt(append(dst, `,"output_rows":`...), s.OutputRows, 10)
	dst = strconv.AppendInt(append(dst, `,"input_bytes":`...), s.InputBytes, 10)
	return strconv.AppendInt(append(dst, `,"output_bytes":`...), s.OutputBytes, 10)
}

// appendDelivery appends what the transport says of the call, where it says
// something.
func (r *record) appendDelivery(dst []byte) []byte {
	d := &r.delivery
	for _, f := range [...]struct {
		key   string
		value int64
	}{
		{`,"http_status":`, int64(d.HTTPStatus)},
		{`,"request_bytes":`, d.WireIn},
		{`,"response_bytes":`, d.WireOut},
		{`,"externalized_bytes":`, d.Externalized},
		{`,"request_state_bytes":`, d.RequestState},
		{`,"response_state_bytes":`, d.ResponseState},
	} {
		if f.value > 0 {
			dst = strconv.AppendInt(append(dst, f.key...), f.value, 10)
		}
	}
	if d.SessionAction != "" {
		dst = appendText(dst, `,"session_action":`, d.SessionAction)
	}
	if d.SessionID != "" {
		dst = appendText(dst, `,"session_id":`, d.SessionID)
	}
	return dst
}

// appendText appends a key, with its comma and colon, and a string.
func appendText(dst []byte, key, value string) []byte {
	return appendString(append(dst, key...), value)
}

// appendMillis appends a duration in milliseconds with two decimals.
func appendMillis(dst []byte, d time.Duration) []byte {
	const hundredth = 10 * time.Microsecond
	n := int64((max(d, 0) + hundredth/2) / hundredth)
	dst = append(strconv.AppendInt(dst, n/100, 10), '.')
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}
