package vgirpc

import "log/slog"

// Code is the canonical code of a failed call (WIRE_PROTOCOL section 8): what
// generic handling looks at. The values are the names on the wire.
type Code string

// The sixteen codes of the closed set.
const (
	Cancelled          Code = "CANCELLED"
	Unknown            Code = "UNKNOWN"
	InvalidArgument    Code = "INVALID_ARGUMENT"
	DeadlineExceeded   Code = "DEADLINE_EXCEEDED"
	NotFound           Code = "NOT_FOUND"
	AlreadyExists      Code = "ALREADY_EXISTS"
	PermissionDenied   Code = "PERMISSION_DENIED"
	ResourceExhausted  Code = "RESOURCE_EXHAUSTED"
	FailedPrecondition Code = "FAILED_PRECONDITION"
	Aborted            Code = "ABORTED"
	OutOfRange         Code = "OUT_OF_RANGE"
	Unimplemented      Code = "UNIMPLEMENTED"
	Internal           Code = "INTERNAL"
	Unavailable        Code = "UNAVAILABLE"
	DataLoss           Code = "DATA_LOSS"
	Unauthenticated    Code = "UNAUTHENTICATED"
)

// Valid reports whether c is one of the sixteen codes.
func (c Code) Valid() bool {
	switch c {
	case Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied,
		ResourceExhausted, FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable,
		DataLoss, Unauthenticated:
		return true
	}
	return false
}

// logLevel is how loudly the framework logs a call that failed with c: what
// the caller did wrong is no alarm on this side.
func (c Code) logLevel() slog.Level {
	switch c {
	case Unknown, Internal, DataLoss:
		return slog.LevelError
	case Unavailable, ResourceExhausted, DeadlineExceeded:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// Kinds that the framework itself raises (WIRE_PROTOCOL section 8).
const (
	KindMethodNotImplemented    = "method_not_implemented"
	KindProtocolNotSpecified    = "protocol_not_specified"
	KindProtocolNotSupported    = "protocol_not_supported"
	KindProtocolVersionMismatch = "protocol_version_mismatch"
	KindSessionLost             = "session_lost"
	KindServerDraining          = "server_draining"
)
