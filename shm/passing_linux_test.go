package shm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/wire"
)

// passing is a protocol whose only method says what the server's end of the
// connection looks like.
var (
	passing = vgirpc.NewProtocol("test.Passing.v1", "1.0.0")
	look    = vgirpc.NewUnary[lookParams, seen](passing, "look")
)

type lookParams struct {
	Data []byte `vgi:"data"`
}

type seen struct {
	Segment   string `vgi:"segment"` // "" when there is none
	Sealed    bool   `vgi:"sealed"`
	Moved     int64  `vgi:"moved"`     // bytes that the server has placed
	Inherited bool   `vgi:"inherited"` // descriptor 3 would go to a child
	Third     bool   `vgi:"third"`     // descriptor 3 is memory
	PID       int64  `vgi:"pid"`
	Data      []byte `vgi:"data"`
}

// counted is a guest that counts what it places.
type counted struct {
	*Guest
	mu    *sync.Mutex
	moved *int64
}

// Place counts.
func (c counted) Place(ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) ([]wire.Batch, int64, error) {
	placed, n, err := c.Guest.Place(ctx, schema, cycle, budget)
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.moved += n
	return placed, n, err
}

// lookServer answers look about its last connection.
func lookServer(opts Options) (*vgirpc.Server, error) {
	var mu sync.Mutex
	var moved int64
	var last *Guest
	serve := Serve(opts)
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Logger: slog.New(slog.DiscardHandler),
		SharedMemory: func(p *vgirpc.Peer) (vgirpc.SharedMemory, error) {
			m, err := serve(p)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			last, moved = m.(*Guest), 0
			return counted{last, &mu, &moved}, nil
		},
	}, passing)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(s, look, func(_ context.Context, p lookParams) (seen, error) {
		mu.Lock()
		defer mu.Unlock()
		flags, err := unix.FcntlInt(3, unix.F_GETFD, 0)
		got := seen{PID: int64(os.Getpid()), Moved: moved, Inherited: err == nil && flags&unix.FD_CLOEXEC == 0, Data: p.Data}
		if last != nil && last.Segment() != nil {
			got.Segment, got.Sealed = last.Segment().Name(), last.Segment().Sealed()
		}
		link, err := os.Readlink("/proc/self/fd/3")
		got.Third = err == nil && strings.HasPrefix(link, "/memfd:")
		return got, nil
	})
	return s, nil
}

// serveUnix serves s on a socket until the test is over.
func serveUnix(t *testing.T, s *vgirpc.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
	noError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(context.WithoutCancel(t.Context()), l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return path
}

// negotiated keeps the memory that a client gets, and counts what it places.
type negotiated struct {
	vgirpc.SharedMemoryClient
	mu    sync.Mutex
	all   []*Owner
	errs  []error
	moved int64
}

// placing is an owner that counts.
type placing struct {
	*Owner
	n *negotiated
}

// Place counts.
func (p placing) Place(ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) ([]wire.Batch, int64, error) {
	placed, n, err := p.Owner.Place(ctx, schema, cycle, budget)
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.n.moved += n
	return placed, n, err
}

// Negotiate keeps.
func (n *negotiated) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	return n.keep(n.SharedMemoryClient.Negotiate(link))
}

func (n *negotiated) keep(m vgirpc.SharedMemory, err error) (vgirpc.SharedMemory, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.errs = append(n.errs, err)
		return nil, err
	}
	n.all = append(n.all, m.(*Owner))
	return placing{m.(*Owner), n}, nil
}

// Inherit keeps what the connection of a process gets.
func (n *negotiated) Inherit(fd int) (*os.File, vgirpc.InheritedMemory, error) {
	f, own, err := n.SharedMemoryClient.Inherit(fd)
	if f == nil || err != nil {
		return f, own, err
	}
	return f, keptInherited{own, n}, nil
}

type keptInherited struct {
	vgirpc.InheritedMemory
	n *negotiated
}

// Negotiate keeps.
func (k keptInherited) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	return k.n.keep(k.InheritedMemory.Negotiate(link))
}

