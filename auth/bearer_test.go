package auth_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

var longToken = strings.Repeat("x", 1000)

var tokens = []auth.BearerToken{
	{Token: "alpha", Principal: "ann"},
	{Token: "beta", Principal: "bob", Domain: "ops", Claims: map[string]any{"role": "admin"}},
	{Token: longToken, Principal: "long"},
}

func TestBearer(t *testing.T) {
	b, err := auth.NewBearer(auth.BearerOptions{Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		header []string
		want   string
		reason auth.Reason
	}{
		{"a known token", []string{"Authorization", "Bearer alpha"}, "ann", ""},
		{"the scheme in any case", []string{"Authorization", "bEARER beta"}, "bob", ""},
		{"more than one blank", []string{"Authorization", "Bearer   beta "}, "bob", ""},
		{"a long token", []string{"Authorization", "Bearer " + longToken}, "long", ""},
		{"no header", nil, "", auth.MissingCredential},
		{"an empty one", []string{"Authorization", ""}, "", auth.MissingCredential},
		{"another scheme", []string{"Authorization", "Basic alpha"}, "", auth.InvalidCredential},
		{"a scheme that begins alike", []string{"Authorization", "Bearers alpha"}, "", auth.InvalidCredential},
		{"no token", []string{"Authorization", "Bearer"}, "", auth.InvalidCredential},
		{"an empty token", []string{"Authorization", "Bearer  "}, "", auth.InvalidCredential},
		{"an unknown token", []string{"Authorization", "Bearer gamma"}, "", auth.InvalidCredential},
		{"the beginning of one", []string{"Authorization", "Bearer alph"}, "", auth.InvalidCredential},
		{"one and more", []string{"Authorization", "Bearer alphaa"}, "", auth.InvalidCredential},
		{"a token in another case", []string{"Authorization", "Bearer ALPHA"}, "", auth.InvalidCredential},
		{"two tokens", []string{"Authorization", "Bearer alpha beta"}, "", auth.InvalidCredential},
		{"two headers", []string{"Authorization", "Bearer alpha", "Authorization", "Bearer alpha"}, "", auth.InvalidCredential},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := b.Authenticate(request(tt.header...))
			if reason, _ := auth.ReasonOf(err); reason != tt.reason || (err == nil) != (tt.reason == "") || id.Principal != tt.want {
				t.Fatalf("got %+v, %v", id, err)
			}
			if err == nil {
				return
			}
			for _, secret := range []string{"alph", "gamma", "ALPHA"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error repeats the credential: %v", err)
				}
			}
		})
	}
}

