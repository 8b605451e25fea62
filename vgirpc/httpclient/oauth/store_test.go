package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gokeyring "github.com/zalando/go-keyring"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth/keyring"
)

var (
	keyA = oauth.Key{Resource: "https://a.example/vgi"}
	keyB = oauth.Key{Resource: "https://a.example/vgi", Issuer: issuerURL, Client: "mine"}
)

func record(token string) *oauth.Record {
	now := time.Now().Truncate(time.Second).UTC()
	return &oauth.Record{
		Issuer: issuerURL, ClientID: "web", ClientSecret: "s", TokenEndpoint: issuerURL + "/token", RevocationEndpoint: issuerURL + "/revoke",
		Scope: "openid", AccessToken: token, RefreshToken: "refresh-" + token, IDToken: "id-" + token, UseIDToken: true,
		Expiry: now.Add(time.Hour), Obtained: now,
	}
}

func newFileStore(t *testing.T, dir string) *oauth.FileStore {
	t.Helper()
	s, err := oauth.NewFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newKeyring(t *testing.T, dir string, opts keyring.Options) *keyring.Store {
	t.Helper()
	s, err := keyring.New(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEveryStoreKeepsRecords(t *testing.T) {
	gokeyring.MockInit()
	for name, open := range map[string]func(t *testing.T) oauth.Store{
		"memory":  func(*testing.T) oauth.Store { return oauth.NewMemoryStore() },
		"files":   func(t *testing.T) oauth.Store { return newFileStore(t, filepath.Join(t.TempDir(), "new", "dir")) },
		"keyring": func(t *testing.T) oauth.Store { return newKeyring(t, t.TempDir()+"/k", keyring.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := open(t), t.Context()
			wants := func(key oauth.Key, want *oauth.Record) {
				t.Helper()
				got, err := s.Load(ctx, key)
				if want == nil {
					if !errors.Is(err, oauth.ErrNoRecord) {
						t.Errorf("got %v and %v", got, err)
					}
					return
				}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%v %s", err, diff)
				}
			}
			wants(keyA, nil)
			if err := s.Delete(ctx, keyA); err != nil {
				t.Error(err)
			}
			long, short, other := record(strings.Repeat("long", 3000)), record("short"), record("other")
			for _, r := range []*oauth.Record{long, short, long} {
				if err := s.Save(ctx, keyA, r); err != nil {
					t.Fatal(err)
				}
				wants(keyA, r)
			}
			if err := s.Save(ctx, keyB, other); err != nil {
				t.Fatal(err)
			}
			wants(keyB, other)
			if err := s.Delete(ctx, keyA); err != nil {
				t.Error(err)
			}
			wants(keyA, nil)
			wants(keyB, other)

			unlock, err := s.Lock(ctx, keyA)
			if err != nil {
				t.Fatal(err)
			}
			short1, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			if _, err := s.Lock(short1, keyA); vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
			if free, err := s.Lock(ctx, keyB); err != nil {
				t.Error(err)
			} else {
				free()
			}
			unlock()
			if unlock, err = s.Lock(ctx, keyA); err != nil {
				t.Fatal(err)
			}
			unlock()
		})
	}
}

func TestFilesOfLoginsAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are for Unix")
	}
	dir := filepath.Join(t.TempDir(), "logins")
	s := newFileStore(t, dir)
	if err := s.Save(t.Context(), keyA, record("tok")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v and %v", files, err)
	}
	mode := func(path string) os.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode(dir) != 0o700 || mode(files[0]) != 0o600 {
		t.Errorf("modes %o and %o", mode(dir), mode(files[0]))
	}
	load := func() error { _, err := s.Load(t.Context(), keyA); return err }
	for _, tt := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"others may read it", func() error { return os.Chmod(files[0], 0o640) }, "others have access"},
		{"it is cut off", func() error { return errors.Join(os.Chmod(files[0], 0o600), os.Truncate(files[0], 20)) }, "cannot be read"},
		{"it is another server's", func() error {
			data, err := oauth.Encode(keyB, record("tok"))
			return errors.Join(err, os.WriteFile(files[0], data, 0o600))
		}, "another one's"},
		{"it is of another version", func() error {
			data, err := oauth.Encode(keyA, record("tok"))
			return errors.Join(err, os.WriteFile(files[0], []byte(strings.Replace(string(data), `"version":1`, `"version":2`, 1)), 0o600))
		}, "version 2"},
		{"it is too long", func() error { return os.WriteFile(files[0], make([]byte, 300<<10), 0o600) }, "more than"},
		{"it is a link", func() error {
			return errors.Join(os.Rename(files[0], files[0]+".away"), os.Symlink(filepath.Base(files[0])+".away", files[0]))
		}, "no regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.change(); err != nil {
				t.Fatal(err)
			}
			if err := load(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := oauth.NewFileStore(dir); err == nil || !strings.Contains(err.Error(), "others have access") {
		t.Errorf("got %v", err)
	}
}

