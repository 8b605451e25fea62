package external

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func TestEveryShapeSurvivesTheWayThroughStorage(t *testing.T) {
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
	for name, tt := range map[string]struct {
		typ    arrow.DataType
		values string
	}{
		"int64":        {arrow.PrimitiveTypes.Int64, `[1, null, -3]`},
		"bool":         {arrow.FixedWidthTypes.Boolean, `[true]`},
		"text":         {arrow.BinaryTypes.String, `["a", "", null, "ünïcode-λ"]`},
		"large text":   {arrow.BinaryTypes.String, `["` + strings.Repeat("x", 300_000) + `"]`},
		"views":        {arrow.BinaryTypes.StringView, `["a", "a string that is longer than twelve bytes", null]`},
		"list of list": {arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int16)), `[[[1], []], null, [[2, 3]]]`},
		"fixed list":   {arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), `[[1, 2], [3, 4]]`},
		"map":          {arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), `[[{"key": "a", "value": 1}], []]`},
		"dictionary":   {dict, `["a", "b", null, "a"]`},
		"list of dict": {arrow.ListOf(dict), `[["a", "b"], ["b"]]`},
	} {
		t.Run(name, func(t *testing.T) {
			schema, data := column(t, tt.typ, tt.values, wire.Metadata{{Key: "app", Value: "x"}})
			s := newShelf(t)
			o := newOffload(t, Options{Store: s, Threshold: 1, Compression: Zstd})
			// A log after the data: the data must outlive the reading of it.
			placed, _, err := o.Place(t.Context(), schema, []wire.Batch{data, logBatch(schema, strings.Repeat("l", 5000))}, -1)
			if err != nil || len(placed) != 1 || len(s.objects) != 1 {
				t.Fatalf("%d batches, %d objects, %v", len(placed), len(s.objects), err)
			}
			b, release, err := o.Resolve(t.Context(), &placed[0], schema, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b.Schema != schema || !b.Owned {
				t.Errorf("the schema is another one, or the memory not owned (%v)", b.Owned)
			}
			if diff := cmp.Diff(text(t, &data), text(t, b)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			release()
			release()
		})
	}
}

func TestResolvedMetadataIsTheObjectsOwn(t *testing.T) {
	inner := wire.Metadata{
		{Key: "app", Value: "payload"},
		{Key: wire.KeyLocationSource, Value: "forged"},
		{Key: wire.KeyStreamState, Value: "cursor"},
		{Key: wire.KeyLocationFetchMS, Value: "-1"},
		{Key: wire.KeyLocationSHA256, Value: "forged"},
	}
	schema, data := numbers(t, inner)
	s := newShelf(t)
	location := s.put("/o", stream(t, schema, data), "") + "?sig=1#part"
	pointer := pointerTo(schema, location, "")
	pointer.Meta = append(pointer.Meta, wire.Pair{Key: "app", Value: "pointer"}, wire.Pair{Key: "other", Value: "pointer"})
	b, release, err := newOffload(t, Options{}).Resolve(t.Context(), pointer, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ms := b.Meta.Value(wire.KeyLocationFetchMS)
	if took, err := strconv.ParseFloat(ms, 64); err != nil || took < 0 || !regexp.MustCompile(`^\d+\.\d$`).MatchString(ms) {
		t.Errorf("fetch_ms is %q", ms)
	}
	want := wire.Metadata{
		{Key: "app", Value: "payload"},
		{Key: wire.KeyStreamState, Value: "cursor"},
		{Key: wire.KeyLocationFetchMS, Value: ms},
		{Key: wire.KeyLocationSource, Value: location},
	}
	if diff := cmp.Diff(want, b.Meta); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestObjectsThatAreNotOneOutputCycleAreRefused(t *testing.T) {
	schema, data := numbers(t, nil)
	other, floats := column(t, arrow.PrimitiveTypes.Float64, `[1]`, nil)
	nested := *pointerTo(schema, "https://example.com/deeper?sig="+secret, "")
	_, rowsAndPointer := numbers(t, nested.Meta)
	good := stream(t, schema, data)
	for _, tt := range []struct {
		name     string
		raw      []byte
		encoding string
		digest   string
		code     vgirpc.Code
		want     string
		requests int
	}{
		{"a wrong digest", good, "", strings.Repeat("0", 64), vgirpc.DataLoss, "checksum mismatch", 1},
		{"a digest that is none", good, "", "abc", vgirpc.DataLoss, "checksum mismatch", 1},
		{"an empty digest", good, "", " ", vgirpc.DataLoss, "checksum mismatch", 1},
		{"a pointer inside", stream(t, schema, nested), "", "", vgirpc.InvalidArgument, "redirect loop", 1},
		{"a pointer after the data", stream(t, schema, data, nested), "", "", vgirpc.InvalidArgument, "redirect loop", 1},
		{"rows that claim to be a pointer", stream(t, schema, rowsAndPointer), "", "", vgirpc.InvalidArgument, "redirect loop", 1},
		{"two data batches", stream(t, schema, data, data), "", "", vgirpc.InvalidArgument, "multiple data batches", 1},
		{"a data batch of no rows beside one", stream(t, schema, data, wire.EmptyBatch(schema, nil)), "", "", vgirpc.InvalidArgument, "multiple data batches", 1},
		{"logs alone", stream(t, schema, logBatch(schema, "a")), "", "", vgirpc.InvalidArgument, "no data batch", 1},
		{"no batch", stream(t, schema), "", "", vgirpc.InvalidArgument, "no data batch", 1},
		{"another schema", stream(t, other, floats), "", "", vgirpc.InvalidArgument, "schema mismatch: field 0", 1},
		{"no Arrow", []byte("<html>not here</html>"), "", "", vgirpc.Unavailable, "after 3 attempts", 3},
		{"no Arrow, as announced", []byte("<html>not here</html>"), "", digestOf([]byte("<html>not here</html>")), vgirpc.InvalidArgument, "invalid Arrow IPC", 1},
		{"nothing", nil, "", "", vgirpc.Unavailable, "after 3 attempts", 3},
		{"half of it", good[:len(good)-20], "", "", vgirpc.Unavailable, "connection lost", 3},
		{"a coding that is not known", good, "br", "", vgirpc.InvalidArgument, `Content-Encoding "br"`, 1},
		{"two codings", good, "gzip, zstd", "", vgirpc.InvalidArgument, `"gzip, zstd"`, 1},
		{"a lie about its coding", good, "zstd", "", vgirpc.DataLoss, "does not decompress", 1},
		{"another lie about its coding", good, "gzip", "", vgirpc.DataLoss, "does not decompress", 1},
		{"half a frame", zstdOf(t, good)[:40], "zstd", "", vgirpc.DataLoss, "does not decompress", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			location := s.put("/o", tt.raw, tt.encoding) + "?sig=" + secret
			budget := wire.NewBudget(0)
			called := false
			o := newOffload(t, Options{Budget: budget})
			b, release, err := o.Resolve(t.Context(), pointerTo(schema, location, tt.digest), schema, func(wire.Metadata) { called = true })
			release()
			wantError(t, err, tt.code, tt.want)
			if asVGI(t, err).Type != "ExternalLocationError" || vgirpc.IsRemote(err) {
				t.Errorf("type %q, remote %v", asVGI(t, err).Type, vgirpc.IsRemote(err))
			}
			if b != nil || called || budget.Held() != 0 {
				t.Errorf("a batch %v, logs delivered %v, %d bytes still held", b != nil, called, budget.Held())
			}
			if got := len(s.seen()); got != tt.requests {
				t.Errorf("%d requests, want %d", got, tt.requests)
			}
		})
	}
}

func TestCodingsThatAreUndone(t *testing.T) {
	schema, data := numbers(t, nil)
	raw := stream(t, schema, data)
	for encoding, body := range map[string][]byte{
		"": raw, "identity": raw, "aws-chunked": raw, "zstd": zstdOf(t, raw), "ZSTD;q=1": zstdOf(t, raw),
		"gzip": gzipOf(t, raw), "aws-chunked,gzip": gzipOf(t, raw),
	} {
		t.Run(encoding, func(t *testing.T) {
			s := newShelf(t)
			// The digest is over what is inside, in either case.
			p := pointerTo(schema, s.put("/o", body, encoding), strings.ToUpper(digestOf(raw)))
			b, release, err := newOffload(t, Options{}).Resolve(t.Context(), p, schema, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if got := text(t, b); got != text(t, &data) {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestAnErrorInsideIsTheCallsError(t *testing.T) {
	schema, data := numbers(t, nil)
	s := newShelf(t)
	location := s.put("/o", stream(t, schema, logBatch(schema, "before"), data, errorBatch(schema, "it is gone"), logBatch(schema, "after")), "")
	budget := wire.NewBudget(0)
	var logs []string
	b, release, err := newOffload(t, Options{Budget: budget}).Resolve(t.Context(), pointerTo(schema, location, ""), nil,
		func(m wire.Metadata) { logs = append(logs, m.Value(wire.KeyLogMessage)) })
	release()
	e := asVGI(t, err)
	if b != nil || !vgirpc.IsRemote(err) || e.Type != "ValueError" || e.Message != "it is gone" || e.Kind != "gone" || e.Code != vgirpc.NotFound {
		t.Errorf("got batch %v and %#v", b, e)
	}
	if diff := cmp.Diff([]string{"before"}, logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if budget.Held() != 0 {
		t.Errorf("%d bytes are still held", budget.Held())
	}
}

func TestOnlyPointersAreResolved(t *testing.T) {
	schema, data := numbers(t, nil)
	l := logBatch(schema, "a")
	l.Meta = append(l.Meta, wire.Pair{Key: wire.KeyLocation, Value: "https://example.com"})
	for name, b := range map[string]wire.Batch{"data": data, "an empty batch": wire.EmptyBatch(schema, nil), "a log with a location": l} {
		t.Run(name, func(t *testing.T) {
			_, _, err := newOffload(t, Options{}).Resolve(t.Context(), &b, nil, nil)
			wantError(t, err, vgirpc.InvalidArgument, "pointer expected")
		})
	}
}

func TestSizesAreBounded(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("x", 20_000)+`"]`, nil)
	raw := stream(t, schema, data)
	unframed := func(body []byte) http.HandlerFunc { // no Content-Length
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(body)
		}
	}
	announced := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}
	}
	coded := func(encoding string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			_, _ = w.Write(body)
		}
	}
	const no = ""
	for _, tt := range []struct {
		name           string
		handler        http.HandlerFunc
		fetch, decoded int64
		want           string
	}{
		{"a length that is announced", announced(raw), 4096, 0, "exceeds max_fetch_bytes (4096)"},
		{"a length that is not", unframed(raw), 4096, 0, "exceeded max_fetch_bytes (4096 bytes)"},
		{"one byte too many", unframed(raw), int64(len(raw)) - 1, 0, "max_fetch_bytes"},
		{"exactly as many", unframed(raw), int64(len(raw)), 0, no},
		{"exactly as many as announced", announced(raw), int64(len(raw)), 0, no},
		{"zstd that inflates", coded("zstd", zstdOf(t, raw)), 4096, 8192, "max_decompressed_bytes (8192)"},
		{"gzip that inflates", coded("gzip", gzipOf(t, raw)), 4096, 8192, "max_decompressed_bytes (8192)"},
		{"nothing to inflate", unframed(raw), 1 << 20, 8192, "max_decompressed_bytes"},
		{"one decoded byte too many", coded("gzip", gzipOf(t, raw)), 4096, int64(len(raw)) - 1, "max_decompressed_bytes"},
		{"exactly as many decoded", coded("zstd", zstdOf(t, raw)), 4096, int64(len(raw)), no},
		{"encoded, over the first limit", coded("gzip", gzipOf(t, raw)), 100, 1 << 20, "max_fetch_bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			o := newOffload(t, Options{MaxFetchBytes: tt.fetch, MaxDecodedBytes: tt.decoded})
			_, release, err := o.Resolve(t.Context(), pointerTo(schema, server.URL+"/o?sig="+secret, ""), nil, nil)
			defer release()
			switch {
			case tt.want != no:
				wantError(t, err, vgirpc.ResourceExhausted, tt.want)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestAForgedLengthCostsNoMemory(t *testing.T) {
	m := intake{budget: wire.NewBudget(0)}
	cut := io.MultiReader(strings.NewReader("short"), &capped{r: untilFail{}, left: 1})
	if err := m.fill(cut, 200<<20, 256<<20); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if m.held > 1<<20 {
		t.Errorf("%d bytes were taken for 5 that came", m.held)
	}
	m.drop()
	if m.budget.Held() != 0 {
		t.Errorf("%d bytes are still held", m.budget.Held())
	}
}

var errCut = errors.New("cut")

type untilFail struct{}

// Read fails.
func (untilFail) Read([]byte) (int, error) { return 0, errCut }

func TestAnAnnouncedObjectIsReadInFewSteps(t *testing.T) {
	var m intake
	raw := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	if err := m.fill(bytes.NewReader(raw), int64(len(raw)), 1<<30); err != nil || !bytes.Equal(m.buf, raw) {
		t.Fatalf("%d bytes, %v", len(m.buf), err)
	}
	if cap(m.buf) > len(raw)+8192 {
		t.Errorf("%d bytes of memory for %d", cap(m.buf), len(raw))
	}
}

func TestABudgetThatIsUsedUpRefuses(t *testing.T) {
	schema, data := column(t, arrow.BinaryTypes.String, `["`+strings.Repeat("x", 20_000)+`"]`, nil)
	s := newShelf(t)
	pointer := pointerTo(schema, s.put("/o", stream(t, schema, data), ""), "")
	budget := wire.NewBudget(60_000)
	o := newOffload(t, Options{Budget: budget})
	_, release, err := o.Resolve(t.Context(), pointer, nil, nil)
	if err != nil || budget.Held() < 20_000 {
		t.Fatalf("%d bytes are held, %v", budget.Held(), err)
	}
	var busy *wire.BusyError
	if _, _, err := o.Resolve(t.Context(), pointer, nil, nil); !errors.As(err, &busy) {
		t.Errorf("got %v", err)
	}
	release()
	if budget.Held() != 0 {
		t.Errorf("%d bytes are still held", budget.Held())
	}
	if _, release, err = o.Resolve(t.Context(), pointer, nil, nil); err != nil {
		t.Error(err)
	}
	release()
}

func TestRedirectsAreFollowedHopByHop(t *testing.T) {
	schema, data := numbers(t, nil)
	raw := stream(t, schema, data)
	var mu sync.Mutex
	var hops []string
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hops = append(hops, r.URL.Path)
		mu.Unlock()
		elsewhere := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
		n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/hop/"))
		to := map[string]string{
			"/loop": "/loop?sig=" + secret, "/elsewhere": elsewhere + "/o?sig=" + secret, "/file": "file:///etc/passwd",
			"/tls": "https://127.0.0.1/o", "/bad": "http://%zz?sig=" + secret, "/hostless": "http:///o",
		}[r.URL.Path]
		switch {
		case r.URL.Path == "/o":
			_, _ = w.Write(raw)
		case n > 0:
			http.Redirect(w, r, fmt.Sprintf("/hop/%d", n-1), http.StatusTemporaryRedirect)
		case strings.HasPrefix(r.URL.Path, "/hop/"):
			http.Redirect(w, r, "/o", http.StatusSeeOther)
		case r.URL.Path == "/nowhere":
			w.WriteHeader(http.StatusFound)
		default:
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
	}))
	defer server.Close()
	for _, tt := range []struct {
		name, path string
		redirects  int
		code       vgirpc.Code
		want       string
		hops       int
	}{
		{"none", "/o", -1, "", "", 1},
		{"as many as allowed", "/hop/4", 0, "", "", 6},
		{"one too many", "/hop/5", 0, vgirpc.FailedPrecondition, "redirect limit exceeded (max_redirects=5)", 6},
		{"one where none is allowed", "/hop/0", -1, vgirpc.FailedPrecondition, "redirect limit exceeded (max_redirects=0)", 1},
		{"a loop", "/loop", 2, vgirpc.FailedPrecondition, "redirect limit", 3},
		{"to a host that is not allowed", "/elsewhere", 0, vgirpc.PermissionDenied, "URL rejected", 1},
		{"to a file", "/file", 0, vgirpc.FailedPrecondition, "without a valid target", 1},
		{"to another scheme", "/tls", 0, vgirpc.PermissionDenied, "URL rejected", 1},
		{"to nowhere", "/nowhere", 0, vgirpc.FailedPrecondition, "without a valid target", 1},
		{"to no URL", "/bad", 0, vgirpc.FailedPrecondition, "without a valid target", 1},
		{"to no host", "/hostless", 0, vgirpc.FailedPrecondition, "without a valid target", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			hops = nil
			mu.Unlock()
			o := newOffload(t, Options{MaxRedirects: tt.redirects})
			location := server.URL + tt.path + "?sig=" + secret
			b, release, err := o.Resolve(t.Context(), pointerTo(schema, location, digestOf(raw)), nil, nil)
			defer release()
			if tt.want != "" {
				wantError(t, err, tt.code, tt.want)
			} else if err != nil || b.Meta.Value(wire.KeyLocationSource) != location {
				t.Errorf("got %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(hops) != tt.hops {
				t.Errorf("hops %q, want %d", hops, tt.hops)
			}
		})
	}
}

func TestWhatARequestCarries(t *testing.T) {
	schema, data := numbers(t, nil)
	raw := stream(t, schema, data)
	headers := make(chan http.Header, 2)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		if r.URL.Path == "/first" {
			http.SetCookie(w, &http.Cookie{Name: "id", Value: "1"})
			http.Redirect(w, r, server.URL+"/o", http.StatusFound)
			return
		}
		_, _ = w.Write(raw)
	}))
	defer server.Close()
	location := strings.Replace(server.URL, "http://", "http://user:"+secret+"@", 1) + "/first"
	o := newOffload(t, Options{})
	if o.transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may come between")
	}
	_, release, err := o.Resolve(t.Context(), pointerTo(schema, location, ""), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	release()
	first, second := <-headers, <-headers
	if !strings.HasPrefix(first.Get("Authorization"), "Basic ") {
		t.Error("the URL's own credentials were not sent")
	}
	want := http.Header{"Accept-Encoding": {"zstd, gzip"}, "User-Agent": {"vgirpc-go"}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("after a redirect (-want +got):\n%s", diff)
	}
}

func TestStatusesThatAreWorthAnotherAttempt(t *testing.T) {
	schema, _ := numbers(t, nil)
	for status, tt := range map[int]struct {
		code     vgirpc.Code
		requests int
	}{
		404: {vgirpc.Unavailable, 3}, 429: {vgirpc.Unavailable, 3}, 500: {vgirpc.Unavailable, 3}, 503: {vgirpc.Unavailable, 3},
		204: {vgirpc.FailedPrecondition, 1}, 206: {vgirpc.FailedPrecondition, 1}, 304: {vgirpc.FailedPrecondition, 1},
		400: {vgirpc.FailedPrecondition, 1}, 401: {vgirpc.FailedPrecondition, 1}, 403: {vgirpc.FailedPrecondition, 1}, 410: {vgirpc.FailedPrecondition, 1},
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.WriteHeader(status)
			}))
			defer server.Close()
			_, _, err := newOffload(t, Options{}).Resolve(t.Context(), pointerTo(schema, server.URL+"/o?sig="+secret, ""), nil, nil)
			wantError(t, err, tt.code, fmt.Sprintf("status %d", status))
			if got := int(requests.Load()); got != tt.requests {
				t.Errorf("%d requests, want %d", got, tt.requests)
			}
		})
	}
}

