// Package freeport finds TCP ports for tests that must know the port of a program
// before it runs. A test that opens its listener itself asks for port 0 instead.
package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are taken from below the range that systems hand out for port 0 and to
// outgoing connections (from 32768 on Linux, from 49152 elsewhere): who has such a
// port finds it free again when its program starts anew.
const (
	lowest = 20000
	number = 12000
)

// host is the only address that ports are for.
const host = "127.0.0.1"

// errNone is that of a machine on which everything is taken.
var errNone = errors.New("freeport: no port of " + host + " is free from " +
	strconv.Itoa(lowest) + " to " + strconv.Itoa(lowest+number-1))

// Port returns a TCP port of 127.0.0.1 that nobody listens on and that no other
// caller gets, in this process or another, before the test ends and all has been
// cleaned up that was registered after this call.
func Port(tb testing.TB) int {
	tb.Helper()
	for range number {
		port := lowest + rand.IntN(number) //nolint:gosec // it need not be hard to guess
		if release, err := take(tb.Context(), port); err == nil {
			tb.Cleanup(release)
			return port
		}
	}
	tb.Fatal(errNone)
	return 0
}

// take claims a port, or says who has it. A program that listens could only be kept
// away by listening oneself; callers of this package keep each other away by the UDP
// port of the same number, which the system frees even when a process is killed.
func take(ctx context.Context, port int) (release func(), err error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	claim, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		_ = claim.Close()
		return nil, err
	}
	_ = l.Close()
	return func() { _ = claim.Close() }, nil
}

// Refusing returns an address, 127.0.0.1 and a port, at which connections are
// refused until the test ends: nobody can listen there, because the port is one end
// of a connection.
func Refusing(tb testing.TB) string {
	tb.Helper()
	other, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = other.Close() })
	for range number {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host), Port: Port(tb)}}
		if c, err := d.DialContext(tb.Context(), other.Addr().Network(), other.Addr().String()); err == nil {
			tb.Cleanup(func() { _ = c.Close() })
			return c.LocalAddr().String()
		}
	}
	tb.Fatal(errNone)
	return ""
}
