package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/blob"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/internal/objectkey"
)

// ContentType is what every object is declared as, and what a PUT to an upload
// URL has to declare where the store checks it.
const ContentType = "application/vnd.apache.arrow.stream"

// Defaults and bounds of [Options].
const (
	DefaultPrefix = "vgirpc/"
	DefaultTTL    = time.Hour

	maxTTL    = 7 * 24 * time.Hour // what SigV4 and V4 of GCS can sign
	maxPrefix = 512
)

// Options configure a [Store]. The zero value works.
type Options struct {
	// Prefix of every key: letters, digits and "._-" between slashes, with a
	// slash at its end. "vgirpc/" when empty.
	Prefix string
	// TTL is how long a signed URL works: 1 s to 7 days, 1 h when 0. Upload URLs
	// and what they were given to download with expire together.
	TTL time.Duration
	// MaxUploadBytes is the size of the largest object that clients are told to
	// upload, 0 for no limit. Signed URLs do not enforce it: what a server reads
	// is bounded by [external.Options.MaxFetchBytes].
	MaxUploadBytes int64
	// Sign, unless nil, signs a URL for one method, GET or PUT, on one object,
	// for as long as ttl. The packages of clouds have their own; without one
	// the bucket signs with nothing but a method and an expiry.
	Sign func(ctx context.Context, method, key string, ttl time.Duration) (string, error)
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	return o
}

// validate reports an option that makes no sense, by name.
func (o Options) validate() error {
	if o.TTL < time.Second || o.TTL > maxTTL {
		return fmt.Errorf("blobstore: option TTL is %v: want 1s to %v, or 0 for the default", o.TTL, maxTTL)
	}
	if o.MaxUploadBytes < 0 {
		return fmt.Errorf("blobstore: option MaxUploadBytes is %d: want a size, or 0 for no limit", o.MaxUploadBytes)
	}
	return validPrefix(o.Prefix)
}

func validPrefix(prefix string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	parts, closed := strings.CutSuffix(prefix, "/")
	ok := closed && len(prefix) <= maxPrefix
	for part := range strings.SplitSeq(parts, "/") {
		ok = ok && part != "" && part != "." && part != ".." && strings.Trim(part, allowed) == ""
	}
	if !ok {
		return fmt.Errorf("blobstore: option Prefix is %.60q: want letters, digits and ._- between slashes, and a slash at the end", prefix)
	}
	return nil
}

// Store keeps objects in a bucket. It implements [external.Store], and is safe for
// concurrent use.
type Store struct {
	bucket *blob.Bucket
	opts   Options
	origin string
}

var _ external.Store = (*Store)(nil)

// New returns a Store over a bucket, which it closes in the end, also when New
// fails. It fails when an option makes no sense, and when the bucket cannot sign
// URLs; the bucket itself is not asked for anything.
func New(ctx context.Context, bucket *blob.Bucket, opts Options) (*Store, error) {
	s := &Store{bucket: bucket, opts: opts.withDefaults()}
	err := s.opts.validate()
	if err == nil {
		err = s.findOrigin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, external.Redacted(bucket.Close()))
	}
	return s, nil
}

// findOrigin signs a URL that nobody will use, to see that signing works and
// where objects will be found.
func (s *Store) findOrigin(ctx context.Context) error {
	signed, err := s.sign(ctx, http.MethodGet, s.newKey(objectkey.Out))
	if err != nil {
		return err
	}
	u, err := url.Parse(signed)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("blobstore: the bucket does not sign URLs of http or https")
	}
	s.origin = u.Scheme + "://" + u.Host
	if u.Port() == "" {
		s.origin += map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	}
	return nil
}

// Origins is where the signed URLs lead, as scheme://host:port. An
// [external.Offload] with this store may fetch from there.
func (s *Store) Origins() []string { return []string{s.origin} }

// Upload implements [external.Store]: it puts data under a new key and returns a
// signed URL to GET it. Errors show no part of a URL that is secret.
func (s *Store) Upload(ctx context.Context, data []byte, contentEncoding string) (string, error) {
	key := s.newKey(objectkey.Out)
	// Upload, unlike a Writer, hands the driver something that it can rewind and
	// whose size it can tell, which spares it buffers of its own.
	err := s.bucket.Upload(ctx, key, bytes.NewReader(data), &blob.WriterOptions{
		ContentType:     ContentType,
		ContentEncoding: contentEncoding,
		// GCS would otherwise decompress gzip for readers that do not ask for it.
		CacheControl: "private, no-transform",
	})
	if err != nil {
		return "", fmt.Errorf("blobstore: writing %s: %w", key, external.Redacted(err))
	}
	return s.sign(ctx, http.MethodGet, key)
}

// Close closes the bucket.
func (s *Store) Close() error { return external.Redacted(s.bucket.Close()) }

func (s *Store) newKey(kind objectkey.Kind) string {
	return s.opts.Prefix + objectkey.New(kind, time.Now())
}

// sign makes a URL for one method on one object.
func (s *Store) sign(ctx context.Context, method, key string) (signed string, err error) {
	if s.opts.Sign != nil {
		signed, err = s.opts.Sign(ctx, method, key, s.opts.TTL)
	} else {
		signed, err = s.bucket.SignedURL(ctx, key, &blob.SignedURLOptions{Method: method, Expiry: s.opts.TTL})
	}
	if err != nil {
		return "", fmt.Errorf("blobstore: signing a URL: %w", external.Redacted(err))
	}
	return signed, nil
}

// UploadStore is a [Store] that also vends URLs for uploads. It implements
// [external.UploadURLs], and is safe for concurrent use.
type UploadStore struct{ *Store }

var (
	_ external.Store      = UploadStore{}
	_ external.UploadURLs = UploadStore{}
)

// NewUpload is [New] for a bucket whose signed URLs take a plain PUT. It fails
// when the bucket cannot sign one.
func NewUpload(ctx context.Context, bucket *blob.Bucket, opts Options) (UploadStore, error) {
	s, err := New(ctx, bucket, opts)
	if err != nil {
		return UploadStore{}, err
	}
	if _, err := s.sign(ctx, http.MethodPut, s.newKey(objectkey.In)); err != nil {
		return UploadStore{}, errors.Join(err, s.Close())
	}
	return UploadStore{s}, nil
}

// NewUploadURL implements [external.UploadURLs]: a new key, and a URL for a PUT
// and one for a GET of it. Nothing is stored until somebody puts it there.
func (s UploadStore) NewUploadURL(ctx context.Context) (external.UploadURL, error) {
	key, expires := s.newKey(objectkey.In), time.Now().Add(s.opts.TTL)
	put, err := s.sign(ctx, http.MethodPut, key)
	if err != nil {
		return external.UploadURL{}, err
	}
	get, err := s.sign(ctx, http.MethodGet, key)
	if err != nil {
		return external.UploadURL{}, err
	}
	return external.UploadURL{Upload: put, Download: get, Expires: expires}, nil
}

// MaxUploadBytes is [Options.MaxUploadBytes].
func (s UploadStore) MaxUploadBytes() int64 { return s.opts.MaxUploadBytes }
