package unauthorized_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/unauthorized"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// reply is what a caller gets.
type reply struct {
	status int
	header http.Header
	body   string
}

func answer(t *testing.T, opts unauthorized.Options, accept string, err error) reply {
	t.Helper()
	u, newErr := unauthorized.New(opts)
	if newErr != nil {
		t.Fatal(newErr)
	}
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	u.Write(w, r, err)
	if got := w.Header().Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
		t.Errorf("Content-Length is %q for %d bytes", got, w.Body.Len())
	}
	return reply{w.Code, w.Header(), w.Body.String()}
}

func TestEnvelope(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want map[string]any
	}{
		{"a failure has a constant detail", &auth.Failure{Reason: auth.InvalidCredential, Err: errors.New("INTERNAL")}, map[string]any{
			"error": "unauthorized", "reason": "invalid_credential", "detail": "authentication rejected",
		}},
		{"or its own", &auth.Failure{Reason: auth.ExpiredCredential, Detail: `too "old" <b>`}, map[string]any{
			"error": "unauthorized", "reason": "expired_credential", "detail": `too "old" <b>`,
		}},
		{"inside another error too", fmt.Errorf("INTERNAL: %w", &auth.Failure{Reason: auth.ProxyRequired, Detail: "proxy proof required"}), map[string]any{
			"error": "unauthorized", "reason": "proxy_required", "detail": "proxy proof required",
		}},
		{"a failure without a class", &auth.Failure{Reason: "INTERNAL"}, map[string]any{
			"error": "unauthorized", "reason": "unauthorized", "detail": "authentication rejected",
		}},
		{"a denied permission", vgirpc.Errorf(vgirpc.PermissionDenied, "INTERNAL"), map[string]any{
			"error": "unauthorized", "reason": "insufficient_scope", "detail": "authentication rejected",
		}},
		{"an unauthenticated", vgirpc.Errorf(vgirpc.Unauthenticated, "INTERNAL"), map[string]any{
			"error": "unauthorized", "reason": "unauthorized", "detail": "authentication rejected",
		}},
		{"nothing sent", &auth.Failure{Reason: auth.MissingCredential}, map[string]any{
			"error": "unauthorized", "reason": "missing_credential", "detail": "authentication rejected",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := answer(t, unauthorized.Options{}, "*/*", tt.err)
			body := resp.body
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(body, "INTERNAL") {
				t.Errorf("internals are shown: %s", body)
			}
			want := http.Header{
				"Cache-Control": {"no-store"}, "Content-Length": {strconv.Itoa(len(body))}, "Content-Type": {"application/json"},
				"X-Content-Type-Options": {"nosniff"}, "Vgi-Auth-Reason": {tt.want["reason"].(string)},
			}
			if diff := cmp.Diff(want, resp.header); diff != "" || resp.status != http.StatusUnauthorized {
				t.Errorf("%d %s", resp.status, diff)
			}
		})
	}
}

