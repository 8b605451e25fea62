//go:build linux

package deploy_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// unit is a copy of the service whose program is the one that the tests have.
func unit(t *testing.T, program string) string {
	t.Helper()
	text := read(t, "systemd/vgi-rpc.service")
	const here = "ExecStart=/usr/local/bin/vgi-rpc-worker "
	if !strings.Contains(text, here) {
		t.Fatalf("the service has no %q", here)
	}
	return strings.Replace(text, here, "ExecStart="+program+" ", 1)
}

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	analyze := find(t, "systemd-analyze")
	dir := t.TempDir()
	service := write(t, filepath.Join(dir, "vgi-rpc.service"), unit(t, worker(t)))
	socket := write(t, filepath.Join(dir, "vgi-rpc.socket"), read(t, "systemd/vgi-rpc.socket"))
	if said := output(t, analyze, "verify", "--man=no", service, socket); strings.Contains(said, dir) {
		t.Errorf("systemd has remarks:\n%s", said)
	}
}

func TestTheServiceIsHardened(t *testing.T) {
	analyze := find(t, "systemd-analyze")
	service := write(t, filepath.Join(t.TempDir(), "vgi-rpc.service"), unit(t, worker(t)))
	// Tenths; 100 is a service that may do everything.
	output(t, analyze, "security", "--offline=true", "--threshold=15", "--no-pager", service)
}

// seconds are the settings of a configuration file that are times.
func seconds(t *testing.T, config, name string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ *` + name + `: (\d+)`).FindStringSubmatch(config)
	if found == nil {
		t.Fatalf("the configuration does not set %s", name)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lastSteps is what a worker needs beside those flags to end, in seconds: --exit-timeout, and one
// (docs/operations.md), and defaultGrace --session-grace.
const (
	lastSteps    = 3
	defaultGrace = 2
)

func TestTheServiceWaitsForCallsInProgress(t *testing.T) {
	config := read(t, "systemd/worker.yaml")
	needs := seconds(t, config, "drain-delay") + seconds(t, config, "drain-timeout") + defaultGrace + lastSteps
	found := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(read(t, "systemd/vgi-rpc.service"))
	if stop, err := strconv.Atoi(found[1]); err != nil || stop < needs {
		t.Errorf("TimeoutStopSec is %s, and the worker may need %d s", found[1], needs)
	}
}

func TestTheWorkerUnderstandsTheFilesOfTheService(t *testing.T) {
	dir := t.TempDir()
	config := strings.ReplaceAll(read(t, "systemd/worker.yaml"), "/var/log/vgi-rpc", dir)
	key := write(t, filepath.Join(dir, "token-key"), strings.Repeat("5a", 32)+"\n")
	variable := regexp.MustCompile(`(?m)^Environment=(\w+)=%d/token-key$`).FindStringSubmatch(read(t, "systemd/vgi-rpc.service"))
	if variable == nil {
		t.Fatal("the service does not say where the key is")
	}
	check(t, config, variable[1]+"="+key)
}

// check lets the worker look at a configuration file. Names that nothing reads would
// be mistakes or warnings.
func check(t *testing.T, config string, env ...string) {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "worker.yaml"), config)
	cmd := exec.CommandContext(t.Context(), worker(t), "--config", path, "--check")
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "level=WARN") {
		t.Errorf("%v\n%s", err, out)
	}
}

// systemd-socket-activate opens a socket as a socket unit does, and starts the worker
// with it at the first connection.
func TestTheWorkerTakesTheSocketOfSystemd(t *testing.T) {
	activate := find(t, "systemd-socket-activate")
	socket := regexp.MustCompile(`(?m)^ListenStream=(\S+):(\d+)$`).FindStringSubmatch(read(t, "systemd/vgi-rpc.socket"))
	config := read(t, "systemd/worker.yaml")
	if port := seconds(t, config, "http"); socket[2] != strconv.Itoa(port) || !strings.Contains(config, "host: "+socket[1]+"\n") {
		t.Fatalf("the socket is %s, and the configuration has another", socket[0])
	}
	port := freePort(t)
	config = strings.NewReplacer("/var/log/vgi-rpc", t.TempDir(), socket[2], port, "9201", freePort(t)).Replace(config)
	path := write(t, filepath.Join(t.TempDir(), "worker.yaml"), config)
	key := write(t, filepath.Join(t.TempDir(), "token-key"), strings.Repeat("5a", 32))
	address := net.JoinHostPort("127.0.0.1", port)
	start(t, exec.Command(activate, "-l", address, "-E", "VGI_RPC_TOKEN_KEY_FILE="+key, worker(t), "--config", path))
	poll(t, "the worker answers", func(ctx context.Context) error { return get(ctx, "http://"+address+"/health", nil) })
}

// get asks for a page, and gives its body to read unless that is nil.
func get(ctx context.Context, url string, read func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if read == nil {
		return nil
	}
	return read(resp)
}
