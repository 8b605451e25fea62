package recording_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/wire"
)

// secret is what no recording without payloads may hold.
const secret = "hunter2-SECRET"

// request is a stream with a secret in every place that an application fills.
func request(tb testing.TB, meta ...wire.Pair) []byte {
	tb.Helper()
	note := arrow.NewMetadata([]string{"note", "ARROW:extension:metadata"}, []string{secret, secret})
	inner := arrow.StructOf(arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Metadata: note})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "name", Type: arrow.BinaryTypes.String, Metadata: note},
		{Name: "color", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}},
		{Name: "list", Type: arrow.ListOfField(arrow.Field{Name: "item", Type: inner, Nullable: true, Metadata: note})},
		{Name: "map", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.Binary)},
		{Name: "view", Type: arrow.BinaryTypes.StringView},
	}, &note)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(secret)
	if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(secret); err != nil {
		tb.Fatal(err)
	}
	list := b.Field(2).(*array.ListBuilder)
	list.Append(true)
	list.ValueBuilder().(*array.StructBuilder).Append(true)
	list.ValueBuilder().(*array.StructBuilder).FieldBuilder(0).(*array.StringBuilder).Append(secret)
	m := b.Field(3).(*array.MapBuilder)
	m.Append(true)
	m.KeyBuilder().(*array.StringBuilder).Append(secret)
	m.ItemBuilder().(*array.BinaryBuilder).Append([]byte(secret))
	b.Field(4).(*array.StringViewBuilder).Append(secret + " and more than twelve bytes")
	keys, values := []string{wire.KeyMethod, wire.KeyProtocol}, []string{"add", "demo.Calc"}
	for _, p := range meta {
		keys, values = append(keys, p.Key), append(values, p.Value)
	}
	plain := b.NewRecordBatch()
	defer plain.Release()
	rec := array.NewRecordBatchWithMetadata(schema, plain.Columns(), 1, arrow.NewMetadata(keys, values))
	defer rec.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// small is a stream of one batch without columns.
