package workerotel_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "go.opentelemetry.io/otel"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerotel"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestMain(m *testing.M) {
	workertest.Main(m, func(role string) {
		switch role {
		case "conformance":
			conformanceMain()
		case "small":
			smallMain()
		}
	})
}

// conformanceMain serves what the Python reference knows.
func conformanceMain() {
	server, err := conformance.NewServer(vgirpc.ServerOptions{}, conformance.HostStandard)
	if err != nil {
		os.Exit(99)
	}
	worker.Main(server, workerotel.Option(workerotel.Options{}), workerstorage.Option(workerstorage.Options{}), workerhttp.Option(httpserver.Options{}))
}

type textParams struct {
	Text string `vgi:"text"`
}

func newContract() (*vgirpc.Protocol, *vgirpc.Unary[textParams, string]) {
	p := vgirpc.NewProtocol("test.Otel", "1.0.0")
	return p, vgirpc.NewUnary[textParams, string](p, "echo")
}

// smallMain serves one method, which has a span of its own.
func smallMain() {
	contract, echo := newContract()
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{ServerID: "server-1", Version: "1.2.3"}, contract)
	if err != nil {
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, echo, func(ctx context.Context, p textParams) (string, error) {
		_, span := api.Tracer("test").Start(ctx, "inside")
		defer span.End()
		if p.Text == "fail" {
			return "", vgirpc.Errorf(vgirpc.Internal, "on purpose")
		}
		return p.Text, nil
	})
	worker.Main(server, workerotel.Option(workerotel.Options{Attributes: map[string]string{"deployment": "blue"}}))
}

// environment is that of a worker in a role, without what the machine says of
// telemetry.
func environment(role string, more ...string) []string {
	env := slices.DeleteFunc(workertest.Environ(workertest.Role(role)), func(v string) bool { return strings.HasPrefix(v, "OTEL_") })
	return append(env, more...)
}

const (
	callersTrace, callersSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
)

// callSmall calls the worker of one method twice over its standard input and
// output, once so that it fails, and waits for its end, which takes as long as the
// collector does.
func callSmall(t *testing.T, env []string, args ...string) (stderr string) {
	t.Helper()
	return callHurried(t, env, append(args, "--exit-timeout", "0")...)
}

