package external

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// Resolve fetches what a pointer batch names (WIRE_PROTOCOL section 12,
// "Resolution"). The result has the metadata of the batch inside the object,
// not the pointer's, and says where it came from and how long the fetch took.
// It belongs to the garbage collector: its values may be aliased and kept.
//
// Errors are *[vgirpc.Error]: PERMISSION_DENIED for a URL that may not be
// fetched, RESOURCE_EXHAUSTED over a limit, UNAVAILABLE when storage cannot be
// reached in Options.Attempts attempts, DATA_LOSS for a wrong digest,
// INVALID_ARGUMENT for an object that is not one output cycle on the expected
// schema, and whatever an EXCEPTION batch inside says. A Budget that is used up
// gives a *[wire.BusyError], and the end of ctx a [vgirpc.ContextError] in the
// chain. Logs are delivered only when the object as a whole is good, or ends in
// an EXCEPTION batch.
func (o *Offload) Resolve(
	ctx context.Context, pointer *wire.Batch, expect *wire.Schema, onLog func(wire.Metadata),
) (b *wire.Batch, release func(), err error) {
	location, ok := pointer.Meta.Get(wire.KeyLocation)
	if !ok || pointer.Kind() != wire.KindExternal {
		return nil, func() {}, refusef(vgirpc.InvalidArgument, "pointer expected, got a batch of kind %q", pointer.Kind().String())
	}
	if expect == nil {
		expect = pointer.Schema
	}
	r := resolution{o: o, location: location, expect: expect, mem: intake{budget: o.opts.Budget, spares: &o.objects}}
	r.digest, r.verify = pointer.Meta.Get(wire.KeyLocationSHA256)
	r.mem.verify = r.verify
	defer func() {
		if b == nil { // also when onLog panics
			r.free()
		}
	}()
	t := Transfer{Fetch: true, Pointer: pointer.Meta, URL: Redact(location)}
	err = o.watched(ctx, &t, func(ctx context.Context) error {
		err := r.attempts(ctx)
		t.RawBytes = r.size
		return err
	})
	if err != nil {
		return nil, func() {}, err
	}
	if onLog != nil {
		for _, meta := range r.logs {
			onLog(meta)
		}
	}
	if r.failure != nil {
		return nil, func() {}, r.failure
	}
	return r.data, sync.OnceFunc(r.free), nil
}

// resolution is one call of Resolve.
type resolution struct {
	o        *Offload
	location string
	digest   string
	verify   bool
	expect   *wire.Schema

	mem     intake
	size    int64             // of the object, decoded
	record  arrow.RecordBatch // holds the memory of data
	data    *wire.Batch
	logs    []wire.Metadata
	failure *vgirpc.Error // an EXCEPTION batch
}

func (r *resolution) free() {
	r.drop()
	r.mem.drop()
}

// drop forgets what was read of an object.
func (r *resolution) drop() {
	if r.record != nil {
		r.record.Release()
	}
	r.record, r.data, r.logs, r.failure = nil, nil, nil, nil
}

// attempts tries until an attempt succeeds or fails for good.
func (r *resolution) attempts(ctx context.Context) error {
	opts, where := &r.o.opts, Redact(r.location)
	for attempt := 1; ; attempt++ {
		err := r.attempt(ctx)
		if err == nil {
			return nil
		}
		r.drop()
		var again *transient
		if !errors.As(err, &again) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("external: fetch of %s: %w", where, vgirpc.ContextError(ctx))
		}
		opts.Logger.LogAttrs(ctx, slog.LevelDebug, "fetch of an externalized batch failed",
			slog.String("url", where), slog.Int("attempt", attempt), slog.String("error", again.text))
		if attempt >= opts.Attempts {
			return vgirpc.Errorf(vgirpc.Unavailable, "Failed to resolve ExternalLocation after %d attempts: %s: %s",
				attempt, where, again.text).WithType(typeLocation)
		}
		timer := time.NewTimer(opts.RetryDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("external: fetch of %s: %w", where, vgirpc.ContextError(ctx))
		}
	}
}

