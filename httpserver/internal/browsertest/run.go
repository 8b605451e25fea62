package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// playwright is what drives the browser: a Node package without a browser of
// its own.
const playwright = "playwright-core@1.65.1"

// TB is what is needed of a *testing.T.
type TB interface {
	Helper()
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// Step is one thing that a script tried.
type Step struct {
	Name    string `json:"name"`
	Failure string `json:"failure"` // "" when it went well
}

// Run runs a script to its end and returns its steps, of which there is at least
// one. The script gets config as JSON, and in it what drives the browser:
// chromium, playwright, screenshots (a directory that git ignores) and sandbox.
// root is the module's directory.
//
// Where there is no Chromium or Node the test is skipped. In CI they are
// installed, and it fails.
func Run(t TB, root, script string, config map[string]any) []Step {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	node := program(t, "node")
	full := maps.Clone(config)
	full["chromium"] = program(t, "chromium", "chromium-browser", "google-chrome")
	full["playwright"] = installPlaywright(t, filepath.Join(root, ".cache", "npm"))
	full["screenshots"] = filepath.Join(root, ".cache", "screenshots")
	full["sandbox"] = os.Getuid() != 0 // Chromium's refuses to run as root
	arg, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, script, string(arg))
	var output, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &trouble
	runErr := cmd.Run()
	var steps []Step
	for line := range strings.Lines(output.String()) {
		var step Step
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("the script said %q", line)
		}
		steps = append(steps, step)
	}
	if runErr != nil {
		t.Fatalf("browser script: %v\n%s%s", runErr, output.String(), trouble.String())
	}
	if len(steps) == 0 {
		t.Fatal("the browser script tried nothing")
	}
	return steps
}

// program finds a program by one of its names.
func program(t TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	giveUp(t, "needs "+strings.Join(names, " or ")+" on the PATH")
	return ""
}

// installPlaywright returns the directory of playwright, installing it below
// prefix where it is absent.
func installPlaywright(t TB, prefix string) string {
	t.Helper()
	dir := filepath.Join(prefix, "node_modules", "playwright-core")
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		return dir
	}
	npm := program(t, "npm")
	if err := os.MkdirAll(prefix, 0o750); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), npm, "install", "--prefix", prefix, "--no-audit", "--no-fund", playwright)
	if out, err := cmd.CombinedOutput(); err != nil {
		giveUp(t, "cannot install "+playwright+": "+err.Error()+"\n"+string(out))
	}
	return dir
}

// giveUp skips the test, or in CI fails it.
func giveUp(t TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
