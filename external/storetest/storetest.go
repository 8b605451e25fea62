package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A Fixture is a store to be tested, and what is peculiar about it.
type Fixture struct {
	// Open returns a store whose URLs work for ttl, and which ends with the test.
	// If it implements [external.UploadURLs], these are tested, too.
	Open func(t *testing.T, ttl time.Duration) external.Store
	// Replace puts other bytes in the place of the object that a URL leads to,
	// behind the store's back. Nil bytes remove it.
	Replace func(t *testing.T, objectURL string, data []byte)

	// AnyType says that an upload URL takes any content type.
	AnyType bool
	// AnySeal says that the server is an emulator that does not look at
	// signatures and expiry, so that nothing can be said about them.
	AnySeal bool
	// NoRanges says that the server has no ranges, or no tags to go with them.
	NoRanges bool
}

// longEnough is a TTL that does not end before the test.
const longEnough = time.Hour

// contentType is that of Arrow streams.
const contentType = "application/vnd.apache.arrow.stream"

// Run tests a store.
func Run(t *testing.T, f Fixture) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"batches survive the way there and back", roundTrip},
		{"published results are read many times", published},
		{"keys hold no text of a caller", keys},
		{"only the store's own origin is trusted", origins},
		{"a URL is for one method", methods},
		{"a URL that was changed is refused", tampered},
		{"a URL expires", expiry},
		{"a missing object is an error", missing},
		{"a changed object is an error", corrupted},
		{"many can use it at once", concurrent},
		{"a large object comes in ranges", ranges},
		{"a server that dies or stalls is tried again", dying},
		{"a redirect leads only where it may", redirects},
		{"clients upload by URL", uploads},
		{"an upload is of one content type", uploadTypes},
		{"calls take their way through it", calls},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, f) })
	}
}

func roundTrip(t *testing.T, f Fixture) {
	store := f.Open(t, longEnough)
	for _, compression := range []external.Compression{external.None, external.Zstd, external.Gzip} {
		t.Run(string(compression), func(t *testing.T) {
			o := offload(t, external.Options{Store: store, Compression: compression})
			cycle := newCycle(t, "hello", 5000)
			pointer := place(t, o, cycle)
			resolves(t, o, pointer, cycle)

			want := string(compression)
			if compression == external.None {
				want = ""
			}
			got := do(t, http.MethodGet, location(pointer), "", nil)
			if got.status != http.StatusOK || got.header.Get("Content-Encoding") != want {
				t.Errorf("status %d, Content-Encoding %q, want %q", got.status, got.header.Get("Content-Encoding"), want)
			}
		})
	}
}

func published(t *testing.T, f Fixture) {
	o := offload(t, external.Options{Store: f.Open(t, longEnough)})
	cycle := newCycle(t, "once", 1)
	ref, err := o.Publish(t.Context(), cycle.schema, &cycle.data, true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		pointer := ref.Pointer(cycle.schema)
		resolves(t, o, &pointer, cycle.withoutLogs())
	}
}

var objectKey = regexp.MustCompile(`(in|out)/\d{4}-\d\d-\d\d/[a-z2-7]{26}$`)

func keys(t *testing.T, f Fixture) {
	const marker = "caller-text-4711"
	store := f.Open(t, longEnough)
	o := offload(t, external.Options{Store: store})
	seen := map[string]bool{}
	urls := []string{location(place(t, o, newCycle(t, marker, 10))), location(place(t, o, newCycle(t, marker, 10)))}
	if u, ok := store.(external.UploadURLs); ok {
		place := newUploadURL(t, u)
		urls = append(urls, place.Download)
	}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		key := objectKey.FindString(u.Path)
		if key == "" || strings.Contains(s, marker) || seen[key] {
			t.Errorf("the path %q holds no key, a key that was used, or the caller's text", u.Path)
		}
		seen[key] = true
	}
}

func origins(t *testing.T, f Fixture) {
	o := offload(t, external.Options{Store: f.Open(t, longEnough)})
	cycle := newCycle(t, "x", 10)
	pointer := place(t, o, cycle)
	g := newGateway(t, location(pointer), forward)
	_, err := resolve(t, o, pointerTo(pointer, g.url))
	wantCode(t, err, vgirpc.PermissionDenied, g.url)
	if n := g.requests(); n != 0 {
		t.Errorf("%d requests to an origin that is not allowed", n)
	}
}

