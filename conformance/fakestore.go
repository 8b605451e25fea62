package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
)

// FakeStore is the suite's storage service as a store (CONTRACT.md, section 3):
// a URL is allocated with POST /alloc, and the object put there. Objects live
// as long as the service. It implements [external.Store] and
// [external.UploadURLs], and is safe for concurrent use.
type FakeStore struct {
	alloc  string
	client *http.Client
}

var (
	_ external.Store      = (*FakeStore)(nil)
	_ external.UploadURLs = (*FakeStore)(nil)
)

const (
	fakeUploadBytes = 64 << 20
	fakeUploadLife  = time.Hour
	fakeTimeout     = 10 * time.Second
)

// NewFakeStore returns the store behind the base URL of the service, which must
// be http or https.
func NewFakeStore(base string) (*FakeStore, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("storage URL %q: want http://HOST:PORT", base)
	}
	return &FakeStore{
		alloc: strings.TrimRight(base, "/") + "/alloc",
		client: &http.Client{
			Timeout:   fakeTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: fakeTimeout}, // and no proxy
		},
	}, nil
}

// Upload allocates an object and puts data there.
func (s *FakeStore) Upload(ctx context.Context, data []byte, contentEncoding string) (string, error) {
	urls, err := s.allocate(ctx, contentEncoding)
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if contentEncoding != "" {
		header.Set("Content-Encoding", contentEncoding)
	}
	if _, err := s.do(ctx, http.MethodPut, urls.Upload, header, data); err != nil {
		return "", err
	}
	return urls.Download, nil
}

// NewUploadURL allocates an object for somebody else to put. The service's URLs
// do not expire; they are said to after an hour.
func (s *FakeStore) NewUploadURL(ctx context.Context) (external.UploadURL, error) {
	return s.allocate(ctx, "")
}

// MaxUploadBytes is 64 MiB.
func (s *FakeStore) MaxUploadBytes() int64 { return fakeUploadBytes }

// Close closes the connections that are not in use.
func (s *FakeStore) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// allocate asks for the URLs of a new object. An older service knows one URL
// for everything.
func (s *FakeStore) allocate(ctx context.Context, contentEncoding string) (external.UploadURL, error) {
	var none external.UploadURL
	ask, err := json.Marshal(struct {
		ContentEncoding string `json:"content_encoding,omitempty"`
	}{contentEncoding})
	if err != nil {
		return none, err
	}
	answer, err := s.do(ctx, http.MethodPost, s.alloc, http.Header{"Content-Type": {"application/json"}}, ask)
	if err != nil {
		return none, err
	}
	var made struct {
		Object   string `json:"object_url"`
		Upload   string `json:"upload_url"`
		Download string `json:"download_url"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		return none, fmt.Errorf("storage allocation: %w", err)
	}
	if made.Upload == "" {
		made.Upload = made.Object
	}
	if made.Download == "" {
		made.Download = made.Object
	}
	if made.Upload == "" || made.Download == "" {
		return none, errors.New("storage allocation: no URLs in the answer")
	}
	return external.UploadURL{Upload: made.Upload, Download: made.Download, Expires: time.Now().Add(fakeUploadLife)}, nil
}

// do sends one request and returns the body of a successful answer.
func (s *FakeStore) do(ctx context.Context, method, to string, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, external.Redact(to), err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s: status %s", method, external.Redact(to), resp.Status)
	}
	return answer, nil
}
