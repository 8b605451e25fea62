package clientdriver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// storage is where batches may lie: the suite's is on this machine, without TLS.
var storage = []string{"http://127.0.0.1", "http://localhost", "https://*"}

// connection is a client over one of the transports.
type connection struct {
	client  *vgirpc.Client
	http    *httpclient.Transport // nil over byte streams
	offload *external.Offload     // nil where pointers are not resolved
}

// connect does the operation of that name.
func (d *driver) connect(q *request) (answers, error) {
	if d.conn != nil {
		return nil, errConnected
	}
	if q.Protocol == "" {
		return nil, errors.New("connect: protocol is required")
	}
	opts := vgirpc.ClientOptions{OnLog: d.onLog}
	c := &connection{}
	if q.External {
		offload, err := external.New(external.Options{AllowedOrigins: storage})
		if err != nil {
			return nil, err
		}
		c.offload, opts.Offload = offload, offload
	}
	if err := c.dial(q, opts, d.stderr); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), c.close())
	}
	d.conn, d.protocol = c, q.Protocol
	return answers{}, nil
}

// dial opens the transport that q names.
func (c *connection) dial(q *request, opts vgirpc.ClientOptions, stderr io.Writer) (err error) {
	if q.Transport == "stdio" || q.Transport == "shm" {
		return c.start(q, opts, stderr)
	}
	var target string
	if err := json.Unmarshal(q.Target, &target); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	switch q.Transport {
	case "unix":
		c.client, err = vgirpc.DialUnix(context.Background(), target, opts)
	case "tcp":
		var host, port string
		if host, port, err = net.SplitHostPort(target); err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if host == "" {
			host = "127.0.0.1"
		}
		c.client, err = vgirpc.DialTCP(context.Background(), net.JoinHostPort(host, port), opts)
	case "http":
		err = c.dialHTTP(q, target, opts)
	default:
		err = fmt.Errorf("unknown transport %q", q.Transport)
	}
	return err
}

// start starts a worker.
func (c *connection) start(q *request, opts vgirpc.ClientOptions, stderr io.Writer) (err error) {
	var argv []string
	if err := json.Unmarshal(q.Target, &argv); err != nil || len(argv) == 0 {
		return errors.New("target: want the command line of a worker, as a list")
	}
	process := subprocess.Options{Command: argv, Stderr: stderr, CloseGrace: endTimeout}
	if q.Transport == "shm" {
		f, memory, err := q.sharedMemory().Inherit(vgirpc.InheritedDescriptor)
		if err != nil {
			return err
		}
		opts.SharedMemory = q.sharedMemory()
		if f != nil {
			process.Files, opts.SharedMemory = []*os.File{f}, memory
			defer func() { _ = f.Close() }() // the worker has its own
		}
	}
	worker, err := subprocess.Start(context.Background(), process)
	if err != nil {
		return errors.Join(err, discard(opts.SharedMemory))
	}
	c.client = vgirpc.NewClient(worker, opts) // which sends nothing of its own
	return nil
}

// discard gives up memory that no worker has.
func discard(memory vgirpc.SharedMemoryClient) error {
	if m, ok := memory.(vgirpc.InheritedMemory); ok {
		return m.Close()
	}
	return nil
}

// sharedMemory is a segment of the size that is asked for. Whatever the driver
// reads of one it has encoded before it releases it.
func (q *request) sharedMemory() vgirpc.SharedMemoryClient {
	size := q.SHMSize
	if size == 0 {
		size = 4 << 20
	}
	least := shm.ParseMinBatchBytes(os.Getenv(shm.MinBatchVariable))
	return shm.Client(shm.OwnerOptions{Size: size, Options: shm.Options{MinBatchBytes: least, ZeroCopy: q.ZeroCopy}})
}

func (c *connection) dialHTTP(q *request, target string, opts vgirpc.ClientOptions) error {
	level, err := compression(q.CompressionLevel)
	if err != nil {
		return err
	}
	header := http.Header{}
	for name, value := range q.Headers {
		header.Set(name, value)
	}
	o := httpclient.Options{Header: header, Compression: level}
	if q.External {
		o.Uploads = &httpclient.Uploads{Origins: storage}
	}
	t, err := httpclient.New(target, o, opts)
	if err != nil {
		return err
	}
	c.http, c.client = t, t.Client()
	return nil
}

// compression is compression_level as the client's option: the client's default
// when it is absent, none when it is null.
func compression(raw json.RawMessage) (int, error) {
	if raw == nil {
		return 0, nil
	}
	var level *int
	if err := json.Unmarshal(raw, &level); err != nil {
		return 0, fmt.Errorf("compression_level: %w", err)
	}
	switch {
	case level == nil:
		return -1, nil
	case *level < 1: // the client's option has other uses for these
		return 0, fmt.Errorf("compression_level is %d: want 1 to 22, or null for none", *level)
	}
	return *level, nil
}

// close ends the connection.
func (c *connection) close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	if c.offload != nil {
		errs = append(errs, c.offload.Close())
	}
	return errors.Join(errs...)
}
