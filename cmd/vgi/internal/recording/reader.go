package recording

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ErrUnfinished ends a recording whose recorder was killed, or is still at work:
// what was read before it is whole.
var ErrUnfinished = errors.New("recording: the file ends without an end: its recorder was killed, or is still at work")

// Reader reads a recording.
type Reader struct {
	r    *wire.Reader
	info Info
}

// maxFrameBytes bounds one frame that is read. A recorder's frames lie within its
// buffer, which is far smaller.
const maxFrameBytes = 1 << 30

// NewReader begins to read a recording. ErrUnfinished stands for a file that
// ends before it says what it is.
func NewReader(src io.Reader) (*Reader, error) {
	r := wire.NewReader(src, wire.Limits{MaxMessageBytes: maxFrameBytes}, nil)
	schema, err := r.NextStream()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, wire.ErrTruncated):
		return nil, ErrUnfinished
	case err != nil:
		return nil, fmt.Errorf("recording: the file is no recording: %w", err)
	}
	info, err := infoOf(schema.Arrow())
	if err != nil {
		return nil, err
	}
	return &Reader{r, info}, nil
}

// Info is what the recording says of itself.
func (r *Reader) Info() Info { return r.info }

// Next reads the next frame. It returns io.EOF behind the last frame of a
// recording that was ended in good order, and ErrUnfinished behind that of any
// other.
func (r *Reader) Next() (Frame, error) {
	b, err := r.r.Next()
	switch {
	case errors.Is(err, wire.ErrTruncated):
		return Frame{}, ErrUnfinished
	case errors.Is(err, io.EOF):
		return Frame{}, io.EOF
	case err != nil:
		return Frame{}, fmt.Errorf("recording: %w", err)
	case b.Rows != 1:
		return Frame{}, fmt.Errorf("recording: a frame of %d rows, want 1", b.Rows)
	}
	rec, err := b.Record()
	if err != nil {
		return Frame{}, fmt.Errorf("recording: %w", err)
	}
	defer rec.Release()
	f := Frame{
		At:   time.Duration(rec.Column(colAt).(*array.Duration).Value(0)) * time.Microsecond, //nolint:forcetypeassert // checked by infoOf
		Conn: number(rec.Column(colConn)),
		From: Side(text(rec.Column(colFrom))),
		Kind: Kind(text(rec.Column(colKind))),
		Size: number(rec.Column(colSize)),
		Rows: number(rec.Column(colRows)),
		Meta: pairs(rec.Column(colMeta).(*array.Map)), //nolint:forcetypeassert // checked by infoOf
	}
	if c := rec.Column(colBytes).(*array.LargeBinary); !c.IsNull(0) { //nolint:forcetypeassert // checked by infoOf
		f.Bytes = append([]byte{}, c.Value(0)...)
	}
	return f, nil
}

func number(a interface{ ValueStr(int) string }) int64 {
	return a.(*array.Int64).Value(0) //nolint:forcetypeassert // checked by infoOf
}

// text is a copy: the column's memory is the reader's.
func text(a interface{ ValueStr(int) string }) string {
	return string([]byte(a.(*array.String).Value(0))) //nolint:forcetypeassert // checked by infoOf
}

func pairs(m *array.Map) wire.Metadata {
	start, end := m.ValueOffsets(0)
	if start == end {
		return nil
	}
	keys, values := m.Keys().(*array.String), m.Items().(*array.Binary) //nolint:forcetypeassert // checked by infoOf
	out := make(wire.Metadata, 0, end-start)
	for i := int(start); i < int(end); i++ {
		out = append(out, wire.Pair{Key: string([]byte(keys.Value(i))), Value: string(values.Value(i))})
	}
	return out
}

// ReadAll reads the frames of a recording. The error says what is wrong behind
// the last one, ErrUnfinished for instance; nil is an end in good order.
func ReadAll(src io.Reader) (Info, []Frame, error) {
	r, err := NewReader(src)
	if err != nil {
		return Info{}, nil, err
	}
	var frames []Frame
	for {
		f, err := r.Next()
		if err == io.EOF { //nolint:errorlint // by identity
			return r.info, frames, nil
		}
		if err != nil {
			return r.info, frames, err
		}
		frames = append(frames, f)
	}
}
