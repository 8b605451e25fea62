//go:build !linux

package shm

import (
	"errors"
	"testing"
)

func TestThereIsNoSharedMemoryHere(t *testing.T) {
	if _, err := Create("", 1<<20); Supported || !errors.Is(err, ErrUnsupported) {
		t.Fatalf("supported is %v, and Create says %v", Supported, err)
	}
}
