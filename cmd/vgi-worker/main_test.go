package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

const roleVariable = "VGI_WORKER_TEST_ROLE"

// TestMain is the command itself when the tests start this binary as one.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"=1")
	return cmd
}

func TestTheDemoServesItsThreeMethods(t *testing.T) {
	ctx := t.Context()
	demo := command(t, "demo")
	c, err := subprocess.New(ctx, subprocess.Options{Command: demo.Args, Env: demo.Env}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()

	if sum, err := Add.Call(ctx, c, AddParams{A: 1, B: 2}); sum != 3 || err != nil {
		t.Errorf("1 + 2 is %v, %v", sum, err)
	}

	numbers, err := Count.Open(ctx, c, CountParams{N: 2500})
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for rows, err := range numbers.All() {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(rows))
		if last := rows[len(rows)-1]; last.Square != last.Number*last.Number {
			t.Errorf("row %+v", last)
		}
	}
	if diff := cmp.Diff([]int{1000, 1000, 500}, sizes); diff != "" {
		t.Errorf("rows of each batch (-want +got):\n%s", diff)
	}
	refused, err := Count.Open(ctx, c, CountParams{N: -1})
	if err != nil {
		t.Fatal(err)
	}
	for rows, err := range refused.All() {
		if vgirpc.CodeOf(err) != vgirpc.InvalidArgument {
			t.Errorf("counting to -1 gives %v, %v", rows, err)
		}
	}

	scaled, err := Scale.Open(ctx, c, ScaleParams{Factor: 2})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := scaled.Exchange(ctx, ScaleRow{1.5}, ScaleRow{-2})
	if diff := cmp.Diff([]ScaleRow{{3}, {-4}}, rows); diff != "" || err != nil {
		t.Errorf("%v, scaled (-want +got):\n%s", err, diff)
	}
	if err := scaled.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheDemoKnowsNoFixtureFlags(t *testing.T) {
	for _, flag := range []string{"--pipe", "--hosted-reverse", "--transport-kind-probe", "--fake-storage=x"} {
		t.Run(flag, func(t *testing.T) {
			cmd := command(t, "demo", flag)
			stderr := new(bytes.Buffer)
			cmd.Stderr = stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(stderr.String(), "unknown flag") {
				t.Errorf("%v: %s", err, stderr)
			}
		})
	}
}

func TestWithoutDemoItIsTheConformanceWorker(t *testing.T) {
	out, err := command(t, "--help").Output()
	if err != nil || !strings.Contains(string(out), "ConformanceService 2.0.0") {
		t.Errorf("%v: %s", err, out)
	}
}
