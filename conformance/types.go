package conformance

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Status is the suite's enum.
type Status int8

// The values of Status, in the order in which Python declares them.
const (
	Pending Status = iota
	Active
	Closed
)

var statusNames = []string{"PENDING", "ACTIVE", "CLOSED"}

// EnumNames lists the names on the wire.
func (Status) EnumNames() []string { return statusNames }

// String is the name on the wire.
func (s Status) String() string { return statusNames[s] }

// Point is a point in the plane.
type Point struct {
	X float64 `vgi:"x"`
	Y float64 `vgi:"y"`
}

// BoundingBox is a dataclass of dataclasses.
type BoundingBox struct {
	TopLeft     Point  `vgi:"top_left"`
	BottomRight Point  `vgi:"bottom_right"`
	Label       string `vgi:"label"`
}

// AllTypes has a field for each shape that a Python type maps to.
type AllTypes struct {
	Str              string            `vgi:"str_field"`
	Bytes            []byte            `vgi:"bytes_field"`
	Int              int64             `vgi:"int_field"`
	Float            float64           `vgi:"float_field"`
	Bool             bool              `vgi:"bool_field"`
	ListOfInt        []int64           `vgi:"list_of_int"`
	ListOfStr        []string          `vgi:"list_of_str"`
	Dict             map[string]int64  `vgi:"dict_field"`
	Enum             Status            `vgi:"enum_field"`
	NestedPoint      Point             `vgi:"nested_point"`
	OptionalStr      *string           `vgi:"optional_str"`
	OptionalInt      *int64            `vgi:"optional_int"`
	OptionalNested   *Point            `vgi:"optional_nested"`
	ListOfNested     []Point           `vgi:"list_of_nested"`
	AnnotatedInt32   int32             `vgi:"annotated_int32"`
	AnnotatedFloat32 float32           `vgi:"annotated_float32"`
	NestedList       [][]int64         `vgi:"nested_list"`
	DictStrStr       map[string]string `vgi:"dict_str_str"`
}

// WideTypes has a field for each Arrow type that is not a Python default.
type WideTypes struct {
	Int8         int8             `vgi:"int8_field"`
	Int16        int16            `vgi:"int16_field"`
	Int32        int32            `vgi:"int32_field"`
	Uint8        uint8            `vgi:"uint8_field"`
	Uint16       uint16           `vgi:"uint16_field"`
	Uint32       uint32           `vgi:"uint32_field"`
	Uint64       uint64           `vgi:"uint64_field"`
	Float32      float32          `vgi:"float32_field"`
	Date         vgirpc.Date      `vgi:"date_field"`
	Timestamp    time.Time        `vgi:"timestamp_field,type=timestamp(us)"`
	TimestampUTC time.Time        `vgi:"timestamp_utc_field"`
	Time         vgirpc.TimeOfDay `vgi:"time_field"`
	Duration     time.Duration    `vgi:"duration_field"`
	Decimal      vgirpc.Decimal   `vgi:"decimal_field,type=decimal128(20,4)"`
	LargeString  string           `vgi:"large_string_field,type=large_utf8"`
	LargeBinary  []byte           `vgi:"large_binary_field,type=large_binary"`
	FixedBinary  [8]byte          `vgi:"fixed_binary_field"`
}

// ContainerWideTypes has such types inside of lists, maps and optionals.
type ContainerWideTypes struct {
	ListDecimal       []vgirpc.Decimal          `vgi:"list_decimal,type=list<decimal128(20,4)>"`
	ListDate          []vgirpc.Date             `vgi:"list_date"`
	ListTimestamp     []time.Time               `vgi:"list_timestamp,type=list<timestamp(us)>"`
	OptionalDate      *vgirpc.Date              `vgi:"optional_date"`
	OptionalDecimal   *vgirpc.Decimal           `vgi:"optional_decimal,type=decimal128(20,4)"`
	OptionalTimestamp *time.Time                `vgi:"optional_timestamp,type=timestamp(us)"`
	DictStrDecimal    map[string]vgirpc.Decimal `vgi:"dict_str_decimal,type=map<utf8,decimal128(20,4)>"`
	FrozensetInt      map[int64]struct{}        `vgi:"frozenset_int"`
	ListOptionalInt   []*int64                  `vgi:"list_optional_int"`
}

// DeepNested has containers in containers, and dictionaries that are no enums.
type DeepNested struct {
	ListOfListsDecimal [][]vgirpc.Decimal `vgi:"list_of_lists_decimal,type=list<list<decimal128(20,4)>>"`
	OptionalListDate   []vgirpc.Date      `vgi:"optional_list_date,nullable"`
	DictEncodedString  string             `vgi:"dict_encoded_string,type=dictionary<index:int16,value:utf8>"`
	ListOfDictEncoded  []string           `vgi:"list_of_dict_encoded,type=list<dictionary<index:int16,value:utf8>>"`
}

// EmbeddedArrow carries a batch and a schema inside of a value.
type EmbeddedArrow struct {
	Batch  arrow.RecordBatch `vgi:"batch"`
	Schema *arrow.Schema     `vgi:"schema"`
}

// NestedContainers has enums and dataclasses inside of containers.
type NestedContainers struct {
	Statuses       []Status            `vgi:"statuses"`
	Points         []Point             `vgi:"points"`
	StatusByName   map[string]Status   `vgi:"status_by_name"`
	FrozenStatuses map[Status]struct{} `vgi:"frozen_statuses"`
	TaggedStatus   *Status             `vgi:"tagged_status"`
	TaggedPoint    *Point              `vgi:"tagged_point"`
	TaggedBatch    arrow.RecordBatch   `vgi:"tagged_batch,nullable"`
}

// Header is the suite's small stream header.
type Header struct {
	TotalExpected int64  `vgi:"total_expected"`
	Description   string `vgi:"description"`
}

// RichHeader is its large one, every field of which follows from a seed.
type RichHeader struct {
	Str              string            `vgi:"str_field"`
	Bytes            []byte            `vgi:"bytes_field"`
	Int              int64             `vgi:"int_field"`
	Float            float64           `vgi:"float_field"`
	Bool             bool              `vgi:"bool_field"`
	ListOfInt        []int64           `vgi:"list_of_int"`
	ListOfStr        []string          `vgi:"list_of_str"`
	Dict             map[string]int64  `vgi:"dict_field"`
	Enum             Status            `vgi:"enum_field"`
	NestedPoint      Point             `vgi:"nested_point"`
	OptionalStr      *string           `vgi:"optional_str"`
	OptionalInt      *int64            `vgi:"optional_int"`
	OptionalNested   *Point            `vgi:"optional_nested"`
	ListOfNested     []Point           `vgi:"list_of_nested"`
	NestedList       [][]int64         `vgi:"nested_list"`
	AnnotatedInt32   int32             `vgi:"annotated_int32"`
	AnnotatedFloat32 float32           `vgi:"annotated_float32"`
	DictStrStr       map[string]string `vgi:"dict_str_str"`
}
