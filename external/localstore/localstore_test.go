package localstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/external/internal/objectkey"
)

// both runs a test on both shelves. The store has no listener.
func both(t *testing.T, opts Options, test func(t *testing.T, s *Store)) {
	t.Helper()
	for scheme, where := range map[string]string{"mem": "mem://", "file": "file://" + t.TempDir()} {
		t.Run(scheme, func(t *testing.T) {
			opts := opts
			opts.URL = where
			test(t, open(t, opts))
		})
	}
}

func open(t *testing.T, opts Options) *Store {
	t.Helper()
	if opts.BaseURL == "" {
		opts.BaseURL = "http://store.test/base"
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// reply is an answer of the handler.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request to the handler.
func ask(s *Store, method, to string, body io.Reader, header ...string) reply {
	r := httptest.NewRequest(method, to, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

func put(s *Store, to string, body io.Reader) int {
	return ask(s, http.MethodPut, to, body, "Content-Type", contentType).status
}

// counted is what the quota counts.
func counted(s *Store) (stored, drafts count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored, s.drafts
}

func upload(t *testing.T, s *Store, data string) string {
	t.Helper()
	u, err := s.Upload(t.Context(), []byte(data), "")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func uploadURL(t *testing.T, s *Store) (put, get string) {
	t.Helper()
	u, err := s.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u.Upload, u.Download
}

func TestAnswersAreForNoBrowser(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Store) {
		u, err := s.Upload(t.Context(), []byte("<script>"), "zstd")
		if err != nil {
			t.Fatal(err)
		}
		common := http.Header{
			"X-Content-Type-Options":  {"nosniff"},
			"Content-Security-Policy": {"default-src 'none'; sandbox"},
			"Referrer-Policy":         {"no-referrer"},
			"Cache-Control":           {"private, no-store, no-transform"},
		}
		got := ask(s, http.MethodGet, u, nil)
		want := common.Clone()
		want["Content-Type"] = []string{"application/vnd.apache.arrow.stream"}
		want["Content-Disposition"] = []string{"attachment"}
		want["Content-Encoding"] = []string{"zstd"}
		want["Content-Length"] = []string{"8"}
		want["Accept-Ranges"] = []string{"bytes"}
		want["Etag"] = got.header["Etag"]
		if diff := cmp.Diff(want, got.header); diff != "" || got.body != "<script>" || len(got.header.Get("ETag")) != 28 {
			t.Errorf("body %q, header (-want +got):\n%s", got.body, diff)
		}
		refusal := ask(s, http.MethodGet, u+"0", nil)
		want = common.Clone()
		want["Content-Type"] = []string{"text/plain; charset=utf-8"}
		if diff := cmp.Diff(want, refusal.header); diff != "" || refusal.status != http.StatusForbidden {
			t.Errorf("status %d, header (-want +got):\n%s", refusal.status, diff)
		}
	})
}

func TestWhatIsNotSealedIsRefused(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Store) {
		u := upload(t, s, "x")
		path, query, _ := strings.Cut(u, "?")
		dir := path[:strings.LastIndex(path, "/")]
		_, other, _ := strings.Cut(upload(t, s, "y"), "?")
		for _, tt := range []struct {
			name, method, to string
			status           int
		}{
			{"the object", http.MethodGet, u, http.StatusOK},
			{"behind another prefix", http.MethodGet, strings.Replace(u, "/base/", "/deeper/base/", 1), http.StatusOK},
			{"no query", http.MethodGet, path, http.StatusForbidden},
			{"another object's seal", http.MethodGet, path + "?" + other, http.StatusForbidden},
			{"one parameter more", http.MethodGet, u + "&a=b", http.StatusForbidden},
			{"a seal twice", http.MethodGet, u + "&" + query, http.StatusForbidden},
			{"no seal", http.MethodGet, path + "?" + strings.Split(query, "&")[0], http.StatusForbidden},
			{"a listing", http.MethodGet, dir + "/?" + query, http.StatusForbidden},
			{"a listing of all", http.MethodGet, "http://store.test/?" + query, http.StatusForbidden},
			{"nothing", http.MethodGet, "http://store.test", http.StatusForbidden},
			{"a file", http.MethodGet, "http://store.test/base/out/../../../../etc/passwd?" + query, http.StatusForbidden},
			{"a file by its escapes", http.MethodGet, dir + "/..%2f..%2f..%2fetc%2fpasswd?" + query, http.StatusForbidden},
			{"a draft", http.MethodGet, path + ".part?" + query, http.StatusForbidden},
			{"a PUT", http.MethodPut, u, http.StatusForbidden},
			{"a HEAD", http.MethodHead, u, http.StatusMethodNotAllowed},
			{"a DELETE", http.MethodDelete, u, http.StatusMethodNotAllowed},
			{"a POST", http.MethodPost, u, http.StatusMethodNotAllowed},
			{"an OPTIONS", http.MethodOptions, u, http.StatusMethodNotAllowed},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if got := ask(s, tt.method, tt.to, nil, "Content-Type", contentType).status; got != tt.status {
					t.Errorf("status %d, want %d", got, tt.status)
				}
			})
		}
	})
}

