//go:build linux

package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The protocol of these tests: every method can bring files.
type filesContract struct {
	protocol *vgirpc.Protocol
	read     *vgirpc.Unary[vgirpc.None, []string] // what is in each file
	ignore   *vgirpc.Unary[textParams, int64]     // of descriptors, while it runs
	lines    *vgirpc.Producer[vgirpc.None, textParams]
	echo     *vgirpc.Exchange[vgirpc.None, textParams, textParams]
}

type textParams struct {
	Text string `vgi:"text"`
}

func newFilesContract() *filesContract {
	p := vgirpc.NewProtocol("test.Files.v1", "1.0.0")
	return &filesContract{
		p, vgirpc.NewUnary[vgirpc.None, []string](p, "read"), vgirpc.NewUnary[textParams, int64](p, "ignore"),
		vgirpc.NewProducer[vgirpc.None, textParams](p, "lines"), vgirpc.NewExchange[vgirpc.None, textParams, textParams](p, "echo"),
	}
}

// readFiles reads and closes the files of a call.
func readFiles(ctx context.Context) (texts []string, err error) {
	for _, f := range vgirpc.CallFrom(ctx).Files() {
		flags, flagErr := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		text, readErr := io.ReadAll(f)
		if flagErr == nil && flags&unix.FD_CLOEXEC == 0 {
			flagErr = errors.New("a child would inherit it")
		}
		texts = append(texts, string(text))
		err = errors.Join(err, flagErr, readErr, f.Close())
	}
	return texts, err
}

// texts is a stream of what was in the files of its call.
type texts struct{ rest []string }

func (s *texts) Produce(_ context.Context, out *vgirpc.Emitter[textParams]) error {
	if len(s.rest) == 0 {
		return io.EOF
	}
	text := s.rest[0]
	s.rest = s.rest[1:]
	return out.Emit(textParams{text})
}

func (s *texts) Exchange(_ context.Context, in []textParams, out *vgirpc.Emitter[textParams]) error {
	return out.Emit(textParams{in[0].Text + strings.Join(s.rest, "")})
}

func (c *filesContract) server(tb testing.TB, opts vgirpc.ServerOptions) *vgirpc.Server {
	tb.Helper()
	opts.Logger = slog.New(slog.DiscardHandler) // calls fail on purpose
	s, err := vgirpc.NewServer(opts, c.protocol)
	noErr(tb, err)
	vgirpc.HandleUnary(s, c.read, func(ctx context.Context, _ vgirpc.None) ([]string, error) { return readFiles(ctx) })
	vgirpc.HandleUnary(s, c.ignore, func(_ context.Context, p textParams) (int64, error) {
		switch p.Text {
		case "panic":
			panic("on purpose")
		case "fail":
			return 0, errors.New("on purpose")
		}
		return int64(openFiles(tb)), nil
	})
	open := func(ctx context.Context, _ vgirpc.None) (*texts, error) {
		got, err := readFiles(ctx)
		return &texts{got}, err
	}
	vgirpc.HandleProducer(s, c.lines, open)
	vgirpc.HandleExchange(s, c.echo, open)
	return s
}

func noErr(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func same(tb testing.TB, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Fatalf("want (-), got (+):\n%s", diff)
	}
}

// openFiles counts this process's descriptors of files, which other tests leave
// alone: sockets of theirs may still be on their way out.
func openFiles(tb testing.TB) int {
	tb.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	noErr(tb, err)
	n := 0
	for _, fd := range open {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "/proc/") {
			n++
		}
	}
	return n
}

// someFiles are files with their number in them.
func someFiles(tb testing.TB, n int) []*os.File {
	tb.Helper()
	files := make([]*os.File, n)
	for i := range files {
		path := filepath.Join(tb.TempDir(), "f")
		noErr(tb, os.WriteFile(path, []byte("file "+strconv.Itoa(i)), 0o600))
		var err error
		files[i], err = os.Open(path)
		noErr(tb, err)
		tb.Cleanup(func() { _ = files[i].Close() })
	}
	return files
}

func rewind(tb testing.TB, files []*os.File) {
	tb.Helper()
	for _, f := range files {
		_, err := f.Seek(0, io.SeekStart)
		noErr(tb, err)
	}
}

