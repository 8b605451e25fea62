//go:build linux

package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	for _, page := range []string{"README.md", "prometheus/README.md", "../docs/scale-out.md"} {
		text := read(t, page)
		links := link.FindAllStringSubmatch(text, -1)
		if len(links) < 3 {
			t.Errorf("%s has %d links", page, len(links))
		}
		for _, match := range links {
			target := filepath.Join(filepath.Dir(page), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if heading := strings.TrimPrefix(match[2], "#"); heading != "" && !hasHeading(read(t, target), heading) {
				t.Errorf("%s: %s has no heading %s", page, match[1], heading)
			}
		}
	}
}

// hasHeading reports whether a page has a heading whose anchor is that.
func hasHeading(page, anchor string) bool {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		words := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(match[1]), "")
		if strings.ReplaceAll(words, " ", "-") == anchor {
			return true
		}
	}
	return false
}
