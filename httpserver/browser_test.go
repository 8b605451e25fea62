package httpserver_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/browsertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// What the script knows of the handlers.
const (
	// scriptMarkup must stay text wherever it is shown.
	scriptMarkup = `<img src=x onerror=document.title='owned'>`
	scriptToken  = "s3cret"
)

// TestInABrowser runs internal/browsertest/handler.mjs in Chromium against
// handlers of the conformance service: their pages, the form, and calls from
// pages of other origins. Screenshots go to .cache/screenshots.
func TestInABrowser(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(serveApp))
	defer app.Close()
	// One server is two origins: only its name is allowed, not its address.
	stranger := app.URL
	friend := strings.Replace(app.URL, "127.0.0.1", "localhost", 1)
	seen := &seen{requests: map[visit]int{}}
	handlers := handlersForBrowsers(t, friend)
	config := map[string]any{
		"friend": friend, "stranger": stranger, "markup": scriptMarkup, "token": scriptToken, "requests": requestsOfPages(t),
	}
	for name, h := range handlers {
		_, address := serve(t, seen.watch(h), httpserver.ServeOptions{})
		config[name] = "http://" + address
	}
	for _, step := range browsertest.Run(t, "..", "internal/browsertest/handler.mjs", config) {
		t.Run(step.Name, func(t *testing.T) {
			if step.Failure != "" {
				t.Error(step.Failure)
			}
		})
	}
	home, _ := config["prefixed"].(string)
	for _, tt := range []struct {
		name, method, origin string
		want                 map[string]int
	}{
		{"a preflight holds for the calls that follow", "echo_bool", friend, map[string]int{"OPTIONS, good for 7200 s": 1, "POST": 3}},
		{"a call of a stranger does not leave the browser", "echo_bytes", stranger, map[string]int{"OPTIONS": 1}},
		{"what can be sent is sent", "echo_int8", home, map[string]int{"POST": 2}},
		{"what cannot be sent is not sent", "echo_int32", home, map[string]int{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, seen.count("/vgi/ConformanceService/"+tt.method, tt.origin)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// handlersForBrowsers are the handlers that the script visits. Pages of the
// origin friend may call them.
func handlersForBrowsers(t *testing.T, friend string) map[string]*httpserver.Handler {
	t.Helper()
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: scriptToken, Principal: "ann"}}})
	if err != nil {
		t.Fatal(err)
	}
	// Browsers have no token to visit a page with: who lets people call from a
	// form lets them see it.
	readable := auth.Func(func(r *http.Request) (vgirpc.Identity, error) {
		if r.Method == http.MethodGet {
			return vgirpc.Identity{}, nil
		}
		return bearer.Authenticate(r)
	})
	from := &httpserver.CORS{Origins: []string{friend}}
	json := &httpserver.JSONGateway{}
	return map[string]*httpserver.Handler{
		"prefixed": newHandler(t, httpserver.Options{
			Prefix: "/vgi", JSON: json, CORS: from, RepositoryURL: "https://example.com/repository",
			Sticky:          &httpserver.Sticky{EchoHeaders: map[string]string{"X-Machine": "m1"}},
			MaxRequestBytes: 1 << 20, MaxResponseBytes: 1 << 20,
		}),
		"bare":     newHandler(t, httpserver.Options{JSON: json}),
		"locked":   newHandler(t, httpserver.Options{Prefix: "/vgi", CORS: from, Auth: bearer, Challenge: "Bearer"}),
		"readable": newHandler(t, httpserver.Options{Prefix: "/vgi", JSON: json, Auth: readable, Challenge: "Bearer"}),
	}
}

// requestsOfPages are bodies that pages send, in base64.
func requestsOfPages(t *testing.T) map[string]string {
	t.Helper()
	bodies := map[string]func(*vgirpc.Client) error{
		"echo_string": func(c *vgirpc.Client) error {
			_, err := conformance.EchoString.Call(t.Context(), c, conformance.Value[string]{Value: "across the border" + strings.Repeat(" and back", 200)})
			return err
		},
		"echo_bool": func(c *vgirpc.Client) error {
			_, err := conformance.EchoBool.Call(t.Context(), c, conformance.Value[bool]{Value: true})
			return err
		},
		"raise_value_error": func(c *vgirpc.Client) error {
			_, err := conformance.RaiseValueError.Call(t.Context(), c, conformance.MessageParams{Message: "on request"})
			return err
		},
		"open_counter": func(c *vgirpc.Client) error {
			_, err := conformance.OpenCounter.Call(t.Context(), c, conformance.InitialParams{Initial: 1})
			return err
		},
		"increment_counter": func(c *vgirpc.Client) error {
			_, err := conformance.IncrementCounter.Call(t.Context(), c, conformance.ByParams{By: 2})
			return err
		},
	}
	out := map[string]string{}
	for name, call := range bodies {
		out[name] = base64.StdEncoding.EncodeToString(requestOf(t, call))
	}
	return out
}

// serveApp is the application of another origin: an empty page, and one with a
// form that posts its text to where the query says.
func serveApp(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>app</title><link rel="icon" href="data:,">`)
	if to, err := url.Parse(r.URL.Query().Get("to")); err == nil && to.Host != "" {
		// {"a":1,"b":2,"x":"="} is what the body comes to.
		_, _ = fmt.Fprintf(w, `<form method="post" enctype="text/plain" action="%s"><input name='{"a":1,"b":2,"x":"' value='"}'><button>Send</button></form>`, to)
	}
}

// seen counts requests.
type seen struct {
	mu       sync.Mutex
	requests map[visit]int
}

// visit is what is counted of a request. What is a method and, of a preflight,
// for how long its answer is good.
type visit struct{ path, origin, what string }

// watch counts what h is asked.
func (s *seen) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		v := visit{r.URL.Path, r.Header.Get("Origin"), r.Method}
		if age := w.Header().Get("Access-Control-Max-Age"); age != "" {
			v.what += ", good for " + age + " s"
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests[v]++
	})
}

// count is how often pages of an origin asked for a path.
func (s *seen) count(path, origin string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for v, n := range s.requests {
		if v.path == path && v.origin == origin {
			out[v.what] += n
		}
	}
	return out
}