func TestADyingServerIsTriedAgain(t *testing.T) {
	schema, data := numbers(t, nil)
	raw := stream(t, schema, logBatch(schema, "once"), data)
	die := func(w http.ResponseWriter, before string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, before)
		conn.Close()
	}
	announce := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(raw))
	for _, tt := range []struct {
		name   string
		deaths []string
		want   string // in the error of the last attempt; "" for success
	}{
		{"once, before the answer", []string{""}, ""},
		{"twice, inside the body", []string{announce + string(raw[:100]), announce}, ""},
		{"once, inside a body of unknown length", []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\xff\xff\xff\xff\r\n"}, ""},
		{"once, with less than announced nor known", []string{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + string(raw[:len(raw)-30])}, ""},
		{"every time", []string{"", "", announce}, "unexpected EOF"},
		{"every time, in something that is not HTTP", []string{"", "", "sig=" + "nonsense\r\n\r\n"}, "malformed HTTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n := int(requests.Add(1)); n <= len(tt.deaths) {
					die(w, tt.deaths[n-1])
					return
				}
				_, _ = w.Write(raw)
			}))
			defer server.Close()
			logs := 0
			b, release, err := newOffload(t, Options{}).Resolve(t.Context(), pointerTo(schema, server.URL+"/o?sig="+secret, ""), nil,
				func(wire.Metadata) { logs++ })
			defer release()
			if tt.want != "" {
				if err == nil || vgirpc.CodeOf(err) != vgirpc.Unavailable || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := text(t, b); got != text(t, &data) || logs != 1 {
				t.Errorf("got %s, %d logs", got, logs)
			}
		})
	}
}

