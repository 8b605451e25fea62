package external

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// What the pointers of FuzzResolve say of the digest.
const (
	digestNone = iota
	digestRight
	digestWrong
	digestNonsense
	digests
)

// codings are the Content-Encodings that FuzzResolve answers with.
var codings = []string{"", "zstd", "gzip", "identity", "br", "gzip, zstd"}

// bounds of what FuzzResolve reads, in bytes.
const (
	fuzzFetch   = 256 << 10
	fuzzDecoded = 1 << 20
	// fuzzMemory is all that one attempt may allocate: the decoded bytes with
	// their growth, the batch made of them, and what a decompressor has.
	fuzzMemory = 16 << 20
)

// FuzzResolve resolves pointers to any bytes, under any Content-Encoding, digest
// and announced length. Whatever comes is either a batch on the schema that was
// expected, with its provenance and the right digest, or an error that callers can
// tell from others. Memory is bounded, and all of the budget comes back.
func FuzzResolve(f *testing.F) {
	const location = "https://storage.example/o?sig=" + secret
	schema, seeds := resolvable(f)
	for i, raw := range seeds {
		for coding := range codings[:3] {
			f.Add(encoded(f, codings[coding], raw), uint8(coding), uint8(i%digests), int64(len(raw)%3-1))
		}
		f.Add(raw[:len(raw)/2], uint8(0), uint8(digestRight), int64(0))
		f.Add(raw[:len(raw)-3], uint8(0), uint8(digestNone), int64(3))
	}
	zeros := make([]byte, 8<<20)
	f.Add(encoded(f, "zstd", zeros), uint8(1), uint8(digestNone), int64(0))
	f.Add(encoded(f, "gzip", zeros), uint8(2), uint8(digestNone), int64(0))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00"), uint8(1), uint8(digestNone), int64(0)) // a window of 128 MiB
	f.Add([]byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00"), uint8(1), uint8(digestNone), int64(0))

	budget := wire.NewBudget(64 << 20)
	o, err := New(Options{MaxFetchBytes: fuzzFetch, MaxDecodedBytes: fuzzDecoded, Attempts: 1, Budget: budget})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, coding, digest uint8, extra int64) {
		c := fuzzCase{t: t, budget: budget, schema: schema, body: body, coding: codings[int(coding)%len(codings)]}
		o.transport = roundTrip(func(*http.Request) (*http.Response, error) { return c.response(extra), nil })
		c.digest = c.sum(int(digest) % digests)
		before := allocated()
		logs := 0
		b, release, err := o.Resolve(context.Background(), pointerTo(schema, location, c.digest), schema, func(wire.Metadata) { logs++ })
		if took := allocated() - before; took > fuzzMemory {
			t.Errorf("%d bytes of memory for an object of %d", took, len(body))
		}
		if err != nil {
			c.checkError(err, logs)
		} else {
			c.checkBatch(b, location)
		}
		release()
		release() // may be called again
		if held := budget.Held(); held != 0 {
			t.Errorf("%d bytes of the budget are still held", held)
		}
	})
}

// fuzzCase is one object and what a pointer says of it.
type fuzzCase struct {
	t      *testing.T
	budget *wire.Budget
	schema *wire.Schema
	body   []byte
	coding string
	digest string // "" for none
}

// response is the object as storage serves it, which announces extra bytes more
// than there are, or no length when extra is negative.
func (c *fuzzCase) response(extra int64) *http.Response {
	resp := answer(http.StatusOK, bytes.NewReader(c.body))
	resp.ContentLength = -1
	if extra >= 0 {
		resp.ContentLength = int64(len(c.body)) + extra%1000
	}
	if resp.ContentLength > int64(len(c.body)) {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(c.body), untilCut{}))
	}
	if c.coding != "" {
		resp.Header.Set("Content-Encoding", c.coding)
	}
	return resp
}

// untilCut ends a body as net/http ends one that is shorter than announced.
type untilCut struct{}