// worksInherited is a worker on its standard streams, which shares memory unless
// arg is "alone".
func worksInherited(arg string) int {
	rw, err := vgirpc.TakeStdio()
	if err != nil {
		return 1
	}
	s, err := lookServer(Options{MinBatchBytes: -1})
	if arg == "alone" {
		err = s.Configure(func(o *vgirpc.ServerOptions) { o.SharedMemory = nil })
	}
	if err != nil || s.ServePipe(context.Background(), rw) != nil {
		return 2
	}
	return 0
}

// startWorks starts this binary as a worker.
func startWorks(t *testing.T, arg string, opts vgirpc.ClientOptions) *vgirpc.Client {
	t.Helper()
	c, err := subprocess.New(t.Context(), subprocess.Options{
		Command: []string{os.Args[0]}, Env: append(os.Environ(), childVariable+"=worker:"+arg), Stderr: os.Stderr,
	}, opts)
	noError(t, err)
	return c
}

// way is how a client reaches a server of look.
type way func(*testing.T, vgirpc.ClientOptions) *vgirpc.Client

// ways are the transports that can share memory.
func ways(opts Options) (overUnix, overPair, toProcess way) {
	server := func(t *testing.T) *vgirpc.Server {
		s, err := lookServer(opts)
		noError(t, err)
		return s
	}
	return func(t *testing.T, opts vgirpc.ClientOptions) *vgirpc.Client {
			c, err := vgirpc.DialUnix(t.Context(), serveUnix(t, server(t)), opts)
			noError(t, err)
			return c
		}, func(t *testing.T, opts vgirpc.ClientOptions) *vgirpc.Client {
			c, err := vgirpc.DialServer(t.Context(), server(t), opts)
			noError(t, err)
			return c
		}, func(t *testing.T, opts vgirpc.ClientOptions) *vgirpc.Client {
			return startWorks(t, "", opts)
		}
}

func TestMemoryHasNoNameWhereBothSidesAreOfThisModule(t *testing.T) {
	all, zero := Options{MinBatchBytes: -1}, Options{MinBatchBytes: -1, ZeroCopy: true}
	overUnix, overPair, toProcess := ways(all)
	viewed, _, _ := ways(zero)
	for _, c := range []struct {
		name   string
		opts   OwnerOptions
		dial   way
		sealed bool
	}{
		{"on a Unix socket", OwnerOptions{Options: all}, overUnix, true},
		{"to a process that the client starts", OwnerOptions{Options: all}, toProcess, true},
		{"on a Unix socket, without a copy on either side", OwnerOptions{Options: zero}, viewed, true},
		{"to a process, without a copy on this side", OwnerOptions{Options: zero}, toProcess, true},
		{"but not against the client's wish, on a Unix socket", OwnerOptions{Options: all, Named: true}, overUnix, false},
		{"but not against the client's wish, to a process", OwnerOptions{Options: all, Named: true}, toProcess, false},
		{"but not within a process, where nothing can be passed", OwnerOptions{Options: all}, overPair, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, n := sharedFiles(), &negotiated{SharedMemoryClient: Client(c.opts)}
			client := c.dial(t, vgirpc.ClientOptions{SharedMemory: n})
			data := []byte(strings.Repeat("columns", 1<<15))
			var got seen
			for range 3 {
				var err error
				got, err = look.Call(t.Context(), client, lookParams{data})
				noError(t, err)
				equal(t, string(got.Data), string(data))
			}
			equal(t, []int{len(n.all), len(n.errs)}, []int{1, 0})
			seg := n.all[0].Segment()
			equal(t, []any{seg.Sealed(), got.Sealed, got.Segment, got.Inherited}, []any{c.sealed, c.sealed, seg.Name(), false})
			equal(t, []bool{got.Moved >= int64(2*len(data)), len(leftBehind(before)) == 0}, []bool{true, c.sealed})
			noError(t, client.Close())
			equal(t, len(leftBehind(before)), 0)
		})
	}
}

