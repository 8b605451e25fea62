package cors_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/cors"
)

const page = "https://conformance.example"

// capabilities is what the server under test advertises.
var capabilities = map[string]string{
	"VGI-Supported-Encodings": "zstd, gzip",
	"VGI-Upload-URL-Support":  "true",
}

// serve is a server as it is put together: capabilities outside, CORS, and the
// routes.
func serve(t *testing.T, o cors.Options, install bool) http.Handler {
	t.Helper()
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		switch r.URL.Path {
		case "/health":
			w.WriteHeader(http.StatusOK)
		case "/refused":
			w.Header().Set("Vgi-Auth-Reason", "missing_credential")
			w.WriteHeader(http.StatusUnauthorized)
		case "/call":
			if r.Method != http.MethodPost {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	if install {
		middleware, err := cors.New(o)
		if err != nil {
			t.Fatal(err)
		}
		h = middleware(h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range capabilities {
			w.Header().Set(name, value)
		}
		h.ServeHTTP(w, r)
	})
}

// response is a response without its body.
type response struct {
	StatusCode int
	Header     http.Header
}

func send(h http.Handler, method, path string, pairs ...string) response {
	r := httptest.NewRequest(method, path, http.NoBody)
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Add(pairs[i], pairs[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return response{w.Code, w.Header()}
}

// about keeps what CORS says of a response.
func about(resp response) http.Header {
	h := http.Header{}
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "Cross-Origin-") || name == "Vary" {
			h[name] = values
		}
	}
	return h
}

func TestResponses(t *testing.T) {
	const exposed = "WWW-Authenticate, X-Request-ID, X-VGI-Content-Encoding, X-VGI-RPC-Error, VGI-Auth-Reason, " +
		"VGI-Supported-Encodings, VGI-Upload-URL-Support"
	const allMethods = "GET, HEAD, POST, DELETE, OPTIONS"
	expose := []string{"VGI-Supported-Encodings", "VGI-Upload-URL-Support", "x-request-id"}
	one := cors.Options{Origins: []string{page, "http://localhost:5173"}, Expose: expose}
	every := cors.Options{Origins: []string{"*"}, Expose: expose}
	preflightVary := []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}
	policy := []string{"cross-origin"}
	vary := []string{"Origin", "Accept-Encoding"}

	for name, test := range map[string]struct {
		options      cors.Options
		method, path string
		headers      []string
		status       int
		want         http.Header
	}{
		"a preflight": {
			one, "OPTIONS", "/call",
			[]string{"Origin", page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,vgi-session"},
			204,
			http.Header{
				"Access-Control-Allow-Origin":   {page},
				"Access-Control-Allow-Methods":  {allMethods},
				"Access-Control-Allow-Headers":  {"Content-Type, Vgi-Session"},
				"Access-Control-Expose-Headers": {exposed},
				"Access-Control-Max-Age":        {"7200"},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          preflightVary,
			},
		},
		"a preflight of any origin": {
			every, "OPTIONS", "/call",
			[]string{"Origin", "https://anyone.example", "Access-Control-Request-Method", "POST"},
			204,
			http.Header{
				"Access-Control-Allow-Origin":   {"*"},
				"Access-Control-Allow-Methods":  {allMethods},
				"Access-Control-Expose-Headers": {exposed},
				"Access-Control-Max-Age":        {"7200"},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          preflightVary,
			},
		},
		"a preflight from elsewhere is granted nothing": {
			one, "OPTIONS", "/call",
			[]string{"Origin", "https://elsewhere.example", "Access-Control-Request-Method", "POST"},
			204,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": preflightVary},
		},
		"a preflight from a longer name is granted nothing": {
			one, "OPTIONS", "/call",
			[]string{"Origin", page + ".evil.example", "Access-Control-Request-Method", "POST"},
			204,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": preflightVary},
		},
		"a preflight for a method that nobody needs is granted nothing": {
			one, "OPTIONS", "/call",
			[]string{"Origin", page, "Access-Control-Request-Method", "PUT"},
			204,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": preflightVary},
		},
		"a call": {
			one, "POST", "/call",
			[]string{"Origin", page},
			200,
			http.Header{
				"Access-Control-Allow-Origin":   {page},
				"Access-Control-Expose-Headers": {exposed},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          vary,
			},
		},
		"a call from any origin": {
			every, "POST", "/call",
			[]string{"Origin", "null"},
			200,
			http.Header{
				"Access-Control-Allow-Origin":   {"*"},
				"Access-Control-Expose-Headers": {exposed},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          vary,
			},
		},
		"a refusal can be read as well": {
			one, "POST", "/refused",
			[]string{"Origin", page},
			401,
			http.Header{
				"Access-Control-Allow-Origin":   {page},
				"Access-Control-Expose-Headers": {exposed},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          vary,
			},
		},
		"a call without an origin": {
			one, "POST", "/call", nil,
			200,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": vary},
		},
		"a call from elsewhere is served and hidden": {
			one, "POST", "/call",
			[]string{"Origin", "https://elsewhere.example"},
			200,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": vary},
		},
		"OPTIONS that is no preflight reaches the handler": {
			one, "OPTIONS", "/health", nil,
			200,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": vary},
		},
		"OPTIONS with an origin alone reaches the handler": {
			one, "OPTIONS", "/health",
			[]string{"Origin", page},
			200,
			http.Header{
				"Access-Control-Allow-Origin":   {page},
				"Access-Control-Expose-Headers": {exposed},
				"Access-Control-Max-Age":        {"7200"},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          vary,
			},
		},
		"HEAD": {
			one, "HEAD", "/health",
			[]string{"Origin", "http://localhost:5173"},
			200,
			http.Header{
				"Access-Control-Allow-Origin":   {"http://localhost:5173"},
				"Access-Control-Expose-Headers": {exposed},
				"Cross-Origin-Resource-Policy":  policy,
				"Vary":                          vary,
			},
		},
		"another port is another origin": {
			one, "HEAD", "/health",
			[]string{"Origin", "http://localhost:5174"},
			200,
			http.Header{"Cross-Origin-Resource-Policy": policy, "Vary": vary},
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := send(serve(t, test.options, true), test.method, test.path, test.headers...)
			if resp.StatusCode != test.status {
				t.Errorf("status is %d, want %d", resp.StatusCode, test.status)
			}
			if diff := cmp.Diff(test.want, about(resp)); diff != "" {
				t.Error(diff)
			}
			for capability, want := range capabilities {
				if got := resp.Header.Get(capability); got != want {
					t.Errorf("%s is %q, want %q", capability, got, want)
				}
			}
		})
	}
}

func TestAPreflightEchoesTheHeaders(t *testing.T) {
	h := serve(t, cors.Options{Origins: []string{page}}, true)
	for _, name := range []string{
		"content-type", "x-vgi-accept-encoding", "vgi-session", "vgi-session-accept", "vgi-proxy-proof",
		"vgi-accept-max-response-bytes", "x-request-id", "authorization", "fly-force-instance-id",
	} {
		t.Run(name, func(t *testing.T) {
			resp := send(h, "OPTIONS", "/call", "Origin", page,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", name)
			if got := strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers")); got != name {
				t.Errorf("allowed are %q", got)
			}
		})
	}
}

func TestAPreflightAllowsEachMethod(t *testing.T) {
	h := serve(t, cors.Options{Origins: []string{page}}, true)
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
		resp := send(h, "OPTIONS", "/nowhere", "Origin", page, "Access-Control-Request-Method", method)
		allowed := strings.Split(resp.Header.Get("Access-Control-Allow-Methods"), ", ")
		if !slices.Contains(allowed, method) || resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: status %d, allowed are %q", method, resp.StatusCode, allowed)
		}
	}
}

