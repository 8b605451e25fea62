package workerotel_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
)

// packages are where setup.sh puts what Python needs for these tests.
const packages = "../../../.cache/otel"

// python returns a command of the Python reference with OpenTelemetry, without
// which the test is skipped, or fails where the variable CI is set.
func python(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	interpreter := pyref.Python(t)
	dir, err := filepath.Abs(packages)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "installed")); err != nil {
		missing(t, "OpenTelemetry for Python")
	}
	cmd := exec.CommandContext(t.Context(), interpreter, args...)
	cmd.Env = append(environment(""), "PYTHONPATH="+dir)
	return cmd
}

// missing ends a test that needs what is not there.
func missing(t *testing.T, what string) {
	t.Helper()
	text := what + " is not installed: run vgirpc/worker/workerotel/setup.sh and deploy/gateways/setup.sh"
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// startNginx runs the configuration of deploy/gateways in front of a worker, and
// returns the gateway's URL.
func startNginx(t *testing.T, worker string) string {
	t.Helper()
	path := ""
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		missing(t, "nginx")
	}
	text, err := os.ReadFile("../../../deploy/gateways/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte("# EDIT")) {
			lines[i] = []byte(strings.NewReplacer("8080", port, "9101", worker, "9102", worker).Replace(string(line)))
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	directives := "daemon off;"
	if os.Geteuid() == 0 {
		directives += " user root;" // the directory of a test is its user's alone
	}
	cmd := exec.CommandContext(t.Context(), path, "-p", dir, "-e", "stderr", "-c", config, "-g", directives)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the end of the test's context has ended it
	base := "http://127.0.0.1:" + port
	await(t, base+"/health")
	return base
}

// freePort is a port for a program, as it is written in command lines.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(freeport.Port(t))
}

// await waits until a URL answers with status 200.
func await(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), workertest.Patience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", url, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// caller is a program that calls through a gateway, in a span of its own, whose
// spans go to a collector.
const caller = `
import os, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[2] + "/v1/traces")))
trace.set_tracer_provider(provider)

from vgi_rpc.conformance import ConformanceService
from vgi_rpc.external import ExternalLocationConfig
from vgi_rpc.http import http_connect

storage = ExternalLocationConfig(url_validator=None)
with http_connect(ConformanceService, sys.argv[1], external_location=storage) as proxy:
    with trace.get_tracer("caller").start_as_current_span("root"):
        text = proxy.echo_string(value="x" * 5000)
        assert len(text) == 5000, len(text)
        assert proxy.echo_int(value=7) == 7
provider.shutdown()
`

func TestACallFromPythonThroughAGatewayToAWorkerAndItsStorageIsOneTrace(t *testing.T) {
	collector := newSink(t)
	cmd := workertest.Command(nil, "--http", "--storage", "mem://", "--externalize-threshold", "2000", "--exit-timeout", "0")
	cmd.Env = environment("conformance", "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.url)
	w := workertest.Serve(t, cmd)
	_, port, _ := strings.Cut(w.Address(t), ":")
	gateway := startNginx(t, port)
	out, err := python(t, "-c", caller, gateway, collector.url).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Stop(t) // it sends what it has not sent yet
	root := collector.named(otlptrace.Span_SPAN_KIND_INTERNAL, "root")
	echo := collector.named(otlptrace.Span_SPAN_KIND_SERVER, "vgi_rpc/echo_string")
	small := collector.named(otlptrace.Span_SPAN_KIND_SERVER, "vgi_rpc/echo_int")
	up := collector.named(otlptrace.Span_SPAN_KIND_CLIENT, "vgi_rpc.external/upload")
	down := collector.named(otlptrace.Span_SPAN_KIND_CLIENT, "vgi_rpc.external/fetch")
	if len(root) != 1 || len(echo) != 1 || len(small) != 1 || len(up) != 1 || len(down) != 1 {
		t.Fatalf("%d spans of the caller, %d and %d of the worker, %d uploads, %d fetches", len(root), len(echo), len(small), len(up), len(down))
	}
	for _, tt := range []struct {
		what         string
		span, parent span
	}{
		{"the call", echo[0], root[0]},
		{"the other call", small[0], root[0]},
		{"the worker's upload", up[0], echo[0]},
		{"the caller's fetch", down[0], root[0]},
	} {
		if tt.span.trace != root[0].trace || tt.span.parent != tt.parent.id {
			t.Errorf("%s is %+v, want it below %+v", tt.what, tt.span, tt.parent)
		}
	}
	if up[0].attributes["url"] == "" || up[0].attributes["url"] != down[0].attributes["url"] {
		t.Errorf("uploaded to %q, fetched from %q", up[0].attributes["url"], down[0].attributes["url"])
	}
}

func TestACollectorOfAnotherMakerGetsTheSpans(t *testing.T) {
	port := freePort(t)
	tap := python(t, "-m", "oteltap", "--port", port, "--await-span", "vgi_rpc/echo")
	var spans bytes.Buffer
	tap.Stdout, tap.Stderr = &spans, &spans
	if err := tap.Start(); err != nil {
		t.Fatal(err)
	}
	waitForPort(t, port)
	stderr := callSmall(t, environment("small", fmt.Sprintf("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:%s", port)))
	if err := tap.Wait(); err != nil || !strings.Contains(spans.String(), "vgi_rpc/echo") {
		t.Errorf("the collector ended with %v:\n%s\n%s", err, spans.String(), stderr)
	}
}

// waitForPort waits until somebody listens.
func waitForPort(t *testing.T, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), workertest.Patience)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
