package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/wire"
)

// requestOf is a request stream of one record that carries meta.
func requestOf(t *testing.T, name string, meta wire.Metadata) []byte {
	t.Helper()
	rec := sampleRecords(t)[name]
	schema, err := wire.NewSchema(rec.Schema())
	if err != nil {
		t.Fatal(err)
	}
	b, err := wire.NewBatch(schema, rec, meta)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	if err := errors.Join(w.Open(schema), w.Batch(b), w.Close(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestAProxyChangesMetadataAndNothingElse(t *testing.T) {
	for _, name := range []string{"int64", "utf8", "list of text", "dictionary", "struct", "utf8 view"} {
		t.Run(name, func(t *testing.T) {
			in := requestOf(t, name, wire.Metadata{{Key: wire.KeyMethod, Value: "m"}, {Key: "secret", Value: "x"}})
			var out bytes.Buffer
			r, w := wire.NewReader(bytes.NewReader(in), wire.Limits{}, nil), wire.NewWriter(&out)
			edit := func(m wire.Metadata) wire.Metadata {
				return m.With("traceparent", "00-1").Without(func(key string) bool { return key == "secret" })
			}
			if err := wire.RewriteRequest(r, w, edit); err != nil {
				t.Fatal(err)
			}
			if err := wire.RewriteRequest(r, w, edit); !errors.Is(err, io.EOF) {
				t.Errorf("at the end of the connection: %v, want io.EOF", err)
			}
			got := wire.NewReader(&out, wire.Limits{}, nil)
			if _, err := got.NextStream(); err != nil {
				t.Fatal(err)
			}
			b, err := got.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b.Meta.Has("secret") || b.Meta.Value("traceparent") != "00-1" || b.Meta.Value(wire.KeyMethod) != "m" {
				t.Errorf("metadata %v", b.Meta)
			}
			rec, err := b.Record()
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Release()
			if want := sampleRecords(t)[name]; !array.RecordEqual(rec, want) {
				t.Errorf("got %v, want %v", rec, want)
			}
		})
	}
}

func TestTokensAreFoundWithoutReadingBodies(t *testing.T) {
	p := requestOf(t, "int64", wire.Metadata{
		{Key: wire.KeyProtocol, Value: "P.v1"},
		{Key: wire.KeyMethod, Value: "m"},
		{Key: wire.KeyProtocolVersion, Value: "1.0.0"},
		{Key: wire.KeyStreamState, Value: "c3RhdGU="},
		{Key: wire.KeyCallState, Value: "Y2FsbA=="},
	})
	got, err := wire.FindTokens(p, wire.Limits{})
	want := wire.Tokens{StreamState: "c3RhdGU=", CallState: "Y2FsbA==", Protocol: "P.v1", Method: "m", ProtocolVersion: "1.0.0"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := wire.FindTokens(p[:len(p)-9], wire.Limits{}); !errors.Is(err, wire.ErrTruncated) {
		t.Errorf("of half a stream: %v, want ErrTruncated", err)
	}
}