func small(tb testing.TB, meta ...wire.Pair) []byte {
	tb.Helper()
	b := wire.EmptyBatch(wire.EmptySchema(), append(wire.Metadata{{Key: wire.KeyMethod, Value: "add"}}, meta...))
	b.Rows = 1
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	if err := errors.Join(w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// record makes a recording of what do does.
func record(tb testing.TB, opts recording.Options, do func(*recording.Writer)) []byte {
	tb.Helper()
	var file bytes.Buffer
	w, err := recording.New(&file, opts)
	if err != nil {
		tb.Fatal(err)
	}
	do(w)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

// read reads a whole recording.
func read(tb testing.TB, file []byte) []recording.Frame {
	tb.Helper()
	_, frames, err := recording.ReadAll(bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	return frames
}

func say(tb testing.TB, w *recording.Writer, from recording.Side, p []byte) {
	tb.Helper()
	c := w.Open()
	tap := c.Tap(from)
	if _, err := tap.Write(p); err != nil {
		tb.Fatal(err)
	}
	tap.HalfClose()
	c.Close()
}

// kinds are the kinds of frames, in their order.
func kinds(frames []recording.Frame) []recording.Kind {
	var out []recording.Kind
	for _, f := range frames {
		out = append(out, f.Kind)
	}
	return out
}

func TestARecordingWithPayloadsHoldsEveryByte(t *testing.T) {
	sent := append(request(t), small(t)...)
	for _, chunk := range []int{1, 7, 4096, len(sent)} {
		file := record(t, recording.Options{Payloads: true, Transport: "tcp"}, func(w *recording.Writer) {
			tap := w.Open().Tap(recording.Client)
			for rest := sent; len(rest) > 0; {
				n := min(chunk, len(rest))
				_, _ = tap.Write(rest[:n])
				rest = rest[n:]
			}
			tap.End(nil)
		})
		var got []byte
		for _, f := range read(t, file) {
			if got = append(got, f.Bytes...); f.Bytes != nil && f.Size != int64(len(f.Bytes)) {
				t.Errorf("a frame of %d bytes says %d", len(f.Bytes), f.Size)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("in chunks of %d bytes: %d bytes are in the file, want %d equal ones", chunk, len(got), len(sent))
		}
	}
}

func TestNothingIsKeptWithoutPayloads(t *testing.T) {
	packed := func(pack func(io.Writer) io.WriteCloser, p []byte) []byte {
		var out bytes.Buffer
		w := pack(&out)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	zip := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	zst := func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	var everyKey []wire.Pair
	for _, key := range []string{
		wire.KeyRequestVersion, wire.KeyProtocolVersion, wire.KeyTimeout, wire.KeyCancel, wire.KeyTraceParent, wire.KeyTraceState,
		wire.KeyLogLevel, wire.KeyLogMessage, wire.KeyLogExtra, wire.KeyErrorCode, wire.KeyErrorDetails, wire.KeyStreamState,
		wire.KeyCallState, wire.KeySHMOffset, wire.KeySHMLength, wire.KeySHMSource, wire.KeySHMSegmentName, wire.KeySHMSegmentSize,
		wire.KeyLocation, wire.KeyLocationSHA256, wire.KeyLocationFetchMS, wire.KeyLocationSource, wire.KeyTransportSHM,
		"application.key",
	} {
		everyKey = append(everyKey, wire.Pair{Key: key, Value: secret})
	}
	// A request identifier, a kind and a method are what they seem to be.
	for _, key := range []string{wire.KeyRequestID, wire.KeyServerID, wire.KeyErrorKind, wire.KeyMethod, wire.KeyProtocol} {
		everyKey = append(everyKey, wire.Pair{Key: key, Value: "mail me: " + secret})
	}
	whole := request(t, everyKey...)
	for _, tt := range []struct {
		name string
		do   func(*recording.Writer)
	}{
		{"values and metadata of a byte stream", func(w *recording.Writer) { say(t, w, recording.Client, whole) }},
		{"half a message", func(w *recording.Writer) { say(t, w, recording.Server, whole[:len(whole)-30]) }},
		{"half a header", func(w *recording.Writer) {
			say(t, w, recording.Server, whole[:bytes.LastIndex(whole, []byte(secret))+40])
		}},
		{"bytes that are no Arrow", func(w *recording.Writer) {
			say(t, w, recording.Client, []byte("GET / HTTP/1.1\r\nAuthorization: "+secret+"\r\n\r\n"))
		}},
		{"bytes behind a stream", func(w *recording.Writer) { say(t, w, recording.Client, append(small(t), secret+secret...)) }},
		{"a header that is no flatbuffer", func(w *recording.Writer) {
			say(t, w, recording.Client, append([]byte{255, 255, 255, 255, 64, 0, 0, 0}, strings.Repeat(secret+"..", 4)...))
		}},
		{"heads of HTTP", func(w *recording.Writer) {
			c := w.Open()
			c.Head(recording.Client, wire.Metadata{
				{Key: recording.MetaMethod, Value: "POST"},
				{Key: recording.MetaPath, Value: "/" + secret + "/demo.Calc/add?q=" + secret},
				{Key: "Content-Type", Value: "application/vnd.apache.arrow.stream"},
				{Key: "Authorization", Value: "Bearer " + secret},
				{Key: "Cookie", Value: secret},
				{Key: "VGI-Session", Value: secret},
				{Key: "X-Request-Id", Value: "no id: " + secret},
				{Key: "Content-Encoding", Value: secret},
				{Key: "X-Own", Value: secret},
			})
			c.Head(recording.Server, wire.Metadata{
				{Key: recording.MetaStatus, Value: "302"},
				{Key: "Location", Value: "https://x/" + secret},
				{Key: "Set-Cookie", Value: secret},
				{Key: "Content-Type", Value: "text/" + secret},
				{Key: "WWW-Authenticate", Value: secret},
			})
		}},
		{"the path of another request", func(w *recording.Writer) {
			w.Open().Head(recording.Client, wire.Metadata{
				{Key: recording.MetaMethod, Value: "GET"}, {Key: recording.MetaPath, Value: "/blob/hunter2_SECRET/hunter2_SECRET"},
			})
		}},
		{"the text of an error", func(w *recording.Writer) {
			c := w.Open()
			c.Fail(errors.New("malformed HTTP response " + secret))
			c.Tap(recording.Server).End(errors.New(secret))
		}},
		{"a body of JSON", func(w *recording.Writer) {
			tap := w.Open().BodyTap(recording.Client, false, "")
			_, _ = tap.Write([]byte(`{"a":"` + secret + `"}`))
			tap.End(nil)
		}},
		{"a packed body", func(w *recording.Writer) {
			for _, coding := range []string{"gzip", "zstd"} {
				tap := w.Open().BodyTap(recording.Server, true, coding)
				_, _ = tap.Write(packed(map[string]func(io.Writer) io.WriteCloser{"gzip": zip, "zstd": zst}[coding], whole))
				tap.End(nil)
			}
		}},
		{"a body that is not packed as it says", func(w *recording.Writer) {
			tap := w.Open().BodyTap(recording.Server, true, "zstd")
			_, _ = tap.Write(whole)
			tap.End(nil)
		}},
		{"a body of an unknown coding", func(w *recording.Writer) {
			tap := w.Open().BodyTap(recording.Server, true, "br")
			_, _ = tap.Write(whole)
			tap.End(nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, payloads := range []bool{false, true} {
				file := record(t, recording.Options{Payloads: payloads}, tt.do)
				found := bytes.Contains(file, []byte(secret)) || bytes.Contains(file, []byte("hunter2"))
				unpacked := payloads && strings.HasPrefix(tt.name, "a body that is not packed")
				if found != payloads && !unpacked {
					t.Errorf("with payloads %v, the secret is in the file: %v", payloads, found)
				}
			}
		})
	}
}

func TestWhatARedactedRecordingStillSays(t *testing.T) {
	sent := request(t, wire.Pair{Key: wire.KeyRequestID, Value: "a1b2"}, wire.Pair{Key: "own", Value: "12345"})
	frames := read(t, record(t, recording.Options{}, func(w *recording.Writer) { say(t, w, recording.Client, sent) }))
	want := []recording.Kind{
		recording.KindOpen, recording.KindSchema, recording.KindDictionary, recording.KindBatch, recording.KindEnd,
		recording.KindHalfClose, recording.KindClose, recording.KindFinish,
	}
	if diff := cmp.Diff(want, kinds(frames)); diff != "" {
		t.Fatal(diff)
	}
	columns := recording.Columns(frames[1].Bytes)
	for _, part := range []string{"name utf8", "color dictionary", "struct<s: utf8>", "map<utf8, binary"} {
		if !strings.Contains(columns, part) {
			t.Errorf("the schema %q has no %q", columns, part)
		}
	}
	var size int64
	for _, f := range frames {
		size += f.Size
	}
	if size != int64(len(sent)) {
		t.Errorf("sizes are %d bytes, want %d", size, len(sent))
	}
	wantMeta := wire.Metadata{
		{Key: wire.KeyMethod, Value: "add"},
		{Key: wire.KeyProtocol, Value: "demo.Calc"},
		{Key: wire.KeyRequestID, Value: "a1b2"},
		{Key: "own", Value: "[redacted, 5 bytes]"},
	}
	if diff := cmp.Diff(wantMeta, frames[3].Meta); diff != "" || frames[3].Rows != 1 || frames[3].Bytes != nil {
		t.Errorf("%d rows, %d bytes, metadata:\n%s", frames[3].Rows, len(frames[3].Bytes), diff)
	}
}

func TestThePathOfACallIsKept(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"unary", "/demo.Calc/add", "/demo.Calc/add"},
		{"the first request of a stream", "/demo.Calc/count/init", "/demo.Calc/count/init"},
		{"a further one", "/demo.Calc/count/exchange", "/demo.Calc/count/exchange"},
		{"with a prefix", "/tenant-7/demo.Calc/count/exchange", "[redacted, 9 bytes]/demo.Calc/count/exchange"},
		{"with a query", "/demo.Calc/add?x=y", "/demo.Calc/add?[redacted, 3 bytes]"},
		{"something else", "/a/b/c-d", "[redacted, 8 bytes]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := recording.Redact(recording.Frame{Kind: recording.KindRequest, Meta: wire.Metadata{
				{Key: recording.MetaMethod, Value: "POST"},
				{Key: recording.MetaPath, Value: tt.path},
				{Key: "Content-Type", Value: "application/vnd.apache.arrow.stream"},
			}})
			if got := f.Meta.Value(recording.MetaPath); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestAFileThatIsCutOffAnywhereIsReadUpToItsLastWholeFrame(t *testing.T) {
	file := record(t, recording.Options{Payloads: true}, func(w *recording.Writer) {
		say(t, w, recording.Client, small(t))
	})
	all := read(t, file)
	before := 0
	for n := range file {
		_, got, err := recording.ReadAll(bytes.NewReader(file[:n]))
		if !errors.Is(err, recording.ErrUnfinished) {
			t.Fatalf("after %d of %d bytes: %v, want ErrUnfinished", n, len(file), err)
		}
		if len(got) < before || len(got) > before+1 {
			t.Fatalf("after %d bytes: %d frames, %d with one byte less", n, len(got), before)
		}
		if before = len(got); before > 0 {
			if diff := cmp.Diff(all[:before], got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after %d bytes:\n%s", n, diff)
			}
		}
	}
	if before != len(all) {
		t.Errorf("%d frames before the end, want %d", before, len(all))
	}
}

func TestAFileStopsGrowingAtItsLargestSize(t *testing.T) {
	const most = 16 << 10
	file := record(t, recording.Options{Payloads: true, MaxBytes: most}, func(w *recording.Writer) {
		for range 100 {
			say(t, w, recording.Client, small(t))
		}
	})
	frames := read(t, file)
	if len(file) > most {
		t.Errorf("the file has %d bytes, want %d at most", len(file), most)
	}
	got := kinds(frames[len(frames)-3:])
	if diff := cmp.Diff([]recording.Kind{recording.KindFull, recording.KindDropped, recording.KindFinish}, got); diff != "" {
		t.Error(diff)
	}
	// Six frames for each connection: what is in the file and what is counted.
	if n := int64(len(frames)-3) + frames[len(frames)-2].Rows; n != 600 {
		t.Errorf("%d frames are in the file or counted, want 600", n)
	}
}

// gate is a disk that stands still until it is opened.
type gate struct {
	bytes.Buffer
	open chan struct{}
	free bool
}

func (g *gate) Write(p []byte) (int, error) {
	if g.free {
		<-g.open
	}
	g.free = true // the head of the file
	return g.Buffer.Write(p)
}

func TestASlowDiskIsNotWaitedForAndWhatItMissesIsCounted(t *testing.T) {
	disk := &gate{open: make(chan struct{})}
	w, err := recording.New(disk, recording.Options{Payloads: true, Buffer: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	tap := w.Open().Tap(recording.Client)
	message := small(t)
	for range 1000 { // returns although nothing is written
		_, _ = tap.Write(message)
	}
	close(disk.open)
	_, _ = tap.Write(message)
	tap.End(nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var kept, dropped int64
	for _, f := range read(t, disk.Bytes()) {
		switch f.Kind {
		case recording.KindDropped:
			dropped += f.Rows
		case recording.KindSchema, recording.KindBatch, recording.KindEnd:
			kept++
		default:
		}
	}
	if dropped == 0 || kept+dropped != 3*1001 {
		t.Errorf("%d messages are in the file and %d are counted, want %d in all", kept, dropped, 3*1001)
	}
}

func TestAnErrorIsRecordedWithItsClass(t *testing.T) {
	op := func(name string, err error) error { return &net.OpError{Op: name, Net: "tcp", Err: err} }
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"nobody listens", "refused", op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))},
		{"a reset", "reset", op("read", os.NewSyscallError("read", syscall.ECONNRESET))},
		{"a peer that is gone", "reset", op("write", os.NewSyscallError("write", syscall.EPIPE))},
		{"a deadline of a socket", "timeout", op("read", os.ErrDeadlineExceeded)},
		{"a deadline of a context", "timeout", fmt.Errorf("dial: %w", context.DeadlineExceeded)},
		{"a name that is not there", "resolve", op("dial", &net.DNSError{Err: "no such host", Name: "x"})},
		{"a certificate", "tls", &tls.CertificateVerificationError{Err: errors.New("unknown authority")}},
		{"an alert", "tls", op("remote error", errors.New("tls: bad certificate"))},
		{"no TLS", "tls", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}},
		{"a client that left", "cancelled", fmt.Errorf("request: %w", context.Canceled)},
		{"half an answer", "end", fmt.Errorf("transport connection broken: %w", io.ErrUnexpectedEOF)},
		{"no route", "network", op("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH))},
		{"an answer that makes no sense", "protocol", errors.New("malformed HTTP response")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := read(t, record(t, recording.Options{}, func(w *recording.Writer) { w.Open().Fail(tt.err) }))
			want := wire.Metadata{
				{Key: recording.MetaClass, Value: tt.want},
				{Key: recording.MetaError, Value: fmt.Sprintf("[redacted, %d bytes]", len(tt.err.Error()))},
			}
			if diff := cmp.Diff(want, frames[1].Meta); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARecordingMayEndWhileThingsHappen(t *testing.T) {
	w, err := recording.New(io.Discard, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				c := w.Open()
				c.Fail(errDisk)
				c.Close()
			}
		})
		wg.Go(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSchemasAreRememberedWithinABound(t *testing.T) {
	schema := func(name string, size int) []byte {
		s, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: name + strings.Repeat("x", size), Type: arrow.PrimitiveTypes.Int8}}, nil))
		if err != nil {
			t.Fatal(err)
		}
		return s.Message()
	}
	if n := recording.Remembered(schema("a", 100), schema("a", 100)); n == 0 || n > 2000 {
		t.Errorf("%d bytes are remembered of a small one", n)
	}
	if n := recording.Remembered(schema("a", 100<<10)); n != 0 {
		t.Errorf("%d bytes are remembered of a large one", n)
	}
	var many [][]byte
	for i := range 500 {
		many = append(many, schema(strconv.Itoa(i), 50<<10))
	}
	if n := recording.Remembered(many...); n == 0 || n > 8<<20 {
		t.Errorf("%d bytes are remembered of many", n)
	}
}

func TestAMessageLargerThanTheBufferIsCountedAndTheNextOneRecorded(t *testing.T) {
	large := small(t, wire.Pair{Key: "own", Value: strings.Repeat("x", 100<<10)})
	frames := read(t, record(t, recording.Options{Payloads: true, Buffer: 64 << 10}, func(w *recording.Writer) {
		tap := w.Open().Tap(recording.Server)
		_, _ = tap.Write(large)
		_, _ = tap.Write(small(t))
		tap.End(nil)
	}))
	want := []recording.Kind{
		recording.KindOpen, recording.KindSchema, recording.KindDropped, recording.KindEnd,
		recording.KindSchema, recording.KindBatch, recording.KindEnd, recording.KindFinish,
	}
	if diff := cmp.Diff(want, kinds(frames)); diff != "" {
		t.Error(diff)
	}
}

// brokenDisk takes so many bytes.
type brokenDisk struct{ left int }

var errDisk = errors.New("no space left")

func (d *brokenDisk) Write(p []byte) (int, error) {
	n := min(d.left, len(p))
	if d.left -= n; n < len(p) {
		return n, errDisk
	}
	return n, nil
}

func TestADiskThatFailsIsReportedAtTheEnd(t *testing.T) {
	w, err := recording.New(&brokenDisk{4000}, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		say(t, w, recording.Client, small(t))
	}
	if err := w.Close(); !errors.Is(err, errDisk) {
		t.Errorf("%v, want %v", err, errDisk)
	}
}

func TestFilesThatAreNoRecordings(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		file       []byte
	}{
		{"nothing", "ends without an end", nil},
		{"text", "is no recording", []byte("hello, this is some text")},
		{"another Arrow stream", "but no recording", small(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := recording.ReadAll(bytes.NewReader(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, opts := range []recording.Options{{MaxBytes: 1}, {MaxBytes: -1}, {Buffer: -1}} {
		if _, err := recording.New(io.Discard, opts); err == nil {
			t.Errorf("%+v are taken", opts)
		}
	}
}

func TestTimesAreSinceTheBeginning(t *testing.T) {
	now := time.Unix(1000, 0)
	file := record(t, recording.Options{Now: func() time.Time { return now }}, func(w *recording.Writer) {
		now = now.Add(time.Second)
		w.Open()
	})
	info, frames, err := recording.ReadAll(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if !info.Started.Equal(time.Unix(1000, 0)) || frames[0].At != time.Second {
		t.Errorf("started %v, the first frame at %v", info.Started, frames[0].At)
	}
}

// FuzzReader reads what may be a recording, and makes calls and a server of it.
func FuzzReader(f *testing.F) {
	for _, payloads := range []bool{false, true} {
		for _, transport := range []string{"stdio", "http"} {
			file := record(f, recording.Options{Payloads: payloads, Transport: transport}, func(w *recording.Writer) {
				c := w.Open()
				c.Head(recording.Client, wire.Metadata{
					{Key: recording.MetaMethod, Value: "POST"},
					{Key: recording.MetaPath, Value: "/p/m/init"},
					{Key: "Content-Type", Value: "application/vnd.apache.arrow.stream"},
				})
				say(f, w, recording.Client, request(f))
				say(f, w, recording.Server, small(f))
			})
			f.Add(file)
			f.Add(file[:len(file)/2])
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		info, frames, err := recording.ReadAll(bytes.NewReader(file))
		for _, fr := range frames {
			if int64(len(fr.Bytes)) > int64(len(file)) {
				t.Errorf("a frame of %d bytes in a file of %d", len(fr.Bytes), len(file))
			}
			_ = recording.Columns(fr.Bytes)
			_ = recording.Redact(fr)
		}
		if err != nil {
			return
		}
		calls, err := recording.Calls(info, frames)
		if (err == nil) != info.Payloads {
			t.Fatalf("payloads %v: %v", info.Payloads, err)
		}
		for _, c := range calls {
			if c.Gap == "" {
				_, _ = c.Recorded()
			}
		}
		_, _ = recording.NewMock(info, frames)
	})
}

// FuzzTap gives a tap bytes that may be anything, in chunks.
func FuzzTap(f *testing.F) {
	f.Add(request(f), uint16(3))
	f.Add(append(small(f), "rubbish"...), uint16(1000))
	f.Fuzz(func(t *testing.T, sent []byte, chunk uint16) {
		for _, payloads := range []bool{true, false} {
			file := record(t, recording.Options{Payloads: payloads}, func(w *recording.Writer) {
				tap := w.Open().Tap(recording.Client)
				for rest := sent; len(rest) > 0; {
					n := min(int(chunk)+1, len(rest))
					_, _ = tap.Write(rest[:n])
					rest = rest[n:]
				}
				tap.End(nil)
			})
			var got []byte
			var size int64
			for _, fr := range read(t, file) {
				got, size = append(got, fr.Bytes...), size+fr.Size
			}
			if size != int64(len(sent)) || (payloads && !bytes.Equal(got, sent)) {
				t.Errorf("payloads %v: %d bytes were said, frames are of %d and hold %d", payloads, len(sent), size, len(got))
			}
		}
	})
}
