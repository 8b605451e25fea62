package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// tracebackRunes bounds a traceback and a cause (WIRE_PROTOCOL section 8).
const tracebackRunes = 16_000

// MaxTextBytes bounds the message of an error or a log that is sent, and what
// comes with a log, in bytes. The batch that carries them, with whatever JSON has
// to escape, stays below what readers take: [Limits.MaxSchemaBytes].
const MaxTextBytes = 1 << 20

// Clip shortens a text to n bytes, between two characters, and says so.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// Status is what an EXCEPTION batch says of a failed call (WIRE_PROTOCOL
// section 8).
type Status struct {
	Type    string // name of the error's type, "ValueError" for instance
	Message string // bare text, without the type
	Code    string // one of the sixteen canonical names
	Kind    string // reason, unique within the protocol; "" when there is none
	// Details are typed JSON objects. Metadata drops all of them when they
	// break a rule of the specification or exceed MaxErrorDetailBytes.
	Details   []json.RawMessage
	Traceback string // "" leaves out frames and cause as well
	Frames    []Frame
	Cause     string
	ServerID  string
	RequestID string
}

// Frame is one stack frame of a traceback.
type Frame struct {
	File     string  `json:"file"`
	Line     int     `json:"line"`
	Function string  `json:"function"`
	Code     *string `json:"code"`
}

// statusExtra is the JSON of log_extra on an EXCEPTION batch.
type statusExtra struct {
	Type      string            `json:"exception_type"`
	Message   string            `json:"exception_message"`
	Code      string            `json:"error_code,omitempty"`
	Kind      string            `json:"error_kind,omitempty"`
	Details   []json.RawMessage `json:"error_details,omitempty"`
	Traceback string            `json:"traceback,omitempty"`
	Frames    []Frame           `json:"frames,omitempty"`
	Cause     string            `json:"cause,omitempty"`
}

// Metadata is the custom metadata of the EXCEPTION batch that carries s. A message
// beyond MaxTextBytes is cut.
func (s *Status) Metadata() Metadata {
	message := Clip(s.Message, MaxTextBytes)
	extra := statusExtra{Type: s.Type, Message: message, Code: s.Code, Kind: s.Kind}
	if s.Traceback != "" {
		extra.Traceback = truncate(s.Traceback)
		extra.Frames, extra.Cause = s.Frames, truncate(s.Cause)
	}
	m := Metadata{{KeyLogLevel, LevelException}, {KeyLogMessage, s.Type + ": " + message}}
	details, ok := encodeDetails(s.Details)
	if ok {
		extra.Details = s.Details
	}
	m = append(m, Pair{KeyLogExtra, string(compactJSON(extra))}, Pair{KeyErrorCode, s.Code})
	if s.Kind != "" {
		m = append(m, Pair{KeyErrorKind, s.Kind})
	}
	if ok {
		m = append(m, Pair{KeyErrorDetails, details})
	}
	return appendIDs(m, s.ServerID, s.RequestID)
}

func appendIDs(m Metadata, serverID, requestID string) Metadata {
	if serverID != "" {
		m = append(m, Pair{KeyServerID, serverID})
	}
	if requestID != "" {
		m = append(m, Pair{KeyRequestID, requestID})
	}
	return m
}

// ParseStatus reads the metadata of an EXCEPTION batch. The top-level keys win
// over their mirrors in log_extra; what cannot be read is left empty. It never
// fails: an error that says little is still an error.
func ParseStatus(m Metadata) Status {
	var extra struct {
		statusExtra
		Details json.RawMessage `json:"error_details"`
		Frames  json.RawMessage `json:"frames"`
	}
	if text, ok := m.Get(KeyLogExtra); ok {
		_ = json.Unmarshal([]byte(text), &extra) // a broken mirror is no mirror
	}
	s := Status{
		Type: extra.Type, Message: m.Value(KeyLogMessage), Code: extra.Code, Kind: extra.Kind,
		Traceback: extra.Traceback, Cause: extra.Cause,
		ServerID: m.Value(KeyServerID), RequestID: m.Value(KeyRequestID),
	}
	_ = json.Unmarshal(extra.Frames, &s.Frames)
	if s.Type == "" {
		s.Type = LevelException
	} else {
		s.Message = strings.TrimPrefix(s.Message, s.Type+": ")
	}
	if code, ok := m.Get(KeyErrorCode); ok {
		s.Code = code
	}
	if kind, ok := m.Get(KeyErrorKind); ok {
		s.Kind = kind
	}
	details := extra.Details
	if text, ok := m.Get(KeyErrorDetails); ok {
		details = json.RawMessage(text)
	}
	if err := json.Unmarshal(details, &s.Details); err != nil {
		s.Details = nil
	}
	return s
}

// Log is one message from a method to its caller (WIRE_PROTOCOL section 8).
type Log struct {
	Level   string // TRACE, DEBUG, INFO, WARN or ERROR
	Message string
	Extra   string // a JSON object, or ""
}

// Metadata is the custom metadata of the log batch that carries l. A message beyond
// MaxTextBytes is cut, and an extra that is longer left out.
func (l *Log) Metadata(serverID, requestID string) Metadata {
	m := Metadata{{KeyLogLevel, l.Level}, {KeyLogMessage, Clip(l.Message, MaxTextBytes)}}
	if l.Extra != "" && len(l.Extra) <= MaxTextBytes {
		m = append(m, Pair{KeyLogExtra, l.Extra})
	}
	return appendIDs(m, serverID, requestID)
}

// ParseLog reads the metadata of a log batch.
func ParseLog(m Metadata) Log {
	return Log{Level: m.Value(KeyLogLevel), Message: m.Value(KeyLogMessage), Extra: m.Value(KeyLogExtra)}
}

// catalog is the fixed set of framework detail types.
var catalog = map[string]bool{
	"vgi_rpc.ErrorInfo": true, "vgi_rpc.RetryInfo": true, "vgi_rpc.BadRequest": true,
	"vgi_rpc.PreconditionFailure": true, "vgi_rpc.QuotaFailure": true, "vgi_rpc.ResourceInfo": true,
	"vgi_rpc.Help": true, "vgi_rpc.LocalizedMessage": true,
}

// CheckDetailType reports whether a detail of that @type may be sent: one of
// the catalog, or one under a protocol's own name.
func CheckDetailType(name string) bool {
	if strings.HasPrefix(name, ReservedNamePrefix) {
		return catalog[name]
	}
	dot := strings.LastIndexByte(name, '.')
	return dot > 0 && dot < len(name)-1
}

// encodeDetails is the value of error_details, and whether it may be sent:
// every detail an object of a permitted type that occurs once, and at most
// MaxErrorDetailBytes in all.
func encodeDetails(details []json.RawMessage) (string, bool) {
	if len(details) == 0 {
		return "", false
	}
	seen := make(map[string]bool, len(details))
	for _, d := range details {
		var t struct {
			Type string `json:"@type"`
		}
		if json.Unmarshal(d, &t) != nil || !CheckDetailType(t.Type) || seen[t.Type] {
			return "", false
		}
		seen[t.Type] = true
	}
	text := compactJSON(details)
	return string(text), len(text) <= MaxErrorDetailBytes
}

// compactJSON encodes v without spaces and without escaping for HTML.
func compactJSON(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// truncate bounds a traceback as the specification says.
func truncate(s string) string {
	if len(s) <= tracebackRunes {
		return s
	}
	runes := []rune(s[:min(len(s), utf8.UTFMax*tracebackRunes+1)])
	if len(runes) <= tracebackRunes {
		return s
	}
	return string(runes[:tracebackRunes]) + "\n… <traceback truncated>"
}
