package gateways_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// productionDir is where production has built its program, until TestMain removes it.
var productionDir atomic.Pointer[string]

// production builds the program that the image runs, once.
var production = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vgi-production")
	if err != nil {
		return "", err
	}
	productionDir.Store(&dir)
	path := filepath.Join(dir, "worker")
	if out, err := exec.Command("go", "build", "-o", path, "../../examples/production").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the worker: %w\n%s", err, out)
	}
	return path, nil
})

// removeProduction removes it.
func removeProduction() {
	if dir := productionDir.Load(); dir != nil {
		_ = os.RemoveAll(*dir)
	}
}

// An instance is a replica of the production worker: one process after the other
// on one port.
type instance struct {
	program     string
	dir         string
	port, admin int
	output      lockedBuffer
	process     chan *os.Process // of one element: the current one, which ends with the test
}

// startInstance runs the worker until the test ends.
func startInstance(t *testing.T) *instance {
	t.Helper()
	program, err := production()
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{program: program, dir: t.TempDir(), port: freeport.Port(t), admin: freeport.Port(t), process: make(chan *os.Process, 1)}
	t.Cleanup(func() {
		p := <-i.process
		_ = p.Kill()
		_, _ = p.Wait()
		if t.Failed() {
			t.Logf("output of the replica on port %d:\n%s", i.port, i.output.tail(8<<10))
		}
	})
	i.process <- i.start(t)
	i.await(t)
	return i
}

// start runs a process on the replica's port.
func (i *instance) start(t *testing.T) *os.Process {
	t.Helper()
	cmd := exec.Command(i.program,
		"--http", strconv.Itoa(i.port), "--token-key", tokenKey, "--replicas", "2", "--access-log", filepath.Join(i.dir, "{pid}.log"),
		"--admin", strconv.Itoa(i.admin), "--drain-delay", "3", "--drain-timeout", "20")
	cmd.Stdout, cmd.Stderr = &i.output, &i.output
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process
}

// url is where the replica is reached without the gateway.
func (i *instance) url() string { return "http://127.0.0.1:" + strconv.Itoa(i.port) }

// await waits until the replica answers.
func (i *instance) await(t *testing.T) {
	t.Helper()
	poll(t, "the replica answers", func(ctx context.Context) bool { return health(ctx, i.url()) != "" })
}

// served are the processes of the replica that have served calls, by their logs.
func (i *instance) served(t *testing.T) (pids []int) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(i.dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".log"))
		if err == nil && bytes.Contains(text, []byte(`"convert"`)) && bytes.Contains(text, []byte(`"balance"`)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// A restart replaces the process of a replica, as an operator does it.
type restart func(t *testing.T, i *instance)

// handOver starts the program anew with the sockets of the old process.
func handOver(t *testing.T, i *instance) {
	t.Helper()
	before := <-i.process
	i.process <- before
	if err := before.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	_, err := before.Wait()
	if err != nil {
		t.Fatal(err)
	}
	<-i.process
	after := i.successor(t, before.Pid)
	i.process <- after
}

// successor is the process that has taken over from one that has ended.
func (i *instance) successor(t *testing.T, before int) *os.Process {
	t.Helper()
	var found *os.Process
	poll(t, "another process has served calls", func(context.Context) bool {
		for _, pid := range i.served(t) {
			if pid != before && syscall.Kill(pid, 0) == nil {
				p, err := os.FindProcess(pid)
				found = p
				return err == nil
			}
		}
		return false
	})
	return found
}

// endAndStart tells the process to end, waits until it has, and starts another.
// The gateway learns from its health check that it must not send calls any more.
func endAndStart(t *testing.T, i *instance) {
	t.Helper()
	before := <-i.process
	if err := before.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	state, err := before.Wait()
	if err != nil || !state.Success() {
		t.Errorf("the process ended with %v, %v", state, err)
	}
	i.process <- i.start(t)
	i.await(t)
}

// An edit of a configuration replaces a text, wherever it stands.
type edit struct{ from, to string }

// readiness makes a gateway ask the admin listeners of its replicas, as
// docs/scale-out.md says, and four times as often, so that a test need not wait. nginx
// asks nobody.
func readiness(t *testing.T, gateway string, config []byte, replicas []*instance) []byte {
	t.Helper()
	page, err := os.ReadFile("../../docs/scale-out.md")
	if err != nil {
		t.Fatal(err)
	}
	said := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindSubmatch(page)
		if found == nil {
			t.Fatalf("docs/scale-out.md has nothing like %s", pattern)
		}
		return string(found[1])
	}
	var edits []edit
	switch gateway {
	case "haproxy":
		edits = []edit{
			{"option httpchk GET /health", said("(?s)```\n    (option httpchk\n.*?)\n```")},
			{"check inter 1s ", "check inter 250ms "},
		}
		for n, i := range replicas {
			server := fmt.Sprintf("server r%d 127.0.0.1:%d", n+1, i.port)
			edits = append(edits, edit{server, server + " port " + strconv.Itoa(i.admin)})
		}
	case "envoy":
		edits = []edit{
			{"http_health_check: { path: /health }", said("`(http_health_check: [^`]*)`")},
			{" interval: 1s", " interval: 0.25s"},
			{"no_traffic_interval: 1s", "no_traffic_interval: 0.25s"},
		}
		port := said("`(health_check_config: [^`]*)`")
		for _, i := range replicas {
			address := fmt.Sprintf("address: { socket_address: { address: 127.0.0.1, port_value: %d } }", i.port)
			edits = append(edits, edit{address, address + ", " + strings.Replace(port, "9201", strconv.Itoa(i.admin), 1)})
		}
	}
	text := string(config)
	for _, e := range edits {
		if !strings.Contains(text, e.from) {
			t.Fatalf("the configuration of %s has no %q", gateway, e.from)
		}
		text = strings.ReplaceAll(text, e.from, e.to)
	}
	return []byte(text)
}