// Read fails.
func (untilCut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// sum is the digest that the pointer names.
func (c *fuzzCase) sum(kind int) string {
	switch kind {
	case digestRight:
		sum := sha256.Sum256(c.decoded())
		return hex.EncodeToString(sum[:])
	case digestWrong:
		return strings.Repeat("0f", sha256.Size)
	case digestNonsense:
		return "not a digest"
	}
	return ""
}

// decoded is the object as other programs decode it; as it is when they cannot,
// or when it is too large.
func (c *fuzzCase) decoded() []byte {
	var r io.Reader = bytes.NewReader(c.body)
	switch c.coding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return c.body
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(fuzzDecoded))
		if err != nil {
			return c.body
		}
		defer z.Close()
		r = z
	default:
		return c.body
	}
	raw, err := io.ReadAll(io.LimitReader(r, fuzzDecoded+1))
	if err != nil {
		return c.body
	}
	return raw
}

// checkError checks that an error is one that callers can tell from others, and
// says nothing that nobody may know. Only an EXCEPTION inside comes with logs.
func (c *fuzzCase) checkError(err error, logs int) {
	c.t.Helper()
	if strings.Contains(err.Error(), secret) && !bytes.Contains(c.body, []byte(secret)) {
		c.t.Errorf("the error has the URL's secret: %v", err)
	}
	if _, ok := errors.AsType[*wire.BusyError](err); ok {
		return
	}
	failure, ok := errors.AsType[*vgirpc.Error](err)
	if !ok {
		c.t.Fatalf("%T: %v", err, err)
	}
	if vgirpc.IsRemote(err) {
		return // the object says so
	}
	if logs > 0 {
		c.t.Errorf("%d logs of an object that is no good", logs)
	}
	switch failure.Code {
	case vgirpc.InvalidArgument, vgirpc.ResourceExhausted, vgirpc.Unavailable, vgirpc.DataLoss:
	default:
		c.t.Errorf("%v: %v", failure.Code, err)
	}
}

// checkBatch checks that a batch is what the pointer promised.
func (c *fuzzCase) checkBatch(b *wire.Batch, location string) {
	c.t.Helper()
	if !b.Schema.Arrow().Equal(c.schema.Arrow()) {
		c.t.Errorf("the schema is %v", b.Schema.Arrow())
	}
	sources := 0
	for _, pair := range b.Meta {
		if pair.Key == wire.KeyLocationSource && pair.Value == location {
			sources++
		} else if strings.HasPrefix(pair.Key, wire.KeyLocation) && pair.Key != wire.KeyLocationFetchMS {
			c.t.Errorf("provenance that the object made up: %q=%q", pair.Key, pair.Value)
		}
	}
	if sources != 1 {
		c.t.Errorf("%d sources are named in %v", sources, b.Meta)
	}
	if sum := sha256.Sum256(c.decoded()); c.digest != "" && c.digest != hex.EncodeToString(sum[:]) {
		c.t.Errorf("a batch in spite of the digest %s", c.digest)
	}
	_ = text(c.t, b) // a forged column must not panic
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// resolvable are objects of every kind, and the schema that is expected of them.
func resolvable(tb testing.TB) (*wire.Schema, [][]byte) {
	tb.Helper()
	schema, data := column(tb, arrow.BinaryTypes.String, `["one", null, "three"]`, wire.Metadata{{Key: "note", Value: "hello"}})
	other, strange := column(tb, arrow.PrimitiveTypes.Int64, `[1, 2]`, nil)
	pointer := pointerTo(schema, "https://storage.example/another", "")
	stamped := data
	stamped.Meta = wire.Metadata{
		{Key: wire.KeyLocationSource, Value: "https://elsewhere.example"}, {Key: wire.KeyLocationFetchMS, Value: "-1"},
	}
	_, letters := column(tb, arrow.BinaryTypes.String, `["`+strings.Repeat("x", 100_000)+`"]`, nil)
	return schema, [][]byte{
		stream(tb, schema, data),
		stream(tb, schema, logBatch(schema, "one"), logBatch(schema, "two"), data),
		stream(tb, schema, logBatch(schema, "one"), errorBatch(schema, "failed")),
		stream(tb, schema, *pointer),
		stream(tb, schema, data, *pointer),
		stream(tb, schema, data, data),
		stream(tb, schema, stamped),
		stream(tb, schema, letters),
		stream(tb, schema),
		stream(tb, other, strange),
		append(stream(tb, schema, data), "more than there should be"...),
		[]byte("<html>not found</html>"),
	}
}

// encoded is raw under a Content-Encoding.
func encoded(tb testing.TB, coding string, raw []byte) []byte {
	tb.Helper()
	switch coding {
	case "zstd":
		return zstdOf(tb, raw)
	case "gzip":
		return gzipOf(tb, raw)
	}
	return raw
}
