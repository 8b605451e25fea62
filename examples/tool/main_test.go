package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes the test binary the worker when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		main()
	}
	os.Exit(m.Run())
}

func TestTheToolOutlivesItsWorker(t *testing.T) {
	var stdout, stderr strings.Builder
	if err := run(t.Context(), &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	const want = `"one two": 2 words
"a text that nobody can read": the worker died with exit status 3, saying: this is too much for me
"one two three": 3 words
2 workers have answered
`
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	for _, line := range []string{`line="counting \"one two\""`, `line="this is too much for me"`, `line="counting \"one two three\""`} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("the worker's standard error lacks %s:\n%s", line, stderr.String())
		}
	}
}