// dialFiles is a client of a server on a Unix socket.
func dialFiles(tb testing.TB, s *vgirpc.Server) *vgirpc.Client {
	tb.Helper()
	l, err := vgirpc.ListenUnix(tb.Context(), filepath.Join(tb.TempDir(), "s"), vgirpc.UnixOptions{})
	noErr(tb, err)
	serve(tb, s, l)
	client, err := vgirpc.DialUnix(tb.Context(), l.Addr().String(), vgirpc.ClientOptions{})
	noErr(tb, err)
	closeAtEnd(tb, client)
	return client
}

func TestFilesTravelWithACallOfEveryKind(t *testing.T) {
	c := newFilesContract()
	client := dialFiles(t, c.server(t, vgirpc.ServerOptions{}))
	files := someFiles(t, 3)
	ctx := vgirpc.WithFiles(t.Context(), files...)
	want := []string{"file 0", "file 1", "file 2"}
	for range 3 {
		rewind(t, files)
		got, err := c.read.Call(ctx, client, vgirpc.None{})
		noErr(t, err)
		same(t, got, want)

		rewind(t, files)
		stream, err := c.lines.Open(ctx, client, vgirpc.None{})
		noErr(t, err)
		var lines []string
		for rows, err := range stream.All() {
			noErr(t, err)
			lines = append(lines, rows[0].Text)
		}
		same(t, lines, want)

		rewind(t, files)
		exchange, err := c.echo.Open(ctx, client, vgirpc.None{})
		noErr(t, err)
		rows, err := exchange.Exchange(t.Context(), textParams{"> "})
		noErr(t, err)
		same(t, rows, []textParams{{"> " + strings.Join(want, "")}})
		noErr(t, exchange.Close())

		got, err = c.read.Call(t.Context(), client, vgirpc.None{}) // without any
		noErr(t, err)
		same(t, len(got), 0)
	}
	rewind(t, files)
	large := wire.EmptyBatch(c.read.ParamsSchema(), wire.Metadata{{Key: "padding", Value: strings.Repeat("x", 5<<20)}})
	large.Rows = 1
	b, release, err := client.CallBatch(ctx, c.read.Method, &large) // more than one write
	noErr(t, err)
	same(t, b.Rows, 1)
	release()
	at, err := files[0].Seek(0, io.SeekCurrent)
	noErr(t, err)
	same(t, at, int64(len("file 0"))) // it is the same open file
}

// noPointers is an offload that is never asked.
type noPointers struct{ vgirpc.Offload }

func TestFilesTravelOverATransportThatFetchesPointers(t *testing.T) {
	c := newFilesContract()
	l, err := vgirpc.ListenUnix(t.Context(), filepath.Join(t.TempDir(), "s"), vgirpc.UnixOptions{})
	noErr(t, err)
	serve(t, c.server(t, vgirpc.ServerOptions{}), l)
	client, err := vgirpc.DialUnix(t.Context(), l.Addr().String(), vgirpc.ClientOptions{Offload: noPointers{}})
	noErr(t, err)
	closeAtEnd(t, client)
	got, err := c.read.Call(vgirpc.WithFiles(t.Context(), someFiles(t, 1)...), client, vgirpc.None{})
	noErr(t, err)
	same(t, got, []string{"file 0"})
}

