package pages_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// playwright is what drives the browser: a Node package without a browser of
// its own.
const playwright = "playwright-core@1.65.1"

// TestInABrowser runs testdata/browser/pages.mjs in Chromium against the
// sample: it clicks through the pages, in light and dark and on a phone, and
// calls methods with the form. Screenshots go to .cache/screenshots.
func TestInABrowser(t *testing.T) {
	chromium := program(t, "chromium", "chromium-browser", "google-chrome")
	node := program(t, "node")
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	driver := installPlaywright(t, filepath.Join(root, ".cache", "npm"))
	shots := filepath.Join(root, ".cache", "screenshots")
	if err := os.MkdirAll(shots, 0o750); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(sampleSite(t))
	defer site.Close()
	config, err := json.Marshal(map[string]any{
		"url": site.URL, "chromium": chromium, "playwright": driver, "screenshots": shots, "markup": markup,
		"sandbox": os.Getuid() != 0, // Chromium's refuses to run as root
	})
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(root, "httpserver", "testdata", "browser", "pages.mjs")
	cmd := exec.CommandContext(t.Context(), node, script, string(config))
	var output, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &trouble
	runErr := cmd.Run()
	steps := 0
	for line := range strings.Lines(output.String()) {
		var step struct {
			Name    string `json:"name"`
			Failure string `json:"failure"`
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("the script said %q", line)
		}
		steps++
		t.Run(step.Name, func(t *testing.T) {
			if step.Failure != "" {
				t.Error(step.Failure)
			}
		})
	}
	if runErr != nil {
		t.Fatalf("browser script: %v\n%s", runErr, trouble.String())
	}
	if steps == 0 {
		t.Fatal("the browser script tried nothing")
	}
}

// program finds a program by one of its names. Without it the test is skipped,
// but in CI, where it is installed, fails.
func program(t *testing.T, names ...string) string {
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
func installPlaywright(t *testing.T, prefix string) string {
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

func giveUp(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
