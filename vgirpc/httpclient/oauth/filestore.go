package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// maxRecord bounds a file of a [FileStore], in bytes.
const maxRecord = 256 << 10

// lockPause is how long a lock that somebody else holds is left alone.
const lockPause = 20 * time.Millisecond

// A FileStore keeps each record in a file of a directory that only its owner can
// enter. A file is replaced at once, so that a reader sees the old one or the new
// one. Whoever finds that others could read or replace a file refuses it.
type FileStore struct{ root *os.Root }

// NewFileStore returns the store of a directory, which is made where it is
// missing, with mode 0700. One that others may enter is refused, and so is one
// that belongs to another user. (Windows has no modes: there the directory has to
// be in the user's profile.)
func NewFileStore(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("oauth: directory for logins: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("oauth: directory for logins: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = private(info, dir)
	}
	if err != nil {
		_ = root.Close() // the first error says more
		return nil, err
	}
	return &FileStore{root: root}, nil
}

// Close lets go of the directory. Closing again does nothing.
func (s *FileStore) Close() error { return s.root.Close() }

// private fails when others than this user can get at a file or directory.
func private(info fs.FileInfo, name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	if info.Mode().Perm()&0o077 != 0 {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: others have access to %s (mode %04o): make it %04o, and log in again if they may have used it",
			name, info.Mode().Perm(), info.Mode().Perm()&0o700)
	}
	if !ownedByUs(info) {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s belongs to another user", name)
	}
	return nil
}

// fileName is the name of a key's file, without what it ends with.
func fileName(key Key) string {
	sum := sha256.Sum256([]byte(key.Resource + "\x00" + key.Issuer + "\x00" + key.Client))
	return hex.EncodeToString(sum[:16])
}

// Load implements [Store].
func (s *FileStore) Load(_ context.Context, key Key) (*Record, error) {
	data, err := s.read(fileName(key) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoRecord
	}
	if err != nil {
		return nil, err
	}
	return Decode(key, data)
}

func (s *FileStore) read(name string) ([]byte, error) {
	if info, err := s.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "oauth: %s is no regular file", name)
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("oauth: stored login: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("oauth: stored login: %w", err)
	}
	if err := private(info, f.Name()); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("oauth: stored login: %w", err)
	}
	if len(data) > maxRecord {
		return nil, vgirpc.Errorf(vgirpc.DataLoss, "oauth: %s has more than %d bytes", name, maxRecord)
	}
	return data, nil
}

// Save implements [Store].
func (s *FileStore) Save(_ context.Context, key Key, r *Record) error {
	data, err := Encode(key, r)
	if err != nil {
		return err
	}
	name := fileName(key) + ".json"
	if len(data) > maxRecord {
		return vgirpc.Errorf(vgirpc.ResourceExhausted, "oauth: a login of %d bytes: at most %d can be stored", len(data), maxRecord)
	}
	temporary := name + "." + random(8) + ".tmp"
	f, err := s.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("oauth: store login: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.root.Rename(temporary, name)
	}
	if err != nil {
		_ = s.root.Remove(temporary) // the first error says more
		return fmt.Errorf("oauth: store login: %w", err)
	}
	return nil
}

// Delete implements [Store].
func (s *FileStore) Delete(_ context.Context, key Key) error {
	if err := s.root.Remove(fileName(key) + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("oauth: remove login: %w", err)
	}
	return nil
}

// Lock implements [Store], with a file that stays.
func (s *FileStore) Lock(ctx context.Context, key Key) (func(), error) {
	f, err := s.root.OpenFile(fileName(key)+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("oauth: lock: %w", err)
	}
	for {
		locked, err := tryLock(f)
		switch {
		case err != nil:
			_ = f.Close() // the first error says more
			return nil, fmt.Errorf("oauth: lock: %w", err)
		case locked:
			return func() { _ = f.Close() }, nil // which unlocks it
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			_ = f.Close()
			return nil, vgirpc.ContextError(ctx)
		}
	}
}
