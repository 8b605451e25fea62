package prom_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/observability/prom"
)

// component finds a program that observability/setup.sh installs.
func component(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%v: observability/setup.sh installs it", err)
	}
	t.Skipf("%v: observability/setup.sh installs it", err)
	return ""
}

// counted are metrics that have seen something of everything.
func counted(t *testing.T) *prom.Metrics {
	t.Helper()
	m := newMetrics(t, prom.Options{
		NativeHistograms: true, ExemplarInterval: -1,
		TraceOf: func(context.Context) (string, string) {
			return "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		},
	})
	client := dial(t, handle, m)
	for _, how := range []string{"fine", "not found"} {
		_, _ = work.Call(t.Context(), client, workParams{How: how})
	}
	_ = client.Close()
	err := m.Add(prom.Figure{
		Name: "things_total", Help: "Things of a kind.", Counter: true, Label: "kind",
		Read: func(report func(string, float64)) { report("good", 2) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPromtoolFindsNothingWrong(t *testing.T) {
	tool := component(t, "promtool")
	rec := httptest.NewRecorder()
	counted(t).Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(rec.Body.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s\nof\n%s", err, out, rec.Body)
	}
}

// prometheus starts one with a feature that scrapes a server, and returns its URL.
func prometheus(t *testing.T, scraped *httptest.Server, feature string) string {
	t.Helper()
	program, dir := component(t, "prometheus"), t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: worker\n  static_configs:\n  - targets: [%q]\n",
		strings.TrimPrefix(scraped.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
		"--web.listen-address=127.0.0.1:0", "--enable-feature="+feature)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, over := make(chan string, 1), make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-over
		_ = cmd.Wait()
	})
	go func() {
		defer close(over)
		address := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				listening <- "http://" + m[1]
			}
		}
	}()
	select {
	case at := <-listening:
		return at
	case <-over:
		t.Fatal("Prometheus has ended")
	case <-time.After(time.Minute):
		t.Fatal("Prometheus does not listen")
	}
	return ""
}

// ask asks Prometheus until it has an answer.
func ask(t *testing.T, at, path string, query url.Values, into any) {
	t.Helper()
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		req, err := http.NewRequestWithContext(patience, http.MethodGet, at+path+"?"+query.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			last = string(body)
			if resp.StatusCode == http.StatusOK && !strings.Contains(last, `"result":[]`) && !strings.Contains(last, `"data":[]`) {
				if err := json.Unmarshal(body, into); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		select {
		case <-tick.C:
		case <-patience.Done():
			t.Fatalf("%s %v has no answer: %s", path, query, last)
		}
	}
}

func TestPrometheusTakesAllOfIt(t *testing.T) {
	scraped := httptest.NewServer(counted(t).Handler())
	defer scraped.Close()
	// One that knows native histograms asks for them, and has no classes then,
	// whose exemplars it could show.
	native, classic := prometheus(t, scraped, "native-histograms"), prometheus(t, scraped, "exemplar-storage")
	type vector struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	for _, tt := range []struct {
		name, at, query string
		want            any
	}{
		{"calls by code", classic, `sum(vgi_rpc_calls_total{protocol="test.Counted",method="work",type="unary",code="NOT_FOUND"})`, "1"},
		{"a fraction of failed calls", classic, `sum(vgi_rpc_calls_total{code!="OK"}) / sum(vgi_rpc_calls_total)`, "0.5"},
		{"a native histogram", native, `histogram_count(vgi_rpc_call_duration_seconds{method="work"})`, "2"},
		{"a share of quick calls", classic, `sum(vgi_rpc_call_duration_seconds_bucket{le="60.0"}) / sum(vgi_rpc_call_duration_seconds_count)`, "1"},
		{"a figure", classic, `vgi_rpc_things_total{kind="good"}`, "2"},
		{"the version", classic, `count(vgi_rpc_build_info)`, "1"},
		{"the runtime", classic, `go_goroutines > bool 0`, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got vector
			ask(t, tt.at, "/api/v1/query", url.Values{"query": {tt.query}}, &got)
			if len(got.Data.Result) != 1 {
				t.Fatalf("%d results", len(got.Data.Result))
			}
			if diff := cmp.Diff(tt.want, got.Data.Result[0].Value[1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("an exemplar", func(t *testing.T) {
		var got struct {
			Data []struct {
				Exemplars []struct {
					Labels map[string]string `json:"labels"`
				} `json:"exemplars"`
			} `json:"data"`
		}
		now := time.Now()
		ask(t, classic, "/api/v1/query_exemplars", url.Values{
			"query": {`vgi_rpc_call_duration_seconds_bucket{method="work"}`},
			"start": {now.Add(-time.Hour).Format(time.RFC3339)}, "end": {now.Add(time.Hour).Format(time.RFC3339)},
		}, &got)
		want := map[string]string{"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
		if diff := cmp.Diff(want, got.Data[0].Exemplars[0].Labels); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