// callHurried is callSmall with a worker that ends in its default time.
func callHurried(t *testing.T, env []string, args ...string) (stderr string) {
	t.Helper()
	var out bytes.Buffer
	c, err := subprocess.New(t.Context(), subprocess.Options{
		Command: append([]string{os.Args[0]}, args...), Env: env, Stderr: &out, CloseGrace: workertest.Patience,
	}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, echo := newContract()
	ctx := vgirpc.WithMetadata(t.Context(), wire.Pair{Key: "traceparent", Value: "00-" + callersTrace + "-" + callersSpan + "-01"})
	if got, err := echo.Call(ctx, c, textParams{"hello"}); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := echo.Call(ctx, c, textParams{"fail"}); vgirpc.CodeOf(err) != vgirpc.Internal {
		t.Errorf("a call that fails: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return out.String()
}

func TestACollectorGetsWhatAWorkerDoesWhenTheEnvironmentNamesOne(t *testing.T) {
	s := newSink(t)
	accessLog := filepath.Join(t.TempDir(), "access.log")
	stderr := callSmall(t, environment("small", "OTEL_EXPORTER_OTLP_ENDPOINT="+s.url, "OTEL_RESOURCE_ATTRIBUTES=team=data",
		"OTEL_SERVICE_NAME=echoes"), "--access-log", accessLog)
	spans := s.named(otlptrace.Span_SPAN_KIND_SERVER, "vgi_rpc/echo")
	inside := s.named(otlptrace.Span_SPAN_KIND_INTERNAL, "inside")
	if len(spans) != 2 || len(inside) != 2 {
		t.Fatalf("%d spans of calls, %d of the handler:\n%s", len(spans), len(inside), stderr)
	}
	good, bad := spans[0], spans[1]
	if good.status != otlptrace.Status_STATUS_CODE_OK || bad.status != otlptrace.Status_STATUS_CODE_ERROR {
		t.Errorf("statuses %v and %v", good.status, bad.status)
	}
	for _, sp := range spans {
		if sp.trace != callersTrace || sp.parent != callersSpan {
			t.Errorf("the span has the parent %s of %s", sp.parent, sp.trace)
		}
		if sp.attributes["deployment"] != "blue" || sp.attributes["rpc.vgi_rpc.server_id"] != "server-1" {
			t.Errorf("attributes %v", sp.attributes)
		}
		r := sp.resource
		if r["service.name"] != "echoes" || r["team"] != "data" || r["service.version"] != "1.2.3" || r["service.instance.id"] != "server-1" {
			t.Errorf("resource %v", r)
		}
	}
	if inside[0].parent != good.id {
		t.Errorf("the handler's own span has the parent %s, want that of the call, %s", inside[0].parent, good.id)
	}
	for _, name := range []string{"rpc.server.requests", "rpc.server.duration"} {
		if s.metrics[name]["service.name"] != "echoes" {
			t.Errorf("metric %s: resource %v", name, s.metrics[name])
		}
	}
	if !strings.Contains(stderr, "trace_id="+callersTrace) || !strings.Contains(stderr, "span_id="+bad.id) {
		t.Errorf("the worker's log does not name the span:\n%s", stderr)
	}
	logged, err := os.ReadFile(accessLog)
	if err != nil {
		t.Fatal(err)
	}
	want := `"trace_id":"` + callersTrace + `","span_id":"` + good.id + `"`
	if !strings.Contains(string(logged), want) {
		t.Errorf("the access log does not name the span %s of %s:\n%s", good.id, callersTrace, logged)
	}
}

func TestWhatTheEnvironmentSaysOfTelemetryHolds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		env     []string
		args    []string
		spans   int
		metrics bool
	}{
		{"nothing is asked for", nil, nil, 0, false},
		{"the flag asks", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL"}, []string{"--otel"}, 2, true},
		{"the flag refuses", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL"}, []string{"--otel=false"}, 0, false},
		{"the SDK is disabled", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_SDK_DISABLED=TRUE"}, []string{"--otel"}, 0, false},
		{"traces alone", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=URL/v1/traces", "OTEL_METRICS_EXPORTER=none"}, nil, 2, false},
		{"metrics alone", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_TRACES_EXPORTER=none"}, nil, 0, true},
		{"nothing is sampled", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_TRACES_SAMPLER=always_off"}, nil, 0, true},
		{"the caller decides", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_TRACES_SAMPLER=parentbased_always_off"}, nil, 2, true},
		{"no propagator", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_PROPAGATORS=none", "OTEL_TRACES_SAMPLER=parentbased_always_off"}, nil, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			env := make([]string, len(tt.env))
			for i, v := range tt.env {
				env[i] = strings.ReplaceAll(v, "URL", s.url)
			}
			stderr := callSmall(t, environment("small", env...), tt.args...)
			if got := len(s.named(otlptrace.Span_SPAN_KIND_SERVER, "vgi_rpc/echo")); got != tt.spans || len(s.metrics) > 0 != tt.metrics {
				t.Errorf("%d spans and metrics %v\n%s", got, s.metrics, stderr)
			}
		})
	}
}

func TestSettingsThatMakeNoSenseEndTheWorker(t *testing.T) {
	for _, setting := range []string{"OTEL_TRACES_EXPORTER=carrier-pigeon", "OTEL_EXPORTER_OTLP_PROTOCOL=smoke"} {
		t.Run(setting, func(t *testing.T) {
			cmd := workertest.Command(nil, "--otel")
			cmd.Env = environment("small", setting)
			workertest.Refused(t, 2, cmd, "--otel: traces:")
		})
	}
}

func TestACollectorThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	s := newSink(t)
	s.stall = make(chan struct{})
	// The exporters would wait for ten minutes.
	stderr := callHurried(t, environment("small", "OTEL_EXPORTER_OTLP_ENDPOINT="+s.url, "OTEL_EXPORTER_OTLP_TIMEOUT=600000"))
	close(s.stall)
	if !strings.Contains(stderr, "telemetry is lost") {
		t.Errorf("the worker ended without a word:\n%s", stderr)
	}
}
