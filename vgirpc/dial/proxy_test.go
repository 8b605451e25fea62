package dial_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// socks is a SOCKS5 proxy without authentication (RFC 1928).
type socks struct {
	net.Listener
	count atomic.Int64 // connections that it made
	conns sync.WaitGroup
}

func newProxy(t *testing.T) *socks {
	t.Helper()
	p := &socks{Listener: listen(t, "tcp", "127.0.0.1:0")}
	p.conns.Go(func() {
		for {
			c, err := p.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { _ = p.serve(c) }) // its client sees what went wrong
		}
	})
	t.Cleanup(func() {
		_ = p.Close()
		p.conns.Wait()
	})
	return p
}

func (p *socks) url() string { return "socks5h://" + p.Addr().String() }

var errSOCKS = errors.New("not what a SOCKS5 client sends")

func (p *socks) serve(c net.Conn) error {
	defer func() { _ = c.Close() }()
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[0] != 5 {
		return errSOCKS
	}
	if _, err := io.CopyN(io.Discard, c, int64(head[1])); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	address, err := readAddress(c)
	if err != nil {
		return err
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return err
	}
	defer func() { _ = server.Close() }()
	p.count.Add(1)
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(server, c); _ = server.Close() })
	both.Go(func() { _, _ = io.Copy(c, server); _ = c.Close() })
	both.Wait()
	return nil
}

// readAddress reads a CONNECT request.
func readAddress(c io.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[1] != 1 {
		return "", errSOCKS
	}
	n := map[byte]int{1: net.IPv4len, 4: net.IPv6len}[head[3]]
	if head[3] == 3 {
		var length [1]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return "", err
		}
		n = int(length[0])
	}
	rest := make([]byte, n+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", err
	}
	host := string(rest[:n])
	if head[3] != 3 {
		host = net.IP(rest[:n]).String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(rest[n:])))), nil
}