func TestEverythingAdvertisedIsExposed(t *testing.T) {
	var names []string
	for name := range capabilities {
		names = append(names, name)
	}
	h := serve(t, cors.Options{Origins: []string{page}, Expose: names}, true)
	resp := send(h, "OPTIONS", "/call", "Origin", page, "Access-Control-Request-Method", "POST")
	exposed := strings.Split(strings.ToLower(resp.Header.Get("Access-Control-Expose-Headers")), ", ")
	health := send(h, "OPTIONS", "/health")
	advertised := []string{"x-vgi-rpc-error", "vgi-auth-reason", "x-request-id", "www-authenticate", "x-vgi-content-encoding"}
	for name := range health.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "vgi-") {
			advertised = append(advertised, name)
		}
	}
	for _, name := range advertised {
		if !slices.Contains(exposed, name) {
			t.Errorf("%s is not among %q", name, exposed)
		}
	}
}

func TestWithoutTheMiddlewareNothingIsSaid(t *testing.T) {
	h := serve(t, cors.Options{}, false)
	for _, method := range []string{"OPTIONS", "POST"} {
		resp := send(h, method, "/call", "Origin", page, "Access-Control-Request-Method", "POST")
		if diff := cmp.Diff(http.Header{"Vary": {"Accept-Encoding"}}, about(resp)); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
}

func TestResponsesShareNoMemory(t *testing.T) {
	middleware, err := cors.New(cors.Options{Origins: []string{page}})
	if err != nil {
		t.Fatal(err)
	}
	h := middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Access-Control-Expose-Headers", "X-Once")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-site")
	}))
	first := send(h, "POST", "/call", "Origin", page)
	second := send(h, "POST", "/call", "Origin", page)
	if diff := cmp.Diff(first.Header, second.Header); diff != "" {
		t.Error(diff)
	}
	if n := len(second.Header["Access-Control-Expose-Headers"]); n != 2 {
		t.Errorf("%d values are exposed", n)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, test := range map[string]struct {
		options cors.Options
		message string
	}{
		"no origin":         {cors.Options{}, `cors: no origin is allowed: leave CORS out instead`},
		"everyone and one":  {cors.Options{Origins: []string{page, "*"}}, `cors: "*" allows every origin and stands alone`},
		"a pattern":         {cors.Options{Origins: []string{"https://*.example"}}, `cors: origin "https://*.example": patterns are not supported: name each origin, or "*" alone`},
		"null":              {cors.Options{Origins: []string{"null"}}, `cors: origin "null": every sandboxed page has it, whoever wrote it`},
		"an empty origin":   {cors.Options{Origins: []string{""}}, `cors: origin "": want a scheme and a host, like https://app.example`},
		"a host alone":      {cors.Options{Origins: []string{"app.example"}}, `cors: origin "app.example": want a scheme and a host, like https://app.example`},
		"a host and a port": {cors.Options{Origins: []string{"localhost:80"}}, `cors: origin "localhost:80": want a scheme and a host, like https://app.example`},
		"a slash at the end": {
			cors.Options{Origins: []string{page + "/"}},
			`cors: origin "https://conformance.example/": want a scheme, a host and perhaps a port, and nothing else`,
		},
		"a path":       {cors.Options{Origins: []string{page + "/app"}}, `cors: origin "https://conformance.example/app": want a scheme, a host and perhaps a port, and nothing else`},
		"a query":      {cors.Options{Origins: []string{page + "?a"}}, `cors: origin "https://conformance.example?a": want a scheme, a host and perhaps a port, and nothing else`},
		"a user":       {cors.Options{Origins: []string{"https://me@app.example"}}, `cors: origin "https://me@app.example": want a scheme, a host and perhaps a port, and nothing else`},
		"a space":      {cors.Options{Origins: []string{page + " "}}, `cors: origin "https://conformance.example ": browsers send ASCII: write the host in Punycode`},
		"an umlaut":    {cors.Options{Origins: []string{"https://bücher.example"}}, `cors: origin "https://bücher.example": browsers send ASCII: write the host in Punycode`},
		"a bad escape": {cors.Options{Origins: []string{"https://a%zz"}}, `cors: origin "https://a%zz": invalid URL escape "%zz"`},
		"port zero":    {cors.Options{Origins: []string{page + ":0"}}, `cors: origin "https://conformance.example:0": want a port from 1 to 65535`},
		"an empty port": {
			cors.Options{Origins: []string{page + ":"}}, `cors: origin "https://conformance.example:": want a port from 1 to 65535`,
		},
		"a port of six digits": {
			cors.Options{Origins: []string{page + ":100000"}}, `cors: origin "https://conformance.example:100000": want a port from 1 to 65535`,
		},
		"an empty name":        {cors.Options{Origins: []string{"*"}, Expose: []string{""}}, `cors: cannot expose "": not the name of a header`},
		"every name":           {cors.Options{Origins: []string{"*"}, Expose: []string{"*"}}, `cors: cannot expose "*": not the name of a header`},
		"two names in one":     {cors.Options{Origins: []string{"*"}, Expose: []string{"A, B"}}, `cors: cannot expose "A, B": not the name of a header`},
		"a name with a break":  {cors.Options{Origins: []string{"*"}, Expose: []string{"A\r\nB"}}, `cors: cannot expose "A\r\nB": not the name of a header`},
		"a name out of ASCII":  {cors.Options{Origins: []string{"*"}, Expose: []string{"Ä"}}, `cors: cannot expose "Ä": not the name of a header`},
		"a name with a header": {cors.Options{Origins: []string{"*"}, Expose: []string{"A: b"}}, `cors: cannot expose "A: b": not the name of a header`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cors.New(test.options)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.message, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOriginsAreMatchedAsBrowsersWriteThem(t *testing.T) {
	for configured, sent := range map[string]string{
		"HTTPS://App.Example":       "https://app.example",
		"https://app.example:443":   "https://app.example",
		"http://app.example:80":     "http://app.example",
		"http://app.example:443":    "http://app.example:443",
		"http://[::1]:8080":         "http://[::1]:8080",
		"http://[::1]:80":           "http://[::1]",
		"http://127.0.0.1:3000":     "http://127.0.0.1:3000",
		"chrome-extension://abcdef": "chrome-extension://abcdef",
	} {
		t.Run(configured, func(t *testing.T) {
			resp := send(serve(t, cors.Options{Origins: []string{configured}}, true), "POST", "/call", "Origin", sent)
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != sent {
				t.Errorf("allowed is %q, want %q", got, sent)
			}
		})
	}
}

func TestACallFromAPageAllocatesLittle(t *testing.T) {
	middleware, err := cors.New(cors.Options{Origins: []string{page}})
	if err != nil {
		t.Fatal(err)
	}
	h := middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest(http.MethodPost, "/call", http.NoBody)
	r.Header.Set("Origin", page)
	w := httptest.NewRecorder()
	n := testing.AllocsPerRun(100, func() {
		clear(w.Header())
		h.ServeHTTP(w, r)
	})
	// The values of Vary and Access-Control-Allow-Origin, and what the library
	// would log.
	if n > 3 {
		t.Errorf("%v allocations", n)
	}
}
