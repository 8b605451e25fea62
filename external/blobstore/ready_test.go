package blobstore

import (
	"context"
	"errors"
	"testing"
)

func TestStorageIsReadyWhenItAnswers(t *testing.T) {
	s, b := newStore(t, "http://store.test", Options{})
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("without the object that it asks for: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Ready(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a bucket that is closed is ready")
	}
}