func TestACallsFilesAreRefusedBeforeAnythingIsSent(t *testing.T) {
	c := newFilesContract()
	closed, err := os.Open(os.DevNull)
	noErr(t, err)
	noErr(t, closed.Close())
	overTCP := func(tb testing.TB, s *vgirpc.Server) *vgirpc.Client {
		tb.Helper()
		l, err := vgirpc.ListenTCP(tb.Context(), "127.0.0.1:0")
		noErr(tb, err)
		serve(tb, s, l)
		client, err := vgirpc.DialTCP(tb.Context(), l.Addr().String(), vgirpc.ClientOptions{})
		noErr(tb, err)
		closeAtEnd(tb, client)
		return client
	}
	overPair := func(tb testing.TB, s *vgirpc.Server) *vgirpc.Client {
		tb.Helper()
		return newClient(tb, s, vgirpc.ClientOptions{})
	}
	for _, test := range []struct {
		name  string
		dial  func(testing.TB, *vgirpc.Server) *vgirpc.Client
		most  int
		files []*os.File
		code  vgirpc.Code
		says  string
	}{
		{"more than the default", dialFiles, 0, someFiles(t, 17), vgirpc.ResourceExhausted, "at most 16"},
		{"more than the server's option", dialFiles, 2, someFiles(t, 3), vgirpc.ResourceExhausted, "at most 2"},
		{"any, where the server takes none", dialFiles, -1, someFiles(t, 1), vgirpc.FailedPrecondition, "takes no files"},
		{"any over TCP", overTCP, 0, someFiles(t, 1), vgirpc.FailedPrecondition, "only a Unix socket"},
		{"any in a process", overPair, 0, someFiles(t, 1), vgirpc.FailedPrecondition, "only a Unix socket"},
		{"a closed one", dialFiles, 0, []*os.File{closed}, vgirpc.InvalidArgument, os.DevNull},
		{"nil", dialFiles, 0, []*os.File{nil}, vgirpc.InvalidArgument, "nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := test.dial(t, c.server(t, vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{MaxFiles: test.most}}))
			for range 2 {
				_, err := c.read.Call(vgirpc.WithFiles(t.Context(), test.files...), client, vgirpc.None{})
				if vgirpc.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) || vgirpc.IsRemote(err) {
					t.Fatalf("got %v, want %v of this side: %s", err, test.code, test.says)
				}
				_, err = c.lines.Open(vgirpc.WithFiles(t.Context(), test.files...), client, vgirpc.None{})
				same(t, vgirpc.CodeOf(err), test.code)
			}
			_, err := c.read.Call(t.Context(), client, vgirpc.None{}) // the connection is as it was
			noErr(t, err)
		})
	}
	_, err = vgirpc.NewServer(vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{MaxFiles: 129}}, c.protocol)
	if err == nil || !strings.Contains(err.Error(), "MaxFiles is 129: want at most 128") {
		t.Fatalf("129: %v", err)
	}
}

// rawPeer is a client that keeps to no rule, and the server's end of its
// connection, which serves when it is told.
type rawPeer struct {
	tb   testing.TB
	c    *filesContract
	conn *net.UnixConn
	r    *wire.Reader
	far  *vgirpc.Conn
}

func newRawPeer(tb testing.TB, opts vgirpc.ServerOptions) *rawPeer {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	noErr(tb, err)
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		noErr(tb, err)
		noErr(tb, f.Close())
		ends[i] = c.(*net.UnixConn)
	}
	c := newFilesContract()
	far, err := c.server(tb, opts).NewConn(context.WithoutCancel(tb.Context()), ends[1], &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: -1})
	noErr(tb, err)
	p := &rawPeer{tb, c, ends[0], wire.NewReader(ends[0], wire.Limits{}, nil), far}
	tb.Cleanup(p.close)
	return p
}

func (p *rawPeer) close() {
	_ = p.far.Close()
	_ = p.conn.Close()
}

// bytesOf is a request as it is sent.
func (p *rawPeer) bytesOf(b wire.Batch) []byte {
	p.tb.Helper()
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	noErr(p.tb, errors.Join(w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()))
	return out.Bytes()
}

// request is a call of read that says how many files it brings; "" says nothing.
func (p *rawPeer) request(says string) wire.Batch {
	b := wire.EmptyBatch(p.c.read.ParamsSchema(), p.c.read.RequestMetadata())
	b.Rows = 1
	if says != "" {
		b.Meta = b.Meta.With(vgirpc.KeyFiles, says)
	}
	return b
}

// write writes bytes, with files beside the first.
func (p *rawPeer) write(bytes []byte, files ...*os.File) {
	p.tb.Helper()
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := p.conn.WriteMsgUnix(bytes, oob, nil)
	noErr(p.tb, err)
	if n < len(bytes) {
		_, err := p.conn.Write(bytes[n:])
		noErr(p.tb, err)
	}
}

// answer reads one answer: its last batch.
func (p *rawPeer) answer() *wire.Batch {
	p.tb.Helper()
	_, err := p.r.NextStream()
	noErr(p.tb, err)
	b, err := p.r.Next()
	noErr(p.tb, err)
	out := *b
	noErr(p.tb, p.r.Drain())
	return &out
}

