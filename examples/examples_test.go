// Package examples_test runs the examples, and holds what their pages show
// against what they are and what they print.
package examples_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// root is the directory that the commands of the pages are for.
const root = ".."

func TestExamplesPrintWhatTheirPagesSay(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		python     bool
	}{
		{"a tool outlives its worker", "tool/README.md", false},
		{"pandas and Polars read a table and call a function", "dataframes/README.md", true},
		{"DuckDB queries a table", "duckdb/README.md", true},
		{"a notebook runs without one", "notebook/README.md", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.python {
				needPython(t)
			}
			page := read(t, tt.page)
			if diff := cmp.Diff(only(t, page, "text"), run(t, only(t, page, "sh"))); diff != "" {
				t.Errorf("what it prints (-page +program):\n%s", diff)
			}
		})
	}
}

func TestThePagesOfTransportsShowProgramsThatRun(t *testing.T) {
	for _, tt := range []struct {
		page     string
		programs []string
	}{
		{"stdio.md", []string{"stdio"}},
		{"unix.md", []string{"unix"}},
		{"tcp.md", []string{"tcp", "tls"}},
		{"http.md", []string{"http"}},
		{"inproc.md", []string{"inproc"}},
		{"shm.md", []string{"shm"}},
	} {
		t.Run(tt.page, func(t *testing.T) {
			page := read(t, filepath.Join(root, "docs/transports", tt.page))
			var programs, commands, outputs []string
			for _, program := range tt.programs {
				programs = append(programs, read(t, filepath.Join("transports", program, "main.go")))
				command := "go run ./examples/transports/" + program + "\n"
				commands = append(commands, command)
				outputs = append(outputs, run(t, command))
			}
			for _, b := range []struct {
				language string
				want     []string
			}{{"go", programs}, {"sh", commands}, {"text", outputs}} {
				if diff := cmp.Diff(b.want, blocks(page, b.language)); diff != "" {
					t.Errorf("blocks of %s (-program +page):\n%s", b.language, diff)
				}
			}
		})
	}
}

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	pages, err := filepath.Glob(filepath.Join(root, "docs/transports/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	readmes, err := filepath.Glob("*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(append(pages, readmes...), "README.md")
	found := 0
	for _, page := range pages {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d links: the pages have more", found)
	}
}

// needPython makes the Python environment. Where there is no Python that it could be
// made with, the test is skipped, or fails where the variable CI is set.
func needPython(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bash", "setup-python.sh").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("examples/setup-python.sh: %v\n%s", err, out)
	default:
		t.Skipf("no Python environment for the examples: examples/setup-python.sh: %v\n%s", err, out)
	}
}

// run runs a command of a page and returns its standard output.
func run(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, stderr.String())
	}
	return string(out)
}

// blocks are the blocks of a page in one language.
func blocks(page, language string) []string {
	var found []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		found = append(found, match[1])
	}
	return found
}

// only is the one block of a page in a language.
func only(t *testing.T, page, language string) string {
	t.Helper()
	found := blocks(page, language)
	if len(found) != 1 {
		t.Fatalf("%d blocks of %s: want one", len(found), language)
	}
	return found[0]
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}
