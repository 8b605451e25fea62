package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gokeyring "github.com/zalando/go-keyring"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/internal/oidctest"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth/keyring"
)

// protection is how a worker is protected.
type protection struct {
	resource string // what its metadata call it; "" is its URL
	health   bool   // the health route wants a token too
}

// protect serves a worker to those who have a token of the provider.
func protect(t *testing.T, worker string, p *oidctest.Provider, how protection) string {
	t.Helper()
	to, err := url.Parse(worker)
	if err != nil {
		t.Fatal(err)
	}
	verify, err := jwt.New(t.Context(), jwt.Options{
		Issuers: []jwt.Issuer{{Name: p.Issuer}}, Audiences: []string{oidctest.DefaultAudience}, AllowHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verify.Close)
	proxy := fullDuplex(httputil.NewSingleHostReverseProxy(to))
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		const metadata = "/.well-known/oauth-protected-resource"
		if req.URL.Path == metadata {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"resource": orElse(how.resource, server.URL), "authorization_servers": []string{p.Issuer}, "client_id": oidctest.Native,
				"scopes_supported": []string{"openid", "email", "offline_access"},
			})
			return
		}
		if _, err := verify.Authenticate(req); err != nil && (how.health || req.Method != http.MethodHead) {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+server.URL+metadata+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

var codeURL = regexp.MustCompile(`or open (\S+)`)

// person enters the code that a login shows.
type person struct {
	t        *testing.T
	provider *oidctest.Provider
	said     strings.Builder
}

// Write implements io.Writer, for what the command says.
func (p *person) Write(b []byte) (int, error) {
	p.said.Write(b)
	if m := codeURL.FindSubmatch(b); m != nil {
		p.provider.NewPerson(p.t).EnterCode(p.t, string(m[1]))
	}
	return len(b), nil
}

// freshConfig is a directory for the user's configuration, with a keyring of its own.
func freshConfig(t *testing.T) string {
	t.Helper()
	gokeyring.MockInit()
	config := t.TempDir()
	for _, name := range []string{"XDG_CONFIG_HOME", "HOME", "AppData"} {
		t.Setenv(name, config)
	}
	return config
}

func TestALoginWithPinsOutlivesARefusal(t *testing.T) {
	freshConfig(t)
	provider := oidctest.Start(t, oidctest.Options{})
	const name = "https://inner.example/numbers"
	target := protect(t, serve(t, "--http", "0"), provider, protection{resource: name, health: true})
	p := &person{t: t, provider: provider}
	login := []string{
		"login", "--device", target, "--resource", name, "--issuer", provider.Issuer, "--client-id", string(oidctest.Native),
		"--scope", "openid", "--scope", "offline_access",
	}
	if status := run(t.Context(), login, streams{in: strings.NewReader(""), out: os.Stdout, err: p}); status != 0 {
		t.Fatalf("status %d: %s", status, p.said.String())
	}
	dir, err := loginDir()
	if err != nil {
		t.Fatal(err)
	}
	store, err := keyring.New(dir, keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(store)
	key := oauth.Key{Resource: target}
	stored, err := store.Load(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	stored.AccessToken, stored.Obtained = "refused", stored.Obtained.Add(-time.Minute)
	if err := store.Save(t.Context(), key, stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(outcome{out: "3\n"}, vgi(t, "call", target, "add_floats", "a=1", "b=2"), cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}
	doctor := vgi(t, "doctor", target)
	for _, want := range []string{"warn  health          the health route wants credentials", "ok    response limit  supported", "ok    authentication  let in with the login"} {
		if doctor.status != exitWarnings || !strings.Contains(doctor.out, want) {
			t.Errorf("doctor: want %q in %+v", want, doctor)
		}
	}
}

func TestALoginServesTheCommandsThatFollow(t *testing.T) {
	config := freshConfig(t)
	provider := oidctest.Start(t, oidctest.Options{})
	target := protect(t, serve(t, "--http", "0"), provider, protection{})
	add := []string{"call", target, "add_floats", "a=1", "b=2"}
	refused := func(when string) {
		t.Helper()
		got := vgi(t, add...)
		if got.status != 80 || !strings.Contains(got.errors, "vgi login URL") {
			t.Errorf("%s: %+v", when, got)
		}
	}
	refused("before the login")

	p := &person{t: t, provider: provider}
	if status := run(t.Context(), []string{"login", "--device", target}, streams{in: strings.NewReader(""), out: os.Stdout, err: p}); status != 0 {
		t.Fatalf("status %d: %s", status, p.said.String())
	}
	if !strings.HasSuffix(p.said.String(), "Signed in as alice@example.test.\n") {
		t.Errorf("it said %q", p.said.String())
	}
	want := outcome{out: "3\n"}
	if diff := cmp.Diff(want, vgi(t, add...), cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}
	doctor := vgi(t, "doctor", target)
	if doctor.status != exitOK || !strings.Contains(doctor.out, "ok    authentication  let in with the login that is stored") {
		t.Errorf("doctor: %+v", doctor)
	}
	bench := vgi(t, "bench", target, "add_floats", "a=1", "b=2", "-n", "3")
	if bench.status != exitOK || !strings.Contains(bench.out, "floor: __transport_options__\n") || strings.Contains(bench.out, "errors") {
		t.Errorf("bench: %+v", bench)
	}
	if got := vgi(t, append(add, "--no-login")...); got.status != 80 {
		t.Errorf("with --no-login: %+v", got)
	}
	err := filepath.WalkDir(config, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "eyJ") {
			t.Errorf("%s has a token, beside the keyring", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	if got := vgi(t, "logout", target); got.status != 0 {
		t.Errorf("logout: %+v", got)
	}
	refused("after the logout")
}

func TestLoginsThatMakeNoSense(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, args := range map[string][]string{
		"without a URL":       {"login"},
		"without HTTP":        {"login", "unix:/tmp/x"},
		"over plain HTTP":     {"login", "http://api.example"},
		"both flows":          {"login", "--device", "--browser", "https://api.example"},
		"a logout of nothing": {"logout"},
		"no login on a pipe":  {"call", "--no-login", "stdio:x", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := vgi(t, args...); got.status != exitUsage {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestABrowserIsOpenedWhereThereIsOne(t *testing.T) {
	if _, err := os.Stat("/.dockerenv"); err == nil {
		t.Skip("in a container no environment has a browser")
	}
	for _, tt := range []struct {
		name, goos string
		env        map[string]string
		want       bool
	}{
		{"a desktop", "linux", map[string]string{"DISPLAY": ":0"}, false},
		{"a Wayland desktop", "linux", map[string]string{"WAYLAND_DISPLAY": "w"}, false},
		{"a console", "linux", nil, true},
		{"a desktop over SSH", "linux", map[string]string{"DISPLAY": ":0", "SSH_CONNECTION": "x"}, true},
		{"a pipeline", "linux", map[string]string{"DISPLAY": ":0", "CI": "true"}, true},
		{"a Mac's terminal", "darwin", map[string]string{"TERM_PROGRAM": "x"}, false},
		{"a Mac's service", "darwin", nil, true},
		{"Windows", "windows", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := headless(func(name string) string { return tt.env[name] }, tt.goos); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
