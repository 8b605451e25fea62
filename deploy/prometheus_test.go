//go:build linux

package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ruleFile is the file of rules.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Record      string            `yaml:"record"`
			Expr        string            `yaml:"expr"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func rules(t *testing.T) ruleFile {
	t.Helper()
	var f ruleFile
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/rules.yml")), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPromtoolTakesTheRulesAndTheConfiguration(t *testing.T) {
	promtool := find(t, "promtool")
	output(t, promtool, "check", "rules", "--lint=all", "--lint-fatal", "prometheus/rules.yml")
	output(t, promtool, "check", "config", "--lint=all", "--lint-fatal", "prometheus/prometheus.yml")
	// Some builds of promtool know nothing of Kubernetes.
	text := regexp.MustCompile(`(?m)^    kubernetes_sd_configs:\n(      .*\n)+`).
		ReplaceAllString(read(t, "prometheus/prometheus-kubernetes.yml"), "    static_configs: [{targets: [\"127.0.0.1:9\"]}]\n")
	output(t, promtool, "check", "config", "--syntax-only", write(t, filepath.Join(t.TempDir(), "prometheus.yml"), text))
}

func TestEveryAlertFiresOnItsFaultAndOnNoOther(t *testing.T) {
	output(t, find(t, "promtool"), "test", "rules", "prometheus/rules_test.yml")
	tested, page := read(t, "prometheus/rules_test.yml"), read(t, "prometheus/README.md")
	alerts := 0
	for _, group := range rules(t).Groups {
		for _, r := range group.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
			if !strings.Contains(tested, `alertname="`+r.Alert+`",severity="`+r.Labels["severity"]+`"`) {
				t.Errorf("rules_test.yml does not let %s fire", r.Alert)
			}
			if !strings.Contains(page, "\n## "+r.Alert+"\n") {
				t.Errorf("README.md does not say what to do about %s", r.Alert)
			}
			want := "https://github.com/vgirpc/vgirpc-go/blob/main/deploy/prometheus/README.md#" + strings.ToLower(r.Alert)
			if r.Annotations["runbook_url"] != want || r.Annotations["summary"] == "" {
				t.Errorf("%s has annotations %v, want a summary and %s", r.Alert, r.Annotations, want)
			}
		}
	}
	if headings := strings.Count(page, "\n## Vgi"); headings != alerts || alerts == 0 {
		t.Errorf("README.md is about %d alerts, and there are %d", headings, alerts)
	}
}

// exposed are the metrics that a worker shows, each with its labels.
func exposed(text string) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	sample := regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="`)
	for _, match := range sample.FindAllStringSubmatch(text, -1) {
		if out[match[1]] == nil {
			out[match[1]] = map[string]bool{"job": true, "instance": true}
		}
		for _, l := range label.FindAllStringSubmatch(match[2], -1) {
			out[match[1]][l[1]] = true
		}
	}
	// Prometheus makes these itself.
	out["up"] = map[string]bool{"job": true, "instance": true}
	out["ALERTS"] = map[string]bool{"job": true, "alertname": true, "alertstate": true}
	return out
}

// checkQuery finds what a query asks for that nothing shows. records are names that
// rules make.
func checkQuery(query string, metrics map[string]map[string]bool, records map[string]bool) (errs []error) {
	metric := regexp.MustCompile(`(?:^|[^\w:"$.])((?:vgi_rpc|process|go)_\w+|vgi_rpc:[\w:]+|up|ALERTS)\b(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`(\w+)(=~|!=|=|!~)"([^"]*)"`)
	found := metric.FindAllStringSubmatch(query, -1)
	if len(found) == 0 && !strings.Contains(query, "__name__") {
		errs = append(errs, errors.New("no metric"))
	}
	for _, match := range found {
		labels := metrics[match[1]]
		if labels == nil && !records[match[1]] {
			errs = append(errs, fmt.Errorf("no worker shows %s", match[1]))
			continue
		}
		for _, m := range matcher.FindAllStringSubmatch(match[2], -1) {
			if labels != nil && !labels[m[1]] {
				errs = append(errs, fmt.Errorf("%s has no label %s", match[1], m[1]))
			}
			for value := range strings.SplitSeq(m[3], "|") {
				if m[1] == "code" && value != "OK" && !vgirpc.Code(value).Valid() {
					errs = append(errs, fmt.Errorf("there is no code %s", value))
				}
			}
		}
	}
	return errs
}

