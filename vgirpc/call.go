package vgirpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Level is the severity of a message to the caller (WIRE_PROTOCOL section 8).
type Level string

// The levels that may travel in band; EXCEPTION is reserved for errors.
const (
	LevelTrace Level = "TRACE"
	LevelDebug Level = "DEBUG"
	LevelInfo  Level = "INFO"
	LevelWarn  Level = "WARN"
	LevelError Level = "ERROR"
)

// Phase is the part of a call that runs.
type Phase uint8

// The phases. A unary call has only PhaseCall; a stream opens, takes turns, and
// may be cancelled.
const (
	PhaseCall Phase = iota
	PhaseOpen
	PhaseTurn
	PhaseCancel
)

// Call is a call in progress as its handler sees it. [CallFrom] finds it in the
// handler's context. Its methods must not be used after the handler returned,
// and only from one goroutine at a time.
type Call struct {
	server    *Server
	dispatch  *Dispatch
	method    *Method
	protocol  *Protocol
	hash      string
	peer      *Peer
	meta      wire.Metadata
	inputMeta wire.Metadata
	phase     Phase
	requestID string
	streamID  string
	budget    ResponseBudget
	files     []*os.File   // that came with the request, until somebody takes them
	fields    *wire.Schema // of the request
	rows      int          // of the request

	ref     *ExternalRef // the result, when it was published before
	logs    []wire.Log
	logErr  error
	output  *wire.Schema // of the stream
	stats   CallStats
	outMeta wire.Metadata

	building SharedMemory // for the batch that is sent next, nil without
}

type callKey struct{}

// callContext is a handler's context: it finds the call without a map or an
// allocation.
type callContext struct {
	context.Context //nolint:containedctx // it is a context
	call            *Call
}

// Value returns the call for its key and asks the parent for the rest.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// CallFrom returns the call that a handler's context belongs to. It panics
// outside a handler.
func CallFrom(ctx context.Context) *Call {
	c, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		panic("vgirpc: CallFrom outside a handler") //nolint:forbidigo // as documented
	}
	return c
}

// Method is what is being called.
func (c *Call) Method() *Method { return c.method }

// ProtocolHash is the hash of the method's protocol.
func (c *Call) ProtocolHash() string { return c.hash }

// Phase is the part of the call that runs now.
func (c *Call) Phase() Phase { return c.phase }

// Peer is the other end of the connection, with its identity. It is shared by
// all calls of the connection: read only.
func (c *Call) Peer() *Peer { return c.peer }

// Metadata is the request's custom metadata, the framework's keys included.
func (c *Call) Metadata() wire.Metadata { return c.meta }

// InputMetadata is the custom metadata of the input batch or tick of this turn,
// less what belongs to the transport.
func (c *Call) InputMetadata() wire.Metadata { return c.inputMeta }

// RequestFields is the schema of the request's parameters, as received.
func (c *Call) RequestFields() *arrow.Schema {
	if c.fields == nil {
		return nil
	}
	return c.fields.Arrow()
}

// ResponseBudget is what the transport lets the response to this turn have; all
// zero where it sets no bounds.
func (c *Call) ResponseBudget() ResponseBudget { return c.budget }

// RequestRows is how many rows the request's batch has: 1, or any number for a
// method without parameters.
func (c *Call) RequestRows() int { return c.rows }

// RequestID correlates the call's records: the caller's identifier when it sent
// a usable one, else 16 hex digits made up on first use.
func (c *Call) RequestID() string {
	if c.requestID == "" {
		if c.requestID = c.meta.Value(wire.KeyRequestID); !UsableRequestID(c.requestID) {
			c.requestID = NewRequestID()
		}
	}
	return c.requestID
}

// maxRequestID bounds the identifier that is taken over from a caller.
const maxRequestID = 128

// NewRequestID makes up an identifier: 16 hex digits.
func NewRequestID() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64()) //nolint:gosec // it names a call, and guards nothing
	return hex.EncodeToString(b[:])
}

// UsableRequestID reports whether a caller's identifier may go into logs: 1 to
// 128 printable ASCII characters. Transports that carry one beside the metadata
// ask before they take it over.
func UsableRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// StreamID is 32 hex digits that all records of one stream share, "" for a
// unary call.
func (c *Call) StreamID() string {
	if c.streamID == "" && c.method != nil && c.method.kind != KindUnary {
		c.streamID = randomHex(16)
	}
	return c.streamID
}

// Log sends a message to the caller, ahead of the result or batch that follows.
// extras are alternating keys and values, as in package slog; they are encoded
// as JSON now, and a value that cannot be makes the call fail.
func (c *Call) Log(level Level, message string, extras ...any) {
	l := wire.Log{Level: string(level), Message: message}
	if len(extras) > 0 {
		text, err := encodeExtras(extras)
		if err != nil && c.logErr == nil {
			c.logErr = err
		}
		l.Extra = text
	}
	c.logs = append(c.logs, l)
}

// Allocator gives memory to build a batch in that this turn of the call answers
// with: on a connection whose batches lie in shared memory and are not copied, that
// memory, so that the batch need not be copied to be sent; elsewhere the Go heap. It
// has no particular contents. It is gone when the turn is over, with the batch that
// the turn answers with: a state must not keep it, nor a builder of arrow-go, which
// keeps its allocator, and to touch it later may end the process. The other side
// sees what is written there at once, and may write there too.
func (c *Call) Allocator() memory.Allocator {
	if c.building == nil {
		return memory.DefaultAllocator
	}
	return c.building.Allocator()
}

func encodeExtras(extras []any) (string, error) {
	if len(extras)%2 != 0 {
		return "", Errorf(InvalidArgument, "log extras: key %v has no value", extras[len(extras)-1])
	}
	fields := make(map[string]any, len(extras)/2)
	for i := 0; i < len(extras); i += 2 {
		key, ok := extras[i].(string)
		if !ok {
			return "", Errorf(InvalidArgument, "log extras: key %v is a %T, not a string", extras[i], extras[i])
		}
		fields[key] = extras[i+1]
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return "", fmt.Errorf("log extras: %w", err)
	}
	return string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// SetOutputSchema chooses the schema of a stream whose row type is [Dynamic].
// It is called once, while the stream opens.
func (c *Call) SetOutputSchema(schema *arrow.Schema) error {
	if c.phase != PhaseOpen {
		return Errorf(FailedPrecondition, "SetOutputSchema is for the opening of a stream")
	}
	if c.method.output != nil {
		return Errorf(FailedPrecondition, "the output schema of %s is declared; only a Dynamic one can be set", c.method)
	}
	s, err := wire.NewSchema(schema)
	if err != nil {
		return err
	}
	c.output = c.server.schemas.Add(s)
	return nil
}

// OutputSchema is the schema of the stream's output, nil for a unary call.
func (c *Call) OutputSchema() *wire.Schema { return c.output }