func TestDescriptorsReturnWhenAConnectionEnds(t *testing.T) {
	all := Options{MinBatchBytes: -1}
	overUnix, overPair, toProcess := ways(all)
	for name, dial := range map[string]way{"a Unix socket": overUnix, "a pair": overPair, "a process": toProcess} {
		t.Run(name, func(t *testing.T) {
			before := 0
			t.Run("calls", func(t *testing.T) { // the server has ended behind it
				s := Client(OwnerOptions{Options: all})
				noError(t, dial(t, vgirpc.ClientOptions{SharedMemory: s}).Close()) // without a call; the runtime opens its own
				before = openFiles(t)
				for range 4 {
					c := dial(t, vgirpc.ClientOptions{SharedMemory: s})
					_, err := look.Call(t.Context(), c, lookParams{[]byte("x")})
					noError(t, err)
					noError(t, c.Close())
					noError(t, dial(t, vgirpc.ClientOptions{SharedMemory: s}).Close())
				}
			})
			if after := openFiles(t); after > before {
				t.Fatalf("%d descriptors are open, %d before", after, before)
			}
		})
	}
}

func TestAProcessKeepsNoMemoryThatItCannotUse(t *testing.T) {
	n := &negotiated{SharedMemoryClient: Client(OwnerOptions{})}
	client := startWorks(t, "alone", vgirpc.ClientOptions{SharedMemory: n})
	got, err := look.Call(t.Context(), client, lookParams{[]byte("x")})
	noError(t, err)
	equal(t, []any{got.Segment, got.Third, len(n.errs), string(got.Data)}, []any{"", false, 1, "x"})
	noError(t, client.Close())

	client = startWorks(t, "", vgirpc.ClientOptions{SharedMemory: Client(OwnerOptions{Named: true})}) // the control
	_, err = look.Call(vgirpc.WithFiles(t.Context(), os.Stderr), client, lookParams{})
	equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition) // pipes pass no files
	got, err = look.Call(t.Context(), client, lookParams{[]byte("x")})
	noError(t, err)
	equal(t, got.Third, false)
	noError(t, client.Close())
	client = startWorks(t, "", vgirpc.ClientOptions{SharedMemory: Client(OwnerOptions{})})
	got, err = look.Call(t.Context(), client, lookParams{[]byte("x")})
	noError(t, err)
	equal(t, got.Third, true)
	noError(t, client.Close())
}

func TestEveryProcessGetsMemoryOfItsOwn(t *testing.T) {
	files, maps := openMemory(t), mappings(t)
	n := &negotiated{SharedMemoryClient: Client(OwnerOptions{Options: Options{MinBatchBytes: -1, ZeroCopy: true}})}
	client, err := subprocess.New(t.Context(), subprocess.Options{
		Command: []string{os.Args[0]}, Env: append(os.Environ(), childVariable+"=worker:"),
		Restart: subprocess.Restart{Attempts: -1, MinDelay: time.Millisecond},
	}, vgirpc.ClientOptions{SharedMemory: n})
	noError(t, err)
	for i := range 3 {
		got, err := look.Call(t.Context(), client, lookParams{[]byte("x")})
		if err != nil { // it is told of the process before
			got, err = look.Call(t.Context(), client, lookParams{[]byte("x")})
		}
		noError(t, err)
		equal(t, []any{len(n.all), got.Segment, got.Sealed}, []any{i + 1, n.all[i].Segment().Name(), true})
		noError(t, unix.Kill(int(got.PID), unix.SIGKILL))
	}
	_ = client.Close() // the last one was killed
	equal(t, []int{openMemory(t), mappings(t)}, []int{files, maps})
}

// The method of the reference worker that the tests call.
type bytesParams struct {
	Data []byte `vgi:"data"`
}

