//go:build !unix

package main

import (
	"context"
	"errors"
	"net"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
)

// pumpFiles is pump: descriptors do not pass here.
func pumpFiles(to, from net.Conn, tap *recording.Tap) (readErr, writeErr error) {
	return pump(to, from, tap)
}

// listenUnix fails: servers listen on Unix sockets on Unix systems alone.
func listenUnix(context.Context, string) (net.Listener, error) {
	return nil, errors.New("this system has no Unix sockets to listen on: use tcp:")
}