func TestChallengeAndProxyNoteAreOnEvery401(t *testing.T) {
	opts := unauthorized.Options{Challenge: `Bearer realm="x"`, ProxyHeaders: []string{"VGI-Proxy-Proof", "X-Cert", "X-Cert"}}
	for _, err := range []error{
		&auth.Failure{Reason: auth.MissingCredential},
		&auth.Failure{Reason: auth.ExpiredCredential, Detail: "too old"},
		&auth.Failure{Reason: auth.ProxyRequired},
	} {
		resp := answer(t, opts, "", err)
		var body struct {
			Hint string `json:"proxy_hint"`
		}
		if err := json.Unmarshal([]byte(resp.body), &body); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(body.Hint, "the headers VGI-Proxy-Proof and X-Cert.") {
			t.Errorf("the note is %q", body.Hint)
		}
		got := map[string]string{
			"required":  resp.header.Get(unauthorized.ProxyRequiredHeader),
			"challenge": resp.header.Get("WWW-Authenticate"),
		}
		if diff := cmp.Diff(map[string]string{"required": "true", "challenge": `Bearer realm="x"`}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestWhoGetsAPage(t *testing.T) {
	for _, tt := range []struct{ name, accept, want string }{
		{"a browser", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"},
		{"one that shouts", "TEXT/HTML", "text/html; charset=utf-8"},
		{"a client of everything", "*/*", "application/json"},
		{"a client of nothing in particular", "", "application/json"},
		{"a client of other text", "text/plain", "application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := answer(t, unauthorized.Options{}, tt.accept, &auth.Failure{Reason: auth.InvalidCredential})
			if got := resp.header.Get("Content-Type"); got != tt.want || resp.status != http.StatusUnauthorized {
				t.Errorf("got %d, %q", resp.status, got)
			}
			if got := resp.header.Get(unauthorized.ReasonHeader); got != "invalid_credential" {
				t.Errorf("the reason is %q", got)
			}
		})
	}
}

func TestPageShowsAllAndRunsNothing(t *testing.T) {
	for _, reason := range []auth.Reason{
		auth.MissingCredential, auth.InvalidCredential, auth.ExpiredCredential,
		auth.InsufficientScope, auth.ProxyRequired, auth.Unauthorized,
	} {
		resp := answer(t, unauthorized.Options{ProxyHeaders: []string{"X-Cert"}}, "text/html",
			&auth.Failure{Reason: reason, Detail: "<script>alert(1)</script>"})
		body := resp.body
		for _, want := range []string{"<code>" + string(reason) + "</code>", "&lt;script&gt;alert(1)", "which has to set the header X-Cert."} {
			if !strings.Contains(body, want) {
				t.Errorf("the page has no %s:\n%s", want, body)
			}
		}
		if strings.Contains(body, "<script") {
			t.Errorf("the page has a script:\n%s", body)
		}
		_, style, _ := strings.Cut(body, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		digest := sha256.Sum256([]byte(style))
		csp := resp.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") ||
			!strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'") || strings.Contains(csp, "unsafe") {
			t.Errorf("the policy is %q", csp)
		}
	}
	if body := answer(t, unauthorized.Options{}, "text/html", &auth.Failure{}).body; strings.Contains(body, "proxy") {
		t.Errorf("a note about a proxy that there is not:\n%s", body)
	}
}

func TestPageMayBeReplaced(t *testing.T) {
	var got unauthorized.View
	opts := unauthorized.Options{ProxyHeaders: []string{"X-Cert"}, Page: func(w io.Writer, v unauthorized.View) error {
		got = v
		_, err := io.WriteString(w, "mine")
		return err
	}}
	resp := answer(t, opts, "text/html", &auth.Failure{Reason: auth.ProxyRequired, Detail: "detail"})
	if body := resp.body; body != "mine" || got.Reason != auth.ProxyRequired || got.Detail != "detail" || got.Hint == "" {
		t.Errorf("%q from %+v", body, got)
	}
	if csp := resp.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "style-src") {
		t.Errorf("the policy is %q", csp)
	}
	opts.PageCSP = "default-src 'self'"
	if csp := answer(t, opts, "text/html", &auth.Failure{}).header.Get("Content-Security-Policy"); csp != "default-src 'self'" {
		t.Errorf("the policy is %q", csp)
	}
}

func TestAPageThatFailsLeavesTheEnvelope(t *testing.T) {
	var log bytes.Buffer
	resp := answer(t, unauthorized.Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Page: func(w io.Writer, _ unauthorized.View) error {
			_, _ = io.WriteString(w, "<p>half")
			return errors.New("no template")
		},
	}, "text/html", &auth.Failure{Reason: auth.InvalidCredential})
	want := `{"error":"unauthorized","reason":"invalid_credential","detail":"authentication rejected"}`
	if diff := cmp.Diff(want, resp.body); diff != "" || resp.status != http.StatusUnauthorized {
		t.Errorf("%d %s", resp.status, diff)
	}
	if !strings.Contains(log.String(), "no template") {
		t.Errorf("logged %q", &log)
	}
}

func TestOutagesAndFaults(t *testing.T) {
	secret := errors.New("INTERNAL")
	opts := unauthorized.Options{Challenge: "Bearer", ProxyHeaders: []string{"X-Cert"}}
	for _, tt := range []struct {
		name   string
		err    error
		status int
		retry  string
		log    string
	}{
		{"an outage", &auth.Unavailable{Err: secret}, 503, "5", "level=WARN"},
		{"an outage with a time", fmt.Errorf("jwt: %w", &auth.Unavailable{RetryAfter: 90 * time.Second, Err: secret}), 503, "90", "level=WARN"},
		{"a time is rounded up", &auth.Unavailable{RetryAfter: 1001 * time.Millisecond, Err: secret}, 503, "2", "level=WARN"},
		{"an outage inside a failure", &auth.Failure{Reason: auth.InvalidCredential, Err: &auth.Unavailable{Err: secret}}, 503, "5", "level=WARN"},
		{"a fault", secret, 500, "", "level=ERROR"},
		{"a code that is no refusal", vgirpc.Errorf(vgirpc.NotFound, "INTERNAL"), 500, "", "level=ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			resp := answer(t, opts, "text/html", tt.err)
			body := resp.body
			want := http.Header{
				"Cache-Control": {"no-store"}, "Content-Length": {strconv.Itoa(len(body))}, "Content-Type": {"application/json"},
				"X-Content-Type-Options": {"nosniff"},
			}
			if tt.retry != "" {
				want["Retry-After"] = []string{tt.retry}
			}
			if diff := cmp.Diff(want, resp.header); diff != "" || resp.status != tt.status {
				t.Errorf("%d %s", resp.status, diff)
			}
			if strings.Contains(body, "INTERNAL") || !json.Valid([]byte(body)) {
				t.Errorf("the body is %s", body)
			}
			if !strings.Contains(log.String(), tt.log) || !strings.Contains(log.String(), "INTERNAL") {
				t.Errorf("logged %q", &log)
			}
		})
	}
}

