package external

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/klauspost/compress/gzip"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Place uploads one output cycle when its data batch reaches the threshold, and
// returns the pointer batch to write in its place (WIRE_PROTOCOL section 12,
// "Externalization"). The whole cycle leaves as one IPC stream, metadata
// included; the pointer carries the location and the digest, nothing else.
// Zero-row batches on their own, and cycles with anything besides logs and one
// data batch, stay as they are.
//
// A negative budget is unbounded. What counts against it is the stream before
// compression, so that a cycle's fate does not hang on how well it compresses;
// over it, the error has the type ResponseTooLargeError and nothing is
// uploaded. uploaded is the size of the object as stored, in bytes.
func (o *Offload) Place(
	ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64,
) (placed []wire.Batch, uploaded int64, err error) {
	data := dataBatch(cycle)
	if o.opts.Store == nil || data == nil {
		return cycle, 0, nil
	}
	size := data.Bytes()
	if size < o.opts.Threshold {
		return cycle, 0, nil
	}
	if budget >= 0 && size > budget {
		return nil, 0, overBudget(size, budget) // no need to serialize it
	}
	ref, uploaded, err := o.upload(ctx, schema, cycle, budget)
	if err != nil {
		return nil, 0, err
	}
	return []wire.Batch{ref.Pointer(schema)}, uploaded, nil
}

// Publish uploads a result of one row once, to be answered by reference in any
// number of calls (WIRE_PROTOCOL section 12, "Pre-published references"). It
// ignores the threshold. Without the digest readers cannot tell whether the
// object was changed.
func (o *Offload) Publish(
	ctx context.Context, schema *wire.Schema, batch *wire.Batch, includeSHA bool,
) (vgirpc.ExternalRef, error) {
	if o.opts.Store == nil {
		return vgirpc.ExternalRef{}, errNoStore
	}
	if batch.Rows != 1 {
		return vgirpc.ExternalRef{}, fmt.Errorf("external: a published result has 1 row, not %d", batch.Rows)
	}
	plain := *batch
	plain.Meta = nil // it belongs to a call, and the object to many
	ref, _, err := o.upload(ctx, schema, []wire.Batch{plain}, -1)
	if !includeSHA {
		ref.SHA256 = ""
	}
	return ref, err
}

// dataBatch is the one data batch with rows of a cycle, nil when there is none
// or anything besides it and logs.
func dataBatch(cycle []wire.Batch) (data *wire.Batch) {
	for i := range cycle {
		b := &cycle[i]
		switch {
		case b.Kind() == wire.KindLog:
		case b.Rows > 0 && data == nil:
			data = b
		default:
			return nil
		}
	}
	return data
}

// upload stores a cycle as one object.
func (o *Offload) upload(
	ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64,
) (ref vgirpc.ExternalRef, uploaded int64, err error) {
	var d digest // a large object is hashed while it is made and stored
	defer d.finish()
	raw, err := o.serialize(schema, cycle, &d)
	if err != nil {
		return ref, 0, err
	}
	if budget >= 0 && int64(len(raw)) > budget {
		return ref, 0, overBudget(int64(len(raw)), budget)
	}
	d.upTo(raw, true)
	body, encoding, err := o.compress(raw)
	if err != nil {
		return ref, 0, err
	}
	location, err := o.store(ctx, body, encoding, int64(len(raw)))
	if err != nil {
		return ref, 0, err
	}
	if o.opts.Logger.Enabled(ctx, slog.LevelDebug) {
		o.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "batch externalized", slog.String("url", Redact(location)),
			slog.Int("raw_bytes", len(raw)), slog.Int("uploaded_bytes", len(body)))
	}
	d.finish()
	o.objects.give(raw) // the store has only borrowed it; one that failed may be sending it still
	return vgirpc.ExternalRef{Location: location, SHA256: hex.EncodeToString(d.sum)}, int64(len(body)), nil
}

// store hands an object, of raw bytes before compression, to the store.
func (o *Offload) store(ctx context.Context, body []byte, encoding string, raw int64) (location string, err error) {
	t := Transfer{RawBytes: raw, StoredBytes: int64(len(body)), Compression: o.opts.Compression}
	err = o.watched(ctx, &t, func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, o.opts.UploadTimeout)
		defer cancel()
		location, err = o.opts.Store.Upload(bounded, body, encoding)
		if err == nil && location == "" {
			err = errors.New("the store returned no URL")
		}
		if err == nil {
			t.URL = Redact(location)
			return nil
		}
		failed := vgirpc.Errorf(vgirpc.Unavailable, "ExternalLocation upload of %d bytes failed: %s", len(body), redactError(err))
		if bounded.Err() != nil && ctx.Err() == nil {
			failed.Message += fmt.Sprintf(" (option UploadTimeout is %v)", o.opts.UploadTimeout)
		} else if end := endOfContext(err); end != nil {
			failed.Code, failed.Cause = vgirpc.CodeOf(end), end
		}
		return failed.WithType(typeLocation)
	})
	return location, err
}

// serialize writes a cycle as one complete IPC stream, into memory that goes back
// to the spares.
func (o *Offload) serialize(schema *wire.Schema, cycle []wire.Batch, d *digest) ([]byte, error) {
	out := buffer{digest: d}
	w := wire.NewWriter(&out)
	err := w.Open(schema)
	for i := range cycle {
		if err == nil {
			err = w.Batch(&cycle[i])
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil { // the stream is copied once, to where it fits
		if out.bytes = o.objects.take(int64(w.Pending())); out.bytes == nil {
			out.bytes = make([]byte, 0, w.Pending())
		}
		err = w.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("external: %w", err)
	}
	return out.bytes, nil
}

// buffer is what was written to it, less than it has room for.
type buffer struct {
	bytes  []byte
	digest *digest
}

// Write appends.
func (b *buffer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), piece)
		b.bytes = append(b.bytes, rest[:n]...)
		b.digest.upTo(b.bytes, false)
		rest = rest[n:]
	}
	return len(p), nil
}

// compress returns what to store for raw, and its Content-Encoding.
func (o *Offload) compress(raw []byte) (body []byte, encoding string, err error) {
	switch o.opts.Compression {
	case Zstd:
		// A single call writes the size into the frame: some readers need it.
		return o.zstd.EncodeAll(raw, nil), string(Zstd), nil
	case Gzip:
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if _, err = w.Write(raw); err == nil {
			err = w.Close()
		}
		if err != nil {
			return nil, "", fmt.Errorf("external: %w", err)
		}
		return out.Bytes(), string(Gzip), nil
	default:
		return raw, "", nil
	}
}