func TestTheReferenceGetsANamedSegment(t *testing.T) {
	command := []string{pyref.Python(t), "-W", "ignore", "../conformance/reference/reference_worker.py"}
	p := vgirpc.NewProtocol("ConformanceService", "2.0.0")
	echo := vgirpc.NewUnary[bytesParams, []byte](p, "echo_bytes")
	t.Setenv(MinBatchVariable, "1")
	for _, c := range []struct {
		name string
		dial way
	}{
		{"as a process", func(t *testing.T, opts vgirpc.ClientOptions) *vgirpc.Client {
			c, err := subprocess.New(t.Context(), subprocess.Options{Command: command, Stderr: os.Stderr}, opts)
			noError(t, err)
			return c
		}},
		{"on a Unix socket", func(t *testing.T, opts vgirpc.ClientOptions) *vgirpc.Client {
			path := filepath.Join(t.TempDir(), "s")
			cmd := exec.Command(command[0], append(command[1:], "--unix", path)...)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			noError(t, err)
			noError(t, cmd.Start())
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // that it ends
			})
			_, err = bufio.NewReader(out).ReadString('\n') // it listens
			noError(t, err)
			client, err := vgirpc.DialUnix(t.Context(), path, opts)
			noError(t, err)
			return client
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := sharedFiles()
			n := &negotiated{SharedMemoryClient: Client(OwnerOptions{Options: Options{MinBatchBytes: -1, ZeroCopy: true}})}
			client := c.dial(t, vgirpc.ClientOptions{SharedMemory: n})
			data := []byte(strings.Repeat("columns", 1<<15))
			for range 3 {
				got, err := echo.Call(t.Context(), client, bytesParams{data})
				noError(t, err)
				equal(t, string(got), string(data))
			}
			equal(t, []int{len(n.all), len(n.errs)}, []int{1, 0})
			seg := n.all[0].Segment()
			equal(t, []bool{seg.Sealed(), strings.HasPrefix(seg.Name(), prefix), n.moved > int64(3*len(data))}, []bool{false, true, true})
			equal(t, len(leftBehind(before)), 1)
			noError(t, client.Close())
			equal(t, len(leftBehind(before)), 0)
		})
	}
}

// rawClient is a client of a server of look that keeps to no rule.
type rawClient struct {
	t     *testing.T
	conn  *net.UnixConn
	r     *wire.Reader
	far   *vgirpc.Conn
	guest *Guest
}

func newRawClient(t *testing.T) *rawClient {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	noError(t, err)
	c := &rawClient{t: t}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		end, err := net.FileConn(f)
		noError(t, err)
		noError(t, f.Close())
		ends[i] = end.(*net.UnixConn)
	}
	s, err := lookServer(Options{MinBatchBytes: -1})
	noError(t, err)
	noError(t, s.Configure(func(o *vgirpc.ServerOptions) {
		made := o.SharedMemory
		o.SharedMemory = func(p *vgirpc.Peer) (vgirpc.SharedMemory, error) {
			m, err := made(p)
			c.guest = m.(counted).Guest
			return m, err
		}
	}))
	c.conn, c.r = ends[0], wire.NewReader(ends[0], wire.Limits{}, nil)
	c.far, err = s.NewConn(context.WithoutCancel(t.Context()), ends[1], &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: os.Getuid()})
	noError(t, err)
	t.Cleanup(func() {
		_ = c.far.Close()
		_ = c.conn.Close()
	})
	return c
}

// ask sends a capability request, with files beside its first byte, and returns
// the answer.
func (c *rawClient) ask(files []*os.File, own ...wire.Pair) wire.Metadata {
	c.t.Helper()
	var sent bytes.Buffer
	w, b := wire.NewWriter(&sent), vgirpc.CapabilityRequest(own...)
	noError(c.t, errors.Join(w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()))
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err := c.conn.WriteMsgUnix(sent.Bytes(), oob, nil)
	noError(c.t, err)
	noError(c.t, c.far.ServeOne())
	_, err = c.r.NextStream()
	noError(c.t, err)
	got, err := c.r.Next()
	noError(c.t, err)
	meta := slices.Clone(got.Meta)
	noError(c.t, c.r.Drain())
	return meta
}

func keysOf(meta wire.Metadata) (keys []string) {
	for _, p := range meta {
		keys = append(keys, p.Key)
	}
	return keys
}

func TestAnAnswerSaysNothingOfDescriptorsToWhoDoesNotAsk(t *testing.T) {
	c := newRawClient(t)
	usual := []string{wire.KeyTransportSHM, wire.KeyRequestVersion, wire.KeyServerID}
	equal(t, keysOf(c.ask(nil, wire.Pair{Key: wire.KeyTransportSHM, Value: "true"})), usual)
	equal(t, keysOf(c.ask(nil, wire.Pair{Key: "vgi_rpc.transport.new", Value: "true"})), usual)
	equal(t, keysOf(c.ask(nil, wire.Pair{Key: KeyDescriptor, Value: Ask})), append(usual, KeyDescriptor))
	equal(t, keysOf(c.ask(nil, wire.Pair{Key: KeyInherited, Value: "3"}, wire.Pair{Key: KeyDescriptor, Value: "memfd:x"})), usual)
}

