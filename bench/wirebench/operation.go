//go:build linux

package main

import (
	"bufio"
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

// newOperation is the operation of a case, on a connection of its own.
func newOperation(l load, dial func() (io.ReadWriteCloser, error)) (operation, error) {
	if l.Case == "connect" {
		return connectOperation(dial), nil
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	fr := &frameReader{r: bufio.NewReaderSize(c, 1<<16)}
	switch l.Case {
	case "producer":
		open, tick, end := split(ticks())
		s := &streamLoad{w: c, fr: fr, request: requestInt("produce_n", "count", turnsPerStream), producer: true}
		s.open, s.batch, s.end = open, tick, end
		return s.turn, nil
	case "exchange":
		s := &streamLoad{w: c, fr: fr, request: requestFloat("exchange_scale", "factor", 2)}
		s.open, s.batch, s.end = split(floats(l.Size))
		return s.turn, nil
	}
	body, err := unaryRequest(l)
	if err != nil {
		return nil, err
	}
	return unaryOperation(c, fr, body), nil
}

func unaryRequest(l load) ([]byte, error) {
	switch l.Case {
	case "unary":
		return requestInt("echo_int", "value", 42), nil
	case "bytes":
		return requestBytes("echo_bytes", "data", l.Size), nil
	case "enum":
		return requestEnum(), nil
	case "point":
		return requestPoint(), nil
	case "strings":
		return requestStrings("echo_list", "values", l.Size), nil
	default:
		return nil, fmt.Errorf("no such case: %q", l.Case)
	}
}

// unaryOperation sends one request and reads the whole response.
func unaryOperation(w io.Writer, fr *frameReader, body []byte) operation {
	const atOnce = 1 << 15
	if len(body) <= atOnce {
		return func() (int64, error) {
			if _, err := w.Write(body); err != nil {
				return 0, err
			}
			return fr.response()
		}
	}
	return func() (int64, error) {
		// The worker may answer before it has read everything.
		written := make(chan error, 1)
		go func() {
			_, err := w.Write(body)
			written <- err
		}()
		n, err := fr.response()
		if werr := <-written; err == nil {
			err = werr
		}
		return n + int64(len(body)), err
	}
}

// connectOperation connects, makes one call and closes.
func connectOperation(dial func() (io.ReadWriteCloser, error)) operation {
	body := requestInt("echo_int", "value", 42)
	return func() (int64, error) {
		c, err := dial()
		if err != nil {
			return 0, err
		}
		n, err := unaryOperation(c, &frameReader{r: bufio.NewReader(c)}, body)()
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
