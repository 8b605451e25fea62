//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// operation is one call, one turn of a stream or one connection. It returns how
// many bytes of batches it moved.
type operation func() (int64, error)

// turnsPerStream is how many turns a stream lasts before the next one opens.
const turnsPerStream = 1000

// call is a unary method and the stream that calls it.
type call struct {
	method string
	body   []byte
}

// newOperation is the operation of a case, on a connection of its own.
func newOperation(l load, dial func() (io.ReadWriteCloser, error)) (operation, error) {
	if l.Case == "connect" {
		return connectOperation(l.Transport, dial), nil
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	switch {
	case l.Case == "exchange" && l.Transport == transportHTTP:
		return newHTTPStream(c, l.Size).turn, nil
	case l.Case == "exchange":
		s := &streamLoad{w: c, fr: newFrameReader(c, largeBuffer), request: requestFloat("exchange_scale", "factor", 2)}
		s.open, s.batch, s.end = split(floats(l.Size))
		return s.turn, nil
	case l.Case == "producer" && l.Transport != transportHTTP:
		open, tick, end := split(ticks())
		s := &streamLoad{w: c, fr: newFrameReader(c, largeBuffer), request: requestInt("produce_n", "count", turnsPerStream), producer: true}
		s.open, s.batch, s.end = open, tick, end
		return s.turn, nil
	}
	request, err := unaryCall(l)
	if err != nil {
		return nil, err
	}
	return unaryOperation(l.Transport, c, request), nil
}

// smallCall is the call that connections are tried with.
func smallCall() call { return call{"echo_int", requestInt("echo_int", "value", 42)} }

func unaryCall(l load) (call, error) {
	switch l.Case {
	case "unary":
		return smallCall(), nil
	case "bytes":
		return call{"echo_bytes", requestBytes("echo_bytes", "data", l.Size)}, nil
	case "enum":
		return call{"echo_enum", requestEnum()}, nil
	case "point":
		return call{"echo_point", requestPoint()}, nil
	case "strings":
		return call{"echo_list", requestStrings("echo_list", "values", l.Size)}, nil
	default:
		return call{}, fmt.Errorf("no such case: %q over %s", l.Case, l.Transport)
	}
}

// unaryOperation makes one call again and again on an open connection.
func unaryOperation(transport string, c io.ReadWriter, request call) operation {
	buffer := smallBuffer
	if len(request.body) > buffer {
		buffer = largeBuffer
	}
	if transport == transportHTTP {
		h := newHTTPConn(c, buffer)
		whole := httpRequest(request.method, request.body)
		return func() (int64, error) { return roundTrip(c, whole, h.response) }
	}
	fr := newFrameReader(c, buffer)
	return func() (int64, error) { return roundTrip(c, request.body, fr.response) }
}

// roundTrip sends one request and reads the whole response, whose size it
// returns, and that of a large request with it.
func roundTrip(w io.Writer, request []byte, response func() (int64, error)) (int64, error) {
	const atOnce = 1 << 15
	if len(request) <= atOnce {
		if _, err := w.Write(request); err != nil {
			return 0, err
		}
		return response()
	}
	// The worker may answer before it has read everything.
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(request)
		written <- err
	}()
	n, err := response()
	if werr := <-written; err == nil {
		err = werr
	}
	return n + int64(len(request)), err
}

// connectOperation connects, makes one call and closes.
func connectOperation(transport string, dial func() (io.ReadWriteCloser, error)) operation {
	request := smallCall()
	return func() (int64, error) {
		c, err := dial()
		if err != nil {
			return 0, err
		}
		n, err := unaryOperation(transport, c, request)()
		return n, errors.Join(err, c.Close())
	}
}

// streamLoad sends one tick or input batch for each turn and reads one output
// batch, opening and closing streams as needed.
type streamLoad struct {
	w                         io.Writer
	fr                        *frameReader
	request, open, batch, end []byte
	producer                  bool
	left                      int // turns of the open stream
}

func (s *streamLoad) turn() (int64, error) {
	if err := s.send(); err != nil {
		return 0, err
	}
	f, err := s.fr.next()
	if err != nil {
		return 0, err
	}
	if f.end {
		return 0, fmt.Errorf("stream ended with %d turns left", s.left)
	}
	if err := f.failed(); err != nil {
		return 0, err
	}
	if s.left--; s.left == 0 {
		return f.body, s.finish()
	}
	return f.body, nil
}

// send writes one input batch, behind a request where no stream is open.
func (s *streamLoad) send() error {
	if s.left > 0 {
		_, err := s.w.Write(s.batch)
		return err
	}
	if _, err := s.w.Write(slices.Concat(s.request, s.open, s.batch)); err != nil {
		return err
	}
	f, err := s.fr.next()
	if err != nil {
		return err
	}
	if f.header != schemaHeader {
		return fmt.Errorf("stream opens with a message of type %d", f.header)
	}
	s.left = turnsPerStream
	return nil
}

func (s *streamLoad) finish() error {
	if s.producer { // the tick past the last batch ends the output
		if _, err := s.w.Write(s.batch); err != nil {
			return err
		}
	}
	if _, err := s.w.Write(s.end); err != nil {
		return err
	}
	f, err := s.fr.next()
	if err == nil && !f.end {
		err = errors.New("stream goes on past its end")
	}
	return err
}