// inBubble runs f where time is virtual, with an Offload whose storage is a
// function.
func inBubble(t *testing.T, opts Options, storage roundTrip, f func(t *testing.T, o *Offload)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o, err := New(opts)
		if err != nil {
			t.Fatal(err)
		}
		o.transport = storage
		f(t, o)
	})
}

func TestAttemptsAreBoundedAndSpaced(t *testing.T) {
	schema, _ := numbers(t, nil)
	for _, tt := range []struct {
		name     string
		opts     Options
		attempts int
		took     time.Duration
	}{
		{"as the specification says", Options{}, 3, time.Second},
		{"once", Options{Attempts: 1}, 1, 0},
		{"twice, slowly", Options{Attempts: 2, RetryDelay: time.Minute}, 2, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attempts := 0
			refuse := func(*http.Request) (*http.Response, error) {
				attempts++
				return nil, errors.New("connection refused")
			}
			inBubble(t, tt.opts, refuse, func(t *testing.T, o *Offload) {
				start := time.Now()
				_, _, err := o.Resolve(t.Context(), pointerTo(schema, "https://example.com/o?sig="+secret, ""), nil, nil)
				wantError(t, err, vgirpc.Unavailable, fmt.Sprintf("Failed to resolve ExternalLocation after %d attempts: https://example.com/o", tt.attempts))
				if took := time.Since(start); attempts != tt.attempts || took != tt.took {
					t.Errorf("%d attempts in %v, want %d in %v", attempts, took, tt.attempts, tt.took)
				}
				if !asVGI(t, err).Retryable() {
					t.Error("the call should be worth a retry")
				}
			})
		})
	}
}