// serve serves one request and says what came of it: the code of an error, or
// what was in the files.
func (p *rawPeer) serve() string {
	p.tb.Helper()
	noErr(p.tb, p.far.ServeOne())
	b := p.answer()
	if b.Kind() == wire.KindError {
		return string(vgirpc.CodeOf(vgirpc.RemoteError(b.Meta)))
	}
	if b.Schema.NumFields() == 0 {
		return ""
	}
	return string(b.Cols[0].Children[0].Data)
}

// negotiate agrees on files, as a client does.
func (p *rawPeer) negotiate() *rawPeer {
	p.tb.Helper()
	p.write(p.bytesOf(vgirpc.CapabilityRequest(wire.Pair{Key: vgirpc.KeyFiles, Value: vgirpc.AskFiles})))
	noErr(p.tb, p.far.ServeOne())
	same(p.tb, p.answer().Meta.Value(vgirpc.KeyFiles), "16")
	return p
}

func TestARequestGetsTheFilesThatItSaysItBrings(t *testing.T) {
	const refused, exhausted, without = string(vgirpc.InvalidArgument), string(vgirpc.ResourceExhausted), string(vgirpc.FailedPrecondition)
	for _, c := range []struct {
		name  string
		says  string
		sends int
		want  string
	}{
		{"none, and says nothing", "", 0, ""},
		{"none, and says so", "0", 0, ""},
		{"as many as it says", "2", 2, "file 0file 1"},
		{"as many as may come", "16", 16, "file 0file 1file 2file 3file 4file 5file 6file 7file 8file 9file 10file 11file 12file 13file 14file 15"},
		{"fewer than it says", "3", 2, refused},
		{"more than it says", "2", 3, refused},
		{"more than may come", "16", 17, refused},
		{"many more than may come", "16", 200, refused},
		{"none where it says some", "1", 0, refused},
		{"some where it says nothing", "", 1, refused},
		{"some where it says none", "0", 1, refused},
		{"more than it may say", "17", 17, exhausted},
		{"a number that is none", "two", 2, refused},
		{"a negative number", "-1", 1, refused},
		{"a number that is too large", "99999999999999999999", 1, refused},
		{"the question whether any may", "?", 1, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, files := newRawPeer(t, vgirpc.ServerOptions{}).negotiate(), someFiles(t, c.sends)
			before := openFiles(t)
			for range 3 {
				rewind(t, files)
				p.write(p.bytesOf(p.request(c.says)), files...)
				same(t, p.serve(), c.want)
				same(t, openFiles(t), before)
			}
			p.write(p.bytesOf(p.request("")))
			same(t, p.serve(), "") // the connection goes on
		})
	}
	t.Run("any, before that was negotiated", func(t *testing.T) {
		p, files := newRawPeer(t, vgirpc.ServerOptions{}), someFiles(t, 2)
		before := openFiles(t)
		p.write(p.bytesOf(p.request("2")), files...)
		same(t, p.serve(), without)
		p.write(p.bytesOf(p.request("")), files...) // and says nothing: the kernel has closed them
		same(t, p.serve(), "")
		same(t, openFiles(t), before)
		p.negotiate().write(p.bytesOf(p.request("2")), files...)
		same(t, p.serve(), "file 0file 1")
	})
}

func TestFilesBelongToTheRequestTheyCameWith(t *testing.T) {
	p, files := newRawPeer(t, vgirpc.ServerOptions{}).negotiate(), someFiles(t, 6)
	before := openFiles(t)
	p.write(p.bytesOf(p.request("")))
	p.write(p.bytesOf(p.request("2")), files[:2]...)
	p.write(p.bytesOf(p.request("1")), files[2])
	p.write(p.bytesOf(p.request("")))
	p.write(p.bytesOf(p.request("0")))
	three := p.bytesOf(p.request("3"))
	p.write(three[:9])
	p.write(three[9:21], files[3:]...) // not beside the first byte, which is as good
	p.write(three[21:])
	p.write(p.bytesOf(p.request("")))
	var got []string
	for range 7 {
		got = append(got, p.serve())
	}
	same(t, got, []string{"", "file 0file 1", "file 2", "", "", "file 3file 4file 5", ""})
	same(t, openFiles(t), before)

	rewind(t, files)
	p.write(p.bytesOf(p.request("1")), files[:2]...) // refused, and the next has its own
	p.write(p.bytesOf(p.request("1")), files[2])
	same(t, []string{p.serve(), p.serve()}, []string{string(vgirpc.InvalidArgument), "file 2"})
	same(t, openFiles(t), before)
}

