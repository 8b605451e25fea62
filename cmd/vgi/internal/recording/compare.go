package recording

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// Outcome is what became of a call, for comparison.
type Outcome struct {
	// Logs are the levels of log messages; their text may tell the time.
	Logs []string
	// Header and Outputs are data batches. A result is one output.
	Header, Outputs []*Data
	// Err is the error that ended the call.
	Err *vgirpc.Error
}

// Data is a batch that outlives its reader.
type Data struct {
	rec  arrow.RecordBatch
	meta wire.Metadata
}

// Keep makes Data of a batch that may be borrowed.
func Keep(b *wire.Batch) (*Data, error) {
	whole, err := Canonical(b)
	if err != nil {
		return nil, err
	}
	own, err := (&stream{parts: []part{{kind: KindSchema, bytes: b.Schema.Message()}, {kind: KindBatch, bytes: whole[len(b.Schema.Message()):]}}}).batches()
	if err != nil {
		return nil, err
	}
	if len(own) != 1 {
		return nil, errors.New("recording: a batch could not be kept")
	}
	rec, err := own[0].Record()
	if err != nil {
		return nil, err
	}
	return &Data{rec, slices.Clone(b.Meta)}, nil
}

// Recorded is the outcome that a recording has of a call.
func (c *Call) Recorded() (*Outcome, error) {
	o := &Outcome{}
	for _, part := range []struct {
		from []*wire.Batch
		to   *[]*Data
	}{{c.Header, &o.Header}, {c.Answers, &o.Outputs}} {
		for _, b := range part.from {
			switch b.Kind() {
			case wire.KindLog:
				o.Logs = append(o.Logs, b.Meta.Value(wire.KeyLogLevel))
			case wire.KindError:
				o.Err = vgirpc.RemoteError(b.Meta)
			default:
				d, err := Keep(b)
				if err != nil {
					return nil, err
				}
				*part.to = append(*part.to, d)
			}
		}
	}
	return o, nil
}

// Diff says in what two outcomes differ, a line for each difference. Columns whose
// names are in ignore may differ, and so may identifiers, times and tokens in
// metadata.
func Diff(recorded, got *Outcome, ignore []string) []string {
	var d []string
	if !slices.Equal(recorded.Logs, got.Logs) {
		d = append(d, fmt.Sprintf("logs: recorded %v, got %v", recorded.Logs, got.Logs))
	}
	d = append(d, diffBatches("header", recorded.Header, got.Header, ignore)...)
	d = append(d, diffBatches("output", recorded.Outputs, got.Outputs, ignore)...)
	return append(d, diffErrors(recorded.Err, got.Err)...)
}

func diffErrors(want, got *vgirpc.Error) []string {
	switch {
	case want == nil && got == nil:
		return nil
	case want == nil:
		return []string{fmt.Sprintf("error: recorded none, got %s", describe(got))}
	case got == nil:
		return []string{fmt.Sprintf("error: recorded %s, got none", describe(want))}
	case want.Code == got.Code && want.Kind == got.Kind && want.TypeName() == got.TypeName() && want.Message == got.Message:
		return nil
	}
	return []string{fmt.Sprintf("error: recorded %s, got %s", describe(want), describe(got))}
}

func describe(e *vgirpc.Error) string {
	text := string(e.Code) + " " + e.TypeName()
	if e.Kind != "" {
		text += " (" + e.Kind + ")"
	}
	return text + ": " + e.Message
}

func diffBatches(what string, want, got []*Data, ignore []string) (d []string) {
	if len(want) != len(got) {
		d = append(d, fmt.Sprintf("%s: recorded %d batches, got %d", what, len(want), len(got)))
	}
	for i := range min(len(want), len(got)) {
		for _, text := range want[i].diff(got[i], ignore) {
			d = append(d, fmt.Sprintf("%s %d: %s", what, i+1, text))
		}
	}
	return d
}

// diff compares schemas, then rows, then values, then metadata.
func (d *Data) diff(got *Data, ignore []string) (out []string) {
	if text := schemacmp.Diff(d.rec.Schema(), got.rec.Schema()); text != "" {
		return []string{"schema: " + text}
	}
	if d.rec.NumRows() != got.rec.NumRows() {
		return []string{fmt.Sprintf("recorded %d rows, got %d", d.rec.NumRows(), got.rec.NumRows())}
	}
	for i, f := range d.rec.Schema().Fields() {
		if slices.Contains(ignore, f.Name) {
			continue
		}
		if text := diffColumn(d.rec.Column(i), got.rec.Column(i), ignore); text != "" {
			out = append(out, fmt.Sprintf("column %q: %s", f.Name, text))
		}
	}
	return append(out, diffMetadata(d.meta, got.meta)...)
}

// exact makes arrow-go's approximate comparison an exact one in which NaN is NaN.
func exact() []array.EqualOption {
	return []array.EqualOption{array.WithNaNsEqual(true), array.WithAbsTolerance(0)}
}

// shownValue is how much of a value a difference shows, in bytes.
const shownValue = 120

func diffColumn(want, got arrow.Array, ignore []string) string {
	if array.ApproxEqual(want, got, exact()...) {
		return ""
	}
	packed := false
	for i := range want.Len() {
		a, b := want.ValueStr(i), got.ValueStr(i)
		if a == b {
			continue
		}
		if x, y := unpacked(want, i), unpacked(got, i); x != nil && y != nil {
			packed = true
			if inner := x.diff(y, ignore); len(inner) > 0 {
				return fmt.Sprintf("row %d: %s", i, strings.Join(inner, "; "))
			}
			continue
		}
		return fmt.Sprintf("row %d: recorded %s, got %s", i, short(a), short(b))
	}
	if packed {
		return ""
	}
	return "the values differ"
}

// unpacked is a value that travels as an IPC stream in a binary column, as
// dataclasses do (WIRE_PROTOCOL section 4); nil when it is none.
func unpacked(a arrow.Array, i int) *Data {
	c, ok := a.(*array.Binary)
	if !ok || c.IsNull(i) {
		return nil
	}
	frames, err := bodyFrames(bytes.NewReader(c.Value(i)), true, "")
	if err != nil {
		return nil
	}
	streams, whole := streamsOf(frames)
	if !whole || len(streams) != 1 {
		return nil
	}
	batches, err := streams[0].batches()
	if err != nil || len(batches) != 1 {
		return nil
	}
	rec, err := batches[0].Record()
	if err != nil {
		return nil
	}
	return &Data{rec: rec}
}

func short(s string) string {
	if len(s) > shownValue {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:shownValue], ""), len(s))
	}
	return s
}

// variable are the keys of metadata whose values are another in each call.
func variable(key string) bool {
	switch key {
	case wire.KeyServerID, wire.KeyRequestID, wire.KeyStreamState, wire.KeyCallState, wire.KeyLocationFetchMS,
		wire.KeyLocationSource, wire.KeyTraceParent, wire.KeyTraceState:
		return true
	}
	return false
}

func diffMetadata(want, got wire.Metadata) (d []string) {
	want, got = want.Without(variable), got.Without(variable)
	for _, p := range want {
		switch v, ok := got.Get(p.Key); {
		case !ok:
			d = append(d, fmt.Sprintf("metadata %q: recorded %s, got none", p.Key, short(p.Value)))
		case v != p.Value:
			d = append(d, fmt.Sprintf("metadata %q: recorded %s, got %s", p.Key, short(p.Value), short(v)))
		}
	}
	for _, p := range got {
		if !want.Has(p.Key) {
			d = append(d, fmt.Sprintf("metadata %q: recorded none, got %s", p.Key, short(p.Value)))
		}
	}
	return d
}