func TestAnObjectIsPutOnce(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Store) {
		to, from := uploadURL(t, s)
		r, w := io.Pipe()
		first := make(chan int)
		go func() { first <- put(s, to, r) }()
		_, _ = w.Write([]byte("first")) // returns when it was read: the first is in the middle of it
		if got := put(s, to, strings.NewReader("second")); got != http.StatusConflict {
			t.Errorf("status %d while somebody else puts it", got)
		}
		if got := ask(s, http.MethodGet, from, nil).status; got != http.StatusNotFound {
			t.Errorf("status %d of half an object", got)
		}
		_ = w.Close()
		if got := <-first; got != http.StatusCreated {
			t.Errorf("status %d", got)
		}
		if got := put(s, to, strings.NewReader("third")); got != http.StatusConflict {
			t.Errorf("status %d when it is there", got)
		}
		if got := ask(s, http.MethodPut, to, strings.NewReader("fourth"), "Content-Type", contentType, "Content-Encoding", "zstd").status; got != http.StatusConflict {
			t.Errorf("status %d when it is there in another encoding", got)
		}
		if body := ask(s, http.MethodGet, from, nil).body; body != "first" {
			t.Errorf("got %q", body)
		}
	})
}

func TestUploadsThatAreRefusedLeaveNothing(t *testing.T) {
	errCut := errors.New("cut")
	both(t, Options{MaxBytes: 1000, MaxUploadBytes: 100, MaxObjects: 3}, func(t *testing.T, s *Store) {
		hidden := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) } // without a length
		for _, tt := range []struct {
			name   string
			body   io.Reader
			header []string
			status int
		}{
			{"a length that is too much", strings.NewReader(strings.Repeat("x", 101)), nil, http.StatusRequestEntityTooLarge},
			{"a body that is too much", hidden(101), nil, http.StatusRequestEntityTooLarge},
			{"a body that breaks off", io.MultiReader(hidden(50), &broken{errCut}), nil, http.StatusBadRequest},
			{"no content type", hidden(1), []string{"Content-Type", ""}, http.StatusUnsupportedMediaType},
			{"another content type", hidden(1), []string{"Content-Type", "text/html"}, http.StatusUnsupportedMediaType},
			{"an encoding that nobody undoes", hidden(1), []string{"Content-Encoding", "br"}, http.StatusUnsupportedMediaType},
			{"two encodings", hidden(1), []string{"Content-Encoding", "gzip,zstd"}, http.StatusUnsupportedMediaType},
		} {
			t.Run(tt.name, func(t *testing.T) {
				to, from := uploadURL(t, s)
				header := append([]string{"Content-Type", contentType}, tt.header...)
				if got := ask(s, http.MethodPut, to, tt.body, header...).status; got != tt.status {
					t.Errorf("status %d, want %d", got, tt.status)
				}
				if got := ask(s, http.MethodGet, from, nil).status; got != http.StatusNotFound {
					t.Errorf("status %d of what was refused", got)
				}
				if stored, drafts := counted(s); stored != (count{}) || drafts != (count{}) {
					t.Errorf("%+v and %+v are still counted", stored, drafts)
				}
			})
		}
		to, from := uploadURL(t, s)
		if got := put(s, to, hidden(100)); got != http.StatusCreated {
			t.Errorf("status %d of as much as is allowed", got)
		}
		if got := ask(s, http.MethodGet, from, nil).status; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	})
}

// broken fails.
type broken struct{ err error }

// Read fails.
func (b *broken) Read([]byte) (int, error) { return 0, b.err }

