//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// mostFiles is how many descriptors one message of a Unix socket may bring: what
// the kernel allows.
const mostFiles = 253

// pumpFiles is pump, and passes on the descriptors that come beside the bytes of a
// Unix socket. They are not recorded.
func pumpFiles(to, from net.Conn, tap *recording.Tap) (readErr, writeErr error) {
	src, ok1 := from.(*net.UnixConn)
	dst, ok2 := to.(*net.UnixConn)
	if !ok1 || !ok2 {
		return pump(to, from, tap)
	}
	buf, oob := make([]byte, copyBytes), make([]byte, unix.CmsgSpace(4*mostFiles))
	for {
		n, k, _, _, err := src.ReadMsgUnix(buf, oob)
		fds := rights(oob[:max(k, 0)])
		if n > 0 {
			_, _ = tap.Write(buf[:n]) // a tap never fails
			if err := writeFiles(dst, buf[:n], fds); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && n == 0:
			return nil, nil
		case err != nil:
			return err, nil
		}
	}
}

// rights lists the descriptors in control messages.
func rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// writeFiles writes p with descriptors beside its first byte, and closes them.
func writeFiles(dst *net.UnixConn, p []byte, fds []int) error {
	n := 0
	if len(fds) > 0 {
		var err error
		n, _, err = dst.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
		for _, fd := range fds {
			_ = unix.Close(fd) // it is the receiver's now
		}
		if err != nil {
			return err
		}
	}
	if n == len(p) {
		return nil
	}
	_, err := dst.Write(p[n:])
	return err
}

// listenUnix listens on a Unix socket that only this user may connect to.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	return vgirpc.ListenUnix(ctx, path, vgirpc.UnixOptions{})
}
