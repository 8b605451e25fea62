package browsertest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/browsertest"
)

// outcome is how a test ends that cannot go on.
type outcome struct{ how, why string }

// fake is a test whose end can be looked at.
type fake struct {
	ctx context.Context
	end outcome
}

// Helper does nothing.
func (*fake) Helper() {}

// Context is that of the test that the fake stands in for.
func (f *fake) Context() context.Context { return f.ctx }

// Fatal ends the test.
func (f *fake) Fatal(args ...any) { f.stop("fatal", fmt.Sprint(args...)) }

// Fatalf ends the test.
func (f *fake) Fatalf(format string, args ...any) { f.stop("fatal", fmt.Sprintf(format, args...)) }

// Skip ends the test.
func (f *fake) Skip(args ...any) { f.stop("skip", fmt.Sprint(args...)) }

func (f *fake) stop(how, why string) {
	f.end = outcome{how, why}
	runtime.Goexit()
}

// run runs a script with a Node and a Chromium that are shell scripts: the
// former says what it is told to say.
func run(t *testing.T, node string) (steps []browsertest.Step, end outcome) {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"bin/chromium": "#!/bin/sh\n",
		"bin/node":     node,
		".cache/npm/node_modules/playwright-core/package.json": "{}",
	} {
		if text == "" {
			continue
		}
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(root, "bin"))
	f := &fake{ctx: t.Context()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		steps = browsertest.Run(f, root, "script.mjs", map[string]any{})
	}()
	<-done
	return steps, f.end
}

func TestWhatAScriptSaysAreItsSteps(t *testing.T) {
	const good = "#!/bin/sh\necho '{\"name\":\"a\"}'\necho '{\"name\":\"b\",\"failure\":\"no\"}'\n"
	for _, tt := range []struct {
		name, ci, node string
		steps          []browsertest.Step
		end            outcome
	}{
		{"steps that went well and that did not", "", good, []browsertest.Step{{Name: "a"}, {"b", "no"}}, outcome{}},
		{"without Node the test is skipped", "", "", nil, outcome{"skip", "needs node on the PATH"}},
		{"and in CI it fails", "true", "", nil, outcome{"fatal", "needs node on the PATH"}},
		{"a script that tries nothing", "", "#!/bin/sh\n", nil, outcome{"fatal", "the browser script tried nothing"}},
		{"a script that talks", "", "#!/bin/sh\necho hello\n", nil, outcome{"fatal", `the script said "hello\n"`}},
		{"a script that breaks off", "", good + "echo trouble >&2\nexit 3\n", nil, outcome{
			"fatal", "browser script: exit status 3\n{\"name\":\"a\"}\n{\"name\":\"b\",\"failure\":\"no\"}\ntrouble\n",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CI", tt.ci)
			steps, end := run(t, tt.node)
			if diff := cmp.Diff(tt.steps, steps); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.end, end, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
