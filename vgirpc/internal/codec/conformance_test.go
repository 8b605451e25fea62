package codec

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// The dataclasses of vgi_rpc/conformance/_types.py.

type Status string

func (Status) EnumNames() []string { return []string{"PENDING", "ACTIVE", "CLOSED"} }

type Point struct {
	X float64 `vgi:"x"`
	Y float64 `vgi:"y"`
}

type BoundingBox struct {
	TopLeft     Point
	BottomRight Point
	Label       string
}

type AllTypes struct {
	StrField         string
	BytesField       []byte
	IntField         int
	FloatField       float64
	BoolField        bool
	ListOfInt        []int
	ListOfStr        []string
	DictField        map[string]int
	EnumField        Status
	NestedPoint      Point
	OptionalStr      *string
	OptionalInt      *int
	OptionalNested   *Point
	ListOfNested     []Point
	AnnotatedInt32   int32   `vgi:"annotated_int32"`
	AnnotatedFloat32 float32 `vgi:"annotated_float32"`
	NestedList       [][]int
	DictStrStr       Pairs[string, string]
}

type WideTypes struct {
	Int8Field         int8
	Int16Field        int16
	Int32Field        int32
	Uint8Field        uint8
	Uint16Field       uint16
	Uint32Field       uint32
	Uint64Field       uint64
	Float32Field      float32
	DateField         Date
	TimestampField    time.Time `vgi:",type=timestamp(us)"`
	TimestampUTCField time.Time `vgi:"timestamp_utc_field"`
	TimeField         TimeOfDay
	DurationField     time.Duration
	DecimalField      Decimal `vgi:"decimal_field,type=decimal128(20,4)"`
	LargeStringField  string  `vgi:",type=large_utf8"`
	LargeBinaryField  []byte  `vgi:",type=large_binary"`
	FixedBinaryField  [8]byte
}

type ContainerWideTypes struct {
	ListDecimal       []Decimal   `vgi:",type=list<item?:decimal128(20,4)>"`
	ListDate          []Date      `vgi:""`
	ListTimestamp     []time.Time `vgi:",type=list<timestamp(us)>"`
	OptionalDate      *Date
	OptionalDecimal   *Decimal           `vgi:",type=decimal128(20,4)"`
	OptionalTimestamp *time.Time         `vgi:",type=timestamp(us)"`
	DictStrDecimal    map[string]Decimal `vgi:",type=map<key:utf8,value?:decimal128(20,4)>"`
	FrozensetInt      map[int]struct{}
	ListOptionalInt   []*int
}

type DeepNested struct {
	ListOfListsDecimal [][]Decimal `vgi:",type=list<list<decimal128(20,4)>>"`
	OptionalListDate   []Date      `vgi:",nullable"`
	DictEncodedString  string      `vgi:",type=dictionary<index:int16,value:utf8>"`
	ListOfDictEncoded  []string    `vgi:",type=list<dictionary<int16,utf8>>"`
}

type EmbeddedArrow struct {
	Batch  arrow.RecordBatch
	Schema *arrow.Schema
}

type NestedContainers struct {
	Statuses       []Status
	Points         []Point
	StatusByName   map[string]Status
	FrozenStatuses map[Status]struct{}
	TaggedStatus   *Status
	TaggedPoint    *Point
	TaggedBatch    arrow.RecordBatch `vgi:",nullable"`
}

type ConformanceHeader struct {
	TotalExpected int
	Description   string
}

type RichHeader struct {
	StrField         string
	BytesField       []byte
	IntField         int
	FloatField       float64
	BoolField        bool
	ListOfInt        []int
	ListOfStr        []string
	DictField        map[string]int
	EnumField        Status
	NestedPoint      Point
	OptionalStr      *string
	OptionalInt      *int
	OptionalNested   *Point
	ListOfNested     []Point
	NestedList       [][]int
	AnnotatedInt32   int32   `vgi:"annotated_int32"`
	AnnotatedFloat32 float32 `vgi:"annotated_float32"`
	DictStrStr       map[string]string
}
