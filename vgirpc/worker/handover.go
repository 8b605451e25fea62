package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// envHandover says to a process that its predecessor speaks to it over descriptor
// 3, and what number that process has.
const envHandover = "VGIRPC_HANDOVER"

// Times of a handover.
const (
	// successorTime is how long a successor may take until it serves.
	successorTime = 60 * time.Second
	// lingering is how long a worker that was succeeded goes on answering on
	// connections that cannot be passed on.
	lingering = 2 * time.Second
)

// ErrNoHandover is why a worker over standard input and output cannot be
// restarted without a loss: they belong to the one client that has started it.
var ErrNoHandover = errors.New("worker: standard input and output belong to one client, and cannot be handed over: let the client start another worker")

// message is what processes say to each other during a handover, one datagram
// each. The descriptor beside it is meant by it.
type message struct {
	Network string `json:"network,omitempty"` // of a listener
	Address string `json:"address,omitempty"`
	Keep    bool   `json:"keep,omitempty"`
	Begin   bool   `json:"begin,omitempty"` // that was all: the successor begins
	Ready   bool   `json:"ready,omitempty"` // it serves
	Conn    int    `json:"conn,omitempty"`  // a connection of that listener, counted from 1
}

// maxMessage bounds a message.
const maxMessage = 8 << 10

// successor is the process that takes a worker's listeners over.
type successor struct {
	mu      sync.Mutex
	conn    *net.UnixConn
	process *os.Process
	exited  chan struct{} // closed when it has ended
}

// send sends a message, and with it a copy of a socket's descriptor unless that
// is nil.
func (s *successor) send(m message, socket any) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if socket == nil {
		_, _, err = s.conn.WriteMsgUnix(text, nil, nil)
		return err
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = s.conn.WriteMsgUnix(text, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sendErr)
}

// receive reads a message and the descriptor beside it, nil without one.
func receive(conn *net.UnixConn) (m message, file *os.File, err error) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, nr, flags, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return m, nil, err
	}
	if nr > 0 {
		if file, err = descriptor(rights[:nr]); err != nil {
			return m, nil, err
		}
	}
	switch {
	case n == 0:
		err = net.ErrClosed
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("worker: a message of the handover is too long")
	default:
		err = json.Unmarshal(text[:n], &m)
	}
	if err != nil && file != nil {
		_ = file.Close()
	}
	return m, file, err
}

// descriptor is the one in a control message.
func descriptor(rights []byte) (*os.File, error) {
	parsed, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(parsed) != 1 {
		return nil, fmt.Errorf("worker: handover: %d control messages: %w", len(parsed), err)
	}
	fds, err := unix.ParseUnixRights(&parsed[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("worker: handover: %d descriptors: %w", len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "handover"), nil
}

// handOver starts another process of the program and gives it the listeners. When
// it returns without an error, that process serves.
func (w *worker) handOver(ctx context.Context) (err error) {
	if state := w.setup.State(); state != Serving {
		return fmt.Errorf("worker: handover: the worker is %s", state)
	}
	sockets := &w.setup.sockets
	sockets.mu.Lock()
	open := slices.DeleteFunc(slices.Clone(sockets.open), (*Listener).isClosed)
	sockets.mu.Unlock()
	if _, own := w.setup.transport.(*stdio); own || len(open) == 0 {
		return ErrNoHandover
	}
	next, err := w.startSuccessor()
	if err != nil {
		return fmt.Errorf("worker: handover: %w", err)
	}
	defer func() {
		if err != nil {
			_ = next.conn.Close()
			_ = next.process.Kill()
			<-next.exited
			err = fmt.Errorf("worker: handover to process %d, which was ended: %w", next.process.Pid, err)
		}
	}()
	if err := next.conn.SetDeadline(time.Now().Add(successorTime)); err != nil {
		return err
	}
	cut := context.AfterFunc(ctx, func() { _ = next.conn.SetDeadline(time.Unix(1, 0)) })
	defer cut()
	for i, l := range open {
		l.index = i
		if err := next.send(message{Network: l.network, Address: l.address, Keep: l.keep}, l.Listener); err != nil {
			return err
		}
	}
	if err := next.send(message{Begin: true}, nil); err != nil {
		return err
	}
	if _, _, err := receive(next.conn); err != nil {
		return fmt.Errorf("it did not begin to serve: %w", err)
	}
	if err := next.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	sockets.mu.Lock()
	sockets.successor = next
	sockets.mu.Unlock()
	for _, l := range open {
		l.pause()
	}
	w.setup.tell("MAINPID=" + strconv.Itoa(next.process.Pid))
	w.log.LogAttrs(ctx, slog.LevelInfo, "another process has taken over", slog.Int("pid", next.process.Pid), slog.Int("listeners", len(open)))
	return nil
}

// startSuccessor starts the program anew, the file that is under its name now,
// with the same arguments and environment.
func (w *worker) startSuccessor() (*successor, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return nil, err
	}
	for _, fd := range pair {
		unix.CloseOnExec(fd)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "handover"), os.NewFile(uintptr(pair[1]), "handover")
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(w.program.path) //nolint:noctx // it outlives this process
	cmd.Args, cmd.Dir = w.program.args, w.program.dir
	// Without its process, the watchdog is for whoever reads that.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") })
	cmd.Env = append(cmd.Env, envHandover+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // standard output has had its line
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	exited := make(chan struct{})
	go func() { // to the end of this process
		_ = cmd.Wait()
		close(exited)
	}()
	return &successor{conn: conn.(*net.UnixConn), process: cmd.Process, exited: exited}, nil
}

// recall takes a handover back that is in progress, if one is, because this process
// is to stop: a successor that nobody has told must not outlive that. It drains,
// too, if it serves by now, until hurry ends. The channel is closed when it is
// gone.
func (w *worker) recall(hurry context.Context, handover <-chan error) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if handover == nil {
			return
		}
		if err := <-handover; err != nil {
			w.log.LogAttrs(hurry, slog.LevelInfo, "the handover was given up", slog.Any("error", err))
			return
		}
		w.setup.sockets.mu.Lock()
		next := w.setup.sockets.successor
		w.setup.sockets.mu.Unlock()
		_ = next.process.Signal(syscall.SIGTERM) // which fails when it has ended
		select {
		case <-next.exited:
		case <-hurry.Done():
			_ = next.process.Kill()
			<-next.exited
		}
	}()
	return gone
}

