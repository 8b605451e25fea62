package nativeclient_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
)

// store is an object store over HTTP, each of whose objects has one URL to PUT
// and another to GET, neither of which takes the other method.
type store struct {
	url string

	mu      sync.Mutex
	next    int
	objects map[string]object
	fetched []fetch
}

// object is what was put, as it was encoded.
type object struct {
	data     []byte
	encoding string
}

// fetch is one GET: what the request said, and the object.
type fetch struct {
	header http.Header
	object object
}

var (
	_ external.Store      = (*store)(nil)
	_ external.UploadURLs = (*store)(nil)
)

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{objects: map[string]object{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// ServeHTTP takes PUT of /put/N and GET of /get/N.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	put, isPut := strings.CutPrefix(r.URL.Path, "/put/")
	get, isGet := strings.CutPrefix(r.URL.Path, "/get/")
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case isPut && r.Method == http.MethodPut:
		s.objects[put] = object{body, r.Header.Get("Content-Encoding")}
		w.WriteHeader(http.StatusCreated)
	case isGet && r.Method == http.MethodGet && s.objects[get].data != nil:
		found := s.objects[get]
		s.fetched = append(s.fetched, fetch{maps.Clone(r.Header), found})
		if found.encoding != "" {
			w.Header().Set("Content-Encoding", found.encoding)
		}
		_, _ = w.Write(found.data) // who left does not want it
	case isPut || isGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Upload implements [external.Store].
func (s *store) Upload(ctx context.Context, data []byte, contentEncoding string) (string, error) {
	u, err := s.NewUploadURL(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[strings.TrimPrefix(u.Upload, s.url+"/put/")] = object{bytes.Clone(data), contentEncoding}
	return u.Download, nil
}

// NewUploadURL implements [external.UploadURLs].
func (s *store) NewUploadURL(context.Context) (external.UploadURL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return external.UploadURL{
		Upload: fmt.Sprintf("%s/put/%d", s.url, s.next), Download: fmt.Sprintf("%s/get/%d", s.url, s.next),
		Expires: time.Now().Add(time.Hour),
	}, nil
}

// MaxUploadBytes implements [external.UploadURLs].
func (s *store) MaxUploadBytes() int64 { return maxUpload }

// takeFetched returns the fetches since the last time.
func (s *store) takeFetched() []fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.fetched
	s.fetched = nil
	return out
}
