package pages_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/pages"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// get asks the sample site for a path.
func get(t *testing.T, site http.Handler, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	return w
}

const browserAccept = "text/html,application/xhtml+xml,*/*;q=0.8"

func TestEveryPageHasTheHeadersThatProtectIt(t *testing.T) {
	t.Parallel()
	site := sampleSite(t)
	for path, status := range map[string]int{"/vgi": 200, "/vgi/describe": 200, "/nowhere": 404} {
		w := get(t, site, path, browserAccept)
		if w.Code != status {
			t.Errorf("%s: status %d, want %d", path, w.Code, status)
		}
		want := map[string]string{
			"Content-Type":           "text/html; charset=utf-8",
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
			"Cache-Control":          "no-store",
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
				"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		}
		got := map[string]string{}
		for name := range want {
			got[name] = w.Header().Get(name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
}

var (
	inline = regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\son[a-z]+="|\sstyle="|javascript:`)
	remote = regexp.MustCompile(`(?i)(?:src|href|action)="(?:https?:)?//([^"/]+)`)
)

func TestPagesLoadNothingFromElsewhereAndRunNothingInline(t *testing.T) {
	t.Parallel()
	site := sampleSite(t)
	for _, path := range []string{"/vgi", "/vgi/describe", "/vgi/private", "/nowhere"} {
		body := get(t, site, path, browserAccept).Body.String()
		if found := inline.FindAllString(body, -1); found != nil {
			t.Errorf("%s: inline style or script: %q", path, found)
		}
		for _, m := range remote.FindAllStringSubmatch(body, -1) {
			if m[1] != "example.com" { // the repository, which is a link
				t.Errorf("%s refers to %s", path, m[1])
			}
		}
		if strings.Contains(body, markup) {
			t.Errorf("%s: markup was not escaped", path)
		}
	}
}

func TestLandingShowsWhatIsHosted(t *testing.T) {
	t.Parallel()
	body := get(t, sampleSite(t), "/vgi", browserAccept).Body.String()
	for _, want := range []string{
		"<h1>acme.Weather.v1</h1>", "vgi-rpc", `class="logo"`, `href="/vgi/describe"`, `href="https://example.com/acme/weather"`,
		"<code>1.2.3</code>", "<code>cafe01cafe02</code>", "1.4.0 &middot; 6 methods", "acme.Legacy", "vgi_rpc.Reflection.v1",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
}

var (
	cardPattern  = regexp.MustCompile(`(?s)class="method-name">([^<]+)</span>(.*?)</div>`)
	badgePattern = regexp.MustCompile(`badge[^>]*>([^<]+)<`)
	// Any word in the source counts as a method whose name begins like one.
	methodPattern = regexp.MustCompile(`["\s>]echo_level[<"\s]`)
	headPattern   = regexp.MustCompile(`<th>([^<]+)</th>`)
)

// Other implementations' pages are compared with the same patterns.
func TestDescribeReadsAsOtherImplementationsDo(t *testing.T) {
	t.Parallel()
	body := get(t, sampleSite(t), "/vgi/describe", browserAccept).Body.String()
	got := map[string][]string{}
	for _, m := range cardPattern.FindAllStringSubmatch(body, -1) {
		for _, b := range badgePattern.FindAllStringSubmatch(m[2], -1) {
			got[m[1]] = append(got[m[1]], b[1])
		}
	}
	want := map[string][]string{
		"add": {"unary"}, "greet": {"unary"}, "echo_kinds": {"unary"}, "fail": {"unary"}, "ping": {"unary"},
		"readings": {"stream", "producer", "header"}, "scale": {"stream", "exchange"},
		"describe": {"unary"}, "list_protocols": {"unary"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("badges (-want +got)\n%s", diff)
	}
	if m := methodPattern.FindString(body); m != "" {
		t.Errorf("the column echo_level reads as a method: %q", m)
	}
	var columns []string
	for _, m := range headPattern.FindAllStringSubmatch(body, -1) {
		if !slices.Contains(columns, m[1]) {
			columns = append(columns, m[1])
		}
	}
	if diff := cmp.Diff([]string{"Name", "Type"}, columns); diff != "" {
		t.Errorf("columns that all have (-want +got)\n%s", diff)
	}
}

func TestDescribeShowsTheWholeContract(t *testing.T) {
	t.Parallel()
	body := get(t, sampleSite(t), "/vgi/describe", browserAccept).Body.String()
	for _, want := range []string{
		"Adds two numbers.", "no side effects", "idempotent", "Call add instead.", "Move to acme.Weather.v1.",
		"<h4>Parameters</h4>", "<h4>Returns</h4>", "<h4>Stream Header</h4>", "<h4>Input</h4>", "<h4>Output</h4>",
		"<code>World</code>", "one of LIGHT, DARK", "decimal128(20,<wbr>4)", "echo<wbr>_level", "map&lt;<wbr>key:<wbr>utf8,<wbr>value?:<wbr>int64&gt;", "an Arrow IPC stream of one row (lat: float64",
		`data-url="/vgi/acme.Weather.v1/add?format=json"`, "No parameters", "not declared",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	for _, m := range []string{"readings", "scale"} {
		if strings.Contains(body, `data-url="/vgi/acme.Weather.v1/`+m) {
			t.Errorf("%s is a stream and has a form", m)
		}
	}
	hash := regexp.MustCompile(`<code class="hash">[0-9a-f]{64}</code>`)
	if n := len(hash.FindAllString(body, -1)); n != 3 {
		t.Errorf("%d protocol hashes, want 3", n)
	}
	if app, own := strings.Index(body, `id="acme.Legacy"`), strings.Index(body, `id="vgi_rpc.Reflection.v1"`); app < 0 || own < app {
		t.Error("the framework's protocol is not the last")
	}
}

