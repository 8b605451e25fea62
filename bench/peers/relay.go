//go:build linux

package main

import (
	"bytes"
	"context"
	"net"
	"time"
)

// relay listens on TCP and passes everything on to a server, each byte when it
// has been under way for as long as a link would take it one way. The client
// process runs it: its cost is among the client's figures.
func relay(ctx context.Context, network, address string, oneWay time.Duration) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			far, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				_ = near.Close() // the client sees it
				continue
			}
			go pass(near, far, oneWay)
			go pass(far, near, oneWay)
		}
	}()
	return l, nil
}

// piece is some bytes under way, and when they arrive.
type piece struct {
	bytes []byte
	due   time.Time
}

// pass moves bytes with a delay until one of the two ends, and closes both.
func pass(to, from net.Conn, delay time.Duration) {
	const (
		pieceBytes = 256 << 10
		pieces     = 1 << 10 // under way at most
	)
	link := make(chan piece, pieces)
	go func() {
		defer close(link)
		buf := make([]byte, pieceBytes)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				link <- piece{bytes.Clone(buf[:n]), time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range link {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.Close() // ends the reader
		}
	}
	_ = to.Close()
	_ = from.Close()
}
