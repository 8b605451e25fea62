package vgirpc

import (
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
)

// Types of values that Go has no type of its own for. The tag of a field says
// which Arrow type they travel as (WIRE_PROTOCOL section 4).
type (
	// Date is a calendar day: date32, or date64 by tag.
	Date = codec.Date
	// TimeOfDay is a time within a day: time64(us), or another unit by tag.
	TimeOfDay = codec.TimeOfDay
	// Decimal is a decimal number; the tag has precision and scale,
	// `vgi:"price,type=decimal128(20,4)"`.
	Decimal = codec.Decimal
	// Pair is one entry of [Pairs].
	Pair[K, V any] = codec.Pair[K, V]
	// Pairs is a map that keeps the order of its entries.
	Pairs[K, V any] = codec.Pairs[K, V]
)

// NewDate returns a calendar day.
func NewDate(year int, month time.Month, day int) Date { return codec.NewDate(year, month, day) }

// DateOf is the day of t in t's own location.
func DateOf(t time.Time) Date { return codec.DateOf(t) }

// ParseDate reads a day such as "2026-11-21".
func ParseDate(s string) (Date, error) { return codec.ParseDate(s) }

// ParseDecimal reads a decimal number such as "-12.50"; the digits after the
// point are its scale.
func ParseDecimal(s string) (Decimal, error) { return codec.ParseDecimal(s) }
