package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/conformance"
)

const (
	roleVariable = "VGI_TEST_ROLE"
	roleWorker   = "worker"
	roleCommand  = "vgi"
)

// TestMain is a worker, or the command itself, when the tests start this binary
// as one.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleWorker:
		os.Exit(conformance.Main(context.Background(), os.Args[1:]))
	case roleCommand:
		main()
		return
	}
	completionTime = time.Minute
	// The workers that the command starts for stdio inherit the environment.
	if err := os.Setenv(roleVariable, roleWorker); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// stdio is the URL of a worker process.
func stdio() string { return "stdio:'" + os.Args[0] + "'" }

// serve starts a worker that listens, and returns its URL.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // interrupted
		if t.Failed() {
			t.Logf("the worker's standard error:\n%s", log)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("the worker announces nothing:", err)
	}
	kind, address, _ := strings.Cut(strings.TrimSpace(line), ":")
	switch kind {
	case "PORT":
		return "http://127.0.0.1:" + address
	case "UNIX", "TCP":
		return strings.ToLower(kind) + ":" + address
	}
	t.Fatalf("the worker announces %q", line)
	return ""
}

// socket is a path for a socket, short enough for every system.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vgi") //nolint:usetesting // its name would be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// outcome is what became of a command line.
type outcome struct {
	status      int
	out, errors string
}

// vgi runs a command line.
func vgi(t *testing.T, args ...string) outcome {
	t.Helper()
	return vgiWith(t, nil, args...)
}

// vgiWith runs a command line with standard input.
func vgiWith(t *testing.T, in io.Reader, args ...string) outcome {
	t.Helper()
	if in == nil {
		in = strings.NewReader("")
	}
	var out, errs bytes.Buffer
	status := run(t.Context(), args, streams{in: in, out: &out, err: &errs})
	return outcome{status, out.String(), errs.String()}
}

// file writes a file for a test.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheProcessEndsWithTheStatus(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct {
		name string
		args []string
		want int
		out  string
	}{
		{"a call that goes well", []string{"call", url, "add_floats", "a=1", "b=2"}, 0, "3\n"},
		{"a call that fails", []string{"call", url, "raise_value_error", "message=no"}, 66, ""},
		{"a command that makes no sense", []string{"cal"}, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], tt.args...)
			cmd.Env = append(os.Environ(), roleVariable+"="+roleCommand)
			out, err := cmd.Output()
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status = exit.ExitCode()
			}
			if status != tt.want || string(out) != tt.out {
				t.Errorf("%v: status %d, output %q", err, status, out)
			}
		})
	}
}
