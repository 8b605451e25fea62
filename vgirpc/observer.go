package vgirpc

import (
	"context"
	"time"
)

// Interceptor wraps what a handler does in one phase of a call: it may refuse
// it, change its context, or act on its error. It calls next at most once. The
// call is found with [CallFrom].
type Interceptor func(ctx context.Context, call *Call, next func(context.Context) error) error

// Observer watches calls and changes nothing. Its methods are called on the
// goroutine of the call, must not block, and may run at once for different
// calls.
type Observer interface {
	// CallStarted is told of a call before its handler runs. The handler gets
	// the context that it returns.
	CallStarted(ctx context.Context, call *Call) context.Context
	// CallEnded is told once for each call that was started, after the reply
	// went out.
	CallEnded(ctx context.Context, call *Call, end *CallEnd)
}

// CallEnd is how a call ended.
type CallEnd struct {
	Err       *Error // nil when the call succeeded
	Cancelled bool   // the caller ended the stream with a cancel batch
	Duration  time.Duration
	Stats     CallStats
	Delivery  Delivery
}

// Delivery is what a transport did for a call, or for one turn of a stream
// where each turn is a request of its own. Numbers are bytes.
type Delivery struct {
	// WireIn and WireOut are what travelled, compressed where it was.
	WireIn, WireOut int64
	// Externalized is what was uploaded to external storage.
	Externalized int64
	// HTTPStatus is the status of the response, 0 on other transports.
	HTTPStatus int
	// RequestState and ResponseState are the sizes of the stream-state tokens
	// that came and went.
	RequestState, ResponseState int64
	// SessionAction is what happened to the sticky session: "none", "open",
	// "resume" or "close"; "" where there are no sessions. SessionID names it.
	SessionAction, SessionID string
}

// CallStats counts what a call moved. Bytes of batches are logical: the sizes
// of their Arrow buffers.
type CallStats struct {
	InputBatches, OutputBatches int64
	InputRows, OutputRows       int64
	InputBytes, OutputBytes     int64
}
