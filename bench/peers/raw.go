//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
)

// The floor: what a transport costs when nothing is done with the bytes.

// sizes are how many bytes a small call takes there and back.
type sizes struct{ request, reply int }

const (
	askSize   = 128              // of a batch, about what a tick takes
	pieceSize = batchBytes + 256 // a batch with its header
	sockets   = 1 << 20          // the kernel's buffers, as vgi-rpc's server sets them
)

// Requests of the floor begin with what they are.
const (
	smallCall = 'c'
	nextBatch = 'n'
)

func serveRaw(ctx context.Context, s serving) error {
	if s.listener == nil {
		return echo(duplex{os.Stdin, os.Stdout}, s)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		enlarge(c)
		go func() {
			defer func() { _ = c.Close() }()
			_ = echo(c, s) // the client is gone
		}()
	}
}

// enlarge gives a socket the buffers that large batches need.
func enlarge(c net.Conn) {
	if b, ok := c.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		_ = b.SetReadBuffer(sockets) // it works with less
		_ = b.SetWriteBuffer(sockets)
	}
}

// echo answers requests of known sizes until the connection ends.
func echo(rw io.ReadWriter, s serving) error {
	in := make([]byte, max(s.sizes.request, askSize))
	piece := make([]byte, pieceSize)
	reply := make([]byte, s.sizes.reply)
	for {
		n, err := io.ReadAtLeast(rw, in, min(s.sizes.request, askSize))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		want, out := s.sizes.request, reply
		if in[0] == nextBatch {
			want, out = askSize, piece
		}
		if _, err := io.ReadFull(rw, in[n:max(n, want)]); err != nil {
			return err
		}
		s.pause()
		if _, err := rw.Write(out); err != nil {
			return err
		}
	}
}

// duplex joins the two directions of a pipe.
type duplex struct {
	io.Reader
	io.WriteCloser
}

func dialRaw(ctx context.Context, d dialing) (*session, error) {
	if d.network == "pipe" {
		return startRaw(ctx, d)
	}
	c, err := new(net.Dialer).DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, err
	}
	enlarge(c)
	return rawSession(c, d.sizes, c.Close), nil
}

// startRaw starts a server as a child and talks to it over pipes.
func startRaw(ctx context.Context, d dialing) (*session, error) {
	cmd := exec.CommandContext(ctx, d.command[0], d.command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return rawSession(duplex{out, in}, d.sizes, func() error {
		return errors.Join(in.Close(), cmd.Wait())
	}), nil
}

func rawSession(rw io.ReadWriter, s sizes, closing func() error) *session {
	return &session{call: rawCall(rw, s), stream: rawStream(rw), close: closing}
}

func rawCall(rw io.ReadWriter, s sizes) func(context.Context, float64) (float64, error) {
	request, reply := bytes.Repeat([]byte{smallCall}, s.request), make([]byte, s.reply)
	return func(_ context.Context, v float64) (float64, error) {
		if _, err := rw.Write(request); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(rw, reply)
		return v, err
	}
}

func rawStream(rw io.ReadWriter) func(context.Context, int, func()) error {
	ask, piece := bytes.Repeat([]byte{nextBatch}, askSize), make([]byte, pieceSize)
	return func(_ context.Context, batches int, got func()) error {
		for range batches {
			if _, err := rw.Write(ask); err != nil {
				return err
			}
			if _, err := io.ReadFull(rw, piece); err != nil {
				return err
			}
			got()
		}
		return nil
	}
}

// dialMemory copies within this process: between buffers that no cache holds.
func dialMemory(context.Context, dialing) (*session, error) {
	const total = 64 * batchBytes
	from, to := bytes.Repeat([]byte{1}, total), bytes.Repeat([]byte{2}, total)
	at := 0
	return &session{
		stream: func(_ context.Context, batches int, got func()) error {
			for range batches {
				copy(to[at:at+batchBytes], from[at:at+batchBytes])
				at = (at + batchBytes) % total
				got()
			}
			return nil
		},
		close: func() error { return nil },
	}, nil
}

// serverArgs are the arguments of a server process.
func serverArgs(l load, address string, s sizes) []string {
	return []string{
		"serve", "-peer", l.Peer, "-network", l.Network, "-address", address, "-wait", l.Wait.String(),
		"-request", strconv.Itoa(s.request), "-reply", strconv.Itoa(s.reply),
	}
}

// server is a started server process on a socket.
type server struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	address string
}

// startServer starts a server and waits until it listens.
func startServer(ctx context.Context, self string, args []string) (*server, error) {
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, stdin: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the server did not say where it listens: %w", err), s.stop())
	}
	s.address = line[:len(line)-1]
	return s, nil
}

// stop closes the server's input, which ends it.
func (s *server) stop() error {
	_ = s.stdin.Close()
	return s.cmd.Wait()
}
