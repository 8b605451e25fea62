//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// floor serves canned answers to the benchmark's own requests: it reads every
// message and writes as many bytes as a real worker would, and does nothing
// else. What it costs is the transport's own price, the limit that a worker
// written in Go on this machine can approach but not beat by much.
type floor struct {
	echo           []byte // the response to a small unary call
	producer       cannedStream
	exchange       cannedStream
	opening        []byte // the response that opens a stream over HTTP
	mu             sync.Mutex
	exchangeByRows map[int64][]byte // output batches
	turnByRows     map[int64][]byte // responses to a turn over HTTP
	echoBySize     map[int64][]byte // responses, by the size of the request's body
}

// cannedStream is an output stream in its three parts.
type cannedStream struct{ open, batch, end []byte }

func newFloor() *floor {
	f := &floor{exchangeByRows: map[int64][]byte{}, turnByRows: map[int64][]byte{}, echoBySize: map[int64][]byte{}}
	result := []arrow.Field{field("result", arrow.PrimitiveTypes.Int64)}
	f.echo = stream(batch(result, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int64Builder).Append(42)
	}))
	row := []arrow.Field{
		{Name: "index", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}
	f.producer.open, f.producer.batch, f.producer.end = split(stream(batch(row, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int64Builder).Append(1)
		b.Field(1).(*array.Int64Builder).Append(10)
	})))
	f.exchange.open, f.exchange.batch, f.exchange.end = split(floats(1))
	f.opening = stream(withTokens(floatRows(0), cannedCursor, cannedCall))
	return f
}

// serve answers the calls of one connection until it ends.
func (f *floor) serve(r io.Reader, w io.Writer) error {
	fr := newFrameReader(r, largeBuffer)
	for {
		method, err := readRequest(fr)
		if err != nil {
			return err
		}
		switch method {
		case "echo_bytes", "echo_list":
			_, err = w.Write(f.echoOf(int64(len(fr.body))))
		case "produce_n":
			err = f.produce(fr, w)
		case "exchange_scale":
			err = f.scale(fr, w)
		default:
			_, err = w.Write(f.echo)
		}
		if err != nil {
			return err
		}
	}
}

// readRequest reads one request to its end and returns the method's name.
func readRequest(fr *frameReader) (method string, err error) {
	for {
		m, err := fr.next()
		if err != nil || m.end {
			return method, err
		}
		if v, ok := m.custom("vgi_rpc.method"); ok {
			method = v
		}
	}
}

func (f *floor) produce(fr *frameReader, w io.Writer) error {
	turns := 0
	return f.producer.serve(fr, w, func(frame) []byte {
		if turns++; turns > turnsPerStream {
			return nil
		}
		return f.producer.batch
	})
}

func (f *floor) scale(fr *frameReader, w io.Writer) error {
	return f.exchange.serve(fr, w, func(m frame) []byte { return f.scaled(m.rows) })
}

// serve answers each input batch with the batch that answer chooses, nil for
// none, and the end of the input with the end of the output.
func (s cannedStream) serve(fr *frameReader, w io.Writer, answer func(frame) []byte) error {
	opened := false
	for {
		m, err := fr.next()
		if err != nil {
			return err
		}
		if m.end {
			_, err := w.Write(s.end)
			return err
		}
		if m.header != batchHeader {
			continue
		}
		out := answer(m)
		if out == nil {
			continue
		}
		if !opened {
			out, opened = slices.Concat(s.open, out), true
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
}

// scaled is one output batch of as many rows as the input had.
func (f *floor) scaled(rows int64) []byte {
	if rows == 1 {
		return f.exchange.batch
	}
	return f.kept(f.exchangeByRows, rows, func() []byte {
		_, b, _ := split(floats(int(rows)))
		return b
	})
}

// echoOf is a response whose one batch holds n bytes.
func (f *floor) echoOf(n int64) []byte {
	const offsets = 8 // beside the data
	return f.kept(f.echoBySize, n, func() []byte {
		return requestBytes("result", "result", max(0, int(n)-offsets))
	})
}

// kept is what of has for n, built when it is first asked for.
func (f *floor) kept(of map[int64][]byte, n int64, build func() []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := of[n]
	if !ok {
		b = build()
		of[n] = b
	}
	return b
}

// floorMain serves stdin and stdout, or the address that the arguments name,
// with the flags and announcements of the worker contract.
func floorMain(ctx context.Context, args []string) error {
	f := newFloor()
	if len(args) == 0 {
		widenPipes()
		return ended(f.serve(os.Stdin, os.Stdout))
	}
	kinds := map[string]string{"--unix": "unix", "--tcp": "tcp", "--http": "tcp"}
	network, ok := kinds[args[0]]
	if !ok || len(args) != 2 {
		return errors.New("floor takes nothing, --unix PATH, --tcp HOST:PORT, or --http PORT or HOST:PORT")
	}
	address := args[1]
	if args[0] == "--http" && !strings.Contains(address, ":") {
		address = loopback + address
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	switch args[0] {
	case "--http":
		fmt.Printf("PORT:%d\n", l.Addr().(*net.TCPAddr).Port)
		return ended(f.serveHTTP(l))
	case "--tcp":
		fmt.Println("TCP:" + l.Addr().String())
	default:
		fmt.Println("UNIX:" + address)
	}
	return ended(f.accept(l))
}

// accept serves every connection of a listener until it is closed.
func (f *floor) accept(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its connection
			_ = f.serve(c, c)
			_ = c.Close()
		}()
	}
}

// ended makes an orderly end of the input no error.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// widenPipes gives stdin and stdout the buffers that an unprivileged process
// may ask for: part of what a worker can do about its transport. Where they are
// not pipes, nothing happens.
func widenPipes() {
	const setPipeSize, size = 1031, 1 << 20 // F_SETPIPE_SZ
	for _, fd := range []uintptr{0, 1} {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, size)
	}
}