func TestFilesThatNobodyTakesAreClosed(t *testing.T) {
	ignoring := func(text string) func(p *rawPeer) wire.Batch {
		return func(p *rawPeer) wire.Batch {
			var sent bytes.Buffer
			client := vgirpc.NewClient(&recordedConn{&sent}, vgirpc.ClientOptions{})
			_, _ = p.c.ignore.Call(context.Background(), client, textParams{text}) // nobody answers
			r := wire.NewReader(&sent, wire.Limits{}, nil)
			_, err := r.NextStream()
			noErr(p.tb, err)
			b, err := r.Next()
			noErr(p.tb, err)
			out := *b
			out.Meta = out.Meta.With(vgirpc.KeyFiles, "2")
			return out
		}
	}
	changed := func(key, value string) func(*rawPeer) wire.Batch {
		return func(p *rawPeer) wire.Batch {
			b := p.request("2")
			b.Meta = b.Meta.With(key, value)
			return b
		}
	}
	for _, c := range []struct {
		name    string
		request func(*rawPeer) wire.Batch
		code    vgirpc.Code // "" succeeds
	}{
		{"by a handler that ignores them", ignoring("quietly"), ""},
		{"by a handler that fails", ignoring("fail"), vgirpc.Unknown},
		{"by a handler that panics", ignoring("panic"), vgirpc.Unknown},
		{"by an unknown method", changed(wire.KeyMethod, "missing"), vgirpc.Unimplemented},
		{"by an unknown protocol", changed(wire.KeyProtocol, "missing.v1"), vgirpc.Unimplemented},
		{"by the retired method", changed(wire.KeyMethod, wire.MethodDescribe), vgirpc.Unimplemented},
		{"by a request of another version", changed(wire.KeyRequestVersion, "7"), vgirpc.InvalidArgument},
		{"by the version gate", changed(wire.KeyProtocolVersion, "9.0.0"), vgirpc.FailedPrecondition},
		{"by a deadline that is none", changed(wire.KeyTimeout, "soon"), vgirpc.InvalidArgument},
		{"by a pointer to nowhere", func(p *rawPeer) wire.Batch {
			b := p.request("2")
			b.Rows = 0
			b.Meta = b.Meta.With(wire.KeyLocation, "https://example.com/x")
			return b
		}, vgirpc.InvalidArgument},
		{"by a batch of two rows on other columns", func(p *rawPeer) wire.Batch {
			b := ignoring("x")(p)
			b.Meta = p.request("2").Meta
			return b
		}, vgirpc.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, files := newRawPeer(t, vgirpc.ServerOptions{}).negotiate(), someFiles(t, 2)
			before := openFiles(t)
			p.write(p.bytesOf(c.request(p)), files...)
			noErr(t, p.far.ServeOne())
			b := p.answer()
			var code vgirpc.Code
			if b.Kind() == wire.KindError {
				code = vgirpc.CodeOf(vgirpc.RemoteError(b.Meta))
			}
			same(t, []any{code, openFiles(t)}, []any{c.code, before})
			p.write(p.bytesOf(p.request("")))
			same(t, p.serve(), "")
		})
	}
}

// recordedConn keeps what is written.
type recordedConn struct{ *bytes.Buffer }

func (*recordedConn) Read([]byte) (int, error) { return 0, io.EOF }
func (*recordedConn) Close() error             { return nil }

func TestFilesOfAConnectionThatEndsAreClosed(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(p *rawPeer, request []byte, files []*os.File)
	}{
		{"in the middle of their request", func(p *rawPeer, request []byte, files []*os.File) {
			p.write(request[:len(request)/2], files...)
		}},
		{"by bytes that are no request", func(p *rawPeer, _ []byte, files []*os.File) {
			p.write([]byte("GET / HTTP/1.1\r\n\r\n"), files...)
		}},
		{"behind a request that has not been served", func(p *rawPeer, request []byte, files []*os.File) {
			p.write(append(p.bytesOf(p.request("")), request[:8]...), files...)
			_ = p.far.ServeOne()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := openFiles(t)
			p, files := newRawPeer(t, vgirpc.ServerOptions{}).negotiate(), someFiles(t, 3)
			c.cut(p, p.bytesOf(p.request("3")), files)
			noErr(t, p.conn.CloseWrite())
			_ = p.far.ServeOne() // whatever it says
			p.close()
			same(t, openFiles(t), before+len(files))
		})
	}
}

