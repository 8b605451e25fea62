package blobstore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"

	"github.com/vgirpc/vgirpc-go/external"
)

// newBucket is a bucket that signs URLs of a base.
func newBucket(t *testing.T, base string) *blob.Bucket {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fileblob.OpenBucket(t.TempDir(), &fileblob.Options{NoTempDir: true, URLSigner: fileblob.NewURLSignerHMAC(u, []byte("key"))})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newStore(t *testing.T, base string, opts Options) (UploadStore, *blob.Bucket) {
	t.Helper()
	b := newBucket(t, base)
	s, err := NewUpload(t.Context(), b, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, b
}

func TestObjectsSayWhatTheyAre(t *testing.T) {
	s, b := newStore(t, "http://store.test", Options{})
	before := time.Now().UTC().Format("2006-01-")
	if _, err := s.Upload(t.Context(), []byte("data"), "zstd"); err != nil {
		t.Fatal(err)
	}
	object, err := b.List(nil).Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := b.Attributes(t.Context(), object.Key)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{attributes.ContentType, attributes.ContentEncoding, attributes.CacheControl}
	if diff := cmp.Diff([]string{ContentType, "zstd", "private, no-transform"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	after := time.Now().UTC().Format("2006-01-")
	if _, dated, _ := strings.Cut(object.Key, "vgirpc/out/"); len(dated) != len("2026-11-21/")+26 ||
		!strings.HasPrefix(dated, before) && !strings.HasPrefix(dated, after) {
		t.Errorf("the key is %q", object.Key)
	}
}

func TestURLsAreForOneMethodEach(t *testing.T) {
	type signature struct {
		Method string
		Kind   string
		TTL    time.Duration
	}
	var asked []signature
	s, _ := newStore(t, "http://store.test", Options{
		Prefix: "a/b.c/", TTL: time.Minute, MaxUploadBytes: 7,
		Sign: func(_ context.Context, method, key string, ttl time.Duration) (string, error) {
			asked = append(asked, signature{method, strings.Split(strings.TrimPrefix(key, "a/b.c/"), "/")[0], ttl})
			return "https://store.test/" + key + "?" + method, nil
		},
	})
	place, err := s.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []signature{
		{http.MethodGet, "out", time.Minute}, {http.MethodPut, "in", time.Minute}, // to see whether it works
		{http.MethodPut, "in", time.Minute}, {http.MethodGet, "in", time.Minute},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	up, _ := strings.CutSuffix(place.Upload, "?PUT")
	down, _ := strings.CutSuffix(place.Download, "?GET")
	if up != down || !strings.HasPrefix(up, "https://store.test/a/b.c/in/") || time.Until(place.Expires) > time.Minute || s.MaxUploadBytes() != 7 {
		t.Errorf("upload %s, download %s, in %v, of %d bytes", place.Upload, place.Download, time.Until(place.Expires), s.MaxUploadBytes())
	}
	if diff := cmp.Diff([]string{"https://store.test:443"}, s.Origins()); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

func TestOriginsHaveAPort(t *testing.T) {
	for base, want := range map[string]string{
		"https://store.test/path": "https://store.test:443",
		"http://store.test":       "http://store.test:80",
		"http://127.0.0.1:9000":   "http://127.0.0.1:9000",
	} {
		s, _ := newStore(t, base, Options{})
		if diff := cmp.Diff([]string{want}, s.Origins()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", base, diff)
		}
	}
}

func TestBucketsThatCannotSignAreRefused(t *testing.T) {
	if _, err := New(t.Context(), memblob.OpenBucket(nil), Options{}); err == nil || !strings.Contains(err.Error(), "signing a URL") {
		t.Errorf("got %v", err)
	}
	if _, err := New(t.Context(), newBucket(t, "/relative"), Options{}); err == nil || !strings.Contains(err.Error(), "http or https") {
		t.Errorf("got %v", err)
	}
	onlyGet := func(_ context.Context, method, _ string, _ time.Duration) (string, error) {
		if method != http.MethodGet {
			return "", errors.New("no")
		}
		return "https://store.test/", nil
	}
	b := newBucket(t, "http://store.test")
	if _, err := NewUpload(t.Context(), b, Options{Sign: onlyGet}); err == nil {
		t.Error("it vends upload URLs that nobody signs")
	}
	if _, err := b.Exists(t.Context(), "x"); err == nil {
		t.Error("the bucket is still open")
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, opts := range map[string]Options{
		"no slash at the end":  {Prefix: "a"},
		"a slash at the start": {Prefix: "/a/"},
		"two slashes":          {Prefix: "a//b/"},
		"a way up":             {Prefix: "a/../b/"},
		"a dot":                {Prefix: "./"},
		"a space":              {Prefix: "a b/"},
		"an escape":            {Prefix: "a%2f/"},
		"a long prefix":        {Prefix: strings.Repeat("a", 512) + "/"},
		"a short TTL":          {TTL: time.Millisecond},
		"a negative TTL":       {TTL: -time.Hour},
		"a TTL over a week":    {TTL: 8 * 24 * time.Hour},
		"a negative size":      {MaxUploadBytes: -1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t, "http://store.test")
			if s, err := New(t.Context(), b, opts); err == nil {
				_ = s.Close()
				t.Error("it is taken")
			}
			if _, err := b.Exists(t.Context(), "x"); err == nil {
				t.Error("the bucket is still open")
			}
		})
	}
}

func TestErrorsKeepSecrets(t *testing.T) {
	leak := &url.Error{Op: "Put", URL: "https://store.test/o?sig=s3cr3t", Err: io.ErrUnexpectedEOF}
	broken := false
	s, _ := newStore(t, "http://store.test", Options{
		Sign: func(context.Context, string, string, time.Duration) (string, error) {
			if broken {
				return "", leak
			}
			return "https://store.test/?sig=s3cr3t", nil
		},
	})
	broken = true
	_, uploadErr := s.Upload(t.Context(), nil, "")
	_, urlErr := s.NewUploadURL(t.Context())
	for _, err := range []error{uploadErr, urlErr} {
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || errors.As(err, new(*url.Error)) {
			t.Errorf("got %v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Upload(ended, []byte("x"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

var _ external.Store = (*Store)(nil)
