package conformance_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/wire"
)

// storage is the suite's storage service in this process: an URL for PUT alone
// and one for GET alone, or the one URL of an older service.
type storage struct {
	url string
	old bool

	mu      sync.Mutex
	asked   []string // bodies of allocations
	objects map[string]stored
}

type stored struct {
	Body, Encoding, Type string
}

func newStorage(t *testing.T, old bool) *storage {
	t.Helper()
	s := &storage{old: old, objects: map[string]stored{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /alloc", s.alloc)
	for _, path := range []string{"PUT /upload/{id}", "PUT /blob/{id}"} {
		mux.HandleFunc(path, s.put)
	}
	for _, path := range []string{"GET /download/{id}", "GET /blob/{id}"} {
		mux.HandleFunc(path, s.get)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *storage) alloc(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, string(body))
	s.mu.Unlock()
	id := rand.Text()
	urls := map[string]string{"object_url": s.url + "/blob/" + id}
	if !s.old {
		urls["upload_url"], urls["download_url"] = s.url+"/upload/"+id, s.url+"/download/"+id
	}
	answer, err := json.Marshal(urls)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(answer)
}

func (s *storage) put(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[r.PathValue("id")] = stored{string(body), r.Header.Get("Content-Encoding"), r.Header.Get("Content-Type")}
	w.WriteHeader(http.StatusNoContent)
}

func (s *storage) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o, ok := s.objects[r.PathValue("id")]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if o.Encoding != "" {
		w.Header().Set("Content-Encoding", o.Encoding)
	}
	_, _ = io.WriteString(w, o.Body)
}

func TestTheSuitesStorageIsAStore(t *testing.T) {
	for _, tt := range []struct {
		name, encoding, asked string
		old                   bool
	}{
		{"as it is", "", `{}`, false},
		{"compressed", "zstd", `{"content_encoding":"zstd"}`, false},
		{"at one URL, as before", "gzip", `{"content_encoding":"gzip"}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStorage(t, tt.old)
			store, err := conformance.NewFakeStore(s.url + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			location, err := store.Upload(t.Context(), []byte("bytes"), tt.encoding)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.asked}, s.asked); diff != "" {
				t.Errorf("allocation (-want +got):\n%s", diff)
			}
			route, id := "/download/", location[strings.LastIndexByte(location, '/')+1:]
			if tt.old {
				route = "/blob/"
			}
			if location != s.url+route+id {
				t.Errorf("the location is %s", location)
			}
			if diff := cmp.Diff(stored{"bytes", tt.encoding, "application/octet-stream"}, s.objects[id]); diff != "" {
				t.Errorf("object (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheSuitesStorageVendsURLs(t *testing.T) {
	store, err := conformance.NewFakeStore(newStorage(t, false).url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	first, err := store.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.NewUploadURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(first.Upload, "/upload/") || !strings.Contains(first.Download, "/download/") || first.Upload == second.Upload {
		t.Errorf("got %+v and %+v", first, second)
	}
	if until := time.Until(first.Expires); until <= 0 || until > time.Hour {
		t.Errorf("it expires in %v", until)
	}
	if got := store.MaxUploadBytes(); got != 64<<20 {
		t.Errorf("at most %d bytes", got)
	}
}

func TestStorageThatFailsIsAnError(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no such route":             http.NotFound,
		"no JSON":                   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "busy") },
		"no URLs":                   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") },
		"a URL that takes no bytes": refusesBytes,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			store, err := conformance.NewFakeStore(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if location, err := store.Upload(t.Context(), []byte("bytes"), ""); err == nil {
				t.Errorf("got %s", location)
			}
		})
	}
	for _, base := range []string{"", "127.0.0.1:80", "file:///tmp", "http://"} {
		if _, err := conformance.NewFakeStore(base); err == nil {
			t.Errorf("%q was taken for a storage URL", base)
		}
	}
}

func refusesBytes(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, `{"object_url": "http://%s/blob/1"}`, r.Host)
}

// One batch by way of the suite's storage.
func TestABatchGoesThroughTheSuitesStorage(t *testing.T) {
	s := newStorage(t, false)
	roundTrip(t, s.url)
	if len(s.objects) != 1 {
		t.Errorf("%d objects were stored", len(s.objects))
	}
}

func roundTrip(t *testing.T, url string) {
	t.Helper()
	store, err := conformance.NewFakeStore(url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o, err := external.New(external.Options{Store: store, Threshold: 1, Compression: external.Zstd, AllowedOrigins: []string{"http://127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "result", Type: arrow.BinaryTypes.String}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	values, _, err := array.FromJSON(memory.DefaultAllocator, arrow.BinaryTypes.String, strings.NewReader(`["hello"]`))
	if err != nil {
		t.Fatal(err)
	}
	data, err := wire.NewBatch(schema, array.NewRecordBatch(schema.Arrow(), []arrow.Array{values}, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	placed, _, err := o.Place(t.Context(), schema, []wire.Batch{*data}, -1)
	if err != nil || len(placed) != 1 {
		t.Fatalf("%d batches, %v", len(placed), err)
	}
	b, release, err := o.Resolve(t.Context(), &placed[0], schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if got := string(b.Cols[0].Data[:5]); b.Rows != 1 || got != "hello" {
		t.Errorf("%d rows, %q", b.Rows, got)
	}
}
