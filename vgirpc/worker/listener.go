package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockets are the listeners of a worker, and those that it was started with.
type sockets struct {
	mu        sync.Mutex
	inherited []*inherited
	open      []*Listener
	successor *successor // that has taken them over, nil without
}

// inherited is a listener that this process was started with.
type inherited struct {
	socket    net.Listener
	network   string
	address   string // that the predecessor was asked for; "" when there was none
	keep      bool   // the path of a Unix socket is not ours to remove
	handed    chan net.Conn
	claimed   bool
	by        *Listener     // nil when nobody has a use for it
	abandoned chan struct{} // closed when nobody takes connections any more
}

// Listen listens on an address, as net.Listen does, unless the worker was started
// with a listener for it, by its predecessor or by a service manager: then it is
// that one. What listens in this way survives a restart by SIGUSR2. network is
// "tcp" or "unix". An option calls it before the worker serves, in Apply, in
// [Setup.BeforeServing] or in its [Transport]: what a worker was started with and
// has no use for by then is closed.
func (s *Setup) Listen(ctx context.Context, network, address string) (*Listener, error) {
	return s.ListenOr(ctx, network, address, func(ctx context.Context) (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, network, address)
	})
}

// ListenOr is [Setup.Listen] with a way of its own to open a listener where none
// was inherited. It has to be a *net.TCPListener or a *net.UnixListener itself: what
// is around one stays behind in a handover. So checks of who connects are not the
// listener's: they belong into the ConnOptions.Admit of the server, as those of
// package auth/socket do.
func (s *Setup) ListenOr(ctx context.Context, network, address string, open func(context.Context) (net.Listener, error)) (*Listener, error) {
	l := &Listener{network: network, address: address, setup: s, paused: make(chan struct{}), closed: make(chan struct{})}
	if before := s.sockets.claim(network, address); before != nil {
		l.Listener, l.keep, l.before, l.accepted = before.socket, before.keep, before, make(chan accepted)
		before.by = l
		go l.acceptAll()
	} else {
		opened, err := open(ctx)
		if err != nil {
			return nil, err
		}
		switch opened.(type) {
		case *net.TCPListener, *net.UnixListener:
		default:
			_ = opened.Close()
			return nil, fmt.Errorf("worker: a %T cannot be handed over: want a *net.TCPListener or *net.UnixListener, and checks of who connects in ConnOptions.Admit", opened)
		}
		l.Listener = opened
	}
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	s.sockets.open = append(s.sockets.open, l)
	return l, nil
}

// claim finds a listener that the process was started with.
func (s *sockets) claim(network, address string) *inherited {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fits := range []func(*inherited) bool{
		func(i *inherited) bool { return i.address == address },
		func(i *inherited) bool { return i.address == "" && sameAddress(i.socket.Addr(), address) },
	} {
		for _, i := range s.inherited {
			if !i.claimed && i.network == network && fits(i) {
				i.claimed = true
				return i
			}
		}
	}
	return nil
}

// dropRest closes the listeners that nobody has claimed, and returns their
// addresses.
func (s *sockets) dropRest() (unused []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.inherited {
		if !i.claimed {
			unused = append(unused, i.socket.Addr().String())
			i.claimed = true
			close(i.abandoned)
			_ = i.socket.Close()
		}
	}
	return unused
}

// own makes the paths of the Unix sockets that were handed over this process's: it
// removes them with its end, and right now where it has no use for them. Until
// then they are those of the predecessor, which goes on when this process fails.
func (s *sockets) own() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.inherited {
		if i.network != "unix" || i.keep {
			continue
		}
		if i.by == nil || !i.by.unlinks(true) {
			if path := i.socket.Addr().String(); path != "" && path[0] != '@' { // which is no file
				_ = os.Remove(path)
			}
		}
	}
}

// sameAddress reports whether a listener is at the address that is asked for. A
// service manager's choice of a port is as good as the system's.
func sameAddress(is net.Addr, want string) bool {
	tcp, ok := is.(*net.TCPAddr)
	if !ok {
		return is.String() == want
	}
	host, port, err := net.SplitHostPort(want)
	if err != nil {
		return false
	}
	if n, err := strconv.Atoi(port); err != nil || n != 0 && n != tcp.Port {
		return false
	}
	ip := net.ParseIP(host)
	return ip.Equal(tcp.IP) || tcp.IP.IsUnspecified() && (host == "" || ip.IsUnspecified()) || tcp.IP.IsLoopback() && host == "localhost"
}

