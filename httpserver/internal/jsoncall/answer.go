package jsoncall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Answer is the body of a JSON reply: {"result":…,"logs":[…]} of a call that
// succeeded, {"error":{…},"logs":[…]} of one that failed.
type Answer struct {
	Result json.RawMessage // JSON; counts when Error is nil
	Logs   []Log
	Error  *Failure
}

// Log is one message of the method to its caller.
type Log struct {
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Extra   json.RawMessage `json:"extra,omitempty"`
}

// Failure is why a call failed (WIRE_PROTOCOL section 8).
type Failure struct {
	Code    string            `json:"code"`
	Kind    string            `json:"kind,omitempty"`
	Type    string            `json:"type,omitempty"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details,omitempty"`
}

// Append writes the answer to dst, compact and with no line after it.
func (a *Answer) Append(dst []byte) ([]byte, error) {
	var v any = struct {
		Result json.RawMessage `json:"result"`
		Logs   []Log           `json:"logs"`
	}{a.Result, append([]Log{}, a.Logs...)}
	if a.Error != nil {
		v = struct {
			Error *Failure `json:"error"`
			Logs  []Log    `json:"logs,omitempty"`
		}{a.Error, a.Logs}
	}
	out := bytes.NewBuffer(dst)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("jsoncall: answer: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Answer reads the batches of a unary reply: logs, and the result or an error.
func (c *Codec) Answer(batches []wire.Batch) (*Answer, error) {
	a := &Answer{Result: json.RawMessage("null")}
	for i := range batches {
		b := &batches[i]
		switch b.Kind() {
		case wire.KindLog:
			a.Logs = append(a.Logs, logOf(b.Meta))
		case wire.KindError:
			s := wire.ParseStatus(b.Meta)
			a.Error = &Failure{Code: s.Code, Kind: s.Kind, Type: s.Type, Message: s.Message, Details: s.Details}
		case wire.KindData:
			result, err := c.Result(b)
			if err != nil {
				return nil, err
			}
			a.Result = result
		default:
			return nil, fmt.Errorf("jsoncall: %s: a reply with a batch of kind %v", c.method, b.Kind())
		}
	}
	return a, nil
}

func logOf(meta wire.Metadata) Log {
	l := wire.ParseLog(meta)
	out := Log{Level: l.Level, Message: l.Message}
	if json.Valid([]byte(l.Extra)) {
		out.Extra = json.RawMessage(l.Extra)
	}
	return out
}

// Fail is the answer to a call that never reached the method. The texts of
// this package's own errors, and of a [*vgirpc.Error], are for the caller; of
// another error only its code is told.
func Fail(err error) *Answer {
	f := &Failure{Code: string(vgirpc.CodeOf(err)), Message: "the call failed"}
	param, isParam := errors.AsType[*ParamError](err)
	status, isStatus := errors.AsType[*vgirpc.Error](err)
	switch {
	case isParam:
		f.Code, f.Type, f.Message = string(vgirpc.InvalidArgument), "TypeError", param.Error()
	case errors.Is(err, ErrTooLarge):
		f.Code, f.Type, f.Message = string(vgirpc.ResourceExhausted), "LimitError", "the body is larger than the server accepts"
	case isStatus:
		f.Kind, f.Type, f.Message = status.Kind, status.TypeName(), status.Message
	}
	return &Answer{Error: f}
}
