package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/examples/production/ledger"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// asServer makes the test binary the server.
const asServer = "PRODUCTION_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
	}
	os.Exit(m.Run())
}

// run runs the server with a command line.
func run(t *testing.T, args ...string) (said string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asServer+"=1")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestHelpHasTheFlagsOfEveryOption(t *testing.T) {
	said, status := run(t, "--help")
	if status != 0 {
		t.Errorf("status %d", status)
	}
	for _, flag := range []string{
		"--config", "--access-log", "--drain-delay", "--http", "--token-key-file", "--storage", "--handshake", "--oauth-issuer",
		"--jwt-issuer", "--proxy-protocol", "--admin", "--otel", "--sentry-dsn-file",
	} {
		if !strings.Contains(said, " "+flag) {
			t.Errorf("no %s", flag)
		}
	}
}

func TestCheckTellsAConfigurationThatMakesSenseFromOneThatDoesNot(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		status       int
		says         string
	}{
		{"everything on", "http: 0\nadmin: 9201\nstorage: mem://\naccess-log: LOG\ndrain-delay: 5\nsticky-ttl: 60\n", 0, ""},
		{"a setting that is not there", "http: 0\nadmim: 9201\n", 2, "worker.yaml:2: admim"},
		{"a flag of a listener that is not there", "http: 0\nadmin-public: true\n", 2, "worker.yaml:2: admin-public"},
		{"replicas without a key in common", "http: 0\nreplicas: 2\n", 2, "key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "worker.yaml")
			if err := os.WriteFile(path, []byte(strings.Replace(tt.config, "LOG", filepath.Join(dir, "log"), 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			said, status := run(t, "--config", path, "--check")
			if status != tt.status || !strings.Contains(said, tt.says) {
				t.Errorf("status %d, want %d, and %q in:\n%s", status, tt.status, tt.says, said)
			}
		})
	}
}

func TestTheServerAnswers(t *testing.T) {
	client, err := subprocess.New(t.Context(), subprocess.Options{
		Command: os.Args[:1], Env: append(os.Environ(), asServer+"=1"), Stderr: os.Stderr,
	}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	}()

	t.Run("converts", func(t *testing.T) {
		got, err := ledger.Convert.Call(t.Context(), client, ledger.ConvertParams{Amount: 21, Rate: 2})
		if err != nil || got != 42 {
			t.Errorf("answer %v, %v", got, err)
		}
	})

	t.Run("refuses a rate that is none", func(t *testing.T) {
		if _, err := ledger.Convert.Call(t.Context(), client, ledger.ConvertParams{}); vgirpc.CodeOf(err) != vgirpc.InvalidArgument {
			t.Errorf("%v: want INVALID_ARGUMENT", err)
		}
	})

	t.Run("streams entries", func(t *testing.T) {
		stream, err := ledger.Entries.Open(t.Context(), client, ledger.EntriesParams{Count: 3})
		if err != nil {
			t.Fatal(err)
		}
		var got []ledger.Entry
		for rows, err := range stream.All() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rows...)
		}
		if diff := cmp.Diff([]ledger.Entry{{Amount: 1}, {Amount: 2}, {Amount: 3}}, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})

	t.Run("keeps a balance", func(t *testing.T) {
		stream, err := ledger.Balance.Open(t.Context(), client, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		var got []ledger.Sum
		for _, in := range [][]ledger.Entry{{{Amount: 5}}, {{Amount: 7}, {Amount: -2}}} {
			rows, err := stream.Exchange(t.Context(), in...)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rows...)
		}
		if diff := cmp.Diff([]ledger.Sum{{Total: 5}, {Total: 12}, {Total: 10}}, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	})
}