// pausable is what a listener of package net has beside Accept.
type pausable interface {
	net.Listener
	SetDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// Listener is a listener that another process can go on with. It is made by
// [Setup.Listen].
type Listener struct {
	net.Listener
	network, address string // as asked for, by which a successor finds it
	keep             bool
	setup            *Setup
	index            int // of those that were handed over

	before   *inherited
	accepted chan accepted // from acceptAll, nil where nothing was inherited
	resumed  bool

	pauseOnce sync.Once
	paused    chan struct{}
	closeOnce sync.Once
	closed    chan struct{}
	unlinking sync.Mutex // whether the path of a Unix socket goes with it
	closeErr  error
}

// accepted is the result of an Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// Accept waits for the next connection, be it a new one or one that the
// predecessor has passed on. When the listener was handed over, nothing comes any
// more, and Accept waits for Close.
func (l *Listener) Accept() (net.Conn, error) {
	if l.accepted == nil {
		conn, err := l.Listener.Accept()
		return conn, l.afterPause(err)
	}
	select {
	case a := <-l.accepted:
		l.resumed = false
		return a.conn, a.err
	case conn := <-l.before.handed:
		l.resumed = true
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// acceptAll is Accept for a listener that gets connections from two sides.
func (l *Listener) acceptAll() {
	for {
		conn, err := l.Listener.Accept()
		err = l.afterPause(err)
		select {
		case l.accepted <- accepted{conn, err}:
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		case <-l.paused:
		case <-l.closed:
		}
		if conn == nil {
			return
		}
		select {
		case l.accepted <- accepted{conn, nil}: // nobody has to be turned away yet
		case <-l.closed:
			_ = l.pass(conn)
			_ = conn.Close()
			return
		}
	}
}

// afterPause is the error of an Accept that may have been interrupted.
func (l *Listener) afterPause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		<-l.closed
		return net.ErrClosed
	}
	return err
}

// Inherited reports whether the worker was started with the listener: whoever
// connects meanwhile waits, or is served by the predecessor.
func (l *Listener) Inherited() bool { return l.before != nil }

// Resumed reports whether the connection that Accept returned last comes from the
// predecessor.
func (l *Listener) Resumed() bool { return l.resumed }

// pause lets nothing come in any more, and leaves what is there to others: the
// path of a Unix socket, and who waits to be accepted.
func (l *Listener) pause() {
	l.pauseOnce.Do(func() {
		l.unlinks(false)
		close(l.paused)
		_ = l.Listener.(pausable).SetDeadline(time.Unix(1, 0))
	})
}

// unlinks sets whether Close removes the path of a Unix socket. It reports whether
// Close is yet to come.
func (l *Listener) unlinks(yes bool) bool {
	l.unlinking.Lock()
	defer l.unlinking.Unlock()
	if path, ok := l.Listener.(*net.UnixListener); ok {
		path.SetUnlinkOnClose(yes)
	}
	return !l.isClosed()
}

// pass gives a connection to the successor.
func (l *Listener) pass(conn net.Conn) error {
	l.setup.sockets.mu.Lock()
	to := l.setup.sockets.successor
	l.setup.sockets.mu.Unlock()
	if to == nil {
		return errors.New("worker: no other process has taken the listener over")
	}
	return to.send(message{Conn: l.index + 1}, conn)
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Close closes the listener. It is idempotent.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		l.unlinking.Lock()
		l.closeErr = l.Listener.Close()
		close(l.closed)
		l.unlinking.Unlock()
		if l.before != nil {
			close(l.before.abandoned)
		}
	})
	return l.closeErr
}

// CheckAddress finds out, without listening, whether an address can be one of a
// listener.
func CheckAddress(ctx context.Context, network, address string) error {
	if network != "unix" {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("address %q: want HOST:PORT: %w", address, err)
		}
		if _, err := new(net.Resolver).LookupPort(ctx, network, port); err != nil {
			return fmt.Errorf("address %q: want a port from 0 to 65535", address)
		}
		for _, r := range host {
			if r <= ' ' || r == '/' || r == '@' {
				return fmt.Errorf("address %q: want a host in front of the port", address)
			}
		}
		return nil
	}
	if longest := len(unix.RawSockaddrUnix{}.Path) - 1; len(address) > longest {
		return fmt.Errorf("address %q: the path of a Unix socket has at most %d bytes", address, longest)
	}
	if info, err := os.Stat(filepath.Dir(address)); err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	} else if !info.IsDir() {
		return fmt.Errorf("address %q: %s is no directory", address, filepath.Dir(address))
	}
	return nil
}
