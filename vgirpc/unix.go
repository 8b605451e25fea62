//go:build unix

package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UnixOptions configure [ListenUnix]. The zero value serves the socket's owner
// only.
type UnixOptions struct {
	// Mode is the socket file's mode from the first instant; 0600 when 0.
	Mode fs.FileMode
	// SameUser refuses peers that run under another user than this process,
	// root excepted. A worker cannot hand such a listener over to its successor:
	// package auth/socket has the same as an admission (PeerCredentials).
	SameUser bool
}

// probeTimeout is how long somebody who may own a stale-looking socket has to
// answer.
const probeTimeout = 2 * time.Second

// ListenUnix listens on a Unix socket at path. A lock file beside it (path plus
// ".bind") settles two starters; a socket that nobody answers on is removed, a
// live one is an error. Closing the listener removes the socket.
func ListenUnix(ctx context.Context, path string, opts UnixOptions) (net.Listener, error) {
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	if opts.SameUser && !knowsPeers {
		return nil, errors.New("vgirpc: UnixOptions.SameUser: this system does not say who is at the other end of a socket")
	}
	lock, err := lockFile(path + ".bind")
	if err != nil {
		return nil, err
	}
	defer func() {
		// Removed while still locked: a starter that waits for this very file
		// notices and opens a new one.
		_ = os.Remove(lock.Name())
		_ = lock.Close()
	}()
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		if err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), uint32(opts.Mode.Perm())) }); err != nil {
			return err
		}
		return chmodErr
	}}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("vgirpc: %w", err)
	}
	// Bind has taken the umask off the mode: this only widens it.
	if err := os.Chmod(path, opts.Mode.Perm()); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("vgirpc: mode of a Unix socket: %w", err)
	}
	if opts.SameUser {
		return &sameUserListener{l.(*net.UnixListener)}, nil //nolint:forcetypeassert // network "unix"
	}
	return l, nil
}

// lockFile opens and locks a file, waiting for whoever holds it.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("vgirpc: lock of a Unix socket: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("vgirpc: lock of a Unix socket: %w", err)
		}
		mine, err1 := f.Stat()
		now, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, now) {
			return f, nil
		}
		_ = f.Close() // the holder before us removed it: lock the one there now
	}
}

// removeStale removes a socket that nobody serves.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("vgirpc: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("vgirpc: %s exists and is not a socket: it is left alone", path)
	}
	c, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("vgirpc: %s is in use: another process answers on it", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vgirpc: %s may be in use: %w", path, err) // EAGAIN: alive, its backlog is full
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vgirpc: stale socket: %w", err)
	}
	return nil
}

// sameUserListener accepts only peers of this process's user, and root.
type sameUserListener struct{ *net.UnixListener }

// Accept returns the next connection that may come in.
func (l *sameUserListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, _, _ := peerCredentials(c); uid == os.Getuid() || uid == 0 {
			return c, nil
		}
		_ = c.Close()
	}
}
