package clientdriver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// maxBatchBytes bounds a batch on the control channel. The suite's largest value
// has 2^31+1 bytes.
const maxBatchBytes = 4 << 30

var limits = wire.Limits{MaxMessageBytes: maxBatchBytes}

// decodeBatch reads a batch of the control channel, which is valid for good.
func (d *driver) decodeBatch(field, text string) (*wire.Batch, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	// A reader of its own: its memory is not used for another batch.
	r := wire.NewReader(bytes.NewReader(raw), limits, &d.schemas)
	if _, err := r.NextStream(); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	b, err := r.Next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the stream has no batch", field)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if err := d.onlyOne(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return b, nil
}

// onlyOne checks that a stream ends after its first batch, and the text after the
// stream.
func (d *driver) onlyOne(raw []byte) error {
	r := wire.NewReader(bytes.NewReader(raw), limits, &d.schemas)
	_, err := r.NextStream()
	for batches := 0; err == nil; batches++ {
		if batches > 1 {
			return errors.New("the stream has more than one batch")
		}
		if _, err = r.Announce(); err == nil {
			err = r.Skip()
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if r.Consumed() != int64(len(raw)) {
		return errors.New("bytes follow the stream")
	}
	return nil
}

// encodeBatch is a batch as a field of an answer, null for none.
func encodeBatch(b *wire.Batch) (any, error) {
	if b == nil {
		return nil, nil //nolint:nilnil // null
	}
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	if err := errors.Join(w.Open(b.Schema), w.Batch(b), w.Close(), w.Flush()); err != nil {
		return nil, fmt.Errorf("a batch of the answer: %w", err)
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes()), nil
}

// encodeSchema is a schema as a field of an answer, null for none. The server's
// own bytes are a stream of which only the end is missing.
func encodeSchema(message []byte) any {
	if len(message) == 0 {
		return nil
	}
	return base64.StdEncoding.EncodeToString(message)
}

// callError is the error of a call as an answer has it: what the client says of
// it, and no more.
type callError struct {
	Type      string            `json:"error_type"`
	Message   string            `json:"error_message"`
	Traceback string            `json:"traceback"`
	Code      string            `json:"error_code"`
	Kind      string            `json:"error_kind"`
	Details   []json.RawMessage `json:"error_details"`
}

// typeLocal stands for the errors of the client that have no type of their own on
// the wire: a connection that cannot be made, a context that ended.
const typeLocal = "TransportError"

func problem(err error) (*callError, error) {
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok {
		return &callError{Type: typeLocal, Message: err.Error(), Details: []json.RawMessage{}}, nil
	}
	out := &callError{
		Type: e.TypeName(), Message: e.Message, Traceback: e.Traceback, Code: string(e.Code), Kind: e.Kind,
		Details: append([]json.RawMessage{}, e.RawDetails...),
	}
	if vgirpc.IsRemote(err) {
		return out, nil
	}
	for _, detail := range e.Details {
		raw, err := ownDetail(detail)
		if err != nil {
			return nil, err
		}
		out.Details = append(out.Details, raw)
	}
	return out, nil
}

// ownDetail is a detail that the client itself put on an error, in the form of the
// wire.
func ownDetail(d vgirpc.Detail) (json.RawMessage, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("a detail of the error: %w", err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("a detail of the error: %w", err)
	}
	fields["@type"] = d.DetailType()
	return json.Marshal(fields)
}

// logRecord is a message of a method as an answer has it.
type logRecord struct {
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Extra   json.RawMessage `json:"extra"`
}

// onLog keeps a message for the answer to the operation under way. The client
// tells of it on the goroutine of the call.
func (d *driver) onLog(_ context.Context, m vgirpc.LogMessage) {
	extra := m.Extra
	if !json.Valid(extra) { // nil, or what would spoil the answer
		extra = json.RawMessage("{}")
	}
	d.logs = append(d.logs, logRecord{string(m.Level), m.Message, extra})
}

// relayed are the records of an answer, never null.
func relayed(logs []logRecord) []logRecord { return append([]logRecord{}, logs...) }
