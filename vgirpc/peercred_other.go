//go:build !linux

package vgirpc

import "net"

// peerCredentials is not available here.
func peerCredentials(*net.UnixConn) (uid, pid int) { return -1, -1 }
