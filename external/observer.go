package external

import (
	"context"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Observer watches what goes to storage and what comes from it, and changes
// nothing. Its methods are called on the goroutine of the transfer, must not
// block, and may run at once for different transfers.
type Observer interface {
	// TransferStarted is told of a transfer before its first byte. The store,
	// or the fetch, gets the context that it returns.
	TransferStarted(ctx context.Context, t *Transfer) context.Context
	// TransferEnded is told once for each transfer that was started. t is the
	// one of TransferStarted, with everything in it, and must not be kept.
	TransferEnded(ctx context.Context, t *Transfer)
}

// Transfer is one object on its way to storage or from it, with all attempts.
// Sizes are bytes.
type Transfer struct {
	// Fetch tells a fetch from an upload.
	Fetch bool
	// Pointer is the metadata of the pointer that is fetched: of a request, that
	// of the request. Nil for an upload.
	Pointer wire.Metadata
	// URL is redacted: scheme, host and path. That of an upload is known once it
	// has succeeded.
	URL string
	// RawBytes is the size of the Arrow IPC stream, StoredBytes that of an
	// upload after compression. What a fetch brought is known at its end.
	RawBytes, StoredBytes int64
	// Compression of an upload.
	Compression Compression
	// Duration and Err are how it ended. Err names no secret of a URL.
	Duration time.Duration
	Err      error
}

// Observe adds an observer, after those of Options.Observers, for whoever gets an
// Offload that somebody else made. It must not run at once with another method:
// call it before the Offload is used.
func (o *Offload) Observe(observer Observer) { o.observers = append(o.observers, observer) }

// watched runs a transfer before the eyes of the observers. Without any it does
// nothing else.
func (o *Offload) watched(ctx context.Context, t *Transfer, transfer func(context.Context) error) error {
	if len(o.observers) == 0 {
		return transfer(ctx)
	}
	for _, observer := range o.observers {
		ctx = observer.TransferStarted(ctx, t) //nolint:fatcontext // each observer wraps what the one before it returned
	}
	begun, ended := time.Now(), false
	defer func() {
		if t.Duration = time.Since(begun); !ended {
			t.Err = errPanicked
		}
		for _, observer := range o.observers {
			observer.TransferEnded(ctx, t)
		}
	}()
	t.Err = transfer(ctx)
	ended = true
	return t.Err
}
