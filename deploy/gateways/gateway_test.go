package gateways_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
)

// startLimit bounds the wait for a process to answer.
const startLimit = 30 * time.Second

// A gateway is one of the programs that the configurations are for.
type gateway struct {
	name   string
	config string
	// command starts the program at path, in a directory of its own.
	command func(path, dir, config string) *exec.Cmd
}

var gateways = []gateway{
	{"nginx", "nginx.conf", func(path, dir, config string) *exec.Cmd {
		directives := "daemon off;"
		if os.Geteuid() == 0 {
			directives += " user root;" // the directory of a test is its user's alone
		}
		return exec.Command(path, "-p", dir, "-e", "stderr", "-c", config, "-g", directives)
	}},
	{"haproxy", "haproxy.cfg", func(path, _, config string) *exec.Cmd {
		return exec.Command(path, "-db", "-f", config)
	}},
	{"envoy", "envoy.yaml", func(path, _, config string) *exec.Cmd {
		return exec.Command(path, "-c", config, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warn")
	}},
	{"caddy", "Caddyfile", func(path, dir, config string) *exec.Cmd {
		cmd := exec.Command(path, "run", "--config", config, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		return cmd
	}},
}

// setup installs the gateways, once, where a machine of the gate lacks one.
var setup = sync.OnceValue(func() error {
	out, err := exec.Command("./setup.sh").CombinedOutput()
	if err != nil {
		return fmt.Errorf("setup.sh: %w\n%s", err, out)
	}
	return nil
})

// find returns the program's path. Without the program the test is skipped for a
// contributor and fails in the gate, which sets CI.
func (g *gateway) find(t *testing.T) string {
	t.Helper()
	path, ok := g.look()
	if ok {
		return path
	}
	if os.Getenv("CI") == "" {
		t.Skipf("%s is not installed: run deploy/gateways/setup.sh", g.name)
	}
	if err := setup(); err != nil {
		t.Error(err)
	}
	if path, ok = g.look(); !ok {
		t.Fatalf("%s is not installed, and this is the gate", g.name)
	}
	return path
}

func (g *gateway) look() (string, bool) {
	dirs := append([]string{filepath.Join("..", "..", ".cache", "gateways", "bin")}, filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range append(dirs, "/usr/sbin", "/usr/local/sbin") {
		path, err := filepath.Abs(filepath.Join(dir, g.name))
		if err != nil {
			continue
		}
		if path, err = exec.LookPath(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// start runs the gateway in front of two replicas until the test ends, and returns
// its base URL once it answers for both. edits change the configuration.
func (g *gateway) start(t *testing.T, replica1, replica2 int, edits ...func(config []byte) []byte) string {
	t.Helper()
	path := g.find(t)
	dir := t.TempDir()
	port, admin := freeport.Port(t), freeport.Port(t)
	config := filepath.Join(dir, g.config)
	text := g.configure(t, map[string]int{"8080": port, "9901": admin, "9101": replica1, "9102": replica2})
	for _, edit := range edits {
		text = edit(text)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := g.command(path, dir, config)
	cmd.Dir = dir
	run(t, cmd)
	base := "http://127.0.0.1:" + strconv.Itoa(port)
	poll(t, g.name+" answers", func(ctx context.Context) bool { return health(ctx, base) != "" })
	return base
}

// configure replaces the placeholders, on the lines that are marked for it alone,
// and has checks wait: on a busy machine a replica that answers late is not dead.
// One that is dead refuses, and one that drains says so.
func (g *gateway) configure(t *testing.T, ports map[string]int) []byte {
	t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	text = checkTimeout.ReplaceAll(text, []byte("${1}30s"))
	pairs := make([]string, 0, 2*len(ports))
	for placeholder, port := range ports {
		pairs = append(pairs, placeholder, strconv.Itoa(port))
	}
	replace := strings.NewReplacer(pairs...)
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte("# EDIT")) {
			lines[i] = []byte(replace.Replace(string(line)))
		}
	}
	return bytes.Join(lines, nil)
}

// checkTimeout is the timeout of a check in the configurations that have one.
var checkTimeout = regexp.MustCompile(`(?m)^(\s*(?:timeout check|health_timeout|- timeout:) )1s$`)

// run starts cmd and stops it when the test ends. What it wrote is shown when the
// test failed.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var output lockedBuffer
	if cmd.Stdout == nil {
		cmd.Stdout = &output
	}
	cmd.Stderr = &output
	// A child that outlives the program would hold its output open.
	cmd.WaitDelay = 5 * time.Second
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		stop(cmd, exited)
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), output.tail(8<<10))
		}
	})
}

// A lockedBuffer takes the output of a process while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.buf.Bytes()
	return string(p[max(0, len(p)-n):])
}

// poll asks until ready says yes: other processes have no channel to tell it by.
func poll(t *testing.T, what string, ready func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// health returns the body of base's health check, or "" when there is none.
func health(ctx context.Context, base string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := send(ctx, http.MethodGet, base+"/health", nil, nil)
	if err != nil || a.status != http.StatusOK {
		return ""
	}
	return string(a.body)
}
