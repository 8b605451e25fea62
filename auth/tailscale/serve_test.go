package tailscale_test

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/tailscale"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const proxyAddr = "127.0.0.1"

func fromProxy(header ...string) *peer.Snapshot {
	s := &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr(proxyAddr), Source: proxyAddr + ":9", Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		s.Header.Add(header[i], header[i+1])
	}
	return s
}

func serve() *tailscale.ServeProvider {
	return must(tailscale.Serve(tailscale.ServeOptions{Issuer: "tailnet:example", Proxies: []string{proxyAddr, "::1"}}))
}

func TestWhatServeSays(t *testing.T) {
	identity := func(change func(i *peer.Identity)) *peer.Identity {
		i := &peer.Identity{
			Provider: "tailscale", Source: "serve_proxy", Assurance: peer.ConfiguredProxy, Issuer: "tailnet:example", Transport: "http",
			ProxyAddr: proxyAddr,
		}
		change(i)
		return i
	}
	user := func(login, name string) func(i *peer.Identity) {
		return func(i *peer.Identity) {
			i.Kind, i.Subject, i.Stability, i.Verified = peer.User, "login:"+login, peer.Login, true
			attributes := map[string]any{"user_login": login}
			if name != "" {
				attributes["user_display_name"] = name
			}
			i.Attributes = must(peer.NewObject(attributes))
		}
	}
	const squirrel = `=?utf-8?q?{"example.com/cap/monitoring":[{"role":"=F0=9F=90=BF=EF=B8=8F"}]}?=`
	for _, tt := range []struct {
		name   string
		header []string
		want   *peer.Identity
	}{
		{"a user", []string{"Tailscale-User-Login", "alice@example.com"}, identity(user("alice@example.com", ""))},
		{
			"a user with a name and a picture",
			[]string{
				"Tailscale-User-Login", "alice@example.com", "Tailscale-User-Name", "=?utf-8?q?Ferris_B=C3=BCller?=", "Tailscale-User-Profile-Pic", "https://x",
			},
			identity(user("alice@example.com", "Ferris Büller")),
		},
		{
			"a name in two words",
			[]string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?UTF-8?Q?B=c3=bc?= =?utf-8?q?ller_?="},
			identity(user("a", "Büller ")),
		},
		{
			"a node that is nobody's",
			[]string{"Tailscale-App-Capabilities", squirrel},
			identity(func(i *peer.Identity) {
				i.CapabilitiesVerified = true
				i.Capabilities = must(peer.ParseObject([]byte(`{"example.com/cap/monitoring":[{"role":"🐿️"}]}`)))
			}),
		},
		{
			"a user with capabilities",
			[]string{"Tailscale-User-Login", "a", "Tailscale-App-Capabilities", `{"e.com/run":[]}`},
			identity(func(i *peer.Identity) {
				user("a", "")(i)
				i.CapabilitiesVerified = true
				i.Capabilities = must(peer.ParseObject([]byte(`{"e.com/run":[]}`)))
			}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := serve().Resolve(t.Context(), fromProxy(tt.header...))
			want := peer.Result{Status: peer.Available, Identities: []peer.Identity{*tt.want}}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
			e, err := peer.NewEvidence(map[string]peer.Result{"tailscale": got})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Subject("tailscale"); err == nil {
				t.Error("what Serve says can be a principal")
			}
		})
	}
}

