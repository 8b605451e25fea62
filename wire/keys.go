package wire

// Metadata keys of a request batch (WIRE_PROTOCOL section 3).
const (
	// KeyMethod names the method to invoke. Required.
	KeyMethod = "vgi_rpc.method"
	// KeyProtocol is the routing key: the protocol that the method belongs to.
	KeyProtocol = "vgi_rpc.protocol"
	// KeyRequestVersion is the version of the framing, always [RequestVersion].
	KeyRequestVersion = "vgi_rpc.request_version"
	// KeyProtocolVersion is the version of the application's surface, sent when
	// the protocol declares one.
	KeyProtocolVersion = "vgi_rpc.protocol_version"
	// KeyRequestID correlates a request with its logs.
	KeyRequestID = "vgi_rpc.request_id"
	// KeyCancel marks a stream input batch as a cancellation; its presence is
	// the signal (section 9).
	KeyCancel = "vgi_rpc.cancel"
	// KeyTimeout is how many milliseconds the caller gives the call, counted
	// from when the request was sent; a key of this implementation, that others
	// ignore.
	KeyTimeout = "vgirpc_go.timeout_ms"
	// KeyTraceParent and KeyTraceState carry a W3C trace context.
	KeyTraceParent = "traceparent"
	KeyTraceState  = "tracestate"
)

// Metadata keys of log and error batches (WIRE_PROTOCOL sections 3 and 8).
const (
	KeyLogLevel     = "vgi_rpc.log_level"
	KeyLogMessage   = "vgi_rpc.log_message"
	KeyLogExtra     = "vgi_rpc.log_extra"
	KeyErrorKind    = "vgi_rpc.error_kind"
	KeyErrorCode    = "vgi_rpc.error_code"
	KeyErrorDetails = "vgi_rpc.error_details"
	KeyServerID     = "vgi_rpc.server_id"
)

// Metadata keys of stream state, pointers and transport capabilities
// (WIRE_PROTOCOL sections 3, 11, 12 and 15).
const (
	KeyStreamState      = "vgi_rpc.stream_state#b64"
	KeyCallState        = "vgi_rpc.call_state#b64"
	KeySHMOffset        = "vgi_rpc.shm_offset"
	KeySHMLength        = "vgi_rpc.shm_length"
	KeySHMSource        = "vgi_rpc.shm_source"
	KeySHMSegmentName   = "vgi_rpc.shm_segment_name"
	KeySHMSegmentSize   = "vgi_rpc.shm_segment_size"
	KeyLocation         = "vgi_rpc.location"
	KeyLocationSHA256   = "vgi_rpc.location.sha256"
	KeyLocationFetchMS  = "vgi_rpc.location.fetch_ms"
	KeyLocationSource   = "vgi_rpc.location.source"
	KeyTransportSHM     = "vgi_rpc.transport.shm"
	TransportKeyPrefix  = "vgi_rpc.transport."
	ReservedNamePrefix  = "vgi_rpc."
	RequestVersion      = "1"
	LevelException      = "EXCEPTION"
	ResultColumn        = "result"
	MethodTransport     = "__transport_options__"
	MethodDescribe      = "__describe__"
	MaxErrorDetailBytes = 4096
)
