package external

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A warehouse serves one object in ranges, and does wrong what a test says.
type warehouse struct {
	body   []byte
	header http.Header                                              // of every answer, over the usual ones
	meddle func(w http.ResponseWriter, r *http.Request, n int) bool // true when it answered request n

	mu     sync.Mutex
	ranges []string
}

// ServeHTTP answers with a range.
func (h *warehouse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.ranges = append(h.ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
	n := len(h.ranges)
	h.mu.Unlock()
	w.Header().Set("ETag", `"1"`)
	maps.Copy(w.Header(), h.header)
	if h.meddle != nil && h.meddle(w, r, n) {
		return
	}
	if e := w.Header().Get("Content-Encoding"); e != "" && r.Header.Get("Range") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(h.body)))
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(h.body))
}

func (h *warehouse) seen() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ranges)
}

func TestLargeObjectsAreFetchedInRanges(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("0123456789", 10_000)+`"]`, nil)
	raw := stream(t, schema, data)
	size := int64(len(raw))
	for _, tt := range []struct {
		name   string
		body   []byte
		header http.Header
		meddle func(w http.ResponseWriter, r *http.Request, n int) bool
		opts   Options
		whole  bool // one request for all of it
	}{
		{name: "as it is", body: raw},
		{name: "two at once", body: raw, opts: Options{Ranges: 2}},
		{name: "a last range of one byte", body: raw, opts: Options{RangeBytes: size - 1}},
		{name: "ranges that end where it ends", body: raw, opts: Options{RangeBytes: size / 2}},
		{name: "zstd", body: zstdOf(t, raw), header: http.Header{"Content-Encoding": {"zstd"}}, opts: Options{RangeBytes: 50}},
		{name: "gzip", body: gzipOf(t, raw), header: http.Header{"Content-Encoding": {"gzip"}}, opts: Options{RangeBytes: 50}},
		{
			name: "gzip that is said once", body: gzipOf(t, raw), opts: Options{RangeBytes: 50},
			meddle: func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Header.Get("Range") == "" {
					w.Header().Set("Content-Encoding", "gzip")
				}
				return false
			},
		},
		{name: "a budget with room", body: raw, opts: Options{Budget: wire.NewBudget(4 << 20)}},

		{name: "a small object", body: raw, opts: Options{ParallelFrom: size + 1}, whole: true},
		{name: "an object of one range", body: raw, opts: Options{RangeBytes: size}, whole: true},
		{name: "one at a time", body: raw, opts: Options{Ranges: 1}, whole: true},
		{name: "never", body: raw, opts: Options{ParallelFrom: -1}, whole: true},
		{name: "without a tag", body: raw, header: http.Header{"Etag": nil}, whole: true},
		{name: "with a weak tag", body: raw, header: http.Header{"Etag": {`W/"1"`}}, whole: true},
		{name: "a budget without room for it", body: raw, opts: Options{Budget: wire.NewBudget(1), Ranges: 64}, whole: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &warehouse{body: tt.body, header: tt.header, meddle: tt.meddle}
			server := httptest.NewServer(h)
			defer server.Close()
			opts, budget := tt.opts, tt.opts.Budget
			if opts.ParallelFrom == 0 {
				opts.ParallelFrom = 100
			}
			if opts.RangeBytes == 0 {
				opts.RangeBytes = 1000
			}
			if tt.whole && budget != nil {
				if err := budget.Acquire(1); err != nil { // or the first to come gets as much as it likes
					t.Fatal(err)
				}
				opts.Budget = nil
				body, end := newOffload(t, opts).ranges(t.Context(), &http.Response{
					ContentLength: size, Header: http.Header{"Accept-Ranges": {"bytes"}, "Etag": {`"1"`}}, Body: http.NoBody,
				}, nil, budget)
				end()
				if body != http.NoBody || budget.Held() != 1 {
					t.Errorf("body %T, %d bytes held", body, budget.Held())
				}
				return
			}
			b, release, err := newOffload(t, opts).Resolve(t.Context(), pointerTo(schema, server.URL+"/o", digestOf(raw)), schema, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(text(t, &data), text(t, b)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			release()
			if budget != nil && budget.Held() != 0 {
				t.Errorf("%d bytes are still held", budget.Held())
			}
			want := int((int64(len(tt.body)) + opts.RangeBytes - 1) / opts.RangeBytes)
			if tt.whole {
				want = 1
			}
			if got := h.seen(); got != want {
				t.Errorf("%d requests, want %d: %q", got, want, h.ranges)
			}
		})
	}
}