func TestWhatServeDoesNotSay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		want   peer.Status
	}{
		{"nothing", nil, peer.NoMatch},
		{"no capabilities", []string{"Tailscale-App-Capabilities", "{}"}, peer.NoMatch},
		{"a request from the internet", []string{"Tailscale-Funnel-Request", "?1"}, peer.NotApplicable},
		{"a request from the internet with a login", []string{"Tailscale-Funnel-Request", "?1", "Tailscale-User-Login", "spoof@example.com"}, peer.NotApplicable},
		{"a request from the internet that is none", []string{"Tailscale-Funnel-Request", "true"}, peer.Invalid},
		{"a request from the internet twice", []string{"Tailscale-Funnel-Request", "?1", "Tailscale-Funnel-Request", "?1"}, peer.Invalid},
		{"two logins", []string{"Tailscale-User-Login", "one@example.com", "tailscale-user-login", "two@example.com"}, peer.Invalid},
		{"a login twice", []string{"Tailscale-User-Login", "a", "Tailscale-User-Login", "a"}, peer.Invalid},
		{"no login", []string{"Tailscale-User-Login", ""}, peer.Invalid},
		{"a login in another encoding", []string{"Tailscale-User-Login", "=?utf-8?b?YWxpY2U=?="}, peer.Invalid},
		{"a login in another character set", []string{"Tailscale-User-Login", "=?iso-8859-1?q?a?="}, peer.Invalid},
		{"a login with a control character", []string{"Tailscale-User-Login", "alice\x1f@example.com"}, peer.Invalid},
		{"a login that is not ASCII", []string{"Tailscale-User-Login", "älice"}, peer.Invalid},
		{"a login beyond the limit", []string{"Tailscale-User-Login", strings.Repeat("a", 16<<10+1)}, peer.Invalid},
		{"a name without a login", []string{"Tailscale-User-Name", "Alice"}, peer.Invalid},
		{"a picture without a login", []string{"Tailscale-User-Profile-Pic", "https://x"}, peer.Invalid},
		{"a name with an encoded control character", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?Alice=7FAdmin?="}, peer.Invalid},
		{"a name with an encoded line break", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?Alice=0AAdmin?="}, peer.Invalid},
		{"a name with half a character", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?=C3?= =?utf-8?q?=BC?="}, peer.Invalid},
		{"a name with text behind a word", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?a?=b"}, peer.Invalid},
		{"a name with text between words", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?a?= b =?utf-8?q?c?="}, peer.Invalid},
		{"a name with a word that does not end", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?a"}, peer.Invalid},
		{"a name with half an escape", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?a=C?="}, peer.Invalid},
		{"a name with a word in a word", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?=?utf-8?q?a?=?="}, peer.Invalid},
		{"a name with a blank at the end", []string{"Tailscale-User-Login", "a", "Tailscale-User-Name", "=?utf-8?q?a?= "}, peer.Invalid},
		{"a capability twice", []string{"Tailscale-App-Capabilities", `{"e.com/run":[],"e.com/run":[]}`}, peer.Invalid},
		{"a capability twice, in another spelling", []string{"Tailscale-App-Capabilities", `{"e.com/run":[],"e.com\/run":[]}`}, peer.Invalid},
		{"a capability that is a text", []string{"Tailscale-App-Capabilities", `{"e.com/run":["admin"]}`}, peer.Invalid},
		{"a capability that is an object", []string{"Tailscale-App-Capabilities", `{"e.com/run":{}}`}, peer.Invalid},
		{"a capability without a domain", []string{"Tailscale-App-Capabilities", `{"run":[]}`}, peer.Invalid},
		{"a capability with a control character", []string{"Tailscale-App-Capabilities", `{"e.com/\u0000":[]}`}, peer.Invalid},
		{"a capability with a long name", []string{"Tailscale-App-Capabilities", `{"e.com/` + strings.Repeat("a", 512) + `":[]}`}, peer.Invalid},
		{"capabilities that are a list", []string{"Tailscale-App-Capabilities", `[]`}, peer.Invalid},
		{"capabilities that are nothing", []string{"Tailscale-App-Capabilities", ``}, peer.Invalid},
		{"bad capabilities beside a login", []string{"Tailscale-User-Login", "a", "Tailscale-App-Capabilities", `{"e.com/run":[NaN]}`}, peer.Invalid},
		{"capabilities of half a surrogate pair", []string{"Tailscale-App-Capabilities", `{"e.com/run":[{"a":"\ud800"}]}`}, peer.Invalid},
		{"headers with underscores", []string{"Tailscale_User_Login", "alice"}, peer.NoMatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := serve().Resolve(t.Context(), fromProxy(tt.header...))
			if got.Status != tt.want || got.Identities != nil {
				t.Errorf("got %s, want %s", got.Status, tt.want)
			}
		})
	}
	t.Run("from anybody", func(t *testing.T) {
		s := fromProxy("Tailscale-User-Login", "alice@example.com")
		s.Immediate = netip.MustParseAddr("100.64.0.66")
		if got := serve().Resolve(t.Context(), s); got.Status != peer.UntrustedProxy {
			t.Errorf("got %s", got.Status)
		}
	})
	t.Run("not HTTP", func(t *testing.T) {
		s := fromProxy()
		s.Header = nil
		if got := serve().Resolve(t.Context(), s); got.Status != peer.NotApplicable {
			t.Errorf("got %s", got.Status)
		}
	})
}

func TestServeOptionsThatCannotBe(t *testing.T) {
	for name, opts := range map[string]tailscale.ServeOptions{
		"no issuer":                   {Proxies: []string{proxyAddr}},
		"an issuer with a line break": {Issuer: "a\nb", Proxies: []string{proxyAddr}},
		"no proxies":                  {Issuer: "a"},
		"a network":                   {Issuer: "a", Proxies: []string{"127.0.0.0/8"}},
	} {
		if _, err := tailscale.Serve(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	x := must(peer.New(peer.Options{Providers: []peer.Provider{serve()}, Policy: peer.Require("tailscale")}))
	if got := auth.ProxyHeaders(x); !slices.Contains(got, "Tailscale-User-Login") {
		t.Errorf("the headers of the proxy are %q", got)
	}
}

// FuzzServe: what a header says is what it was encoded from, and whatever it says
// it is text without control characters.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{
		"alice@example.com", "Ferris Büller", "=?utf-8?q?a?=", "=?utf-8?q?=C3=BC?= =?utf-8?q?_?=", "=?", "a\x00", "=?utf-8?b?YQ==?=", `{"e.com/a":[{}]}`,
	} {
		f.Add(seed, seed)
	}
	p := serve()
	f.Fuzz(func(t *testing.T, login, raw string) {
		encoded := mime.QEncoding.Encode("utf-8", login)
		got := p.Resolve(t.Context(), fromProxy("Tailscale-User-Login", encoded))
		plain := login != "" && utf8.ValidString(login) && len(encoded) <= 16<<10 &&
			!strings.ContainsFunc(login, func(c rune) bool { return c < ' ' || c == 0x7F })
		if plain && encoded != login { // what needs no encoding may look as if it had one
			if got.Status != peer.Available || got.Identities[0].Subject != "login:"+login {
				t.Errorf("%q, as %q, is %+v", login, encoded, got)
			}
		}
		got = p.Resolve(t.Context(), fromProxy("Tailscale-User-Login", raw, "Tailscale-App-Capabilities", raw))
		e, err := peer.NewEvidence(map[string]peer.Result{"tailscale": got})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range e.Identities("tailscale") {
			if strings.ContainsFunc(i.Subject, func(c rune) bool { return c < ' ' || c == 0x7F }) || !json.Valid([]byte(i.Capabilities.JSON())) {
				t.Errorf("%q is %q", raw, i.Subject)
			}
		}
	})
}