// attempt fetches the object and reads it.
func (r *resolution) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.opts.Timeout)
	defer cancel()
	start := time.Now()
	raw, err := r.o.fetch(ctx, r.location, &r.mem)
	if err != nil {
		return err
	}
	took := time.Since(start)
	err = r.read(raw)
	if r.verify { // it was hashed meanwhile, and that it is another object is the better reason
		if got := hex.EncodeToString(r.mem.sum()); !strings.EqualFold(got, r.digest) {
			return refusef(vgirpc.DataLoss, "SHA-256 checksum mismatch for %s: expected %.64q, got %s",
				Redact(r.location), r.digest, got)
		}
	}
	if err != nil {
		return err
	}
	r.size = int64(len(raw))
	r.mem.done() // what it held stays counted for the batch made of it
	if r.data != nil {
		r.stamp(took)
	}
	r.o.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "externalized batch fetched",
		slog.String("url", Redact(r.location)), slog.Int64("bytes", r.size), slog.Duration("took", took))
	return nil
}

// read takes an object apart: logs, and exactly one data batch.
func (r *resolution) read(raw []byte) error {
	limits := wire.Limits{MaxMessageBytes: r.o.opts.MaxDecodedBytes, Validation: r.o.opts.Validation}
	in := wire.NewReader(bytes.NewReader(raw), limits, &r.o.schemas)
	defer in.Close()
	schema, err := in.NextStream()
	if err != nil {
		return r.malformed(err)
	}
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return r.malformed(err)
		}
		if b.Meta.Has(wire.KeyLocation) {
			return r.unusable("redirect loop detected: it holds a pointer")
		}
		switch b.Kind() {
		case wire.KindLog:
			r.logs = append(r.logs, b.Meta)
			continue
		case wire.KindError:
			r.failure = vgirpc.RemoteError(b.Meta)
			return nil
		default: // data
		}
		if r.data != nil {
			return r.unusable("it holds multiple data batches")
		}
		if diff := schemacmp.Diff(r.expect.Arrow(), schema.Arrow()); diff != "" {
			return r.unusable("schema mismatch: " + diff)
		}
		if err := r.keep(b); err != nil {
			return r.malformed(err)
		}
	}
	if r.data == nil {
		return r.unusable("it holds no data batch")
	}
	return nil
}

// keep holds on to the data batch while the rest of the object is read. Its
// reader is used for one object, so that the memory is never used again.
func (r *resolution) keep(b *wire.Batch) (err error) {
	if r.record, err = b.Record(); err != nil {
		return err
	}
	schema := b.Schema
	if bytes.Equal(schema.Message(), r.expect.Message()) {
		schema = r.expect // whoever knows it by its pointer should
	}
	if r.data, err = wire.NewBatch(schema, r.record, b.Meta); err == nil {
		r.data.Owned = true
	}
	return err
}

// malformed is an object that is not Arrow IPC. Without a digest it may have
// been cut short on the way.
func (r *resolution) malformed(err error) error {
	if r.verify {
		return r.unusable(err.Error())
	}
	return transientf("object at %s: %v", Redact(r.location), err)
}

// unusable is an object that is not one output cycle.
func (r *resolution) unusable(why string) error {
	return refusef(vgirpc.InvalidArgument, "object at %s: %s", Redact(r.location), why)
}

// stamp puts the provenance on the resolved batch. What the object itself says
// of it does not count.
func (r *resolution) stamp(took time.Duration) {
	const prefix = wire.KeyLocation + "."
	ms := float64(took) / float64(time.Millisecond)
	r.data.Meta = append(
		r.data.Meta.Without(func(key string) bool { return strings.HasPrefix(key, prefix) }),
		wire.Pair{Key: wire.KeyLocationFetchMS, Value: strconv.FormatFloat(ms, 'f', 1, 64)},
		wire.Pair{Key: wire.KeyLocationSource, Value: r.location},
	)
}
