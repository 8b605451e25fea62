package worker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

func TestFlagsOfRefusalsThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--request-log=":                           "--request-log: want a path",
		"--request-log=/nowhere/x/y":               "--request-log: request log: ",
		"--request-log=x --request-log-rate=0":     "--request-log-rate 0",
		"--request-log-max-bytes=-1":               "--request-log-max-bytes -1",
		"--request-log-backup-count=0":             "--request-log-backup-count 0",
		"--rate-limit-address=often":               "--rate-limit-address: rate",
		"--rate-limit-principal=1/week":            "--rate-limit-principal: rate",
		"--rate-limit-principal=0.000001/h:100000": "--rate-limit-principal: ",
	} {
		if _, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{}), strings.Fields(args)...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestTheRequestLogCountsWhatItLeavesOut(t *testing.T) {
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}),
		[]string{"--request-log", filepath.Join(t.TempDir(), "log"), "--request-log-rate", "1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const burst = 1000
	for range burst { // of which as many are logged as seconds pass, and one
		setup.Server().ReportRefused(t.Context(), &vgirpc.Refused{Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAdmission})
	}
	got := map[string]float64{}
	for _, m := range setup.Measures() {
		m.Read(func(_ string, value float64) { got[m.Name] = value })
	}
	if n := got["request_log_suppressed_total"]; n < burst/2 || n >= burst {
		t.Errorf("%v suppressed of %d at once", n, burst)
	}
	if n, ok := got["request_log_dropped_total"]; !ok || n != 0 {
		t.Errorf("%v dropped", n)
	}
}

func TestLimitsComeBehindWhatTheProgramHasSet(t *testing.T) {
	own := new(admitter)
	opts, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{own}}}),
		"--rate-limit-address=1", "--rate-limit-principal=1")
	if err != nil {
		t.Fatal(err)
	}
	if len(opts.Conns.Admit) != 2 || opts.Conns.Admit[0] != own || len(opts.Interceptors) != 1 || len(opts.RefusalObservers) != 0 {
		t.Errorf("%d admitters, %d interceptors, %d observers", len(opts.Conns.Admit), len(opts.Interceptors), len(opts.RefusalObservers))
	}
}

// admitter is one of a program.
type admitter struct{ vgirpc.Admitter }

func TestAWorkerLogsConnectionsThatAreTooMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "request-{server_id}.jsonl")
	p := start(t, "--tcp", "0", "--rate-limit-address", "1/h", "--request-log", path)
	address := p.Address(t)
	codes := make([]vgirpc.Code, 2)
	for i := range codes {
		c, err := vgirpc.DialTCP(t.Context(), address, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := echo.Call(t.Context(), c, echoParams{"x"}); err != nil {
			codes[i] = vgirpc.CodeOf(err)
		}
		_ = c.Close()
	}
	if diff := cmp.Diff([]vgirpc.Code{"", vgirpc.ResourceExhausted}, codes); diff != "" {
		t.Error(diff)
	}
	p.Signal(t, syscall.SIGTERM)
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	files, err := filepath.Glob(strings.ReplaceAll(path, "{server_id}", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	line, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Logger    string `json:"logger"`
		Transport string `json:"transport"`
		Reason    string `json:"reason"`
		Code      string `json:"error_code"`
	}
	if err := json.Unmarshal(line, &record); err != nil || record.Logger != "vgi_rpc.request" || record.Transport != "tcp" ||
		record.Reason != "address_rate" || record.Code != "RESOURCE_EXHAUSTED" {
		t.Errorf("%s: %v", line, err)
	}
}