func TestAnObjectThatChangesUnderTheFetchIsRefused(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("0123456789", 1000)+`"]`, nil)
	raw := stream(t, schema, data)
	later := func(f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Header.Get("Range") != "" {
				f(w, r)
				return true
			}
			return false
		}
	}
	status := func(code int) func(http.ResponseWriter, *http.Request, int) bool {
		return later(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	for _, tt := range []struct {
		name   string
		meddle func(http.ResponseWriter, *http.Request, int) bool
		code   vgirpc.Code
		want   string
	}{
		{"another tag", later(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
		}), vgirpc.DataLoss, "changed"},
		{"another tag that does not count", later(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			w.Header().Set("ETag", `"2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
		}), vgirpc.DataLoss, "changed"},
		{"the same tag, another size", later(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(slices.Concat(raw, []byte{0})))
		}), vgirpc.DataLoss, "changed"},
		{"another coding", later(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
		}), vgirpc.DataLoss, "changed"},
		{"another range", later(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=0-999")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
		}), vgirpc.DataLoss, "changed"},
		{"it is gone", status(http.StatusNotFound), vgirpc.DataLoss, "changed"},
		{"it is shorter", status(http.StatusRequestedRangeNotSatisfiable), vgirpc.DataLoss, "changed"},
		{"a redirect", later(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/?sig="+secret, http.StatusFound)
		}), vgirpc.FailedPrecondition, "redirect of a range"},
		{"no longer allowed", status(http.StatusForbidden), vgirpc.FailedPrecondition, "status 403"},
		{"out of order", status(http.StatusServiceUnavailable), vgirpc.Unavailable, "after 3 attempts"},
		{"cut off", later(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1000-1999/"+strconv.Itoa(len(raw)))
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(raw[1000:1500])
			panic(http.ErrAbortHandler)
		}), vgirpc.Unavailable, "after 3 attempts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(&warehouse{body: raw, meddle: tt.meddle})
			defer server.Close()
			budget := wire.NewBudget(0)
			o := newOffload(t, Options{ParallelFrom: 1, RangeBytes: 1000, Budget: budget})
			_, release, err := o.Resolve(t.Context(), pointerTo(schema, server.URL+"/o?sig="+secret, ""), schema, nil)
			release()
			wantError(t, err, tt.code, tt.want)
			if budget.Held() != 0 {
				t.Errorf("%d bytes are still held", budget.Held())
			}
		})
	}
}

func TestRangesAreFetchedAtOnceAndNotMoreThanAllowed(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("0123456789", 1000)+`"]`, nil)
	raw := stream(t, schema, data)
	const most = 3
	arrived, release := make(chan string, 100), make(chan struct{})
	h := &warehouse{body: raw, meddle: func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("Range") != "" {
			arrived <- r.Header.Get("Range")
			<-release
		}
		return false
	}}
	server := httptest.NewServer(h)
	defer server.Close()
	o := newOffload(t, Options{ParallelFrom: 1, RangeBytes: 1000, Ranges: most})
	done := make(chan error, 1)
	go func() {
		_, free, err := o.Resolve(t.Context(), pointerTo(schema, server.URL+"/o", ""), schema, nil)
		free()
		done <- err
	}()
	// The first range comes with the first answer, and is read: so all places
	// but that of the one that the reader waits for are taken.
	for range most {
		<-arrived
	}
	if got := h.seen(); got > most+1 {
		t.Errorf("%d requests before one was answered", got)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheEndOfAContextEndsEveryRange(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("0123456789", 1000)+`"]`, nil)
	raw := stream(t, schema, data)
	ctx, cancel := context.WithCancel(t.Context())
	h := &warehouse{body: raw, meddle: func(_ http.ResponseWriter, r *http.Request, n int) bool {
		if n == 3 {
			cancel()
		}
		if r.Header.Get("Range") != "" {
			<-r.Context().Done() // which the client's end brings about
		}
		return false
	}}
	server := httptest.NewServer(h)
	defer server.Close()
	budget := wire.NewBudget(0)
	o := newOffload(t, Options{ParallelFrom: 1, RangeBytes: 1000, Budget: budget})
	_, release, err := o.Resolve(ctx, pointerTo(schema, server.URL+"/o", digestOf(raw)), schema, nil)
	release()
	if err == nil || vgirpc.CodeOf(err) != vgirpc.Cancelled || budget.Held() != 0 {
		t.Errorf("got %v, %d bytes held", err, budget.Held())
	}
}

func TestRangesThatEndEarlyAreNotTheWholeObject(t *testing.T) {
	f := &rangeFetch{size: 10, results: make(chan *chunk)}
	close(f.results)
	for range 2 {
		if n, err := f.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