func TestBearerIdentityIsTheCallersOwn(t *testing.T) {
	b, err := auth.NewBearer(auth.BearerOptions{Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	want := vgirpc.Identity{Principal: "bob", Domain: "ops", Authenticated: true, Claims: map[string]any{"role": "admin"}}
	for range 2 {
		id, err := b.Authenticate(request("Authorization", "Bearer beta"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Error(diff)
		}
		id.Claims["role"] = "changed"
	}
	id, err := b.Authenticate(request("Authorization", "Bearer alpha"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(vgirpc.Identity{Principal: "ann", Domain: "bearer", Authenticated: true}, id); diff != "" {
		t.Error(diff)
	}
}

func TestBearerAllocatesNothing(t *testing.T) {
	b, err := auth.NewBearer(auth.BearerOptions{Tokens: tokens, File: tokenFile(t, "delta dan\n")})
	if err != nil {
		t.Fatal(err)
	}
	r := request("Authorization", "Bearer delta")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := b.Authenticate(r); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBearerIsCheckedAtConstruction(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts auth.BearerOptions
		want string
	}{
		{"nothing", auth.BearerOptions{}, "neither tokens"},
		{"an empty token", auth.BearerOptions{Tokens: []auth.BearerToken{{Principal: "a"}}}, "it is empty"},
		{"a token with a blank", auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "SECRET x", Principal: "a"}}}, "not visible ASCII"},
		{"a token beyond ASCII", auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "SECRETé", Principal: "a"}}}, "not visible ASCII"},
		{"no principal", auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "SECRET"}}}, "no principal"},
		{"a token twice", auth.BearerOptions{Tokens: []auth.BearerToken{
			{Token: "SECRET", Principal: "a"}, {Token: "SECRET", Principal: "b"},
		}}, `both "a" and "b"`},
		{"no such file", auth.BearerOptions{File: filepath.Join(t.TempDir(), "none")}, "no such file"},
		{"a directory", auth.BearerOptions{File: t.TempDir()}, "not a regular file"},
		{"an empty file", auth.BearerOptions{File: tokenFile(t, "# none\n\n")}, "no token"},
		{"a line with one field", auth.BearerOptions{File: tokenFile(t, "a b\nSECRET\n")}, "line 2 has 1 fields"},
		{"a line with four", auth.BearerOptions{File: tokenFile(t, "SECRET b c d\n")}, "line 1 has 4 fields"},
		{"a bad token in a file", auth.BearerOptions{File: tokenFile(t, "\nSECRETé b\n")}, ":2: it holds a character"},
		{"a line without end", auth.BearerOptions{File: tokenFile(t, strings.Repeat("SECRET", 20_000))}, "too long"},
		{"a token in both places", auth.BearerOptions{
			Tokens: []auth.BearerToken{{Token: "SECRET", Principal: "a"}}, File: tokenFile(t, "SECRET b\n"),
		}, `both "a" and "b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.NewBearer(tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error repeats the credential: %v", err)
			}
		})
	}
}

func TestNoFormatShowsAToken(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, tokens); strings.Contains(got, "alpha") {
			t.Errorf("%s shows %s", format, got)
		}
	}
}

// tokenFile writes a file of tokens that only its owner may read, long ago, so
// that its time tells a later write.
func tokenFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tokens")
	rewrite(t, name, content, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	return name
}

func rewrite(t *testing.T, name, content string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func accepts(t *testing.T, b *auth.Bearer, token string) bool {
	t.Helper()
	_, err := b.Authenticate(request("Authorization", "Bearer "+token))
	var f *auth.Failure
	if err != nil && !errors.As(err, &f) {
		t.Fatal(err)
	}
	return err == nil
}

func TestBearerFileIsReadAgainWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		name := tokenFile(t, "# tokens\nold ann\n  spare sue staff  \n")
		b, err := auth.NewBearer(auth.BearerOptions{
			Tokens: []auth.BearerToken{{Token: "static", Principal: "sam"}},
			File:   name, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := b.Authenticate(request("Authorization", "Bearer spare")); err != nil || id.Domain != "staff" {
			t.Fatalf("got %+v, %v", id, err)
		}

		rewrite(t, name, "new ann\n", time.Date(1999, 1, 2, 0, 0, 0, 0, time.UTC))
		if accepts(t, b, "new") || !accepts(t, b, "old") {
			t.Error("the file was read before its time")
		}
		time.Sleep(5 * time.Second)
		if !accepts(t, b, "new") || accepts(t, b, "old") || !accepts(t, b, "static") {
			t.Error("the new file is not in force")
		}

		rewrite(t, name, "broken\n", time.Date(1999, 1, 3, 0, 0, 0, 0, time.UTC))
		for range 3 {
			time.Sleep(5 * time.Second)
			if !accepts(t, b, "new") {
				t.Error("a broken file took the former tokens away")
			}
		}
		if n := strings.Count(log.String(), "not reloaded"); n != 1 {
			t.Errorf("a file that stays broken was logged %d times:\n%s", n, &log)
		}
		if err := b.Reload(); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("Reload: %v", err)
		}

		rewrite(t, name, "third ann\n", time.Date(1999, 1, 4, 0, 0, 0, 0, time.UTC))
		if err := b.Reload(); err != nil || !accepts(t, b, "third") {
			t.Errorf("Reload: %v", err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !accepts(t, b, "third") {
			t.Error("without the file its tokens are gone")
		}
		for _, secret := range []string{"old", "new ", "third", "static"} {
			if strings.Contains(strings.ReplaceAll(log.String(), "reloaded", ""), secret) {
				t.Errorf("the log has a credential:\n%s", &log)
			}
		}
	})
}

func TestBearerFileOfTheSameTimeIsReadAgainWhileThatTimeIsRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := tokenFile(t, "aaa ann\n")
		now := time.Now()
		rewrite(t, name, "aaa ann\n", now)
		b, err := auth.NewBearer(auth.BearerOptions{File: name, Poll: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, name, "bbb ann\n", now)
		time.Sleep(time.Second)
		if accepts(t, b, "aaa") || !accepts(t, b, "bbb") {
			t.Error("a change within the same tick was missed")
		}
	})
}

func TestBearerFileIsLeftAloneWithoutPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := tokenFile(t, "old ann\n")
		b, err := auth.NewBearer(auth.BearerOptions{File: name, Poll: -1})
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, name, "new ann\n", time.Date(1999, 1, 2, 0, 0, 0, 0, time.UTC))
		time.Sleep(time.Hour)
		if !accepts(t, b, "old") {
			t.Error("it was read again")
		}
		if err := b.Reload(); err != nil || !accepts(t, b, "new") {
			t.Errorf("Reload: %v", err)
		}
	})
}

func TestBearerWarnsOfAFileThatOthersCanRead(t *testing.T) {
	name := tokenFile(t, "old ann\n")
	for _, tt := range []struct {
		name string
		mode os.FileMode
		want bool
	}{
		{"the owner alone", 0o600, false},
		{"a group", 0o640, false},
		{"everybody", 0o644, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.Chmod(name, tt.mode); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			if _, err := auth.NewBearer(auth.BearerOptions{File: name, Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "can read"); got != tt.want {
				t.Errorf("logged %q", &log)
			}
		})
	}
}

func TestBearerMayBeReloadedWhileInUse(t *testing.T) {
	b, err := auth.NewBearer(auth.BearerOptions{File: tokenFile(t, "old ann\n"), Poll: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if !accepts(t, b, "old") {
					t.Error("a reload lost a token")
				}
			}
		})
	}
	for range 50 {
		if err := b.Reload(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
