package conformance

import (
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Parameters that many methods share.
type (
	// Value is one parameter called value.
	Value[T any] struct {
		Value T `vgi:"value"`
	}
	// Data is one parameter called data.
	Data[T any] struct {
		Data T `vgi:"data"`
	}
	// PointParams is a point that may be optional.
	PointParams[T Point | *Point] struct {
		Point T `vgi:"point"`
	}
)

// Parameters of one value whose column has a name or a type of its own. Large
// ones are borrowed: they go back out from where they came in.
type (
	// BytesParams are those of [EchoBytes].
	BytesParams struct {
		Data []byte `vgi:"data,borrow"`
	}
	// LocalTimeParams are those of [EchoTimestamp]: a time without a zone.
	LocalTimeParams struct {
		Value time.Time `vgi:"value,type=timestamp(us)"`
	}
	// DecimalParams are those of [EchoDecimal].
	DecimalParams struct {
		Value vgirpc.Decimal `vgi:"value,type=decimal128(20,4)"`
	}
	// LargeStringParams are those of [EchoLargeString].
	LargeStringParams struct {
		Value string `vgi:"value,type=large_utf8"`
	}
	// LargeBinaryParams are those of [EchoLargeBinary].
	LargeBinaryParams struct {
		Value []byte `vgi:"value,type=large_binary,borrow"`
	}
	// DictStringParams are those of [EchoDictString].
	DictStringParams struct {
		Value string `vgi:"value,type=dictionary<index:int16,value:utf8>"`
	}
	// StatusParams are those of [EchoEnum].
	StatusParams struct {
		Status Status `vgi:"status"`
	}
	// StatusesParams are those of [EchoStatusList].
	StatusesParams struct {
		Statuses []Status `vgi:"statuses"`
	}
	// ListParams are those of [EchoList].
	ListParams struct {
		Values []string `vgi:"values"`
	}
	// DictParams are those of [EchoDict].
	DictParams struct {
		Mapping vgirpc.Pairs[string, int64] `vgi:"mapping"`
	}
	// MatrixParams are those of [EchoNestedList].
	MatrixParams struct {
		Matrix [][]int64 `vgi:"matrix"`
	}
	// BoxParams are those of [EchoBoundingBox].
	BoxParams struct {
		Box BoundingBox `vgi:"box"`
	}
	// MessageParams are those of the methods that fail.
	MessageParams struct {
		Message string `vgi:"message"`
	}
	// OversizedParams are those of [OversizedUnary].
	OversizedParams struct {
		TargetBytes int64 `vgi:"target_bytes"`
	}
	// CountParams are those of producers of count batches.
	CountParams struct {
		Count int64 `vgi:"count"`
	}
	// RowsParams are those of streams that send large batches.
	RowsParams struct {
		RowsPerBatch int64 `vgi:"rows_per_batch"`
	}
	// EmitParams are those of [ProduceErrorMidStream].
	EmitParams struct {
		EmitBeforeError int64 `vgi:"emit_before_error"`
	}
	// FactorParams are those of the exchanges that multiply.
	FactorParams struct {
		Factor float64 `vgi:"factor"`
	}
	// FailOnParams are those of [ExchangeErrorOnNth].
	FailOnParams struct {
		FailOn int64 `vgi:"fail_on"`
	}
	// InitialParams are those of [OpenCounter].
	InitialParams struct {
		Initial int64 `vgi:"initial"`
	}
	// ByParams are those of [IncrementCounter].
	ByParams struct {
		By int64 `vgi:"by"`
	}
)

// Parameters of several values.
type (
	// AddParams are those of [AddFloats].
	AddParams struct {
		A float64 `vgi:"a"`
		B float64 `vgi:"b"`
	}
	// ConcatenateParams are those of [Concatenate].
	ConcatenateParams struct {
		Prefix    string `vgi:"prefix"`
		Suffix    string `vgi:"suffix"`
		Separator string `vgi:"separator,default=-"`
	}
	// DefaultsParams are those of [WithDefaults].
	DefaultsParams struct {
		Required    int64  `vgi:"required"`
		OptionalStr string `vgi:"optional_str,default=default"`
		OptionalInt int64  `vgi:"optional_int,default=42"`
	}
	// PackParams are those of [PackNestedContainers].
	PackParams struct {
		Statuses     []Status          `vgi:"statuses"`
		Points       []Point           `vgi:"points"`
		StatusByName map[string]Status `vgi:"status_by_name"`
	}
	// PublishParams are those of [PublishedString].
	PublishParams struct {
		Value         string `vgi:"value"`
		IncludeSHA256 bool   `vgi:"include_sha256"`
	}
	// LargeParams are those of [ProduceLargeBatches].
	LargeParams struct {
		RowsPerBatch int64 `vgi:"rows_per_batch"`
		BatchCount   int64 `vgi:"batch_count"`
	}
	// AnnotatedParams are those of [ProduceAnnotatedBatches].
	AnnotatedParams struct {
		Count        int64 `vgi:"count"`
		RowsPerBatch int64 `vgi:"rows_per_batch"`
	}
	// SeedCountParams are those of [ProduceWithRichHeader].
	SeedCountParams struct {
		Seed  int64 `vgi:"seed"`
		Count int64 `vgi:"count"`
	}
	// SeedFactorParams are those of [ExchangeWithRichHeader].
	SeedFactorParams struct {
		Seed   int64   `vgi:"seed"`
		Factor float64 `vgi:"factor"`
	}
	// DynamicParams are those of [ProduceDynamicSchema].
	DynamicParams struct {
		Seed           int64 `vgi:"seed"`
		Count          int64 `vgi:"count"`
		IncludeStrings bool  `vgi:"include_strings"`
		IncludeFloats  bool  `vgi:"include_floats"`
	}
)

// Rows of streams. Their columns are nullable, as the suite declares them.
type (
	// CounterRow counts: Value is ten times Index.
	CounterRow struct {
		Index int64 `vgi:"index,nullable"`
		Value int64 `vgi:"value,nullable"`
	}
	// IntRow is one integer.
	IntRow struct {
		Value int64 `vgi:"value,nullable"`
	}
	// FloatRow is one number.
	FloatRow struct {
		Value float64 `vgi:"value,nullable"`
	}
	// ByRow is what a session's counter is increased by.
	ByRow struct {
		By int64 `vgi:"by,nullable"`
	}
	// SumRow is the state of [ExchangeAccumulate] after an input.
	SumRow struct {
		RunningSum    float64 `vgi:"running_sum,nullable"`
		ExchangeCount int64   `vgi:"exchange_count,nullable"`
	}
	// TickRow tells which metadata a producer's tick had.
	TickRow struct {
		Index int64  `vgi:"index,nullable"`
		Seen  string `vgi:"seen,nullable"`
	}
	// MetadataRow tells which metadata an exchange's input had: the value of
	// one key, and all keys in order with commas between them.
	MetadataRow struct {
		Seen string `vgi:"seen,nullable"`
		Keys string `vgi:"keys,nullable"`
	}
)