func methods(t *testing.T, f Fixture) {
	if f.AnySeal {
		t.Log("the server does not look at signatures")
		return
	}
	store := f.Open(t, longEnough)
	o := offload(t, external.Options{Store: store})
	cycle := newCycle(t, "x", 10)
	pointer := place(t, o, cycle)
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost} {
		refused(t, method+" of a GET", do(t, method, location(pointer), contentType, []byte("other")))
	}
	resolves(t, o, pointer, cycle)
	if u, ok := store.(external.UploadURLs); ok {
		place := newUploadURL(t, u)
		refused(t, "PUT of a GET", do(t, http.MethodPut, place.Download, contentType, []byte("x")))
		accepted(t, do(t, http.MethodPut, place.Upload, contentType, []byte("x")))
		refused(t, "GET of a PUT", do(t, http.MethodGet, place.Upload, "", nil))
		refused(t, "DELETE of a PUT", do(t, http.MethodDelete, place.Upload, "", nil))
	}
}

func tampered(t *testing.T, f Fixture) {
	if f.AnySeal {
		t.Log("the server does not look at signatures")
		return
	}
	o := offload(t, external.Options{Store: f.Open(t, longEnough)})
	one, other := place(t, o, newCycle(t, "one", 10)), place(t, o, newCycle(t, "other", 10))
	u, err := url.Parse(location(one))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := url.Parse(location(other))
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string]url.URL{}
	add := func(name string, change func(*url.URL)) {
		c := *u
		change(&c)
		changed[name] = c
	}
	add("no query", func(c *url.URL) { c.RawQuery = "" })
	add("another object", func(c *url.URL) { c.Path, c.RawPath = elsewhere.Path, elsewhere.RawPath })
	add("the directory", func(c *url.URL) { c.Path = c.Path[:strings.LastIndex(c.Path, "/")+1] })
	add("the root", func(c *url.URL) { c.Path = "/" })
	for name, values := range u.Query() {
		add("without "+name, func(c *url.URL) { q := c.Query(); q.Del(name); c.RawQuery = q.Encode() })
		// A time that is earlier or later, or a signature with another digit.
		if value, ok := otherDigit(values[0]); ok && !strings.EqualFold(name, "st") {
			add("another "+name, func(c *url.URL) { q := c.Query(); q.Set(name, value); c.RawQuery = q.Encode() })
		}
	}
	for name, c := range changed {
		refused(t, name, do(t, http.MethodGet, c.String(), "", nil))
	}
	// What comes of it is an error that keeps the secret, too.
	c := changed["another object"]
	_, err = resolve(t, o, pointerTo(one, c.String()))
	wantCode(t, err, vgirpc.FailedPrecondition, c.String())
}

// otherDigit replaces the last digit of a value by another.
func otherDigit(value string) (string, bool) {
	i := strings.LastIndexAny(value, "0123456789")
	if i < 0 {
		return "", false
	}
	return value[:i] + string('0'+(value[i]-'0'+1)%10) + value[i+1:], true
}

func expiry(t *testing.T, f Fixture) {
	if f.AnySeal {
		t.Log("the server does not look at expiry")
		return
	}
	store := f.Open(t, time.Second)
	urls := []func() reply{}
	o := offload(t, external.Options{Store: store})
	pointer := place(t, o, newCycle(t, "x", 10))
	urls = append(urls, func() reply { return do(t, http.MethodGet, location(pointer), "", nil) })
	if u, ok := store.(external.UploadURLs); ok {
		place := newUploadURL(t, u)
		if left := time.Until(place.Expires); left <= 0 || left > 3*time.Second {
			t.Errorf("it expires in %v, want about 1s", left)
		}
		urls = append(urls, func() reply { return do(t, http.MethodPut, place.Upload, contentType, []byte("x")) })
	}
	for _, request := range urls {
		// Objects are also swept then, and that the URL is over comes first.
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // a server's clock is its own
			got := request()
			if got.status/100 == 4 && got.status != http.StatusNotFound && got.status != http.StatusConflict {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("status %d after 30 s", got.status)
			}
		}
	}
	_, err := resolve(t, o, pointer)
	wantCode(t, err, vgirpc.FailedPrecondition, location(pointer))
}

func missing(t *testing.T, f Fixture) {
	o := offload(t, external.Options{Store: f.Open(t, longEnough)})
	pointer := place(t, o, newCycle(t, "x", 10))
	f.Replace(t, location(pointer), nil)
	_, err := resolve(t, o, pointer)
	wantCode(t, err, vgirpc.Unavailable, location(pointer))
}

