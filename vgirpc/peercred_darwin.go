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
	uid, gid, pid = -1, -1, -1
	raw, err := c.SyscallConn()
	if err != nil {
		return uid, gid, pid
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err == nil {
			uid = int(cred.Uid)
			if cred.Ngroups > 0 {
				gid = int(cred.Groups[0])
			}
		}
		if id, err := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); err == nil {
			pid = id
		}
	})
	return uid, gid, pid
}