// program is how the process was started.
type program struct {
	path string
	args []string
	dir  string
}

// thisProgram finds out how the process was started. Names are taken as they were
// given: what is under them may be another version by the time of a handover.
func thisProgram() program {
	p := program{args: os.Args}
	p.dir, _ = os.Getwd()                                                            // "" means the one there is
	if text, err := os.ReadFile("/proc/self/cmdline"); err == nil && len(text) > 0 { // what main has not changed
		p.args = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
	path, err := exec.LookPath(p.args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, _ = os.Executable() // "" fails when it is used
	}
	p.path = path
	return p
}

// predecessor is the process that was there before, as its successor sees it.
type predecessor struct {
	conn  *net.UnixConn
	ended chan struct{} // closed when it passes nothing on any more
}

// errOrphan is why a successor does not begin to serve. Whoever has ended its
// predecessor meant both, or starts another worker at the same place.
var errOrphan = errors.New("worker: handover: the process that was to be succeeded has ended, or is not this one's parent " +
	"(a program that stands between the two has to exec the worker)")

// orphaned reports whether parent, which is not this process's any more, was to
// hand over to it: its end of the socket is there, which no process but a successor
// has, or the process is gone. One that nobody has waited for yet is not gone, and
// its number may be another's already.
func orphaned(parent string) bool {
	kind, err := unix.GetsockoptInt(handoverDescriptor, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind == unix.SOCK_SEQPACKET {
		return true
	}
	pid, err := strconv.Atoi(parent)
	return err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// inherit takes the listeners of a predecessor, nil when there is none.
func (s *sockets) inherit() (*predecessor, error) {
	parent := os.Getenv(envHandover)
	if parent == "" {
		return nil, nil //nolint:nilnil // as documented
	}
	if err := os.Unsetenv(envHandover); err != nil {
		return nil, err
	}
	if parent != strconv.Itoa(os.Getppid()) {
		if orphaned(parent) {
			return nil, errOrphan
		}
		return nil, nil //nolint:nilnil // meant for somebody who has started us
	}
	unix.CloseOnExec(handoverDescriptor)
	file := os.NewFile(handoverDescriptor, "handover")
	defer func() { _ = file.Close() }()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("worker: handover: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("worker: handover: descriptor %d is no Unix socket", handoverDescriptor)
	}
	if err := conn.SetDeadline(time.Now().Add(successorTime)); err != nil {
		return nil, err
	}
	for {
		m, f, err := receive(conn)
		if err != nil {
			return nil, fmt.Errorf("worker: handover: %w", err)
		}
		if m.Begin {
			return &predecessor{conn, make(chan struct{})}, nil
		}
		if err := s.add(m, f); err != nil {
			return nil, fmt.Errorf("worker: handover: %w", err)
		}
	}
}

// handoverDescriptor is the first that is passed on to a child.
const handoverDescriptor = 3

// add takes one listener in.
func (s *sockets) add(m message, f *os.File) error {
	if f == nil {
		return errors.New("a listener without a descriptor")
	}
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	// The path of a Unix socket is the predecessor's until own: closing leaves it.
	s.inherited = append(s.inherited, &inherited{
		socket: l, network: m.Network, address: m.Address, keep: m.Keep,
		handed: make(chan net.Conn), abandoned: make(chan struct{}),
	})
	return nil
}

// ready tells the predecessor, if there is one, that this process serves, and
// takes the connections that it passes on, until it ends.
func (p *predecessor) ready(s *sockets) error {
	if p == nil {
		return nil
	}
	text, err := json.Marshal(message{Ready: true})
	if err == nil {
		_, err = p.conn.Write(text)
	}
	if err == nil {
		err = p.conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = p.conn.Close()
		return fmt.Errorf("%w: %w", errOrphan, err)
	}
	s.own()
	go p.receive(s)
	return nil
}

// receive takes the connections that the predecessor passes on.
func (p *predecessor) receive(s *sockets) {
	defer func() {
		_ = p.conn.Close()
		close(p.ended)
	}()
	for {
		m, f, err := receive(p.conn)
		if err != nil {
			return // it has ended
		}
		if f != nil {
			s.resume(m, f)
		}
	}
}

// resume lets a connection in that the predecessor has passed on.
func (s *sockets) resume(m message, f *os.File) {
	defer func() { _ = f.Close() }()
	if m.Conn < 1 || m.Conn > len(s.inherited) {
		return
	}
	to := s.inherited[m.Conn-1]
	conn, err := net.FileConn(f)
	if err != nil {
		return
	}
	select {
	case to.handed <- conn:
		return
	case <-to.abandoned:
	}
	if to.by != nil {
		_ = to.by.pass(conn) // to who has taken over meanwhile, if somebody has
	}
	_ = conn.Close()
}
