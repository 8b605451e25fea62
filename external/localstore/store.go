package localstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/internal/objectkey"
)

// ErrFull is the error of an upload that the quota does not allow.
var ErrFull = errors.New("localstore: the quota is used up")

// Store keeps objects in a directory or in memory, and serves them. It implements
// [external.Store], [external.UploadURLs] and [http.Handler], and is safe for
// concurrent use. It ends with Close.
type Store struct {
	opts   Options
	key    []byte
	base   string
	origin string
	shelf  shelf

	mu     sync.Mutex
	stored count // what is committed, as of the last sweep and since
	drafts count // what is being written

	server *http.Server // of Start, or else nil
	stop   chan struct{}
	closer sync.Once
	closed error
	owned  sync.WaitGroup
}

var (
	_ external.Store      = (*Store)(nil)
	_ external.UploadURLs = (*Store)(nil)
	_ http.Handler        = (*Store)(nil)
)

// New returns a Store whose handler somebody mounts where Options.BaseURL leads.
// It fails when an option makes no sense or the directory cannot be used. What
// is there already and too old is removed before New returns.
func New(opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Store{opts: opts, key: slices.Clone(opts.Key), stop: make(chan struct{})}
	var err error
	if s.base, s.origin, err = parseBase(opts.BaseURL); err != nil {
		return nil, err
	}
	if s.key == nil {
		s.key = make([]byte, minKey)
		_, _ = rand.Read(s.key) // never fails
	}
	if s.shelf, err = openShelf(opts.URL); err != nil {
		return nil, err
	}
	if err := s.sweep(time.Now()); err != nil {
		return nil, errors.Join(fmt.Errorf("localstore: %w", err), s.shelf.close())
	}
	s.owned.Go(s.sweepUntilClosed)
	return s, nil
}

// Origins is where the URLs lead, as scheme://host:port. An [external.Offload]
// with this store may fetch from there.
func (s *Store) Origins() []string { return []string{s.origin} }

// Upload implements [external.Store]. The error is [ErrFull] when there is no room.
func (s *Store) Upload(ctx context.Context, data []byte, contentEncoding string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if _, ok := suffixes[contentEncoding]; !ok {
		return "", fmt.Errorf("localstore: unknown content encoding %q", contentEncoding)
	}
	now := time.Now()
	key := objectkey.New(objectkey.Out, now)
	w, err := s.create(key)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(data); err != nil {
		w.abort()
		return "", fmt.Errorf("localstore: %w", err)
	}
	if err := w.commit(contentEncoding); err != nil {
		return "", fmt.Errorf("localstore: %w", err)
	}
	return s.sealed(http.MethodGet, key, s.expiry(now)), nil
}

// NewUploadURL implements [external.UploadURLs]. The PUT has to declare the
// content type of Arrow streams, and happens once.
func (s *Store) NewUploadURL(ctx context.Context) (external.UploadURL, error) {
	if err := ctx.Err(); err != nil {
		return external.UploadURL{}, err
	}
	now := time.Now()
	key, expires := objectkey.New(objectkey.In, now), s.expiry(now)
	return external.UploadURL{
		Upload: s.sealed(http.MethodPut, key, expires), Download: s.sealed(http.MethodGet, key, expires), Expires: expires,
	}, nil
}

// expiry is when URLs that are made now expire. They count whole seconds.
func (s *Store) expiry(now time.Time) time.Time {
	return now.Add(s.opts.TTL + time.Second - 1).Truncate(time.Second)
}

// MaxUploadBytes is [Options.MaxUploadBytes].
func (s *Store) MaxUploadBytes() int64 { return s.opts.MaxUploadBytes }

// Close stops serving and sweeping, and waits for both. Objects in memory are
// gone then; those in a directory stay.
func (s *Store) Close() error {
	s.closer.Do(func() {
		close(s.stop)
		if s.server != nil {
			s.closed = s.server.Close()
		}
		s.owned.Wait()
		s.closed = errors.Join(s.closed, s.shelf.close())
	})
	return s.closed
}

func (s *Store) sweepUntilClosed() {
	ticker := time.NewTicker(s.opts.SweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			if err := s.sweep(now); err != nil {
				s.opts.Logger.LogAttrs(context.Background(), slog.LevelWarn, "sweep of local storage failed", slog.Any("error", err))
			}
		}
	}
}

// sweep removes what no URL leads to any more, and counts the rest. Nothing is
// committed meanwhile, or it might be counted twice or not at all.
func (s *Store) sweep(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.stored, err = s.shelf.sweep(now.Add(-s.opts.TTL - time.Second))
	return err
}

// create begins an object within the quota.
func (s *Store) create(key string) (*writer, error) {
	s.mu.Lock()
	full := s.stored.objects+s.drafts.objects >= s.opts.MaxObjects
	if !full {
		s.drafts.objects++
	}
	s.mu.Unlock()
	if full {
		return nil, ErrFull
	}
	d, err := s.shelf.create(key)
	if err != nil {
		s.give(count{objects: 1})
		return nil, fmt.Errorf("localstore: %w", err)
	}
	return &writer{store: s, draft: d}, nil
}

// give takes a draft's share off the quota.
func (s *Store) give(c count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drafts.objects -= c.objects
	s.drafts.bytes -= c.bytes
}

// A writer is a draft that the quota counts as it grows.
type writer struct {
	store *Store
	draft draft
	bytes int64
}

// Write fails with ErrFull over the quota.
func (w *writer) Write(p []byte) (int, error) {
	s, n := w.store, int64(len(p))
	s.mu.Lock()
	full := s.stored.bytes+s.drafts.bytes+n > s.opts.MaxBytes
	if !full {
		s.drafts.bytes += n
		w.bytes += n
	}
	s.mu.Unlock()
	if full {
		return 0, ErrFull
	}
	return w.draft.Write(p)
}

// commit makes the object one that can be read.
func (w *writer) commit(contentEncoding string) error {
	s := w.store
	s.mu.Lock()
	err := w.draft.commit(contentEncoding)
	if err == nil {
		s.stored = s.stored.plus(count{1, w.bytes})
	}
	s.drafts.objects, s.drafts.bytes = s.drafts.objects-1, s.drafts.bytes-w.bytes
	s.mu.Unlock()
	if err != nil {
		w.draft.abort()
	}
	return err
}

// abort forgets the object. It is not for after commit.
func (w *writer) abort() {
	w.draft.abort()
	w.store.give(count{objects: 1, bytes: w.bytes})
}
