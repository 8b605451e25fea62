package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// everything is a program that calls all methods of the suite's service, but with
// payloads of gigabytes.
const everything = `
import sys
from vgi_rpc.conformance import ConformanceService, LogCollector, list_conformance_tests, run_conformance
from vgi_rpc.http import http_connect

wanted = [name for name in list_conformance_tests() if not name.startswith("large_payload")]
logs = LogCollector()
with http_connect(ConformanceService, sys.argv[1], on_log=logs) as proxy:
    suite = run_conformance(proxy, logs, filter_patterns=wanted, timeout=10.0, transport="http")
print(suite.passed, suite.total)
`

// exported is one line of what --otel-export writes: a span, or metrics.
type exported struct {
	Name       string `json:"Name"`
	Attributes []struct {
		Key   string `json:"Key"`
		Value struct {
			Value any `json:"Value"`
		} `json:"Value"`
	} `json:"Attributes"`
	Status struct {
		Code string `json:"Code"`
	} `json:"Status"`
	Events []struct {
		Name string `json:"Name"`
	} `json:"Events"`
	// ScopeMetrics is what a line of metrics has.
	ScopeMetrics []struct {
		Metrics []struct {
			Name string `json:"Name"`
		} `json:"Metrics"`
	} `json:"ScopeMetrics"`
}

func (e *exported) attribute(key string) string {
	for _, a := range e.Attributes {
		if a.Key == key {
			text, _ := a.Value.Value.(string)
			return text
		}
	}
	return ""
}

// readExport is what --otel-export has written: spans by method, and the names of
// metrics.
func readExport(t *testing.T, path string) (spans map[string][]exported, metrics map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spans, metrics = map[string][]exported{}, map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line exported
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if line.Name != "" {
			method := line.attribute("rpc.method")
			spans[method] = append(spans[method], line)
		}
		for _, scope := range line.ScopeMetrics {
			for _, m := range scope.Metrics {
				metrics[m.Name] = true
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return spans, metrics
}

// TestWhatTheWorkerExportsIsWhatOtherImplementationsExport checks what
// tools/cross-port/test_otel_consistency.py holds all implementations to.
func TestWhatTheWorkerExportsIsWhatOtherImplementationsExport(t *testing.T) {
	python := pyref.Python(t)
	path := filepath.Join(t.TempDir(), "export.json")
	w := start(t, nil, "--http", "--otel-export", path)
	out, err := exec.CommandContext(t.Context(), python, "-c", everything,
		"http://127.0.0.1:"+strings.TrimPrefix(w.line, "PORT:")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.stop(t, syscall.SIGTERM)
	spans, metrics := readExport(t, path)
	if len(spans) < 40 {
		t.Errorf("spans of %d methods, want those of 40 or more", len(spans))
	}
	kinds := map[string]string{}
	for _, p := range []*vgirpc.Protocol{conformance.Service, vgirpc.NewReflection().Protocol} {
		for _, m := range p.Methods() {
			kinds[p.Name()+"/"+m.Name()] = string(m.Type())
		}
	}
	for method, all := range spans {
		for i := range all {
			s := &all[i]
			got := []string{s.Name, s.attribute("rpc.system"), s.attribute("rpc.vgi_rpc.method_type")}
			want := []string{"vgi_rpc/" + method, "vgi_rpc", kinds[s.attribute("rpc.service")+"/"+method]}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: name, system and type (-want +got):\n%s", method, diff)
			}
		}
	}
	for _, method := range []string{"raise_value_error", "raise_runtime_error", "raise_type_error"} {
		if len(spans[method]) == 0 {
			t.Errorf("no span of %s", method)
		}
		for i := range spans[method] {
			s := &spans[method][i]
			if s.Status.Code != "Error" || s.attribute("rpc.vgi_rpc.error_type") == "" || len(s.Events) != 1 || s.Events[0].Name != "exception" {
				t.Errorf("%s: %+v", method, s)
			}
		}
	}
	for _, name := range []string{"rpc.server.requests", "rpc.server.duration"} {
		if !metrics[name] {
			t.Errorf("no metric %s", name)
		}
	}
}
