package observability

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func unaryRecord() record {
	return record{
		at: time.Date(2026, 4, 26, 17, 30, 45, 123_987_654, time.FixedZone("", 7200)), serverID: "0123456789ab",
		protocol: "Calc", hash: strings.Repeat("ab", 32), method: "add", duration: 1_234_567 * time.Nanosecond, request: "00112233aabbccdd",
		fields: arrow.NewSchema([]arrow.Field{
			{Name: "a", Type: arrow.PrimitiveTypes.Float64},
			{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		}, nil),
		rows:  1,
		stats: vgirpc.CallStats{InputBatches: 1, OutputBatches: 2, InputRows: 3, OutputRows: 4, InputBytes: 5, OutputBytes: 6},
		delivery: vgirpc.Delivery{
			WireIn: 7, WireOut: 8, Externalized: 9, HTTPStatus: 200, RequestState: 10, ResponseState: 11,
			SessionAction: "open", SessionID: "0123456789abcdef01234567",
		},
	}
}

func TestRecordHasTheFieldsOfTheSpecification(t *testing.T) {
	schema := canonicalSchema(t)
	ok := map[string]any{
		"timestamp": "2026-04-26T15:30:45.123Z", "level": "INFO", "logger": "vgi_rpc.access", "message": "Calc.add ok",
		"server_id": "0123456789ab", "protocol": "Calc", "protocol_hash": strings.Repeat("ab", 32),
		"method": "add", "method_type": "unary", "principal": "", "auth_domain": "", "authenticated": false,
		"remote_addr": "", "duration_ms": 1.23, "status": "ok", "error_type": "", "request_id": "00112233aabbccdd",
		"request_fields": []any{
			map[string]any{"name": "a", "type": "double"},
			map[string]any{"name": "tags", "type": "list<item: string>"},
		},
		"request_rows":  1.0,
		"input_batches": 1.0, "output_batches": 2.0, "input_rows": 3.0, "output_rows": 4.0, "input_bytes": 5.0, "output_bytes": 6.0,
		"request_bytes": 7.0, "response_bytes": 8.0, "externalized_bytes": 9.0, "http_status": 200.0,
		"request_state_bytes": 10.0, "response_state_bytes": 11.0,
		"session_action": "open", "session_id": "0123456789abcdef01234567",
	}
	for _, tt := range []struct {
		name   string
		change func(*record)
		want   map[string]any // beside those of the successful unary call; nil: absent
	}{
		{"a successful unary call", func(*record) {}, nil},
		{
			"a failed call has type, message and code",
			func(r *record) {
				r.fail(vgirpc.Errorf(vgirpc.NotFound, "no such row").WithType("KeyError"))
			},
			map[string]any{
				"message": "Calc.add error", "status": "error", "error_type": "KeyError",
				"error_message": "no such row", "error_code": "NOT_FOUND",
			},
		},
		{
			"an error without a message goes by its type",
			func(r *record) { r.fail(&vgirpc.Error{Type: "Oops"}) },
			map[string]any{
				"message": "Calc.add error", "status": "error", "error_type": "Oops", "error_message": "Oops",
				"error_code": "UNKNOWN",
			},
		},
		{
			"a code that is none of the sixteen is UNKNOWN",
			func(r *record) { r.fail(&vgirpc.Error{Code: "TEAPOT", Message: "short and stout"}) },
			map[string]any{
				"message": "Calc.add error", "status": "error", "error_type": "Error", "error_message": "short and stout",
				"error_code": "UNKNOWN",
			},
		},
		{
			"a stream has an identifier",
			func(r *record) { r.stream, r.streamID = true, strings.Repeat("0f", 16) },
			map[string]any{"method_type": "stream", "stream_id": strings.Repeat("0f", 16)},
		},
		{
			"a cancelled stream is a success that says so",
			func(r *record) { r.stream, r.streamID, r.cancelled = true, strings.Repeat("0f", 16), true },
			map[string]any{"method_type": "stream", "stream_id": strings.Repeat("0f", 16), "cancelled": true},
		},
		{
			"a caller with an identity",
			func(r *record) {
				r.addr = "10.0.0.1:4711"
				r.identity = vgirpc.Identity{Principal: "ada", Domain: "jwt", Authenticated: true}
				r.claims = RedactClaims(map[string]any{"iss": "https://idp", "email": "ada@example.org"})
			},
			map[string]any{
				"remote_addr": "10.0.0.1:4711", "principal": "ada", "auth_domain": "jwt", "authenticated": true,
				"claims": map[string]any{"iss": "https://idp", "email": Redacted},
			},
		},
		{
			"a method without parameters has an empty list of fields",
			func(r *record) { r.fields, r.rows = arrow.NewSchema(nil, nil), 0 },
			map[string]any{"request_fields": []any{}, "request_rows": 0.0},
		},
		{
			"a call refused before its parameters were known has none",
			func(r *record) { r.fields = nil },
			map[string]any{"request_fields": nil, "request_rows": nil},
		},
		{
			"sizes that the transport does not know are left out",
			func(r *record) { r.delivery = vgirpc.Delivery{} },
			map[string]any{
				"request_bytes": nil, "response_bytes": nil, "externalized_bytes": nil, "http_status": nil,
				"request_state_bytes": nil, "response_state_bytes": nil, "session_action": nil, "session_id": nil,
			},
		},
		{"a build with a version", func(r *record) { r.version = "1.2.3" }, map[string]any{"server_version": "1.2.3"}},
		{"a clock that went backwards", func(r *record) { r.duration = -time.Second }, map[string]any{"duration_ms": 0.0}},
		{"a duration is rounded to two decimals", func(r *record) { r.duration = 2*time.Hour + 5*time.Microsecond }, map[string]any{"duration_ms": 7200000.01}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := unaryRecord()
			tt.change(&r)
			want := map[string]any{}
			maps.Copy(want, ok)
			for k, v := range tt.want {
				if want[k] = v; v == nil {
					delete(want, k)
				}
			}
			got := checkRecord(t, schema, r.appendWithin(nil, DefaultMaxRecordBytes))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordTooLargeShedsInTheOrderOfTheSpecification(t *testing.T) {
	schema := canonicalSchema(t)
	long := strings.Repeat("x", 4000)
	for _, tt := range []struct {
		name    string
		limit   int
		change  func(*record)
		want    any      // of "truncated"
		kept    []string // fields that must be there
		dropped []string
	}{
		{"a record within the limit is whole", 4000, func(*record) {}, nil, []string{"request_fields"}, nil},
		{"no limit keeps everything", -1, func(r *record) { r.claims = map[string]any{"c": long} }, nil, []string{"claims", "request_fields"}, nil},
		{"claims go first", 2000, func(r *record) { r.claims = map[string]any{"c": long} }, true, []string{"claims", "request_fields", "input_rows"}, nil},
		{
			"then all that is optional", 2000, func(r *record) { r.request = long }, "record_too_large", nil,
			[]string{"claims", "request_fields", "request_rows", "request_id", "input_rows", "request_bytes"},
		},
		{
			"both", 2000, func(r *record) { r.request, r.claims = long, map[string]any{"c": long} }, "record_too_large", nil,
			[]string{"claims", "request_fields", "request_id"},
		},
		{
			"a stream keeps its identifier, which the schema requires", 2000,
			func(r *record) { r.stream, r.streamID, r.request = true, strings.Repeat("0f", 16), long },
			"record_too_large",
			[]string{"stream_id"},
			[]string{"request_id"},
		},
		{
			"an error's message is never cut", 2000, func(r *record) { r.fail(vgirpc.Errorf(vgirpc.Internal, "%s", long)) },
			"record_too_large",
			[]string{"error_message"},
			[]string{"error_code", "request_fields"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := unaryRecord()
			tt.change(&r)
			got := checkRecord(t, schema, r.appendWithin(nil, tt.limit))
			if got["truncated"] != tt.want {
				t.Errorf("truncated is %v, want %v", got["truncated"], tt.want)
			}
			for _, name := range tt.kept {
				if _, ok := got[name]; !ok {
					t.Errorf("%s is missing", name)
				}
			}
			for _, name := range tt.dropped {
				if _, ok := got[name]; ok {
					t.Errorf("%s is still there", name)
				}
			}
			if r.failed && got["error_message"] != r.errorText {
				t.Errorf("the error's message was cut to %d bytes", len(got["error_message"].(string)))
			}
		})
	}
}

func TestAnyStringIsOneLineOfJSON(t *testing.T) {
	schema := canonicalSchema(t)
	for _, tt := range []struct{ name, text, want string }{
		{"plain text", "hello", "hello"},
		{"quotes and backslashes", `say "hi" \ bye`, `say "hi" \ bye`},
		{"line ends and control characters", "a\nb\rc\td\x00e\x1f\x7f", "a\nb\rc\td\x00e\x1f\x7f"},
		{"what HTML would escape stays readable", "<a href='x'>&", "<a href='x'>&"},
		{"line ends of Unicode", "a\u0085b\u2028c\u2029d", "a\u0085b\u2028c\u2029d"},
		{"scripts and emoji", "зло 日本 🎉", "зло 日本 🎉"},
		{"bytes that are not UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd"},
		{"a surrogate encoded as UTF-8", "a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"},
		{"a replacement character as such", "a\ufffdb", "a\ufffdb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := unaryRecord()
			r.method, r.identity.Principal = tt.text, tt.text
			r.fail(&vgirpc.Error{Type: tt.text, Message: tt.text})
			r.fields = arrow.NewSchema([]arrow.Field{{
				Name: tt.text,
				Type: arrow.StructOf(arrow.Field{Name: tt.text, Type: arrow.FixedWidthTypes.Boolean, Nullable: true}),
			}}, nil)
			r.claims = map[string]any{"c": tt.text}
			line := r.appendWithin(nil, 0)
			if !utf8.Valid(line) {
				t.Error("the record is not UTF-8")
			}
			if bytes.ContainsAny(line, "\n\r\u0085\u2028\u2029") {
				t.Errorf("the record has more than one line: %q", line)
			}
			got := checkRecord(t, schema, line)
			for _, name := range []string{"method", "principal", "error_type", "error_message"} {
				if got[name] != tt.want {
					t.Errorf("%s is %q, want %q", name, got[name], tt.want)
				}
			}
			field := got["request_fields"].([]any)[0].(map[string]any)
			if field["name"] != tt.want || field["type"] != "struct<"+tt.want+": bool>" {
				t.Errorf("field is %q", field)
			}
			if claim := got["claims"].(map[string]any)["c"]; claim != tt.want {
				t.Errorf("claim is %q, want %q", claim, tt.want)
			}
		})
	}
}

func FuzzStringIsReadBackByEncodingJSON(f *testing.F) {
	for _, seed := range []string{"", "a", "\"\\\n\u2028", "\xff\xc3\x28", "\xed\xa0\x80", "\u0085"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		// Ranging over a string decodes it as the encoder does.
		if want := string([]rune(s)); got != want {
			t.Errorf("%q came back as %q, want %q", s, got, want)
		}
	})
}

func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims map[string]any
		want   string
	}{
		{"what identifies the credential is logged", map[string]any{"iss": "i", "sub": "s", "exp": 12}, `{"exp":12,"iss":"i","sub":"s"}`},
		{
			"credentials and personal data keep only their names",
			map[string]any{"API_Key": 1, "access_token": 2, "Email": 3, "name": 4, "given_name": 5, "my_password": 6},
			`{"API_Key":"[redacted]","Email":"[redacted]","access_token":"[redacted]","given_name":"[redacted]","my_password":"[redacted]","name":"[redacted]"}`,
		},
		{"a name within a name is not a name", map[string]any{"hostname": "h"}, `{"hostname":"h"}`},
		{
			"values that JSON has no form for are named by their type",
			map[string]any{"nan": math.NaN(), "f": func() {}, "ok": true},
			`{"f":"(func())","nan":"(float64)","ok":true}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(encodeClaims(RedactClaims(tt.claims))); got != tt.want {
				t.Errorf("claims are\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	t.Run("a redactor that panics lets nothing through", func(t *testing.T) {
		l := NewAccessLog(nil, AccessLogOptions{RedactClaims: func(map[string]any) map[string]any { panic(errors.New("oops")) }})
		if got := l.redact(map[string]any{"sub": "s"}); got != nil {
			t.Errorf("claims are %v", got)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r := unaryRecord()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.appendWithin(buf[:0], DefaultMaxRecordBytes)
	}
	b.SetBytes(int64(len(buf)))
}

func TestTimesAreThoseOfThePackageTime(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2026, 4, 26, 17, 30, 45, 123_987_654, time.FixedZone("", 7200)),
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(7, 1, 2, 3, 4, 5, 6_000_000, time.UTC),
		time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC),
		{},
	} {
		want := at.UTC().Format("2006-01-02T15:04:05.000Z")
		if got := string(appendTime(nil, at)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