// Two replicas behind a gateway are restarted one after the other while callers
// call: unary, producers and exchanges, whose turns go to whichever replica is
// next.
func TestARollingRestartFailsNoCall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		gateway string
		restart restart
	}{
		{"HAProxy, which asks whether a replica is ready: the replica ends, and is started again", "haproxy", endAndStart},
		{"Envoy, which asks as well", "envoy", endAndStart},
		{"nginx, which does not ask: the sockets are handed over", "nginx", handOver},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := &gateways[slices.IndexFunc(gateways, func(g gateway) bool { return g.name == tt.gateway })]
			g.find(t)
			replicas := []*instance{startInstance(t), startInstance(t)}
			base := g.start(t, replicas[0].port, replicas[1].port, func(config []byte) []byte {
				return readiness(t, g.name, config, replicas)
			})
			l := startLoad(t, base, func(caller int, kind string, err error) {
				t.Errorf("%s of caller %d failed: %v", kind, caller, err)
			})
			for n, i := range replicas {
				poll(t, "the replica serves calls", func(context.Context) bool { return len(i.served(t)) == 1 })
				tt.restart(t, i)
				poll(t, "its next process serves calls", func(context.Context) bool { return len(i.served(t)) == 2 || t.Failed() })
				said := func() string { return i.output.tail(1 << 20) }
				// What a process wrote may come after its end.
				poll(t, "it has said that it has drained", func(context.Context) bool { return strings.Contains(said(), "cut=") })
				if drained := strings.Count(said(), "msg=drained "); drained != 1 || !strings.Contains(said(), "cut=0") {
					t.Errorf("replica %d said %d times that it has drained, or that calls were cut", n+1, drained)
				}
			}
			l.stop()
			for kind, n := range l.counts() {
				if n == 0 {
					t.Errorf("no %s was called", kinds[kind].name)
				}
			}
			t.Logf("calls: %v, of %d requests", l.counts(), l.requests())
		})
	}
}

// One replica is killed while each caller has a call there.
func TestAKilledReplicaFailsTheCallsInFlightOnItAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nginx", "haproxy", "envoy", "caddy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateways[slices.IndexFunc(gateways, func(g gateway) bool { return g.name == name })]
			g.find(t)
			stays, goes := startInstance(t), startInstance(t)
			base := g.start(t, stays.port, goes.port)

			var mu sync.Mutex
			failures := map[int][]error{}
			var gone chan struct{} // closed when the replica is
			l := startLoad(t, base, func(caller int, _ string, err error) {
				mu.Lock()
				failures[caller] = append(failures[caller], err)
				wait := gone
				mu.Unlock()
				select {
				case <-wait: // what is sent after this is sent to a gateway whose replica is gone
				case <-t.Context().Done():
				}
			})
			failed := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(failures)
			}
			// On a slow machine it may be the gateway that nobody gets an answer from, and
			// no call is at the replica.
			for tries := 1; failed() == 0 && tries <= 5; tries++ {
				if tries > 1 {
					<-goes.process
					goes.process <- goes.start(t)
				}
				poll(t, "both replicas serve calls", func(context.Context) bool {
					return len(stays.served(t)) == 1 && len(goes.served(t)) == tries
				})
				mu.Lock()
				gone = make(chan struct{})
				mu.Unlock()
				p := <-goes.process
				goes.process <- p
				if err := p.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				// Whoever is sent there waits there, until everybody does.
				l.awaitStuck(t)
				if failed() > 0 {
					t.Errorf("calls failed before: %v", failures)
				}
				before := l.counts()
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
				if _, err := p.Wait(); err != nil {
					t.Fatal(err)
				}
				close(gone)
				poll(t, "callers call again", func(context.Context) bool {
					for kind, n := range l.counts() {
						if n < before[kind]+20 {
							return false
						}
					}
					return true
				})
			}
			l.stop()
			if len(failures) == 0 {
				t.Error("no call was in flight on the replica")
			}
			for caller, errs := range failures {
				if len(errs) > 1 {
					t.Errorf("caller %d had one call in flight, and these failed: %v", caller, errs)
				}
				typed, ok := errors.AsType[*vgirpc.Error](errs[0])
				if !ok || typed.Code != vgirpc.Unavailable || !typed.Retryable() || vgirpc.IsRemote(errs[0]) {
					t.Errorf("caller %d: %T %v: want one of code UNAVAILABLE that may be retried and that no server said", caller, errs[0], errs[0])
				}
			}
			t.Logf("%d of %d callers lost a call", len(failures), callers)
		})
	}
}
