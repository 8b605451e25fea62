package vgirpc

import (
	"net"

	"golang.org/x/sys/unix"
)

// knowsPeers says that the kernel tells who is at the other end of a Unix socket.
const knowsPeers = true

// peerCredentials asks the kernel who is at the other end of a Unix socket; -1
// where it does not say.
func peerCredentials(c *net.UnixConn) (uid, gid, pid int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, -1, -1
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return -1, -1, -1
	}
	return int(cred.Uid), int(cred.Gid), int(cred.Pid)
}
