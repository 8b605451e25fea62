//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

const (
	transportHTTP = "http"
	arrowType     = "application/vnd.apache.arrow.stream"
)

// httpRequest is a whole HTTP/1.1 request to one method of the service, or to
// one of its two parts where it is a stream: exchange_scale/init.
func httpRequest(method string, body []byte) []byte {
	return fmt.Appendf(nil, "POST /ConformanceService/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "+arrowType+
		"\r\nAccept-Encoding: identity\r\nContent-Length: %d\r\n\r\n%s", method, len(body), body)
}

// httpConn reads the responses of one kept-alive HTTP/1.1 connection, and of
// each as little as shows that it is no error: it must cost less than the server
// that it measures.
type httpConn struct {
	r       *bufio.Reader
	counted io.LimitedReader // the body, where its length was announced
	chunked bool             // the body is in chunks instead
	fr      frameReader      // reads the body
}

func newHTTPConn(r io.Reader, buffer int) *httpConn {
	return &httpConn{r: bufio.NewReaderSize(r, buffer)}
}

// response reads one response to its end and returns how many bytes its batches
// held.
func (h *httpConn) response() (int64, error) {
	if err := h.head(); err != nil {
		return 0, err
	}
	n, err := h.fr.response()
	if err != nil {
		return n, err
	}
	return n, h.finish()
}

// head reads a response up to its body.
func (h *httpConn) head() error {
	line, err := h.line()
	if err != nil {
		return err
	}
	status, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok {
		return fmt.Errorf("not an HTTP/1.1 response: %q", line)
	}
	refused := ""
	if !bytes.HasPrefix(status, []byte("200 ")) {
		refused = string(status)
	}
	failed, err := h.headers()
	if err != nil {
		return err
	}
	switch {
	case refused != "":
		const enough = 400
		why, err := io.ReadAll(io.LimitReader(h.fr.r, enough))
		return errors.Join(fmt.Errorf("the worker answers with status %s: %q", refused, why), err)
	case failed != "":
		_, err := h.fr.response() // holds the message
		return errors.Join(fmt.Errorf("the worker answers with X-VGI-RPC-Error: %s", failed), err)
	}
	return nil
}

// headers reads the header lines and the empty line behind them, and prepares to
// read the body. It returns the value of X-VGI-RPC-Error.
func (h *httpConn) headers() (failed string, err error) {
	h.chunked, h.counted = false, io.LimitedReader{R: h.r, N: -1}
	for {
		line, err := h.line()
		if err != nil {
			return "", err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.counted.N, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return "", err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("X-VGI-RPC-Error")):
			failed = string(value)
		}
	}
	switch {
	case h.chunked:
		h.fr.r = httputil.NewChunkedReader(h.r)
	case h.counted.N >= 0:
		h.fr.r = &h.counted
	default:
		return "", errors.New("the response neither announces its length nor is it chunked")
	}
	return failed, nil
}

// line reads one line of a head, without its end. It is valid until the next
// read.
func (h *httpConn) line() ([]byte, error) {
	line, err := h.r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("head of a response: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// finish makes sure that a body ends where its stream does, and that the next
// response follows.
func (h *httpConn) finish() error {
	if !h.chunked && h.counted.N == 0 {
		return nil
	}
	if n, err := io.Copy(io.Discard, h.fr.r); n > 0 || err != nil {
		return errors.Join(fmt.Errorf("%d bytes follow the stream of a response", n), err)
	}
	for h.chunked { // trailers, to the empty line
		line, err := h.line()
		if err != nil {
			return err
		}
		h.chunked = len(line) > 0
	}
	return nil
}

// httpStream makes the turns of exchange_scale, each a request of its own with
// the tokens of the answers before, and opens streams as needed.
type httpStream struct {
	w            io.Writer
	h            *httpConn
	opening      []byte
	input        arrow.RecordBatch
	turns        map[[2]int]httpTurn // by the lengths of cursor and call
	cursor, call string              // tokens: of the last answer; of the answer that opened the stream
	left         int                 // turns of the open stream
}

func newHTTPStream(c io.ReadWriter, rows int) *httpStream {
	return &httpStream{
		w: c, h: newHTTPConn(c, largeBuffer), input: floatRows(rows), turns: map[[2]int]httpTurn{},
		opening: httpRequest("exchange_scale/init", requestFloat("exchange_scale", "factor", 2)),
	}
}

func (s *httpStream) turn() (int64, error) {
	if s.left == 0 {
		s.call = ""
		if _, err := roundTrip(s.w, s.opening, s.answer); err != nil {
			return 0, fmt.Errorf("opening a stream: %w", err)
		}
		s.left = turnsPerStream
	}
	s.left--
	return roundTrip(s.w, s.request(), s.answer)
}

// request is the request for the next turn. It is valid until the next one.
func (s *httpStream) request() []byte {
	lengths := [2]int{len(s.cursor), len(s.call)}
	t, ok := s.turns[lengths]
	if !ok {
		t = newHTTPTurn(s.input, len(s.cursor), len(s.call))
		s.turns[lengths] = t
	}
	copy(t.cursor, s.cursor)
	copy(t.call, s.call)
	return t.request
}

// answer reads one response, returns how many bytes its batches held, and keeps
// its tokens for the next turn.
func (s *httpStream) answer() (int64, error) {
	if err := s.h.head(); err != nil {
		return 0, err
	}
	s.cursor = ""
	var body int64
	for {
		f, err := s.h.fr.next()
		if err != nil {
			return body, err
		}
		if f.end {
			break
		}
		if f.header != batchHeader {
			continue
		}
		if err := f.failed(); err != nil {
			return body, err
		}
		body += f.body
		if token, ok := f.custom(wire.KeyStreamState); ok {
			s.cursor = token
		}
		if token, ok := f.custom(wire.KeyCallState); ok {
			s.call = token
		}
	}
	if s.cursor == "" {
		return body, errors.New("the answer holds no " + wire.KeyStreamState)
	}
	return body, s.h.finish()
}

// httpTurn is a request for one turn, in which the tokens are written over: to
// encode each request would cost the client more than the rest of its work.
type httpTurn struct {
	request      []byte
	cursor, call []byte // where the tokens are in it
}

func newHTTPTurn(input arrow.RecordBatch, cursor, call int) httpTurn {
	// Characters that neither a schema nor a metadata key holds, and metadata
	// comes before data.
	cursors, calls := strings.Repeat("~", cursor), strings.Repeat("^", call)
	t := httpTurn{request: httpRequest("exchange_scale/exchange", stream(withTokens(input, cursors, calls)))}
	place := func(token string) []byte {
		at := bytes.Index(t.request, []byte(token))
		return t.request[at : at+len(token)]
	}
	t.cursor, t.call = place(cursors), place(calls)
	return t
}
