package vgirpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// patience is how long a test waits before it fails instead of hanging.
const patience = 30 * time.Second

// eventually waits until ok says so.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			tb.Fatalf("after %v still not so: %s\n%s", patience, what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// returnsEverything checks when the test is over that goroutines and
// descriptors are as many as now. It comes before what the test starts.
func returnsEverything(t *testing.T) {
	t.Helper()
	if l, err := vgirpc.ListenTCP(t.Context(), "0"); err == nil {
		_ = l.Close() // the runtime keeps descriptors of its own from the first socket on
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Cleanup(func() {
		eventually(t, "goroutines and descriptors return to their number", func() bool {
			return runtime.NumGoroutine() <= goroutines && descriptors() <= files
		})
	})
}

// descriptors is how many this process has open; 0 where nobody can tell.
func descriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}

// target is a server on a listener, to be hurt.
type target struct {
	*vgirpc.Server
	addr   net.Addr
	budget *wire.Budget
}

// newTarget serves the contract of vgitest over network, "unix" or "tcp". When
// the test is over everything that the server took must be back.
func newTarget(t *testing.T, network string, opts vgirpc.ServerOptions) *target {
	t.Helper()
	returnsEverything(t)
	budget := wire.NewBudget(0)
	opts.Limits.Budget = budget
	return newTargetOf(t, network, vgitest.NewServer(t, vgitest.NewContract(), opts), budget)
}

func newTargetOf(t *testing.T, network string, s *vgirpc.Server, budget *wire.Budget) *target {
	t.Helper()
	var l net.Listener
	var err error
	if network == "unix" {
		l, err = vgirpc.ListenUnix(t.Context(), filepath.Join(t.TempDir(), "s"), vgirpc.UnixOptions{})
	} else {
		l, err = vgirpc.ListenTCP(t.Context(), "0")
	}
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	t.Cleanup(func() {
		eventually(t, "the budget of bytes in flight is whole again", func() bool { return budget.Held() == 0 })
	})
	return &target{s, l.Addr(), budget}
}

// bytePeer is the other end of a connection, which writes what it likes.
type bytePeer struct {
	t *testing.T
	net.Conn
	r *wire.Reader
}

// dial connects to the target. Nothing on the connection takes longer than
// patience.
func (s *target) dial(t *testing.T) *bytePeer { t.Helper(); return dialPeer(t, s.addr) }

func dialPeer(t *testing.T, addr net.Addr) *bytePeer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &bytePeer{t, c, wire.NewReader(c, wire.Limits{}, nil)}
}

// send writes bytes. A server that has hung up already is no failure: what it
// said before is still there to read.
func (p *bytePeer) send(parts ...[]byte) {
	p.t.Helper()
	for _, b := range parts {
		if _, err := p.Write(b); err != nil {
			if !hungUp(err) {
				p.t.Fatalf("send: %v", err)
			}
			return
		}
	}
}

// endInput tells the server that nothing more comes.
func (p *bytePeer) endInput() {
	p.t.Helper()
	if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil && !hungUp(err) && !errors.Is(err, syscall.ENOTCONN) {
		p.t.Fatal(err)
	}
}

// hungUp reports whether err is what a connection gives whose other end is
// closed, with bytes left unread or without.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// answer is one stream that the server sent.
type answer struct {
	status *wire.Status  // of its error batch
	data   int           // batches that are neither errors nor logs
	meta   wire.Metadata // of the last of them
	sum    float64       // the first value of the first float64 column
}

// answer reads the next stream; nil when the server has closed the connection.
func (p *bytePeer) answer() *answer {
	p.t.Helper()
	if _, err := p.r.NextStream(); err != nil {
		if !hungUp(err) {
			p.t.Fatalf("answer: %v", err)
		}
		return nil
	}
	a := &answer{}
	for {
		b, err := p.r.Next()
		if errors.Is(err, io.EOF) {
			return a
		}
		if err != nil {
			p.t.Fatalf("answer: %v", err)
		}
		switch b.Kind() {
		case wire.KindError:
			status := wire.ParseStatus(b.Meta)
			a.status = &status
		case wire.KindLog:
		default:
			a.data++
			a.meta = b.Meta
			a.sum = firstFloat(p.t, b)
		}
	}
}

func firstFloat(t *testing.T, b *wire.Batch) float64 {
	t.Helper()
	rec, err := b.Record()
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	if b.Rows == 0 || rec.NumCols() == 0 {
		return 0
	}
	if c, ok := rec.Column(0).(*array.Float64); ok {
		return c.Value(0)
	}
	return 0
}