func TestACallerWhoIsGoneIsNoFault(t *testing.T) {
	var log bytes.Buffer
	u, err := unauthorized.New(unauthorized.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	u.Write(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/a/b", http.NoBody), ctx.Err())
	if w.Code != http.StatusInternalServerError || log.Len() != 0 {
		t.Errorf("got %d, logged %q", w.Code, &log)
	}
}

func TestOptionsAreCheckedAtConstruction(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts unauthorized.Options
	}{
		{"a challenge of two lines", unauthorized.Options{Challenge: "Bearer\r\nX: y"}},
		{"a policy of two lines", unauthorized.Options{Page: func(io.Writer, unauthorized.View) error { return nil }, PageCSP: "a\nb"}},
		{"a header without a name", unauthorized.Options{ProxyHeaders: []string{""}}},
		{"a header with a blank", unauthorized.Options{ProxyHeaders: []string{"X Cert"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := unauthorized.New(tt.opts); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestExempt(t *testing.T) {
	for _, tt := range []struct {
		method, path, prefix string
		want                 bool
	}{
		{http.MethodOptions, "/vgi/Svc/method", "/vgi", true},
		{http.MethodPost, "/vgi/Svc/method", "/vgi", false},
		{http.MethodGet, "/vgi/health", "/vgi", true},
		{http.MethodHead, "/vgi/health", "/vgi", true},
		{http.MethodGet, "/health", "", true},
		{http.MethodGet, "/health", "/vgi", false},
		{http.MethodGet, "/vgi/healthy", "/vgi", false},
		{http.MethodPost, "/vgi/health/method", "/vgi", false},
		{http.MethodPost, "/vgi/%68ealth", "/vgi", false},
		{http.MethodGet, "/vgi/../vgi/health", "/vgi", false},
		{http.MethodGet, "/.well-known/oauth-protected-resource", "/vgi", true},
		{http.MethodGet, "/.well-known/oauth-protected-resource/vgi", "/vgi", true},
		{http.MethodGet, "/.well-known/", "", true},
		{http.MethodGet, "/.well-known", "", false},
		{http.MethodGet, "/vgi/.well-known/x", "/vgi", false},
		{http.MethodPost, "/.well-known/../Svc/method", "", false},
		{http.MethodPost, "/.well-known/./method", "", false},
		{http.MethodPost, "/.well-known//method", "", false},
		{http.MethodPost, "/.well-known/%2e%2e/Svc/method", "", false},
		{http.MethodPost, "/.well-known/..%2fSvc", "", false},
		{http.MethodPost, "/.well-known/..%5cSvc", "", false},
		{http.MethodGet, "/vgi/_oauth", "/vgi", true},
		{http.MethodGet, "/vgi/_oauth/callback?code=%2e%2e", "/vgi", true},
		{http.MethodGet, "/_oauth/callback", "", true},
		{http.MethodGet, "/vgi/_oauth-evil", "/vgi", false},
		{http.MethodGet, "/vgi/_oauth/../Svc/method", "/vgi", false},
		{http.MethodGet, "/vgix/_oauth/callback", "/vgi", false},
		{http.MethodGet, "/", "", false},
		{http.MethodGet, "/vgi", "/vgi", false},
	} {
		t.Run(fmt.Sprintf("%s %s below %q", tt.method, tt.path, tt.prefix), func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, http.NoBody)
			if got := unauthorized.Exempt(r, tt.prefix); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestExemptAllocatesNothing(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/vgi/Svc/method", http.NoBody)
	if n := testing.AllocsPerRun(100, func() { unauthorized.Exempt(r, "/vgi") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
