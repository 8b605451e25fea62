package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const knowsPrograms = true

// program is what a peer runs.
type program struct {
	pid  int
	fd   int // of the process
	file *os.File
	path string // by which the process started it
}

func (p *program) close() {
	_ = p.file.Close()
	_ = unix.Close(p.fd)
}

// openPeer opens the program of the process at the other end of a socket.
func openPeer(c *net.UnixConn) (*program, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := new(program)
	if controlErr := raw.Control(func(fd uintptr) { p.pid, p.fd, err = peerProcess(int(fd)) }); controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, err
	}
	link := "/proc/" + strconv.Itoa(p.pid) + "/exe"
	if p.file, err = os.Open(link); err != nil { // what runs, whatever is at its path now
		_ = unix.Close(p.fd)
		return nil, fmt.Errorf("program of process %d: %w", p.pid, err)
	}
	p.path, err = os.Readlink(link)
	if err == nil {
		err = p.stillRuns()
	}
	if err == nil && strings.HasSuffix(p.path, " (deleted)") {
		err = errors.New("its program was replaced since it was started")
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("process %d: %w", p.pid, err)
	}
	return p, nil
}

// peerProcess is the process that connected: its number, and a descriptor that
// stays with it. Where the kernel hands that out (Linux 6.5), it is the process
// itself; else the one that has the number now, which stillRuns cannot tell from
// one that ended before.
func peerProcess(socket int) (pid, fd int, err error) {
	cred, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return 0, -1, fmt.Errorf("peer credentials: %w", err)
	case cred.Pid <= 0:
		return 0, -1, errors.New("the peer is in a process namespace that cannot be seen from here")
	}
	fd, err = unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		fd, err = unix.PidfdOpen(int(cred.Pid), 0)
	}
	if err != nil {
		return 0, -1, fmt.Errorf("process %d: %w", cred.Pid, err)
	}
	unix.CloseOnExec(fd)
	return int(cred.Pid), fd, nil
}

// stillRuns reports a process that has ended: its number may be another's.
func (p *program) stillRuns() error {
	poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n > 0:
			return errors.New("the process has ended")
		}
		return nil
	}
}