// reasons are those that the rules know.
var reasons = []vgirpc.RefusedReason{
	vgirpc.RefusedBusy, vgirpc.RefusedNotServing, vgirpc.RefusedAdmissionTimeout, vgirpc.RefusedAuthUnavailable, vgirpc.RefusedAuthFailed,
	vgirpc.RefusedInvalidCredential, vgirpc.RefusedExpiredCredential, vgirpc.RefusedUnauthorized, vgirpc.RefusedProxyRequired,
	vgirpc.RefusedHandshake, vgirpc.RefusedStreamToken, vgirpc.RefusedSession,
}

func TestTheRulesAskForWhatWorkersShow(t *testing.T) {
	w := startFaulty(t)
	w.everything(t)
	metrics, records := exposed(w.figures(t)), map[string]bool{}
	file := rules(t)
	known := map[string]bool{}
	for _, r := range reasons {
		known[string(r)] = true
	}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			records[r.Record] = true
		}
	}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			for _, err := range checkQuery(r.Expr, metrics, records) {
				t.Errorf("%s%s: %v", r.Alert, r.Record, err)
			}
			for _, m := range regexp.MustCompile(`reason=~?"([^"]*)"`).FindAllStringSubmatch(r.Expr, -1) {
				for reason := range strings.SplitSeq(m[1], "|") {
					if !known[reason] {
						t.Errorf("%s: there is no reason %s", r.Alert, reason)
					}
				}
			}
		}
	}
	// The one that names two metrics by a pattern.
	for _, name := range []string{"vgi_rpc_external_uploads_total", "vgi_rpc_external_fetches_total"} {
		if !metrics[name]["result"] {
			t.Errorf("no worker shows %s with the label result", name)
		}
	}
	// A horizontal pod autoscaler and its adapter ask for one as well.
	for _, path := range []string{"kubernetes/horizontalpodautoscaler.yaml", "kubernetes/prometheus-adapter.yaml"} {
		for _, name := range regexp.MustCompile(`vgi_rpc_\w+`).FindAllString(read(t, path), -1) {
			if metrics[name] == nil {
				t.Errorf("%s: no worker shows %s", path, name)
			}
		}
	}
}

// A prometheus is one that scrapes a worker, with the rules of this directory in
// which a minute is a second.
type prometheus struct {
	url    string
	alerts chan alert // that it has sent
}

type alert struct {
	Labels map[string]string `json:"labels"`
}

// startPrometheus runs Prometheus until the test ends.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	path, dir := find(t, "prometheus"), t.TempDir()
	p := &prometheus{alerts: make(chan alert, 1000)}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var all []alert
		// Prometheus may be killed while it sends.
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		for _, a := range all {
			select {
			case p.alerts <- a:
			default: // they are sent again
			}
		}
	}))
	t.Cleanup(receiver.Close)
	minute := regexp.MustCompile(`(\[|for: )(\d+)m\b`)
	write(t, filepath.Join(dir, "rules.yml"), strings.ReplaceAll(minute.ReplaceAllString(read(t, "prometheus/rules.yml"), "${1}${2}s"), "[1h]", "[60s]"))
	config := strings.NewReplacer(
		"_interval: 15s", "_interval: 250ms", `"127.0.0.1:9201", "127.0.0.1:9202"`, `"`+target+`"`,
		"127.0.0.1:9093", strings.TrimPrefix(receiver.URL, "http://"),
	).Replace(read(t, "prometheus/prometheus.yml"))
	file := write(t, filepath.Join(dir, "prometheus.yml"), config)
	listen := "127.0.0.1:" + freePort(t)
	p.url = "http://" + listen
	start(t, exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--rules.alert.resend-delay=1s", "--enable-feature=exemplar-storage"))
	poll(t, "Prometheus is ready", func(ctx context.Context) error { return get(ctx, p.url+"/-/ready", nil) })
	return p
}

// query is the first value of an instant query, as text.
func (p *prometheus) query(ctx context.Context, expr string) (value string, err error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	err = get(ctx, p.url+"/api/v1/query?query="+url.QueryEscape(expr), func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&answer)
	})
	if err != nil || len(answer.Data.Result) == 0 {
		return "", errors.Join(err, fmt.Errorf("nothing answers %s", expr))
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
}

