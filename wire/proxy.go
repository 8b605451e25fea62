package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// For intermediaries: a proxy reads what a request asks for, changes
// its metadata, answers in the server's place, and finds the tokens that a
// stream goes on with. Columns pass through untouched.

// RewriteRequest copies one request stream from r to w with its metadata
// changed by edit, which gets the request's metadata and returns what to send.
// It flushes w. At a clean end of the connection it returns io.EOF.
func RewriteRequest(r *Reader, w *Writer, edit func(Metadata) Metadata) error {
	schema, err := r.NextStream()
	if err != nil {
		return err
	}
	if err := w.Open(schema); err != nil {
		return err
	}
	for first := true; ; first = false {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first {
			b.Meta = edit(b.Meta)
		}
		if err := w.Batch(b); err != nil {
			return err
		}
		if err := w.Flush(); err != nil { // the batch is borrowed
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return w.Flush()
}

// ErrorStream is the complete stream, on the empty schema, that answers a call
// with s (WIRE_PROTOCOL section 13).
func ErrorStream(s *Status) ([]byte, error) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	b := EmptyBatch(EmptySchema(), s.Metadata())
	if err := errors.Join(w.Open(EmptySchema()), w.Batch(&b), w.Close(), w.Flush()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Tokens are the values by which a stream goes on over HTTP, and by which a
// request is routed; each is "" when the stream does not carry it.
type Tokens struct {
	StreamState, CallState            string // base64
	Protocol, Method, ProtocolVersion string
}

// FindTokens reads a complete IPC stream, a request or a response, and returns
// the tokens on its batches; a later batch's win. limits bound what is read.
func FindTokens(stream []byte, limits Limits) (Tokens, error) {
	var t Tokens
	r := NewReader(bytes.NewReader(stream), limits, nil)
	if _, err := r.NextStream(); err != nil {
		return t, fmt.Errorf("wire: tokens: %w", err)
	}
	for {
		meta, err := r.Announce()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err == nil {
			err = r.Skip()
		}
		if err != nil {
			return t, fmt.Errorf("wire: tokens: %w", err)
		}
		for _, f := range []struct {
			key  string
			into *string
		}{
			{KeyStreamState, &t.StreamState},
			{KeyCallState, &t.CallState},
			{KeyProtocol, &t.Protocol},
			{KeyMethod, &t.Method},
			{KeyProtocolVersion, &t.ProtocolVersion},
		} {
			if v, ok := meta.Get(f.key); ok {
				*f.into = v
			}
		}
	}
}
