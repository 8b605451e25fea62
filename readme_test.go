package vgirpcgo_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheReadmeShowsCodeThatCompiles holds every Go block of the README against
// the examples of package vgirpc, which run as tests.
func TestTheReadmeShowsCodeThatCompiles(t *testing.T) {
	readme, code := read(t, "README.md"), read(t, "vgirpc/example_test.go")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d blocks of Go in the README", len(blocks))
	}
	for _, block := range blocks {
		for part := range strings.SplitSeq(block[1], "\n\n") {
			if !strings.Contains(code, strings.TrimRight(part, "\n")) {
				t.Errorf("the examples do not have this:\n%s", part)
			}
		}
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	const most = 800
	if n := len(strings.Fields(read(t, "README.md"))); n > most {
		t.Errorf("%d words: at most %d", n, most)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