func TestASlowServerDoesNotHoldACall(t *testing.T) {
	schema, _ := numbers(t, nil)
	pointer := pointerTo(schema, "https://example.com/o?sig="+secret, "")
	slowBody := func(r *http.Request) (*http.Response, error) {
		return answer(http.StatusOK, io.MultiReader(strings.NewReader("\xff\xff"), untilDone{r.Context()})), nil
	}
	slowHeader := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	for name, storage := range map[string]roundTrip{"in its header": slowHeader, "in its body": slowBody} {
		t.Run(name+", each attempt ends", func(t *testing.T) {
			inBubble(t, Options{Timeout: 10 * time.Second}, storage, func(t *testing.T, o *Offload) {
				start := time.Now()
				_, _, err := o.Resolve(t.Context(), pointer, nil, nil)
				wantError(t, err, vgirpc.Unavailable, "after 3 attempts")
				if took := time.Since(start); took != 31*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
		t.Run(name+", the call's end ends it", func(t *testing.T) {
			inBubble(t, Options{}, storage, func(t *testing.T, o *Offload) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				_, _, err := o.Resolve(ctx, pointer, nil, nil)
				wantError(t, err, vgirpc.DeadlineExceeded, "https://example.com/o")
				if took := time.Since(start); took != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it took %v: %v", took, err)
				}
			})
		})
	}
	t.Run("also between two attempts", func(t *testing.T) {
		refuse := func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }
		inBubble(t, Options{RetryDelay: time.Hour}, refuse, func(t *testing.T, o *Offload) {
			ctx, cancel := context.WithCancel(t.Context())
			defer time.AfterFunc(time.Second, cancel).Stop()
			_, _, err := o.Resolve(ctx, pointer, nil, nil)
			wantError(t, err, vgirpc.Cancelled, "https://example.com/o")
		})
	})
}

func TestLogLinesShowNoSecrets(t *testing.T) {
	schema, data := numbers(t, nil)
	var lines bytes.Buffer
	s := newShelf(t)
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := newOffload(t, Options{Store: s, Threshold: 1, Logger: logger})
	placed, _, err := o.Place(t.Context(), schema, []wire.Batch{data}, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := o.Resolve(t.Context(), &placed[0], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	release()
	_, _, _ = o.Resolve(t.Context(), pointerTo(schema, s.server.URL+"/missing?sig="+secret, ""), nil, nil)
	out := lines.String()
	if strings.Contains(out, secret) || strings.Contains(out, "sig=") {
		t.Errorf("a secret shows:\n%s", out)
	}
	for _, want := range []string{"batch externalized", "externalized batch fetched", "attempt=3", s.server.URL + "/o/0 "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	s := newShelf(t)
	budget := wire.NewBudget(0)
	for _, compression := range []Compression{None, Zstd, Gzip} {
		o := newOffload(t, Options{Store: s, Threshold: 1, Compression: compression, Budget: budget})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				schema, data := column(t, arrow.BinaryTypes.String, fmt.Sprintf(`["%s %d"]`, strings.Repeat("x", 10_000), i), nil)
				for range 8 {
					placed, _, err := o.Place(t.Context(), schema, []wire.Batch{logBatch(schema, strconv.Itoa(i)), data}, -1)
					if err != nil {
						t.Error(err)
						return
					}
					var logs []string
					b, release, err := o.Resolve(t.Context(), &placed[0], schema, func(m wire.Metadata) { logs = append(logs, m.Value(wire.KeyLogMessage)) })
					if err != nil {
						t.Error(err)
						return
					}
					if text(t, b) != text(t, &data) || len(logs) != 1 || logs[0] != strconv.Itoa(i) {
						t.Errorf("call %d got another one's batch or logs %q", i, logs)
					}
					release()
				}
			})
		}
		wg.Wait()
	}
	if budget.Held() != 0 {
		t.Errorf("%d bytes are still held", budget.Held())
	}
}

func TestTrustedCertificatesOfStorage(t *testing.T) {
	schema, data := numbers(t, nil)
	raw := stream(t, schema, data)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	pointer := pointerTo(schema, server.URL+"/o?sig="+secret, "")
	origins := []string{"https://127.0.0.1"}
	_, _, err := newOffload(t, Options{AllowedOrigins: origins, Attempts: 1}).Resolve(t.Context(), pointer, nil, nil)
	wantError(t, err, vgirpc.Unavailable, "certificate")
	config := server.Client().Transport.(*http.Transport).TLSClientConfig
	_, release, err := newOffload(t, Options{AllowedOrigins: origins, TLS: config}).Resolve(t.Context(), pointer, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestACallerWhoPanicsAtALogHoldsNoMemory(t *testing.T) {
	schema, data := numbers(t, nil)
	s := newShelf(t)
	budget := wire.NewBudget(1 << 20)
	o := newOffload(t, Options{Budget: budget})
	pointer := pointerTo(schema, s.put("/o", stream(t, schema, logBatch(schema, "listen"), data), ""), "")
	held := int64(-1)
	caught := func() (caught any) {
		defer func() { caught = recover() }()
		_, _, _ = o.Resolve(t.Context(), pointer, nil, func(wire.Metadata) {
			held = budget.Held()
			panic("no")
		})
		return nil
	}()
	if caught == nil || held <= 0 || budget.Held() != 0 {
		t.Errorf("panicked with %v, %d bytes held then and %d after", caught, held, budget.Held())
	}
}

func TestTheEndOfTheCallersContextHasATypedError(t *testing.T) {
	schema, _ := numbers(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	s := newShelf(t)
	pointer := pointerTo(schema, s.put("/o", []byte("no Arrow"), ""), "")
	cancel()
	_, _, err := newOffload(t, Options{}).Resolve(ctx, pointer, nil, nil)
	if vgirpc.CodeOf(err) != vgirpc.Cancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v (%v), want CANCELLED", err, vgirpc.CodeOf(err))
	}
}