func corrupted(t *testing.T, f Fixture) {
	o := offload(t, external.Options{Store: f.Open(t, longEnough)})
	pointer := place(t, o, newCycle(t, "x", 10))
	body := do(t, http.MethodGet, location(pointer), "", nil).body
	body[len(body)/2] ^= 1
	f.Replace(t, location(pointer), body)
	_, err := resolve(t, o, pointer)
	wantCode(t, err, vgirpc.DataLoss, location(pointer))
}

func concurrent(t *testing.T, f Fixture) {
	o := offload(t, external.Options{Store: f.Open(t, longEnough), Compression: external.Zstd})
	cycles := make([]*cycle, 16)
	for i := range cycles {
		cycles[i] = newCycle(t, fmt.Sprint("cycle ", i), 100+i)
	}
	var all sync.WaitGroup
	for _, c := range cycles {
		all.Go(func() {
			for range 3 {
				placed, err := o.Place(context.Background(), c)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := o.read(context.Background(), placed)
				if err != nil {
					t.Error(err)
				} else if diff := cmp.Diff(c.text, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	all.Wait()
}

func ranges(t *testing.T, f Fixture) {
	store := f.Open(t, longEnough)
	cycle := newCycle(t, "large", 100_000)
	pointer := place(t, offload(t, external.Options{Store: store}), cycle)
	for name, opts := range map[string]external.Options{
		"ranges":          {ParallelFrom: 1 << 20, RangeBytes: 300_000},
		"many at once":    {ParallelFrom: 1 << 20, RangeBytes: 100_000, Ranges: 24},
		"in one piece":    {ParallelFrom: -1},
		"a forged length": {ParallelFrom: 1 << 20, RangeBytes: 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, location(pointer), forward)
			opts.AllowedOrigins = []string{g.origin}
			resolves(t, offload(t, opts), pointerTo(pointer, g.url), cycle)
			if n := g.requests(); (n > 1) != (opts.RangeBytes > 0 && opts.RangeBytes < 1<<40 && !f.NoRanges) {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func dying(t *testing.T, f Fixture) {
	cycle := newCycle(t, "x", 50_000)
	pointer := place(t, offload(t, external.Options{Store: f.Open(t, longEnough)}), cycle)
	const ample = 10 * time.Second
	for _, tt := range []struct {
		name    string
		first   behaviour
		times   int
		ends    bool // well
		timeout time.Duration
	}{
		{"it dies once", cutOff, 1, true, ample},
		{"it dies twice", cutOff, 2, true, ample},
		{"it is dead", cutOff, 3, false, ample},
		{"it stalls once", stall, 1, true, 2 * time.Second},
		{"it stalls for good", stall, 3, false, 500 * time.Millisecond},
		{"it is out of order once", outOfOrder, 1, true, ample},
		{"it is out of order", outOfOrder, 3, false, ample},
		{"it hangs up once", hangUp, 1, true, ample},
		{"it hangs up", hangUp, 3, false, ample},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // they wait for time-outs
			g := newGateway(t, location(pointer), forward)
			for range tt.times {
				g.next <- tt.first
			}
			o := offload(t, external.Options{AllowedOrigins: []string{g.origin}, Timeout: tt.timeout})
			p := pointerTo(pointer, g.url)
			if tt.ends {
				resolves(t, o, p, cycle)
				return
			}
			_, err := resolve(t, o, p)
			wantCode(t, err, vgirpc.Unavailable, g.url)
			if n := g.requests(); n != 3 {
				t.Errorf("%d attempts, want 3", n)
			}
		})
	}
}

func redirects(t *testing.T, f Fixture) {
	store := f.Open(t, longEnough)
	cycle := newCycle(t, "x", 10)
	pointer := place(t, offload(t, external.Options{Store: store}), cycle)
	target := location(pointer)
	for _, tt := range []struct {
		name, to string
		own      bool // the store's own origin is allowed
		code     vgirpc.Code
	}{
		{"to the store", target, true, ""},
		{"to the store, which is not allowed", target, false, vgirpc.PermissionDenied},
		{"to a host of the network's metadata", "http://169.254.169.254/latest?" + mustQuery(target), true, vgirpc.PermissionDenied},
		{"to a private host", "https://10.0.0.1/?" + mustQuery(target), true, vgirpc.PermissionDenied},
		{"to a name of this host", "https://localhost/?" + mustQuery(target), true, vgirpc.PermissionDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, target, redirectTo(tt.to))
			opts := external.Options{AllowedOrigins: []string{g.origin, "https://*"}}
			if tt.own {
				opts.Store = store
			}
			o := offload(t, opts)
			p := pointerTo(pointer, g.url)
			if tt.code == "" {
				resolves(t, o, p, cycle)
				return
			}
			_, err := resolve(t, o, p)
			wantCode(t, err, tt.code, g.url)
		})
	}
}

func uploads(t *testing.T, f Fixture) {
	store := f.Open(t, longEnough)
	u, ok := store.(external.UploadURLs)
	if !ok {
		t.Log("the store vends no upload URLs")
		return
	}
	// What a client puts is what a server's store would have put.
	o := offload(t, external.Options{Store: store})
	cycle := newCycle(t, "from a client", 5000)
	pointer := place(t, o, cycle)
	body := do(t, http.MethodGet, location(pointer), "", nil).body

	there := newUploadURL(t, u)
	if there.Upload == there.Download || !there.Expires.After(time.Now()) {
		t.Errorf("one URL for both (%v), or it expired at %v", there.Upload == there.Download, there.Expires)
	}
	_, err := resolve(t, o, pointerTo(pointer, there.Download))
	wantCode(t, err, vgirpc.Unavailable, there.Download) // nobody has put anything
	accepted(t, do(t, http.MethodPut, there.Upload, contentType, body))
	resolves(t, o, pointerTo(pointer, there.Download), cycle)

	another := newUploadURL(t, u)
	accepted(t, do(t, http.MethodPut, another.Upload, contentType, body[:len(body)-10]))
	_, err = resolve(t, o, pointerTo(pointer, another.Download))
	wantCode(t, err, vgirpc.DataLoss, another.Download)
}

func uploadTypes(t *testing.T, f Fixture) {
	u, ok := f.Open(t, longEnough).(external.UploadURLs)
	if !ok || f.AnyType || f.AnySeal {
		t.Log("there are no upload URLs, or they take any type")
		return
	}
	there := newUploadURL(t, u)
	for _, wrong := range []string{"text/html", "", contentType + "; charset=utf-8"} {
		refused(t, fmt.Sprintf("content type %q", wrong), do(t, http.MethodPut, there.Upload, wrong, []byte("<script>")))
	}
	if got := do(t, http.MethodGet, there.Download, "", nil); got.status != http.StatusNotFound {
		t.Errorf("status %d of what was never put", got.status)
	}
}

// reply is an answer to a plain request.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do requests a URL as any other program would.
func do(t *testing.T, method, to, contentType string, body []byte) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("Accept-Encoding", "zstd, gzip") // GCS may decompress for others
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	// A server may hang up on a request that it refuses.
	for attempt := 1; ; attempt++ {
		resp, err := plain.RoundTrip(req)
		if err != nil {
			if attempt < 3 && req.GetBody != nil && t.Context().Err() == nil {
				req.Body, _ = req.GetBody()
				continue
			}
			t.Fatalf("%s: %v", method, external.Redacted(err))
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return reply{resp.StatusCode, resp.Header, answer}
	}
}

// plain neither follows redirects nor decompresses.
var plain = &http.Transport{DisableCompression: true}

func refused(t *testing.T, what string, r reply) {
	t.Helper()
	if r.status/100 != 4 {
		t.Errorf("%s: status %d, want a refusal", what, r.status)
	}
}

func accepted(t *testing.T, r reply) {
	t.Helper()
	if r.status/100 != 2 {
		t.Fatalf("status %d: %.300s", r.status, r.body)
	}
}

func newUploadURL(t *testing.T, u external.UploadURLs) external.UploadURL {
	t.Helper()
	place, err := u.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// mustQuery is the secret part of a URL.
func mustQuery(s string) string {
	_, query, _ := strings.Cut(s, "?")
	return query
}

// wantCode checks an error, and that nothing in it shows what is secret of a URL.
func wantCode(t *testing.T, err error, code vgirpc.Code, secret string) {
	t.Helper()
	if vgirpc.CodeOf(err) != code || err == nil {
		t.Errorf("got %v (%v), want %v", err, vgirpc.CodeOf(err), code)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		for name, values := range parseQuery(secret) {
			for _, value := range values {
				if len(value) >= 16 && (strings.Contains(err.Error(), value) || strings.Contains(err.Error(), url.QueryEscape(value))) {
					t.Errorf("the error shows %s", name)
				}
			}
		}
	}
}

func parseQuery(s string) url.Values {
	q, err := url.ParseQuery(mustQuery(s))
	if err != nil {
		return nil
	}
	return q
}