// refusal reads the next answer and checks that it is an error, with its code,
// type and words.
func (p *bytePeer) refusal(want refusal) {
	p.t.Helper()
	a := p.answer()
	switch {
	case a == nil:
		p.t.Fatalf("the connection was closed, want %v", want)
	case a.status == nil:
		p.t.Fatalf("answered with %d batches, want %v", a.data, want)
	case a.data > 0:
		p.t.Errorf("an error among %d batches of data", a.data)
	}
	s := a.status
	if s.Code != string(want.code) || s.Type != want.typ || !strings.Contains(s.Message, want.says) {
		p.t.Errorf("got %s %s %q, want %v", s.Code, s.Type, s.Message, want)
	}
}

// refusal is what an error batch says.
type refusal struct {
	code vgirpc.Code
	typ  string
	says string // a part of the message
}

// works makes n good calls, each of which has a result of its own.
func (p *bytePeer) works(n int) {
	p.t.Helper()
	for i := range n {
		a, b := float64(i), 0.25*float64(n)
		p.send(forge(p.t, addSchema, row(a, b), callOf("add")))
		switch got := p.answer(); {
		case got == nil:
			p.t.Fatalf("good call %d: the connection was closed", i)
		case got.status != nil:
			p.t.Fatalf("good call %d: %+v", i, got.status)
		case got.data != 1 || got.sum != a+b:
			p.t.Fatalf("good call %d: %v in %d batches, want %v: another call's answer?", i, got.sum, got.data, a+b)
		}
	}
}

// closed checks that the server ends the connection, without another answer.
func (p *bytePeer) closed() {
	p.t.Helper()
	if n, err := io.Copy(io.Discard, p.Conn); n > 0 || (err != nil && !hungUp(err)) {
		p.t.Fatalf("%d more bytes, then %v: want the connection closed", n, err)
	}
}

func column(name string, typ arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: typ} }

func columns(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }

var (
	float64Type = arrow.PrimitiveTypes.Float64
	addSchema   = columns(column("a", float64Type), column("b", float64Type))
	countSchema = columns(column("n", arrow.PrimitiveTypes.Int64))
	textSchema  = columns(column("text", arrow.BinaryTypes.String))
	noColumns   = columns()
	valueSchema = columns(column("value", arrow.PrimitiveTypes.Int64))
)

// row is the parameters of add, as JSON.
func row(a, b float64) string {
	return fmt.Sprintf(`[{"a":%g,"b":%g}]`, a, b)
}

// callOf is the metadata of a good request to the contract of vgitest.
func callOf(method string) wire.Metadata {
	return wire.Metadata{
		{Key: wire.KeyMethod, Value: method},
		{Key: wire.KeyProtocol, Value: "test.Calc.v1"},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
		{Key: wire.KeyProtocolVersion, Value: "1.2.3"},
	}
}

// without is meta less a key.
func without(meta wire.Metadata, key string) wire.Metadata {
	return meta.Without(func(k string) bool { return k == key })
}

// forge is an IPC stream of batches with the same rows, as arrow-go writes it:
// one for each metadata, nil for none.
func forge(tb testing.TB, schema *arrow.Schema, rows string, batches ...wire.Metadata) []byte {
	tb.Helper()
	rec := rowsOf(tb, schema, rows)
	defer rec.Release()
	return forgeRecord(tb, rec, nil, batches...)
}

func forgeRecord(tb testing.TB, rec arrow.RecordBatch, opts []ipc.Option, batches ...wire.Metadata) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, append([]ipc.Option{ipc.WithSchema(rec.Schema())}, opts...)...)
	for _, meta := range batches {
		b := array.NewRecordBatchWithMetadata(rec.Schema(), rec.Columns(), rec.NumRows(), meta.Arrow())
		if err := w.Write(b); err != nil {
			tb.Fatal(err)
		}
		b.Release()
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func rowsOf(tb testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	tb.Helper()
	if schema.NumFields() == 0 {
		return array.NewRecordBatch(schema, nil, int64(strings.Count(rows, "{")))
	}
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// headerEnd is where the body of a stream's first batch begins: after the
// schema message and the batch's header.
func headerEnd(p []byte) int {
	at := batchStart(p)
	return at + 8 + int(binary.LittleEndian.Uint32(p[at+4:]))
}

// batchStart is where the first batch of a stream begins.
func batchStart(p []byte) int { return 8 + int(binary.LittleEndian.Uint32(p[4:])) }

// claim makes a stream's first batch announce a body of another length.
func claim(p []byte, length uint64) []byte {
	p = bytes.Clone(p)
	message := p[batchStart(p)+8:]
	table := binary.LittleEndian.Uint32(message)
	vtable := int(table) - int(int32(binary.LittleEndian.Uint32(message[table:])))
	field := binary.LittleEndian.Uint16(message[vtable+10:])
	binary.LittleEndian.PutUint64(message[int(table)+int(field):], length)
	return p
}
