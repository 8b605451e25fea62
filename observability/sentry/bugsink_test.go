package sentry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/getsentry/sentry-go"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/observability/sentry"
)

// bugsink is a real server that takes what is sent to Sentry.
type bugsink struct {
	dir, bin   string
	base       string // URL
	token, dsn string
}

// bugsinkSettings end its configuration: it calls nobody, and does its work at
// once.
const bugsinkSettings = `
BUGSINK.update({"BASE_URL": "http://%[1]s", "PHONEHOME": False, "SINGLE_USER": True, "SINGLE_TEAM": True})
ALLOWED_HOSTS = ["127.0.0.1"]
SNAPPEA["TASK_ALWAYS_EAGER"] = True
SECURE_PROXY_SSL_HEADER = None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
USE_X_REAL_IP = False
`

// newBugsink starts one with an empty project.
func newBugsink(t *testing.T) *bugsink {
	t.Helper()
	bin, err := filepath.Abs("../../.cache/bugsink/bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "bugsink-manage")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: observability/setup.sh installs it", err)
		}
		t.Skipf("%v: observability/setup.sh installs it", err)
	}
	host, port := "127.0.0.1", strconv.Itoa(freeport.Port(t)) // Bugsink wants to know its own name beforehand
	address := net.JoinHostPort(host, port)
	b := &bugsink{dir: t.TempDir(), bin: bin, base: "http://" + address}
	b.run(t, "bugsink-create-conf", "--template=singleserver", "--host="+host, "--port="+port, "--base-dir="+b.dir, "-o", "bugsink_conf.py")
	conf := filepath.Join(b.dir, "bugsink_conf.py")
	text, err := os.ReadFile(conf)
	if err == nil {
		err = os.WriteFile(conf, fmt.Appendf(text, bugsinkSettings, address), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.run(t, "bugsink-manage", "migrate")
	b.run(t, "bugsink-manage", "migrate", "snappea", "--database=snappea")
	b.token = b.run(t, "bugsink-manage", "create_auth_token")
	b.dsn = b.run(t, "bugsink-manage", "shell", "-c", "from projects.models import Project; from teams.models import Team; "+
		"t,_=Team.objects.get_or_create(name='t'); print(Project.objects.create(name='p1',team=t).dsn)")
	b.serve(t, address)
	return b
}

func (b *bugsink) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, name), args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// run runs a command to its end, and returns the last line that it writes.
func (b *bugsink) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := b.command(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// serve starts the server, and waits until it answers.
func (b *bugsink) serve(t *testing.T, address string) {
	t.Helper()
	cmd := b.command(context.Background(), "gunicorn", "--no-control-socket", "--bind", address, "--workers", "1", "--threads", "4", "bugsink.wsgi")
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
		_ = log.Close()
	})
	b.poll(t, "/health/ready", func([]byte) bool { return true })
}

// poll asks until the answer is good.
func (b *bugsink) poll(t *testing.T, path string, good func(body []byte) bool) []byte {
	t.Helper()
	patience, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := b.get(patience, path)
		if err == nil && good(body) {
			return body
		}
		select {
		case <-tick.C:
		case <-patience.Done():
			log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
			t.Fatalf("%s: %v: %s\n%s", path, err, body, log)
		}
	}
}

func (b *bugsink) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

// results are what a page of the interface has.
func results(t *testing.T, body []byte) []map[string]any {
	t.Helper()
	var page struct {
		Results []map[string]any `json:"results"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return page.Results
}

func TestARealServerTakesAnEvent(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	b := newBugsink(t)
	r := newRig(t, sentry.Options{ServerID: "srv"}, func(o *sdk.ClientOptions) { o.Dsn = b.dsn })
	r.call(t.Context(), t, "internal")
	some := func(body []byte) bool { return strings.Contains(string(body), `"id"`) }
	issues := results(t, b.poll(t, "/api/canonical/0/issues/?project=1", some))
	if len(issues) != 1 {
		t.Fatalf("%d issues", len(issues))
	}
	events := results(t, b.poll(t, fmt.Sprintf("/api/canonical/0/events/?issue=%v", issues[0]["id"]), some))
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	event := string(b.poll(t, fmt.Sprintf("/api/canonical/0/events/%v/", events[0]["id"]), some))
	for _, part := range []string{
		`BrokenError`, `it broke`, `rpc fail`, `rpc.method_type`, `INTERNAL`, `"alice"`, `srv`, `"in_app":false`, `"function":"handle"`,
	} {
		if !strings.Contains(event, part) {
			t.Errorf("the event has no %s", part)
		}
	}
	if strings.Contains(event, "p4yl0ad") {
		t.Error("a parameter was sent")
	}
	if t.Failed() {
		t.Log(event)
	}
}