func TestFilesBesideAnInputAreClosedAtItsTurn(t *testing.T) {
	p, files := newRawPeer(t, vgirpc.ServerOptions{}).negotiate(), someFiles(t, 2)
	open := wire.EmptyBatch(p.c.lines.ParamsSchema(), p.c.lines.RequestMetadata().With(vgirpc.KeyFiles, "2"))
	open.Rows = 1
	before := openFiles(t)
	p.write(p.bytesOf(open), files...)
	var tick bytes.Buffer
	w := wire.NewWriter(&tick)
	empty := wire.EmptyBatch(wire.EmptySchema(), nil)
	noErr(t, errors.Join(w.Open(wire.EmptySchema()), w.Batch(&empty), w.Flush()))
	done := make(chan error, 1)
	go func() { done <- p.far.ServeOne() }()
	p.write(tick.Bytes(), files...)
	_, err := p.r.NextStream()
	noErr(t, err)
	for _, want := range []string{"file 0", "file 1"} {
		b, err := p.r.Next()
		noErr(t, err)
		same(t, []any{string(b.Cols[0].Data), openFiles(t)}, []any{want, before})
		tick.Reset()
		noErr(t, errors.Join(w.Batch(&empty), w.Flush()))
		p.write(tick.Bytes(), files...)
	}
	if _, err := p.r.Next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	tick.Reset()
	noErr(t, errors.Join(w.Close(), w.Flush()))
	p.write(tick.Bytes())
	noErr(t, <-done)
	p.write(p.bytesOf(p.request("")))
	same(t, []any{p.serve(), openFiles(t)}, []any{"", before})
}

// FuzzFiles sends requests that say how many files they bring, and others beside
// them, in pieces: every one is answered in its turn, and no descriptor stays.
func FuzzFiles(f *testing.F) {
	f.Add([]byte{0x00, 0x11, 0x22, 0x10, 0x01, 0x33})
	f.Add([]byte{0xf1, 0x1f, 0xff, 0x00})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 32 {
			program = program[:32]
		}
		p := newRawPeer(t, vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{MaxFiles: 16}}).negotiate()
		null, err := os.Open(os.DevNull)
		noErr(t, err)
		defer null.Close()
		before := openFiles(t)
		for len(program) > 0 {
			some := program[:min(len(program), 4)] // requests that wait at once
			program = program[len(some):]
			clean := true
			for _, op := range some {
				says, sends := int(op>>4), int(op&15)
				clean = clean && says == sends
				files := make([]*os.File, sends)
				for i := range files {
					files[i] = null
				}
				p.write(p.bytesOf(p.request(strconv.Itoa(says))), files...)
			}
			for i := range some {
				noErr(t, p.far.ServeOne())
				b := p.answer()
				if clean && b.Kind() == wire.KindError {
					t.Fatalf("request %d of %x: %v", i, some, vgirpc.RemoteError(b.Meta))
				}
			}
			p.write(p.bytesOf(p.request("0")))
			noErr(t, p.far.ServeOne())
			if b := p.answer(); b.Kind() == wire.KindError && clean {
				t.Fatalf("after %x: %v", some, vgirpc.RemoteError(b.Meta))
			}
			same(t, openFiles(t), before)
		}
	})
}

func BenchmarkACallOnASocketThatPassesFiles(b *testing.B) {
	for _, name := range []string{"not negotiated", "negotiated"} {
		b.Run(name, func(b *testing.B) {
			p := newRawPeer(b, vgirpc.ServerOptions{})
			if name == "negotiated" {
				p.negotiate()
			}
			request, answer := p.bytesOf(p.request("")), make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				_, err := p.conn.Write(request)
				noErr(b, err)
				noErr(b, p.far.ServeOne())
				_, err = p.conn.Read(answer)
				noErr(b, err)
			}
		})
	}
}