// heard takes what was sent so far, and reports whether an alert is among it.
func (p *prometheus) heard(labels map[string]string) error {
	for {
		select {
		case a := <-p.alerts:
			matches := true
			for name, value := range labels {
				matches = matches && a.Labels[name] == value
			}
			if matches {
				return nil
			}
		default:
			return fmt.Errorf("no alert has %v", labels)
		}
	}
}

func TestAFaultMakesAnAlertFire(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for Prometheus to ask several times")
	}
	w := startFaulty(t)
	p := startPrometheus(t, w.admin)
	errorsFiring := map[string]string{"alertname": "VgiServerErrors", "protocol": "test.Faulty.v1", "severity": "critical"}

	poll(t, "the rules count calls that succeed", func(ctx context.Context) error {
		if err := w.work(ctx, WorkParams{}); err != nil {
			return err
		}
		value, err := p.query(ctx, `vgi_rpc:calls:rate5m{method="work"} > 0`)
		if err == nil && value == "0" {
			err = errors.New("none was counted")
		}
		return err
	})
	if ratio, err := p.query(t.Context(), "vgi_rpc:server_errors:ratio_rate5m or vector(0)"); err != nil || ratio != "0" {
		t.Errorf("the ratio of errors is %s before there was one: %v", ratio, err)
	}
	if err := p.heard(errorsFiring); err == nil {
		t.Error("the alert has fired before the fault")
	}

	poll(t, "the alert of the fault has reached who hears of alerts", func(ctx context.Context) error {
		return errors.Join(w.work(ctx, WorkParams{Fail: true}), p.heard(errorsFiring))
	})

	w.kill()
	poll(t, "the alert of the dead worker has, too", func(context.Context) error {
		return p.heard(map[string]string{"alertname": "VgiWorkerDown", "instance": w.admin})
	})
}

// A panel is one of a dashboard.
type panel struct {
	Title   string `json:"title"`
	GridPos struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
	} `json:"gridPos"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// A dashboard is what the tests look at of one of Grafana.
type dashboard struct {
	Panels      []panel `json:"panels"`
	Annotations struct {
		List []struct {
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

func TestEveryQueryOfTheDashboardAsksForWhatWorkersShow(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/workers.json")), &d); err != nil {
		t.Fatal(err)
	}
	w := startFaulty(t)
	w.everything(t)
	metrics := exposed(w.figures(t))
	queries := map[string]string{}
	for _, p := range d.Panels {
		for i, target := range p.Targets {
			queries[fmt.Sprintf("%s, query %d", p.Title, i+1)] = target.Expr
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %s is at %+v, and a row is 24 wide", p.Title, p.GridPos)
		}
	}
	for _, a := range d.Annotations.List {
		queries["annotation"] = a.Expr
	}
	variables := regexp.MustCompile(`\$(__rate_interval|__range|__interval|job|instance|protocol|method)`)
	plain := func(query string) string {
		return variables.ReplaceAllStringFunc(query, func(v string) string {
			if strings.HasPrefix(v, "$__") {
				return "1m"
			}
			return ".*"
		})
	}
	// promtool has no way to read a query but as a rule.
	var all strings.Builder
	all.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for name, query := range queries {
		n++
		for _, err := range checkQuery(plain(query), metrics, nil) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(plain(query), "$") {
			t.Errorf("%s: %s: there is no such variable", name, query)
		}
		fmt.Fprintf(&all, "  - {record: \"dashboard:query:%d\", expr: %q}\n", n, plain(query))
	}
	for _, v := range d.Templating.List {
		if v.Definition == "" {
			continue
		}
		match := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if match == nil {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
			continue
		}
		name, _, _ := strings.Cut(match[1], "{")
		if !metrics[name][match[2]] {
			t.Errorf("variable %s: no worker shows %s with the label %s", v.Name, name, match[2])
		}
	}
	if n < 30 {
		t.Errorf("%d queries: the dashboard has more", n)
	}
	output(t, find(t, "promtool"), "check", "rules", "--lint=none", write(t, filepath.Join(t.TempDir(), "rules.yml"), all.String()))
}
