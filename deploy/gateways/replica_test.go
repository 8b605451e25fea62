package gateways_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
)

// workerCommand is what the tests start as a replica: VGI_TEST_WORKER, or
// cmd/vgi-worker built for them.
var workerCommand []string

func TestMain(m *testing.M) {
	if behind := os.Getenv(asWorker); behind != "" {
		serveWhoami(behind)
	}
	os.Exit(func() int {
		defer removeProduction()
		if workerCommand = strings.Fields(os.Getenv("VGI_TEST_WORKER")); len(workerCommand) > 0 {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "vgi-gateways")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary := filepath.Join(dir, "vgi-worker")
		build := exec.Command("go", "build", "-o", binary, "../../cmd/vgi-worker")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the worker: %v\n%s", err, out)
			return 1
		}
		workerCommand = []string{binary}
		return m.Run()
	}())
}

// tokenKey is the key that replicas share.
var tokenKey = hex.EncodeToString(bytes.Repeat([]byte{0x5a}, 32))

// A replica is one worker process on a port of its own.
type replica struct {
	id     string
	port   int
	log    string
	output lockedBuffer

	mu  sync.Mutex
	cmd *exec.Cmd
}

// startReplica runs a worker until the test ends.
func startReplica(t *testing.T, id string) *replica {
	t.Helper()
	r := &replica{id: id, port: freeport.Port(t), log: filepath.Join(t.TempDir(), id+".log")}
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("output of replica %s:\n%s", id, r.output.tail(8<<10))
		}
	})
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.await(t)
	return r
}

// start runs the worker on the replica's port.
func (r *replica) start() error {
	args := slices.Concat(workerCommand[1:], []string{
		"--http", strconv.Itoa(r.port), "--token-key", tokenKey, "--server-id", r.id, "--access-log", r.log,
	})
	cmd := exec.Command(workerCommand[0], args...)
	cmd.Stdout, cmd.Stderr = &r.output, &r.output
	dieWithParent(cmd)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cmd = cmd
	return cmd.Start()
}

// await waits until the worker answers itself, without the gateway.
func (r *replica) await(t *testing.T) {
	t.Helper()
	poll(t, "replica "+r.id+" answers", func(ctx context.Context) bool { return r.answers(health(ctx, r.url())) })
}

// answers reports whether a health check was answered by this replica.
func (r *replica) answers(body string) bool { return strings.Contains(body, `"`+r.id+`"`) }

func (r *replica) url() string { return "http://127.0.0.1:" + strconv.Itoa(r.port) }

// kill ends the worker with SIGKILL and waits until it is gone.
func (r *replica) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil || r.cmd.Process == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// served counts the calls and turns of a method that the replica logged.
func (r *replica) served(t *testing.T, method string) int {
	t.Helper()
	text, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(`"`+method+`"`)) {
			n++
		}
	}
	return n
}
