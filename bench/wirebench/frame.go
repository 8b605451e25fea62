//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	flatbuffers "github.com/google/flatbuffers/go"
)

// Types of an Arrow IPC message.
const (
	schemaHeader = 1
	batchHeader  = 3
)

// Places of the fields in the flatbuffer tables Message, RecordBatch and
// KeyValue.
const (
	messageHeaderType = 6
	messageHeader     = 8
	messageBodyLength = 10
	messageMetadata   = 12
	batchLength       = 4
	entryKey          = 4
	entryValue        = 6
)

// Sizes of a connection's buffer in bytes, for small calls and for others.
const (
	smallBuffer = 1 << 12
	largeBuffer = 1 << 16
)

// frame is one encapsulated Arrow IPC message, as little parsed as the load
// generator needs: it must cost less than the worker that it measures.
type frame struct {
	end    bool // end of the stream; nothing else is set
	header byte
	rows   int64
	body   int64 // length
	meta   []byte
}

// frameReader reads encapsulated messages off a byte stream. A frame and body
// are valid until the next one.
type frameReader struct {
	r      io.Reader
	prefix [8]byte
	meta   []byte
	body   []byte
}

// newFrameReader reads a connection through a buffer of so many bytes.
func newFrameReader(r io.Reader, buffer int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, buffer)}
}

func (fr *frameReader) next() (frame, error) {
	if _, err := io.ReadFull(fr.r, fr.prefix[:]); err != nil {
		return frame{}, err
	}
	if binary.LittleEndian.Uint32(fr.prefix[:4]) != 0xFFFFFFFF {
		return frame{}, fmt.Errorf("not an IPC message: % x", fr.prefix)
	}
	n := int(binary.LittleEndian.Uint32(fr.prefix[4:]))
	if n == 0 {
		return frame{end: true}, nil
	}
	if cap(fr.meta) < n {
		fr.meta = make([]byte, n)
	}
	fr.meta = fr.meta[:n]
	if _, err := io.ReadFull(fr.r, fr.meta); err != nil {
		return frame{}, err
	}
	f := parse(fr.meta)
	if int64(cap(fr.body)) < f.body {
		fr.body = make([]byte, f.body)
	}
	fr.body = fr.body[:f.body]
	_, err := io.ReadFull(fr.r, fr.body)
	return f, err
}

func root(meta []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}
}

func slot(t *flatbuffers.Table, at flatbuffers.VOffsetT) flatbuffers.UOffsetT {
	return flatbuffers.UOffsetT(t.Offset(at))
}

func parse(meta []byte) frame {
	t := root(meta)
	f := frame{meta: meta}
	if o := slot(&t, messageHeaderType); o != 0 {
		f.header = t.GetByte(o + t.Pos)
	}
	if o := slot(&t, messageBodyLength); o != 0 {
		f.body = t.GetInt64(o + t.Pos)
	}
	o := slot(&t, messageHeader)
	if f.header != batchHeader || o == 0 {
		return f
	}
	var rb flatbuffers.Table
	t.Union(&rb, o)
	if o := slot(&rb, batchLength); o != 0 {
		f.rows = rb.GetInt64(o + rb.Pos)
	}
	return f
}

// custom is the value of one key of a message's custom metadata.
func (f frame) custom(key string) (string, bool) {
	t := root(f.meta)
	o := slot(&t, messageMetadata)
	if o == 0 {
		return "", false
	}
	entries := t.Vector(o)
	for i := range t.VectorLen(o) {
		kv := flatbuffers.Table{Bytes: f.meta}
		kv.Pos = t.Indirect(entries + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT))
		k, v := slot(&kv, entryKey), slot(&kv, entryValue)
		if k != 0 && string(kv.ByteVector(k+kv.Pos)) == key {
			if v == 0 {
				return "", true
			}
			return string(kv.ByteVector(v + kv.Pos)), true
		}
	}
	return "", false
}

// failed is the error that an error batch carries.
func (f frame) failed() error {
	if level, ok := f.custom("vgi_rpc.log_level"); ok && level == "EXCEPTION" {
		message, _ := f.custom("vgi_rpc.log_message")
		return fmt.Errorf("the worker answers with an error: %s", message)
	}
	return nil
}

// response reads one whole IPC stream and returns how many bytes its batches
// held.
func (fr *frameReader) response() (int64, error) {
	var body int64
	var failed error
	for {
		f, err := fr.next()
		if err != nil {
			return body, err
		}
		if f.end {
			return body, failed
		}
		if f.header == batchHeader {
			if err := f.failed(); err != nil {
				failed = err
			}
			body += f.body
		}
	}
}
