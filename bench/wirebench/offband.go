//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Transports of the rows that leave the connection, and what they are compared
// with. Both ends are this program: see [peerMain].
const (
	transportUnix     = "unix"
	transportSHM      = "shm"      // a named segment; batches are copied out of it
	transportView     = "shmview"  // sealed memory; batches are built and used where they lie
	transportExternal = "external" // files, fetched over HTTP
	transportFile     = "file"     // a file is written, read and hashed twice
)

// session is an operation on a connection of its own, and its end.
type session struct {
	op    operation
	close func() error
}

// offBand reports whether a load is one of the peer's.
func (l load) offBand() bool { return l.Case == "small" || l.Case == "fold" || l.Case == "blocks" }

// baseline is the load that an off-band one is compared with.
func (l load) baseline() load {
	if l.Transport == transportExternal {
		l.Transport = transportFile
	} else {
		l.Transport = transportUnix
	}
	return l
}

// newSession connects for one load.
func newSession(ctx context.Context, l load, w *worker) (session, error) {
	switch {
	case !l.offBand() && slices.Contains([]string{transportSHM, transportView, transportExternal, transportFile}, l.Transport):
		return session{}, fmt.Errorf("no such case: %q over %s", l.Case, l.Transport)
	case !l.offBand():
		op, err := newOperation(l, w.dial)
		return session{op, func() error { return nil }}, err
	case l.Transport == transportFile:
		return fileSession(l.Size, w.dir)
	}
	var used moved
	opts, err := l.clientOptions(&used)
	if err != nil {
		return session{}, err
	}
	c, err := vgirpc.DialUnix(ctx, w.socket(), opts)
	if err != nil {
		return session{}, err
	}
	s := session{close: func() error { return errors.Join(l.checkUsed(&used), c.Close()) }}
	switch l.Case {
	case "small":
		s.op = func() (int64, error) {
			v, err := smallMethod.Call(ctx, c, smallParams{42})
			if err == nil && v != 42 {
				err = fmt.Errorf("echo of 42 is %v", v)
			}
			return 8, err
		}
	case "fold":
		s.op, err = foldOperation(ctx, l, c)
	default:
		s.op, err = blocksOperation(ctx, l, c)
	}
	return s, err
}

// clientOptions put a client on the transport of a load.
func (l load) clientOptions(used *moved) (opts vgirpc.ClientOptions, err error) {
	owner := shm.OwnerOptions{Size: int64(3*l.Size + 16<<20)} // two inputs and an answer
	switch l.Transport {
	case transportUnix:
	case transportSHM:
		owner.Named = true
		opts.SharedMemory = watching{shm.Client(owner), used}
	case transportView:
		owner.Anonymous, owner.ZeroCopy = true, true
		opts.SharedMemory = watching{shm.Client(owner), used}
	case transportExternal:
		opts.Offload, err = external.New(external.Options{AllowedOrigins: []string{"http://127.0.0.1"}})
	default:
		err = fmt.Errorf("no such case: %q over %s", l.Case, l.Transport)
	}
	return opts, err
}

// moved counts what went through shared memory, so that a load which did not is
// no measurement of it.
type moved struct{ made, bytes atomic.Int64 }

// counting counts what its memory places.
type counting struct {
	vgirpc.SharedMemory
	used *moved
}

// watching counts what is negotiated, and what that places.
type watching struct {
	vgirpc.SharedMemoryClient
	used *moved
}

// Negotiate counts.
func (w watching) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	memory, err := w.SharedMemoryClient.Negotiate(link)
	if err != nil || memory == nil {
		return memory, err
	}
	w.used.made.Add(1)
	return counting{memory, w.used}, nil
}

// Place counts.
func (c counting) Place(ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) ([]wire.Batch, int64, error) {
	placed, n, err := c.SharedMemory.Place(ctx, schema, cycle, budget)
	c.used.bytes.Add(n)
	return placed, n, err
}

// checkUsed fails when a load was to go through shared memory and did not.
func (l load) checkUsed(used *moved) error {
	shared := l.Transport == transportSHM || l.Transport == transportView
	if shared && (used.made.Load() == 0 || (l.Case == "fold" && used.bytes.Load() == 0)) {
		return fmt.Errorf("%s was not used: the server did not agree to it, or cannot attach it", l.Transport)
	}
	return nil
}

// foldOperation writes every byte of a batch anew, and reads every byte of the
// answer.
func foldOperation(ctx context.Context, l load, c *vgirpc.Client) (operation, error) {
	stream, err := foldMethod.Open(ctx, c, noParams{})
	if err != nil {
		return nil, err
	}
	schema, err := wordSchema()
	if err != nil {
		return nil, err
	}
	in, err := newNumbers(schema, l.Size/8)
	if err != nil {
		return nil, err
	}
	turn := byte(0)
	return func() (int64, error) {
		turn++
		in.in(stream.Allocator())
		write(in.data, turn)
		out, err := stream.ExchangeBatch(ctx, in.batch)
		if err != nil {
			return 0, err
		}
		return int64(2 * l.Size), check(out.Cols[0].Data, turn+1)
	}, nil
}

// blocksOperation receives one block of an endless stream.
func blocksOperation(ctx context.Context, l load, c *vgirpc.Client) (operation, error) {
	stream, err := blockMethod.Open(ctx, c, blocksParams{Rows: int64(l.Size / 8)})
	if err != nil {
		return nil, err
	}
	next, _ := iter.Pull2(stream.Batches()) // it ends with the client
	return func() (int64, error) {
		b, err, ok := next()
		if err != nil || !ok {
			return 0, errors.Join(err, errors.New("no block came"))
		}
		if b.Rows != l.Size/8 || b.Meta.Value(wire.KeyLocationSource) == "" {
			return 0, errors.New("the block is not the one that was stored")
		}
		return int64(l.Size), nil // its digest was checked
	}, nil
}

// fileSession is what storing and fetching cost without anything around: a file is
// written and read, and hashed once by each side.
func fileSession(size int, dir string) (session, error) {
	data := make([]byte, size)
	write(data, blockByte)
	n := 0
	return session{
		op: func() (int64, error) {
			n++
			name := filepath.Join(dir, strconv.Itoa(n))
			want := sha256.Sum256(data)
			if err := os.WriteFile(name, data, 0o600); err != nil {
				return 0, err
			}
			got, err := os.ReadFile(name)
			if err != nil {
				return 0, err
			}
			if sha256.Sum256(got) != want {
				return 0, errors.New("the file is not the one that was written")
			}
			return int64(size), nil
		},
		close: func() error { return nil },
	}, nil
}

// wordSchema is that of the fold's input.
func wordSchema() (*wire.Schema, error) {
	return wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Int64}}, nil))
}