func TestTheQuotaHolds(t *testing.T) {
	both(t, Options{MaxBytes: 250, MaxObjects: 3, TTL: time.Minute}, func(t *testing.T, s *Store) {
		hundred := strings.Repeat("x", 100)
		upload(t, s, hundred)
		upload(t, s, hundred)
		if _, err := s.Upload(t.Context(), []byte(hundred), ""); !errors.Is(err, ErrFull) {
			t.Errorf("got %v over the bytes", err)
		}
		to, _ := uploadURL(t, s)
		if got := put(s, to, strings.NewReader(hundred)); got != http.StatusInsufficientStorage {
			t.Errorf("status %d over the bytes", got)
		}
		upload(t, s, "x")
		if _, err := s.Upload(t.Context(), []byte("x"), ""); !errors.Is(err, ErrFull) {
			t.Errorf("got %v over the objects", err)
		}
		if got := put(s, to, strings.NewReader("x")); got != http.StatusInsufficientStorage {
			t.Errorf("status %d over the objects", got)
		}
		if err := s.sweep(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		upload(t, s, hundred) // there is room again
		if stored, drafts := counted(s); stored != (count{1, 100}) || drafts != (count{}) {
			t.Errorf("counted %+v and %+v", stored, drafts)
		}
	})
}

func TestObjectsGoWhenTheirURLsHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{URL: "mem://", TTL: 10 * time.Minute, SweepEvery: time.Minute})
		u := upload(t, s, "x")
		to, from := uploadURL(t, s)
		status := func(want int) {
			t.Helper()
			if got := ask(s, http.MethodGet, u, nil).status; got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		}
		time.Sleep(9*time.Minute + 50*time.Second)
		status(http.StatusOK)
		if got := put(s, to, strings.NewReader("late")); got != http.StatusCreated {
			t.Errorf("status %d", got)
		}
		time.Sleep(10 * time.Second)
		status(http.StatusForbidden)
		if got := ask(s, http.MethodGet, from, nil).status; got != http.StatusForbidden {
			t.Errorf("status %d", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if left, _ := counted(s); left != (count{1, 4}) { // what was put late is still there, and nobody can have it
			t.Errorf("%+v is left", left)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if left, _ := counted(s); left != (count{}) {
			t.Errorf("%+v is left", left)
		}
		if err := s.Close(); err != nil { // which ends the sweeper, or the test would not end
			t.Error(err)
		}
	})
}

func TestADirectoryOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	key := bytes.Repeat([]byte("k"), 32)
	opts := Options{URL: "file://" + dir, Key: key, TTL: time.Hour, MaxObjects: 3}
	first := open(t, opts)
	kept, old := upload(t, first, "kept"), upload(t, first, "old")
	_ = first.Close()

	files := func() (names []string) {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if !entry.IsDir() {
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	age := func(name string) {
		t.Helper()
		past := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	age(filepath.Join(dir, keyOf(u.Path)))
	// Drafts of a process that died, and what is none of ours.
	fresh := objectkey.New(objectkey.In, time.Now()) + suffixDraft
	stale := objectkey.New(objectkey.Out, time.Now().Add(-48*time.Hour)) + suffixDraft
	foreign := []string{"notes.txt", "out/notes.txt", "out/2020-01-01/notes", "elsewhere/2020-01-01/" + fresh[14:40]}
	for _, name := range append(foreign, fresh, stale) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("12345"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if name != fresh {
			age(path)
		}
	}
	if got := len(files()); got != 8 {
		t.Fatalf("%d files", got)
	}

	second := open(t, opts)
	if got, _ := counted(second); got != (count{1, 4}) {
		t.Errorf("counted %+v", got)
	}
	if got := len(files()); got != 6 { // four foreign ones, the object, the draft
		t.Errorf("%d files are left: %q", got, files())
	}
	if _, err := os.Stat(filepath.Dir(filepath.Join(dir, stale))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of a day without objects is still there: %v", err)
	}
	if body := ask(second, http.MethodGet, kept, nil).body; body != "kept" {
		t.Errorf("got %q", body)
	}
	if got := ask(second, http.MethodGet, old, nil).status; got != http.StatusNotFound {
		t.Errorf("status %d of what was swept", got)
	}
	third := open(t, Options{URL: opts.URL}) // with a key of its own
	if got := ask(third, http.MethodGet, kept, nil).status; got != http.StatusForbidden {
		t.Errorf("status %d of a URL with another key's seal", got)
	}
}

func TestSymbolicLinksLeadNowhere(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{URL: "file://" + dir})
	u := upload(t, s, "x")
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, keyOf(parsed.Path))
	if err := errors.Join(os.Remove(name), os.Symlink(secret, name)); err != nil {
		t.Fatal(err)
	}
	got := ask(s, http.MethodGet, u, nil)
	if got.status < 400 || strings.Contains(got.body, "secret") {
		t.Errorf("status %d: %q", got.status, got.body)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "out")), os.Symlink(outside, filepath.Join(dir, "out"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Upload(t.Context(), []byte("x"), ""); err == nil {
		t.Error("it writes where a link leads")
	}
	if err := s.sweep(time.Now().Add(time.Hour * 24)); err != nil {
		t.Logf("the sweep fails: %v", err)
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error("the sweep followed a link")
	}
	if to, _ := uploadURL(t, s); put(s, to, strings.NewReader("x")) != http.StatusCreated {
		t.Error("the other directory is not to blame")
	}
}

func TestFilesAreTheirOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "directory")
	s := open(t, Options{URL: "file://" + dir})
	upload(t, s, "x")
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no URL":                     func(o *Options) { o.URL = "" },
		"another scheme":             func(o *Options) { o.URL = "s3://bucket" },
		"memory with a name":         func(o *Options) { o.URL = "mem://name" },
		"a relative directory":       func(o *Options) { o.URL = "file://directory" },
		"no directory":               func(o *Options) { o.URL = "file://" },
		"a parameter":                func(o *Options) { o.URL = "file:///tmp?create_dir=1" },
		"a directory that is a file": func(o *Options) { o.URL = "file://" + file },
		"no base":                    func(o *Options) { o.BaseURL = "" },
		"a base of another scheme":   func(o *Options) { o.BaseURL = "ftp://host" },
		"a base with a query":        func(o *Options) { o.BaseURL = "http://host?a" },
		"a base with a user":         func(o *Options) { o.BaseURL = "http://user@host" },
		"a short key":                func(o *Options) { o.Key = make([]byte, 31) },
		"a TTL of no time":           func(o *Options) { o.TTL = time.Millisecond },
		"a negative quota":           func(o *Options) { o.MaxBytes = -1 },
		"a negative count":           func(o *Options) { o.MaxObjects = -1 },
		"a negative upload":          func(o *Options) { o.MaxUploadBytes = -1 },
		"a sweeper that is too late": func(o *Options) { o.TTL, o.SweepEvery = time.Minute, time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{URL: "mem://", BaseURL: "http://store.test"}
			change(&opts)
			if s, err := New(opts); err == nil {
				_ = s.Close()
				t.Error("it is taken")
			}
		})
	}
}

