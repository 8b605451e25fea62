package conformance

import (
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ServiceHash is the protocol hash of [Service] that the suite pins.
const ServiceHash = "05479410c96f34410a2b10a4f6a49d59dcfd9d6d1d45ce9a9807d060a3bd6014"

// Service is the protocol that the suite calls most: 90 methods that cover what
// a runtime has to do.
var Service = vgirpc.NewProtocol("ConformanceService", "2.0.0")

// Scalars that are sent back.
var (
	EchoString      = vgirpc.NewUnary[Value[string], string](Service, "echo_string")
	EchoBytes       = vgirpc.NewUnary[BytesParams, []byte](Service, "echo_bytes")
	EchoInt         = vgirpc.NewUnary[Value[int64], int64](Service, "echo_int")
	EchoFloat       = vgirpc.NewUnary[Value[float64], float64](Service, "echo_float")
	EchoBool        = vgirpc.NewUnary[Value[bool], bool](Service, "echo_bool")
	EchoInt8        = vgirpc.NewUnary[Value[int8], int8](Service, "echo_int8")
	EchoInt16       = vgirpc.NewUnary[Value[int16], int16](Service, "echo_int16")
	EchoInt32       = vgirpc.NewUnary[Value[int32], int32](Service, "echo_int32")
	EchoUint8       = vgirpc.NewUnary[Value[uint8], uint8](Service, "echo_uint8")
	EchoUint16      = vgirpc.NewUnary[Value[uint16], uint16](Service, "echo_uint16")
	EchoUint32      = vgirpc.NewUnary[Value[uint32], uint32](Service, "echo_uint32")
	EchoUint64      = vgirpc.NewUnary[Value[uint64], uint64](Service, "echo_uint64")
	EchoFloat32     = vgirpc.NewUnary[Value[float32], float32](Service, "echo_float32")
	EchoDate        = vgirpc.NewUnary[Value[vgirpc.Date], vgirpc.Date](Service, "echo_date")
	EchoTime        = vgirpc.NewUnary[Value[vgirpc.TimeOfDay], vgirpc.TimeOfDay](Service, "echo_time")
	EchoDuration    = vgirpc.NewUnary[Value[time.Duration], time.Duration](Service, "echo_duration")
	EchoUTC         = vgirpc.NewUnary[Value[time.Time], time.Time](Service, "echo_timestamp_utc")
	EchoTimestamp   = vgirpc.NewUnary[LocalTimeParams, time.Time](Service, "echo_timestamp", result("type=timestamp(us)"))
	EchoDecimal     = vgirpc.NewUnary[DecimalParams, vgirpc.Decimal](Service, "echo_decimal", result("type=decimal128(20,4)"))
	EchoLargeString = vgirpc.NewUnary[LargeStringParams, string](Service, "echo_large_string", result("type=large_utf8"))
	EchoLargeBinary = vgirpc.NewUnary[LargeBinaryParams, []byte](Service, "echo_large_binary", result("type=large_binary"))
	EchoFixedBinary = vgirpc.NewUnary[Value[[8]byte], [8]byte](Service, "echo_fixed_binary")
)

// Void methods.
var (
	VoidNoop      = vgirpc.NewUnary[vgirpc.None, vgirpc.None](Service, "void_noop")
	VoidWithParam = vgirpc.NewUnary[Value[int64], vgirpc.None](Service, "void_with_param")
)

// Values that are sent back and may be null.
var (
	EchoOptionalString          = vgirpc.NewUnary[Value[*string], *string](Service, "echo_optional_string")
	EchoOptionalInt             = vgirpc.NewUnary[Value[*int64], *int64](Service, "echo_optional_int")
	EchoOptionalPoint           = vgirpc.NewUnary[PointParams[*Point], *Point](Service, "echo_optional_point")
	EchoAnnotatedOptionalInt    = vgirpc.NewUnary[Value[*int32], *int32](Service, "echo_annotated_optional_int")
	EchoOuterOptionalNonNullInt = vgirpc.NewUnary[Value[int32], int32](Service, "echo_outer_optional_non_null")
)

// Containers, enums and dataclasses that are sent back.
var (
	EchoEnum       = vgirpc.NewUnary[StatusParams, Status](Service, "echo_enum")
	EchoStatusList = vgirpc.NewUnary[StatusesParams, []Status](Service, "echo_status_list")
	EchoList       = vgirpc.NewUnary[ListParams, []string](Service, "echo_list")
	EchoDict       = vgirpc.NewUnary[DictParams, vgirpc.Pairs[string, int64]](Service, "echo_dict")
	EchoNestedList = vgirpc.NewUnary[MatrixParams, [][]int64](Service, "echo_nested_list")
	EchoDictString = vgirpc.NewUnary[DictStringParams, string](Service, "echo_dict_encoded_string",
		result("type=dictionary<index:int16,value:utf8>"))

	EchoPoint              = vgirpc.NewUnary[PointParams[Point], Point](Service, "echo_point")
	EchoBoundingBox        = vgirpc.NewUnary[BoxParams, BoundingBox](Service, "echo_bounding_box")
	EchoAllTypes           = vgirpc.NewUnary[Data[AllTypes], AllTypes](Service, "echo_all_types")
	EchoWideTypes          = vgirpc.NewUnary[Data[WideTypes], WideTypes](Service, "echo_wide_types")
	EchoContainerWideTypes = vgirpc.NewUnary[Data[ContainerWideTypes], ContainerWideTypes](Service, "echo_container_wide_types")
	EchoDeepNested         = vgirpc.NewUnary[Data[DeepNested], DeepNested](Service, "echo_deep_nested")
	EchoEmbeddedArrow      = vgirpc.NewUnary[Data[EmbeddedArrow], EmbeddedArrow](Service, "echo_embedded_arrow")
)

// Unary methods that do a little more.
var (
	AddFloats            = vgirpc.NewUnary[AddParams, float64](Service, "add_floats")
	Concatenate          = vgirpc.NewUnary[ConcatenateParams, string](Service, "concatenate")
	WithDefaults         = vgirpc.NewUnary[DefaultsParams, string](Service, "with_defaults")
	InspectPoint         = vgirpc.NewUnary[PointParams[Point], string](Service, "inspect_point")
	PackNestedContainers = vgirpc.NewUnary[PackParams, NestedContainers](Service, "pack_nested_containers")
	OversizedUnary       = vgirpc.NewUnary[OversizedParams, []byte](Service, "oversized_unary")
	PublishedString      = vgirpc.NewUnary[PublishParams, string](Service, "published_string")
)

// Methods that fail, and methods that log to their caller.
var (
	RaiseValueError   = vgirpc.NewUnary[MessageParams, string](Service, "raise_value_error")
	RaiseRuntimeError = vgirpc.NewUnary[MessageParams, string](Service, "raise_runtime_error")
	RaiseTypeError    = vgirpc.NewUnary[MessageParams, string](Service, "raise_type_error")

	EchoWithInfoLog      = vgirpc.NewUnary[Value[string], string](Service, "echo_with_info_log")
	EchoWithMultiLogs    = vgirpc.NewUnary[Value[string], string](Service, "echo_with_multi_logs")
	EchoWithLogExtras    = vgirpc.NewUnary[Value[string], string](Service, "echo_with_log_extras")
	EchoWithAllLogLevels = vgirpc.NewUnary[Value[string], string](Service, "echo_with_all_log_levels")
)

// Producers.
var (
	ProduceN                 = vgirpc.NewProducer[CountParams, CounterRow](Service, "produce_n")
	ProduceEmpty             = vgirpc.NewProducer[vgirpc.None, CounterRow](Service, "produce_empty")
	ProduceSingle            = vgirpc.NewProducer[vgirpc.None, CounterRow](Service, "produce_single")
	ProduceTickMetadata      = vgirpc.NewProducer[CountParams, TickRow](Service, "produce_tick_metadata")
	ProduceLargeBatches      = vgirpc.NewProducer[LargeParams, CounterRow](Service, "produce_large_batches")
	ProduceAnnotatedBatches  = vgirpc.NewProducer[AnnotatedParams, IntRow](Service, "produce_annotated_batches")
	ProduceOversizedBatch    = vgirpc.NewProducer[RowsParams, CounterRow](Service, "produce_oversized_batch")
	ProduceWithLogs          = vgirpc.NewProducer[CountParams, CounterRow](Service, "produce_with_logs")
	ProduceErrorMidStream    = vgirpc.NewProducer[EmitParams, CounterRow](Service, "produce_error_mid_stream")
	ProduceErrorOnInit       = vgirpc.NewProducer[vgirpc.None, CounterRow](Service, "produce_error_on_init")
	ProduceWithHeader        = vgirpc.NewHeaderProducer[CountParams, Header, CounterRow](Service, "produce_with_header")
	ProduceWithHeaderAndLogs = vgirpc.NewHeaderProducer[CountParams, Header, CounterRow](Service, "produce_with_header_and_logs")
	ProduceWithRichHeader    = vgirpc.NewHeaderProducer[SeedCountParams, RichHeader, CounterRow](Service, "produce_with_rich_header")
	ProduceDynamicSchema     = vgirpc.NewHeaderProducer[DynamicParams, RichHeader, vgirpc.Dynamic](Service, "produce_dynamic_schema")
	CancellableProducer      = vgirpc.NewProducer[vgirpc.None, CounterRow](Service, "cancellable_producer")
	StreamSessionCounter     = vgirpc.NewProducer[CountParams, IntRow](Service, "stream_session_counter")
)

// Exchanges.
var (
	ExchangeScale          = vgirpc.NewExchange[FactorParams, FloatRow, FloatRow](Service, "exchange_scale")
	ExchangeCastCompatible = vgirpc.NewExchange[vgirpc.None, FloatRow, FloatRow](Service, "exchange_cast_compatible")
	ExchangeAccumulate     = vgirpc.NewExchange[vgirpc.None, FloatRow, SumRow](Service, "exchange_accumulate")
	ExchangeWithLogs       = vgirpc.NewExchange[vgirpc.None, FloatRow, FloatRow](Service, "exchange_with_logs")
	ExchangeErrorOnNth     = vgirpc.NewExchange[FailOnParams, FloatRow, FloatRow](Service, "exchange_error_on_nth")
	ExchangeErrorOnInit    = vgirpc.NewExchange[vgirpc.None, FloatRow, FloatRow](Service, "exchange_error_on_init")
	ExchangeZeroColumns    = vgirpc.NewExchange[vgirpc.None, vgirpc.None, vgirpc.None](Service, "exchange_zero_columns")
	ExchangeInputMetadata  = vgirpc.NewExchange[vgirpc.None, FloatRow, MetadataRow](Service, "exchange_input_metadata")
	ExchangeOversized      = vgirpc.NewExchange[RowsParams, FloatRow, CounterRow](Service, "exchange_oversized")
	ExchangeWithHeader     = vgirpc.NewHeaderExchange[FactorParams, Header, FloatRow, FloatRow](Service, "exchange_with_header")
	ExchangeWithRichHeader = vgirpc.NewHeaderExchange[SeedFactorParams, RichHeader, FloatRow, FloatRow](Service, "exchange_with_rich_header")
	CancellableExchange    = vgirpc.NewExchange[vgirpc.None, FloatRow, FloatRow](Service, "cancellable_exchange")
	ExchangeSessionCounter = vgirpc.NewExchange[vgirpc.None, ByRow, IntRow](Service, "exchange_session_counter")
)

// What the tests of cancellation and of sticky sessions call between streams.
var (
	CancelProbeCounters = vgirpc.NewUnary[vgirpc.None, []int64](Service, "cancel_probe_counters")
	ResetCancelProbe    = vgirpc.NewUnary[vgirpc.None, vgirpc.None](Service, "reset_cancel_probe")

	OpenCounter      = vgirpc.NewUnary[InitialParams, int64](Service, "open_counter")
	IncrementCounter = vgirpc.NewUnary[ByParams, int64](Service, "increment_counter")
	CloseCounter     = vgirpc.NewUnary[vgirpc.None, int64](Service, "close_counter")
)

// result declares what the Go type of a result does not say.
func result(tag string) vgirpc.MethodOptions { return vgirpc.MethodOptions{Result: tag} }
