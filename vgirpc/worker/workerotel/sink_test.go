package workerotel_test

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sink is a collector: it takes OTLP over HTTP, in protobuf.
type sink struct {
	url string

	mu      sync.Mutex
	spans   []span
	metrics map[string]map[string]string // by name, the attributes of the resource
	headers []http.Header
	stall   chan struct{} // unless nil, requests wait for it
}

// span is one span with its resource.
type span struct {
	name, trace, id, parent string
	kind                    otlptrace.Span_SpanKind
	status                  otlptrace.Status_StatusCode
	attributes, resource    map[string]string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{metrics: map[string]map[string]string{}}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// ServeHTTP takes one export.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	raw, err := io.ReadAll(body)
	if err == nil && s.stall != nil {
		<-s.stall
	}
	if err == nil {
		err = s.take(r, raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *sink) take(r *http.Request, raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, r.Header)
	if strings.HasSuffix(r.URL.Path, "/v1/traces") {
		var req coltrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(raw, &req); err != nil {
			return err
		}
		for _, rs := range req.GetResourceSpans() {
			for _, scope := range rs.GetScopeSpans() {
				for _, sp := range scope.GetSpans() {
					s.spans = append(s.spans, span{
						sp.GetName(), hex.EncodeToString(sp.GetTraceId()), hex.EncodeToString(sp.GetSpanId()), hex.EncodeToString(sp.GetParentSpanId()),
						sp.GetKind(), sp.GetStatus().GetCode(), textOf(sp.GetAttributes()), textOf(rs.GetResource().GetAttributes()),
					})
				}
			}
		}
		return nil
	}
	var req colmetrics.ExportMetricsServiceRequest
	if err := proto.Unmarshal(raw, &req); err != nil {
		return err
	}
	for _, rm := range req.GetResourceMetrics() {
		for _, scope := range rm.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				s.metrics[m.GetName()] = textOf(rm.GetResource().GetAttributes())
			}
		}
	}
	return nil
}

func textOf(attributes []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range attributes {
		out[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return out
}

// named are the spans of a kind and name.
func (s *sink) named(kind otlptrace.Span_SpanKind, name string) (out []span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.spans {
		if sp.kind == kind && sp.name == name {
			out = append(out, sp)
		}
	}
	return out
}