func TestOriginsHaveAPort(t *testing.T) {
	for base, want := range map[string]string{
		"https://store.test":           "https://store.test:443",
		"http://store.test/a/":         "http://store.test:80",
		"http://127.0.0.1:8080/a":      "http://127.0.0.1:8080",
		"https://[2001:db8::1]:8443/a": "https://[2001:db8::1]:8443",
	} {
		s := open(t, Options{URL: "mem://", BaseURL: base})
		if diff := cmp.Diff([]string{want}, s.Origins()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", base, diff)
		}
		if u := upload(t, s, "x"); !strings.HasPrefix(u, strings.TrimRight(base, "/")+"/out/") {
			t.Errorf("%s leads to %s", base, u)
		}
	}
}

func TestNothingIsStoredForACallThatIsOver(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Upload(ctx, []byte("x"), ""); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := s.NewUploadURL(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Upload(t.Context(), []byte("x"), "br"); err == nil {
			t.Error("an encoding that nobody undoes is taken")
		}
	})
}

func TestAClosedStoreIsEmptyHanded(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Store) {
		u := upload(t, s, "x")
		to, _ := uploadURL(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Upload(t.Context(), []byte("x"), ""); err == nil {
			t.Error("it stores")
		}
		if got := ask(s, http.MethodGet, u, nil).status; got < 400 {
			t.Errorf("status %d of an object", got)
		}
		if got := put(s, to, strings.NewReader("x")); got < 400 {
			t.Errorf("status %d of an upload", got)
		}
	})
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	s := start(t, Options{URL: "mem://"})
	if _, err := Start(strings.TrimPrefix(s.origin, "http://"), Options{URL: "mem://"}); err == nil {
		t.Error("two have one address")
	}
	if _, err := Start("127.0.0.1:0", Options{}); err == nil {
		t.Error("a store without a URL starts")
	}
}

func TestAStoreOnEveryAddressHasToBeToldItsOwn(t *testing.T) {
	for _, tt := range []struct {
		name, address, base, want string // the URLs' beginning, or part of the error
	}{
		{"every address", ":0", "", "BaseURL (--storage-base-url)"},
		{"every address of IPv4", "0.0.0.0:0", "", "BaseURL (--storage-base-url)"},
		{"every address of IPv6", "[::]:0", "", "BaseURL (--storage-base-url)"},
		{"every address, by a name", ":0", "https://store.test/base", "https://store.test/base/out/"},
		{"one address", "127.0.0.1:0", "", "http://127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Start(tt.address, Options{URL: "mem://", BaseURL: tt.base})
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = upload(t, s, "x")
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if !strings.Contains(got, tt.want) || (err == nil) != strings.HasPrefix(tt.want, "http") {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
