package jsoncall_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	jsonType := map[string]string{"Content-Type": "application/json"}
	with := func(name, value string) map[string]string {
		return map[string]string{"Content-Type": "application/json", name: value}
	}
	tests := []struct {
		name   string
		local  string // address that the connection came in on
		host   string
		header map[string]string
		want   int
	}{
		{"curl is served", "10.0.0.5:80", "api.example", jsonType, 200},
		{"a page of the same origin is served", "10.0.0.5:80", "api.example", with("Sec-Fetch-Site", "same-origin"), 200},
		{"another site is refused", "10.0.0.5:80", "api.example", with("Sec-Fetch-Site", "cross-site"), 403},
		{"a sibling of the site is refused", "10.0.0.5:80", "api.example", with("Sec-Fetch-Site", "same-site"), 403},
		{"an old browser's other origin is refused", "10.0.0.5:80", "api.example", with("Origin", "https://evil.example"), 403},
		{"an opaque origin is refused", "10.0.0.5:80", "api.example", with("Origin", "null"), 403},
		{"a trusted origin is served", "10.0.0.5:80", "api.example", with("Origin", "https://docs.example"), 200},
		{"a form is refused", "10.0.0.5:80", "api.example", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415},
		{"text is refused", "10.0.0.5:80", "api.example", map[string]string{"Content-Type": "text/plain"}, 415},
		{"no type is refused", "10.0.0.5:80", "api.example", nil, 415},
		{
			"a type with more is refused", "10.0.0.5:80", "api.example",
			map[string]string{"Content-Type": "application/json; text/plain"},
			415,
		},
		{"localhost is served on loopback", "127.0.0.1:80", "localhost:8080", jsonType, 200},
		{"an address is served on loopback", "127.0.0.1:80", "127.0.0.1:8080", jsonType, 200},
		{"an IPv6 address is served on loopback", "[::1]:80", "[::1]:8080", jsonType, 200},
		{"an IPv6 address without a port is served", "[::1]:80", "[::1]", jsonType, 200},
		{"an allowed name is served on loopback", "127.0.0.1:80", "API.internal.:8080", jsonType, 200},
		{"a rebound name is refused on loopback", "127.0.0.1:80", "evil.example", jsonType, 403},
		{"a name that begins like localhost is refused", "127.0.0.1:80", "localhost.evil.example", jsonType, 403},
		{"an address elsewhere is refused on loopback", "127.0.0.1:80", "10.0.0.5", jsonType, 403},
		{"no host is refused on loopback", "127.0.0.1:80", "", jsonType, 403},
	}
	guard, err := jsoncall.Guard(
		jsoncall.GuardOptions{TrustedOrigins: []string{"https://docs.example"}, AllowedHosts: []string{"api.internal"}},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, err := net.ResolveTCPAddr("tcp", test.local)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/p/m?format=json", strings.NewReader("{}"))
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
			r.Host = test.host
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			guard.ServeHTTP(w, r)
			if w.Code != test.want {
				t.Errorf("status %d, want %d: %s", w.Code, test.want, w.Body)
			}
			if test.want != 200 && !strings.HasPrefix(w.Body.String(), `{"error":{"code":"`) {
				t.Errorf("a refusal of %q", w.Body)
			}
		})
	}
}

func TestGuardAsksTheRealConnection(t *testing.T) {
	t.Parallel()
	guard, err := jsoncall.Guard(jsoncall.GuardOptions{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(guard)
	defer server.Close()
	for host, want := range map[string]int{"": 200, "evil.example": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Host = host
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("host %q: status %d, want %d", host, res.StatusCode, want)
		}
	}
}

func TestGuardRefusesBadOptions(t *testing.T) {
	t.Parallel()
	next := http.NotFoundHandler()
	for _, opts := range []jsoncall.GuardOptions{
		{TrustedOrigins: []string{"docs.example"}}, {AllowedHosts: []string{"a:80"}}, {AllowedHosts: []string{""}},
	} {
		if _, err := jsoncall.Guard(opts, next); err == nil {
			t.Errorf("%+v was accepted", opts)
		}
	}
	if _, err := jsoncall.Guard(jsoncall.GuardOptions{}, nil); err == nil {
		t.Error("no handler was accepted")
	}
}
