package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ProbeFileVariable is the environment variable that names the file in which
// several workers count together.
const ProbeFileVariable = "VGI_RPC_CONFORMANCE_PROBE_FILE"

// ProbeCounts counts what happened to the streams that are meant to be
// cancelled.
type ProbeCounts struct {
	Produced  int64 `json:"produce_calls"`
	Exchanged int64 `json:"exchange_calls"`
	Cancelled int64 `json:"on_cancel_calls"`
}

// CancelProbe holds the counts, in memory or in a file that other processes
// count in as well. Its methods may be called at once.
type CancelProbe struct {
	path string

	mu     sync.Mutex
	counts ProbeCounts
}

// NewCancelProbe returns a probe that counts in the file at path, which need
// not exist, or in memory when path is empty.
func NewCancelProbe(path string) *CancelProbe { return &CancelProbe{path: path} }

// Count lets event change the counts.
func (p *CancelProbe) Count(event func(*ProbeCounts)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path == "" {
		event(&p.counts)
		return nil
	}
	return p.locked(func(f *os.File) error {
		counts, err := readCounts(f)
		if err != nil {
			return err
		}
		event(&counts)
		return writeCounts(f, counts)
	})
}

// Counts returns the counts as they are.
func (p *CancelProbe) Counts() (counts ProbeCounts, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path == "" {
		return p.counts, nil
	}
	err = p.locked(func(f *os.File) error {
		counts, err = readCounts(f)
		return err
	})
	return counts, err
}

// Reset sets all counts to zero.
func (p *CancelProbe) Reset() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts = ProbeCounts{}
	if p.path == "" {
		return nil
	}
	return p.locked(func(f *os.File) error { return writeCounts(f, ProbeCounts{}) })
}

// locked runs do while no other process has the file.
func (p *CancelProbe) locked(do func(*os.File) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cancel probe: %w", err)
		}
	}()
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // lets go of the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return do(f)
}

// readCounts reads the counts of a file; an empty one counts nothing.
func readCounts(f *os.File) (counts ProbeCounts, err error) {
	text, err := io.ReadAll(f)
	if err != nil || len(text) == 0 {
		return counts, err
	}
	return counts, json.Unmarshal(text, &counts)
}

func writeCounts(f *os.File, counts ProbeCounts) error {
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return err
}