func TestAnOfferThatIsRefusedLeavesNothingBehind(t *testing.T) {
	good := anonymousSegment(t, 100_000)
	file, err := good.File()
	noError(t, err)
	defer file.Close()
	bare, err := unix.MemfdCreate(vgirpc.MemoryName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	noError(t, err)
	unsealed := os.NewFile(uintptr(bare), "unsealed")
	defer unsealed.Close()
	noError(t, unsealed.Truncate(100_000))
	_, err = unsealed.WriteAt(header(100_000, 0), 0)
	noError(t, err)
	for _, c := range []struct {
		name  string
		asked bool
		files []*os.File
		offer string
		says  string // how many files come; "" says nothing
		want  string // what the answer says of it: the name, or the code of an error
	}{
		{"sealed memory, after asking", true, []*os.File{file}, good.Name(), "1", good.Name()},
		{"sealed memory, without asking", false, []*os.File{file}, good.Name(), "1", ""},
		{"memory without seals", true, []*os.File{unsealed}, "memfd:test", "1", ""},
		{"no memory at all", true, nil, good.Name(), "", ""},
		{"memory that does not come", true, nil, good.Name(), "1", "INVALID_ARGUMENT"},
		{"two of them", true, []*os.File{file, file}, good.Name(), "2", "RESOURCE_EXHAUSTED"},
		{"two of them as one", true, []*os.File{file, file}, good.Name(), "1", "INVALID_ARGUMENT"},
		{"a name that leads away", true, []*os.File{file}, "../x", "1", ""},
		{"no name", true, []*os.File{file}, "", "1", ""},
		{"the question again", true, []*os.File{file}, Ask, "1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := newRawClient(t)
			before := openMemory(t)
			for range 3 {
				if c.asked {
					equal(t, raw.ask(nil, wire.Pair{Key: KeyDescriptor, Value: Ask}).Value(KeyDescriptor), "true")
				}
				own := []wire.Pair{{Key: KeyDescriptor, Value: c.offer}}
				if c.says != "" {
					own = append(own, wire.Pair{Key: vgirpc.KeyFiles, Value: c.says})
				}
				answer := raw.ask(c.files, own...)
				got := answer.Value(KeyDescriptor)
				if answer.Has(wire.KeyErrorCode) {
					got = answer.Value(wire.KeyErrorCode)
				}
				equal(t, got, c.want)
				attached := 0
				if seg := raw.guest.Segment(); seg != nil {
					attached = 1
					equal(t, seg.Name(), good.Name())
				}
				equal(t, []bool{attached == 1}, []bool{c.want == good.Name()})
				equal(t, openMemory(t), before+attached)
			}
			named := segment(t, 100_000) // and the connection goes on
			requested(t, raw.guest, wire.Metadata{
				{Key: wire.KeySHMSegmentName, Value: named.Name()}, {Key: wire.KeySHMSegmentSize, Value: "100000"},
			})
			equal(t, raw.guest.Segment().Sealed(), false)
			equal(t, raw.ask(nil).Has(wire.KeyTransportSHM), true)
		})
	}
}

func TestDescriptorsAreTakenOnlyByTheNextRequest(t *testing.T) {
	s := anonymousSegment(t, 100_000)
	f, err := s.File()
	noError(t, err)
	defer f.Close()
	raw := newRawClient(t)
	before := openMemory(t)
	raw.ask(nil, wire.Pair{Key: KeyDescriptor, Value: Ask})
	raw.ask(nil)
	answer := raw.ask([]*os.File{f}, wire.Pair{Key: KeyDescriptor, Value: s.Name()}, wire.Pair{Key: vgirpc.KeyFiles, Value: "1"})
	equal(t, []any{answer.Has(KeyDescriptor), raw.guest.Segment() == nil, openMemory(t)}, []any{false, true, before})
}