// TestMain makes the test binary a process that refreshes a token again and again.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OAUTH_TEST_RACE_DIR"); dir != "" {
		if err := countUp(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const rounds = 100

// countUp reads a record, and writes it with its number counted up by one, as
// often as the test wants.
func countUp(dir string) error {
	s, err := oauth.NewFileStore(dir)
	if err != nil {
		return err
	}
	for range rounds {
		unlock, err := s.Lock(context.Background(), keyA)
		if err != nil {
			return err
		}
		r, err := s.Load(context.Background(), keyA)
		if errors.Is(err, oauth.ErrNoRecord) {
			r, err = record("0"), nil
		}
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(r.AccessToken)
		if err != nil {
			return err
		}
		r.AccessToken = strconv.Itoa(n + 1)
		if err := s.Save(context.Background(), keyA, r); err != nil {
			return err
		}
		unlock()
	}
	return nil
}

func TestProcessesTakeTurns(t *testing.T) {
	const processes = 3
	dir := filepath.Join(t.TempDir(), "logins")
	s := newFileStore(t, dir)
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "OAUTH_TEST_RACE_DIR="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for reading := true; reading; { // a reader without the lock sees whole records
		if _, err := s.Load(t.Context(), keyA); err != nil && !errors.Is(err, oauth.ErrNoRecord) {
			t.Error(err)
		}
		select {
		case <-done:
			reading = false
		default:
		}
	}
	r, err := s.Load(t.Context(), keyA)
	if err != nil || r.AccessToken != strconv.Itoa(processes*rounds) {
		t.Errorf("got %v and %v", r, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTwoClientsOfOneStoreUseARefreshTokenOnce(t *testing.T) {
	i := newIssuer()
	i.tokens = append(i.tokens, gives("two", "refresh_token", "r2"), refuses(400, "invalid_grant"))
	dir := t.TempDir() + "/logins"
	old := record("one")
	old.Expiry, old.UseIDToken = time.Now().Add(-time.Minute), false
	if err := newFileStore(t, dir).Save(t.Context(), oauth.Key{Resource: serverURL}, old); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		c := newClient(t, i, oauth.Options{Store: newFileStore(t, dir)})
		wg.Go(func() {
			if got, err := c.Token(t.Context()); got != "two" {
				t.Errorf("got %q and %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := i.count("idp.example/token"); n != 1 {
		t.Errorf("%d requests for tokens", n)
	}
}

func TestAKeyring(t *testing.T) {
	dir := t.TempDir() + "/k"
	t.Run("keeps secrets out of the directory", func(t *testing.T) {
		gokeyring.MockInit()
		s := newKeyring(t, dir, keyring.Options{})
		if err := s.Save(t.Context(), keyA, record("a-secret")); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(dir + "/*.json")
		if err != nil || len(files) != 1 {
			t.Fatalf("got %v and %v", files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		noSecrets(t, string(data), "a-secret", "client_secret")
	})
	t.Run("that lost the items has no record", func(t *testing.T) {
		gokeyring.MockInit()
		if _, err := newKeyring(t, dir, keyring.Options{}).Load(t.Context(), keyA); !errors.Is(err, oauth.ErrNoRecord) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("keeps nothing of a login that is gone", func(t *testing.T) {
		const service, pieces = "vgi-rpc", 6
		piece := func(n int) string { return keyA.Resource + " #" + strconv.Itoa(n) }
		empty := func(t *testing.T, when string) {
			t.Helper()
			for n := range pieces {
				if _, err := gokeyring.Get(service, piece(n)); !errors.Is(err, gokeyring.ErrNotFound) {
					t.Errorf("%s, piece %d is there: %v", when, n, err)
				}
			}
		}
		gokeyring.MockInit()
		s := newKeyring(t, t.TempDir()+"/k", keyring.Options{Fallback: true})
		save := func(size int) {
			t.Helper()
			if err := s.Save(t.Context(), keyA, record(strings.Repeat("x", size))); err != nil {
				t.Fatal(err)
			}
		}
		remove := func() {
			t.Helper()
			if err := s.Delete(t.Context(), keyA); err != nil {
				t.Error(err)
			}
		}
		save(2000)
		for _, gone := range []int{0, 2} {
			if err := gokeyring.Delete(service, piece(gone)); err != nil {
				t.Fatal(err)
			}
		}
		remove()
		empty(t, "removed behind gaps")
		save(2000)
		save(50 << 10) // more than a keyring takes
		empty(t, "replaced by a file")
		if err := gokeyring.Set(service, piece(0), "of a time when the keyring did not answer"); err != nil {
			t.Fatal(err)
		}
		remove()
		empty(t, "removed beside a file")
	})
	t.Run("that fails says so", func(t *testing.T) {
		gokeyring.MockInitWithError(errors.New("no keyring here"))
		s := newKeyring(t, dir, keyring.Options{})
		err := s.Save(t.Context(), keyA, record("a-secret"))
		if err == nil || !strings.Contains(err.Error(), "no keyring here") {
			t.Errorf("got %v", err)
		}
		noSecrets(t, errText(err), "a-secret")
	})
	t.Run("is not asked where there is no login", func(t *testing.T) {
		gokeyring.MockInitWithError(errors.New("no keyring here"))
		s := newKeyring(t, t.TempDir()+"/k", keyring.Options{})
		if _, err := s.Load(t.Context(), keyA); !errors.Is(err, oauth.ErrNoRecord) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("that fails has files behind it where that is wanted", func(t *testing.T) {
		gokeyring.MockInitWithError(errors.New("no keyring here"))
		s := newKeyring(t, t.TempDir()+"/k", keyring.Options{Fallback: true})
		want := record("a-secret")
		if err := s.Save(t.Context(), keyA, want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load(t.Context(), keyA)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if err := s.Delete(t.Context(), keyA); err != nil {
			t.Error(err)
		}
		if _, err := s.Load(t.Context(), keyA); !errors.Is(err, oauth.ErrNoRecord) {
			t.Errorf("got %v", err)
		}
	})
}
