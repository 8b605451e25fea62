package oidctest

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

//go:embed provider.mjs
var script []byte

// Clients that the provider knows. Those with a secret have ClientID.Secret().
// Every one may ask for the scopes openid, email, profile, offline_access and
// api; who may refresh gets a refresh token.
const (
	// Web, WebPost and WebPublic use the authorization code flow with PKCE at the
	// redirect URIs of [Options] and [Provider.AllowRedirect]. Web sends its secret
	// in a header, WebPost in the form, and WebPublic has none.
	Web       ClientID = "web"
	WebPost   ClientID = "web-post"
	WebPublic ClientID = "web-public"
	// Native and NativeSecret use the same flow at http://127.0.0.1:PORT/callback
	// with any port. Native has no secret and may use the device flow as well;
	// NativeSecret sends its secret in the form.
	Native       ClientID = "native"
	NativeSecret ClientID = "native-secret"
	// Device and DeviceSecret use the device flow. Device has no secret,
	// DeviceSecret sends it in the form.
	Device       ClientID = "device"
	DeviceSecret ClientID = "device-secret"
	// Service and ServicePost use the client credentials grant. Service sends its
	// secret in a header, ServicePost in the form.
	Service     ClientID = "service"
	ServicePost ClientID = "service-post"
)

// A ClientID names a client of the provider.
type ClientID string

// Secret is what the client identifies itself with, or "" for a public client.
func (c ClientID) Secret() string {
	switch c {
	case WebPublic, Native, Device:
		return ""
	default:
		return string(c) + "-secret"
	}
}

// DefaultAudience is the audience of access tokens when neither the options nor
// a request names one.
const DefaultAudience = "urn:vgirpc:test"

// Options say how the provider behaves. The zero value is of use.
type Options struct {
	// RedirectURIs are those of the web clients, which do not exist without one.
	RedirectURIs []string
	// Audience is that of access tokens (JWT, RS256) that no request names a
	// resource for; zero means [DefaultAudience].
	Audience string
	// Lifetime is that of access and ID tokens, in whole seconds; zero means a
	// minute.
	Lifetime time.Duration
	// DeviceLifetime is that of device codes, in whole seconds; zero means five
	// minutes.
	DeviceLifetime time.Duration
	// RotateRefreshTokens makes a refresh token good for one use.
	RotateRefreshTokens bool
	// Account is who signs in; "" means alice. The subject is the account, the
	// mail address account@example.test, the groups are analysts.
	Account string
	// Pages shows pages with a form for login and for consent, for a browser that
	// fills them in. Without it the provider signs in and agrees by itself.
	Pages bool
}

// A Provider is a running OpenID provider.
type Provider struct {
	// Issuer is its issuer, an http URL of loopback without a path.
	Issuer string

	mu    sync.Mutex
	stdin io.Writer
	lines *bufio.Scanner
}

// Start runs a provider until the test ends.
func Start(tb testing.TB, opts Options) *Provider {
	tb.Helper()
	node, modules := find(tb)
	if opts.Audience == "" {
		opts.Audience = DefaultAudience
	}
	arg, err := json.Marshal(map[string]any{
		"redirectURIs": opts.RedirectURIs, "audience": opts.Audience, "pages": opts.Pages, "account": opts.Account,
		"lifetime": int(opts.Lifetime.Seconds()), "deviceLifetime": int(opts.DeviceLifetime.Seconds()),
		"rotateRefreshTokens": opts.RotateRefreshTokens,
	})
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "provider.mjs")
	if err := os.WriteFile(path, script, 0o600); err != nil {
		tb.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(node, path, modules, string(arg)) //nolint:noctx // it ends with its input
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill() // it holds nothing that is worth an orderly end
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("the provider said:\n%s", said.String())
		}
	})
	p := &Provider{stdin: stdin, lines: bufio.NewScanner(stdout)}
	p.Issuer = p.read(tb).Issuer
	return p
}

// find returns the programs to run: node, and where oidc-provider is.
func find(tb testing.TB) (node, modules string) {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	here := filepath.Dir(file)
	modules = filepath.Join(here, "..", "..", ".cache", "oidc", "npm")
	wanted := filepath.Join(modules, "node_modules", "oidc-provider", "package.json")
	node, err := exec.LookPath("node")
	if err != nil {
		giveUp(tb, "needs node on the PATH")
	}
	if _, err := os.Stat(wanted); err == nil {
		return node, modules
	}
	if os.Getenv("CI") != "" {
		out, err := exec.CommandContext(tb.Context(), filepath.Join(here, "setup.sh")).CombinedOutput()
		if err != nil {
			tb.Logf("setup.sh: %v\n%s", err, out)
		}
	}
	if _, err := os.Stat(wanted); err != nil {
		giveUp(tb, "oidc-provider is not installed: run internal/oidctest/setup.sh")
	}
	return node, modules
}

// giveUp skips the test, or in CI fails it.
func giveUp(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatal(reason)
	}
	tb.Skip(reason)
}

// An answer is a line of the script.
type answer struct {
	Issuer string         `json:"issuer"`
	Error  string         `json:"error"`
	Counts map[string]int `json:"counts"`
}

func (p *Provider) read(tb testing.TB) answer {
	tb.Helper()
	if !p.lines.Scan() {
		tb.Fatalf("the provider ended: %v", p.lines.Err())
	}
	var a answer
	if err := json.Unmarshal(p.lines.Bytes(), &a); err != nil {
		tb.Fatalf("the provider said %q", p.lines.Text())
	}
	if a.Error != "" {
		tb.Fatalf("the provider refused: %s", a.Error)
	}
	return a
}

func (p *Provider) command(tb testing.TB, what map[string]any) answer {
	tb.Helper()
	line, err := json.Marshal(what)
	if err != nil {
		tb.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		tb.Fatal(err)
	}
	return p.read(tb)
}

// RotateKeys makes the provider sign with a new key. With keep the old keys stay
// in its key set, as they do in an orderly rotation.
func (p *Provider) RotateKeys(tb testing.TB, keep bool) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "rotate", "keep": keep})
}

// AllowRedirect adds redirect URIs to the web clients.
func (p *Provider) AllowRedirect(tb testing.TB, uris ...string) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "redirects", "uris": uris})
}

// Kinds of outage, for [Provider.Outage].
const (
	Unavailable = "unavailable" // every request is answered by a 503
	Reset       = "reset"       // every connection is closed unanswered
)

// Outage takes the provider out of service, until [Provider.Recover].
func (p *Provider) Outage(tb testing.TB, kind string) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "outage", "kind": kind})
}

// Recover ends an outage.
func (p *Provider) Recover(tb testing.TB) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "outage", "kind": ""})
}

// SignIn says who signs in from now on; it does not end sessions of browsers.
func (p *Provider) SignIn(tb testing.TB, account string) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "account", "account": account, "deny": false})
}

// Deny makes the person refuse from now on.
func (p *Provider) Deny(tb testing.TB) {
	tb.Helper()
	p.command(tb, map[string]any{"do": "account", "deny": true})
}

// Requests is how many requests came for a path, as "/token" or "/jwks".
func (p *Provider) Requests(tb testing.TB, path string) int {
	tb.Helper()
	return p.command(tb, map[string]any{"do": "counts"}).Counts[path]
}
