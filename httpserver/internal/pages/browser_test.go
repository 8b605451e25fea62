package pages_test

import (
	"net/http/httptest"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/browsertest"
)

// TestInABrowser runs pages.mjs of package browsertest in Chromium against the
// sample: it clicks through the pages, in light and dark and on a phone, and
// calls methods with the form. Screenshots go to .cache/screenshots.
func TestInABrowser(t *testing.T) {
	site := httptest.NewServer(sampleSite(t))
	defer site.Close()
	config := map[string]any{"url": site.URL, "markup": markup}
	for _, step := range browsertest.Run(t, "../../..", "../browsertest/pages.mjs", config) {
		t.Run(step.Name, func(t *testing.T) {
			if step.Failure != "" {
				t.Error(step.Failure)
			}
		})
	}
}