func TestFormsAreOnlyThereOnRequest(t *testing.T) {
	t.Parallel()
	p, err := pages.New(pages.Options{Server: sampleServer(t)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.Describe(w, httptest.NewRequest(http.MethodGet, "/describe", http.NoBody))
	for _, unwanted := range []string{"<form", "Authorization", "Source repository"} {
		if strings.Contains(w.Body.String(), unwanted) {
			t.Errorf("%q is on a page that was made without it", unwanted)
		}
	}
}

func TestAssetsMayBeCachedForEver(t *testing.T) {
	t.Parallel()
	site := sampleSite(t)
	body := get(t, site, "/vgi/describe", browserAccept).Body.String()
	types := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
	for ext, contentType := range types {
		path := regexp.MustCompile(`/vgi/_assets/[a-z]+\.[0-9a-f]{16}\.` + ext).FindString(body)
		w := get(t, site, path, "")
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%q: status %d and %d bytes", path, w.Code, w.Body.Len())
		}
		got := []string{w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"), w.Header().Get("X-Content-Type-Options")}
		if diff := cmp.Diff([]string{contentType, "public, max-age=31536000, immutable", "nosniff"}, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
	for _, name := range []string{"style.css", "pages.go", "..%2fpages.go", "style.0000000000000000.css"} {
		if w := get(t, site, "/vgi/_assets/"+name, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", name, w.Code)
		}
	}
}

func TestNotFoundIsAPageOnlyForBrowsers(t *testing.T) {
	t.Parallel()
	site := sampleSite(t)
	tests := []struct{ name, accept, contentType, body string }{
		{"a browser gets a page", browserAccept, "text/html; charset=utf-8", "<h1>404 Not Found</h1>"},
		{"curl gets a line", "*/*", "application/json", `{"error":"not_found"}`},
		{"a client that says nothing gets a line", "", "application/json", `{"error":"not_found"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := get(t, site, "/elsewhere", test.accept)
			if w.Code != http.StatusNotFound || w.Header().Get("Content-Type") != test.contentType || !strings.Contains(w.Body.String(), test.body) {
				t.Errorf("status %d, %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if vary := w.Header().Get("Vary"); vary != "Accept" {
				t.Errorf("Vary %q", vary)
			}
		})
	}
}

func TestUnauthorizedTellsReasonAndProxyNote(t *testing.T) {
	t.Parallel()
	p, err := pages.New(pages.Options{Server: sampleServer(t)})
	if err != nil {
		t.Fatal(err)
	}
	var with, without bytes.Buffer
	if err := p.Unauthorized(&with, "proxy_required", "not through <the> proxy", "Set X-User."); err != nil {
		t.Fatal(err)
	}
	if err := p.Unauthorized(&without, "missing_credential", "", ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<code class="chip">proxy_required</code>`, "not through &lt;the&gt; proxy", `<p class="note">Set X-User.</p>`} {
		if !strings.Contains(with.String(), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(without.String(), `class="note"`) {
		t.Error("a note about a proxy without a proxy")
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	bare := vgirpc.NewProtocol("test.Bare", "")
	vgirpc.NewUnary[vgirpc.None, vgirpc.None](bare, "nothing")
	unfinished, err := vgirpc.NewServer(vgirpc.ServerOptions{}, bare)
	if err != nil {
		t.Fatal(err)
	}
	server := sampleServer(t)
	tests := []struct {
		name string
		opts pages.Options
		want string
	}{
		{"no server", pages.Options{}, "a server is required"},
		{"a server without its handlers", pages.Options{Server: unfinished}, "no handler for test.Bare/nothing"},
		{"a prefix without a slash", pages.Options{Server: server, Prefix: "vgi"}, "prefix"},
		{"a prefix with a slash at its end", pages.Options{Server: server, Prefix: "/vgi/"}, "prefix"},
		{"a link that is a script", pages.Options{Server: server, RepositoryURL: "javascript:alert(1)"}, "repository URL"},
		{"a link to nowhere", pages.Options{Server: server, RepositoryURL: "https:///x"}, "repository URL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := pages.New(test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
