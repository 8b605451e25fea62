package conformance

import (
	"context"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// HostService registers the handlers of [Service] on a server that hosts it.
// The methods for cancellation find their counters through [WithCancelProbe].
func HostService(s *vgirpc.Server) {
	hostScalars(s)
	hostContainers(s)
	hostUnary(s)
	hostLogs(s)
	hostProducers(s)
	hostExchanges(s)
	hostHeaders(s)
	hostCancel(s)
	hostSessions(s)
}

// echo registers a method that returns what it was given.
func echo[P, R any](s *vgirpc.Server, m *vgirpc.Unary[P, R], given func(P) R) {
	vgirpc.HandleUnary(s, m, func(_ context.Context, p P) (R, error) { return given(p), nil })
}

// echoValue is [echo] for a method whose only parameter is called value.
func echoValue[T any](s *vgirpc.Server, m *vgirpc.Unary[Value[T], T]) {
	echo(s, m, func(p Value[T]) T { return p.Value })
}

// echoData is [echo] for a method whose only parameter is called data.
func echoData[T any](s *vgirpc.Server, m *vgirpc.Unary[Data[T], T]) {
	echo(s, m, func(p Data[T]) T { return p.Data })
}

// Names of Python's exceptions, which the suite expects on the wire.
const (
	valueError   = "ValueError"
	runtimeError = "RuntimeError"
	typeError    = "TypeError"
)

// raise returns an error without a classification, under the name of a Python
// exception.
func raise(exception, format string, args ...any) error {
	return vgirpc.Errorf(vgirpc.Unknown, format, args...).WithType(exception)
}

// maxMade bounds what a parameter may make the worker produce at once, in
// bytes.
const maxMade = 1 << 30

// made checks a number of things of size bytes each that a caller asked for.
// Less than none is none.
func made(n, size int64) (int, error) {
	if n > maxMade/size {
		return 0, vgirpc.Errorf(vgirpc.ResourceExhausted, "%d × %d bytes are more than this worker makes at once (%d)", n, size, maxMade)
	}
	return int(max(n, 0)), nil
}
