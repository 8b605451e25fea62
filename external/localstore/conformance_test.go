package localstore

import (
	"net/url"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/storetest"
)

func TestStoresPassTheSharedTests(t *testing.T) {
	for scheme, where := range map[string]func(t *testing.T) string{
		"mem":  func(*testing.T) string { return "mem://" },
		"file": func(t *testing.T) string { return "file://" + t.TempDir() },
	} {
		t.Run(scheme, func(t *testing.T) {
			var store *Store
			storetest.Run(t, storetest.Fixture{
				Open: func(t *testing.T, ttl time.Duration) external.Store {
					store = start(t, Options{URL: where(t), TTL: ttl})
					return store
				},
				Replace: func(t *testing.T, objectURL string, data []byte) { replace(t, store, objectURL, data) },
			})
		})
	}
}

// start returns a store that ends with the test.
func start(t *testing.T, opts Options) *Store {
	t.Helper()
	s, err := Start("127.0.0.1:0", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// replace puts other bytes in an object's place, or nothing.
func replace(t *testing.T, s *Store, objectURL string, data []byte) {
	t.Helper()
	u, err := url.Parse(objectURL)
	if err != nil {
		t.Fatal(err)
	}
	key := keyOf(u.Path)
	switch shelf := s.shelf.(type) {
	case *memory:
		shelf.mu.Lock()
		defer shelf.mu.Unlock()
		if data == nil {
			delete(shelf.objects, key)
			return
		}
		shelf.objects[key].data = data
	case *directory:
		if data == nil {
			err = shelf.root.Remove(key)
		} else {
			err = shelf.root.WriteFile(key, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
