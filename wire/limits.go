package wire

import (
	"fmt"
	"sync/atomic"
)

// Default limits, in bytes.
const (
	DefaultMaxSchemaBytes   = 16 << 20
	DefaultMaxMessageBytes  = 256 << 20
	DefaultMaxDiscardBytes  = 4 << 30
	DefaultMaxBytesInFlight = 1 << 30
)

// Validation says how thoroughly inbound batches are checked before anything
// reads them.
type Validation uint8

const (
	// ValidateFull checks structure and every offset, null count, dictionary
	// index and UTF-8 value, so that a forged array is an error and not a
	// panic in a handler. It is the default.
	ValidateFull Validation = iota
	// ValidateStandard checks structure, and the first and last offset.
	ValidateStandard
	// ValidateOff checks only that buffers lie inside their message and are
	// long enough; a forged batch may make a handler panic.
	ValidateOff
)

// ParseValidation reads the value of VGI_RPC_IPC_VALIDATION: "none" (or
// "off"), "standard" or "full".
func ParseValidation(s string) (Validation, error) {
	switch s {
	case "full", "":
		return ValidateFull, nil
	case "standard":
		return ValidateStandard, nil
	case "none", "off":
		return ValidateOff, nil
	}
	return ValidateFull, fmt.Errorf("IPC validation %q: want none, standard or full", s)
}

// Limits bound what a Reader accepts. The zero value has the defaults.
type Limits struct {
	// MaxSchemaBytes bounds the metadata of one message: a schema, or a
	// batch's header with its custom metadata. 16 MiB when 0.
	MaxSchemaBytes int64
	// MaxMessageBytes bounds the body of one message, and of a compressed one
	// after decompression. 256 MiB when 0.
	MaxMessageBytes int64
	// MaxDiscardBytes bounds what is read and thrown away to stay in step
	// after a refusal, for each stream. 4 GiB when 0.
	MaxDiscardBytes int64
	// Budget bounds the bodies that all connections hold together; nil is
	// unbounded.
	Budget *Budget
	// Validation is how thoroughly batches are checked.
	Validation Validation
}

// withDefaults returns l with every unset limit at its default.
func (l Limits) withDefaults() Limits {
	if l.MaxSchemaBytes == 0 {
		l.MaxSchemaBytes = DefaultMaxSchemaBytes
	}
	if l.MaxMessageBytes == 0 {
		l.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if l.MaxDiscardBytes == 0 {
		l.MaxDiscardBytes = DefaultMaxDiscardBytes
	}
	return l
}

// Validate reports a limit that makes no sense, by name.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name  string
		value int64
	}{{"MaxSchemaBytes", l.MaxSchemaBytes}, {"MaxMessageBytes", l.MaxMessageBytes}, {"MaxDiscardBytes", l.MaxDiscardBytes}} {
		if f.value < 0 {
			return fmt.Errorf("limit %s is %d: want 0 for the default, or a number of bytes", f.name, f.value)
		}
	}
	return nil
}

// Budget is a number of bytes that many connections share. Its methods may be
// called at once, and on a nil Budget, which never refuses.
type Budget struct {
	max  int64
	held atomic.Int64
	kept atomic.Int64 // by connections between their calls, beside what is held
}

// NewBudget returns a Budget of max bytes; DefaultMaxBytesInFlight when max is
// 0.
func NewBudget(maxBytes int64) *Budget {
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytesInFlight
	}
	return &Budget{max: maxBytes}
}

// Acquire takes n bytes or fails with a *BusyError. A single message larger
// than the whole budget is let through when nothing else is held: the message
// limit is what bounds it.
func (b *Budget) Acquire(n int64) error {
	if b == nil || n == 0 {
		return nil
	}
	held := b.held.Add(n)
	if held > b.max && held != n {
		b.held.Add(-n)
		return &BusyError{Want: n, Held: held - n, Max: b.max}
	}
	return nil
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) {
	if b != nil && n != 0 {
		b.held.Add(-n)
	}
}

// Held is how many bytes are taken now.
func (b *Budget) Held() int64 {
	if b == nil {
		return 0
	}
	return b.held.Load()
}

// keep reports whether a connection may keep n bytes between its calls.
func (b *Budget) keep(n int64) bool {
	if b == nil {
		return n <= keptBodies
	}
	if b.kept.Add(n) > keptBodies {
		b.kept.Add(-n)
		return false
	}
	return true
}

// unkeep gives back what keep took.
func (b *Budget) unkeep(n int64) {
	if b != nil {
		b.kept.Add(-n)
	}
}
