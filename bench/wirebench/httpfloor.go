//go:build linux

package main

import (
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Tokens as long as those that a worker seals for exchange_scale.
var (
	cannedCursor = strings.Repeat("A", 104)
	cannedCall   = strings.Repeat("B", 264)
)

// serveHTTP answers over HTTP until the listener is closed.
func (f *floor) serveHTTP(l net.Listener) error {
	return http.Serve(l, f.handler()) //nolint:gosec // a timeout costs, and the floor's only client is wirebench
}

// handler answers HTTP requests with canned bytes, each when it has been read to
// its end, as every server must.
func (f *floor) handler() http.Handler {
	const buffered = 2048
	contentType := []string{arrowType}
	readers := sync.Pool{New: func() any { return new(frameReader) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fr := readers.Get().(*frameReader)
		defer readers.Put(fr)
		fr.r = r.Body
		rows, body, err := readInput(fr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := f.answer(path.Base(r.URL.Path), rows, body)
		h := w.Header()
		h["Content-Type"] = contentType
		// net/http counts what fits into its buffer.
		if len(answer) > buffered {
			h["Content-Length"] = []string{strconv.Itoa(len(answer))}
		}
		_, _ = w.Write(answer) // a client that is gone needs no answer
	})
}

// answer is the response to a request whose path ends with name.
func (f *floor) answer(name string, rows, body int64) []byte {
	switch name {
	case "echo_bytes", "echo_list":
		return f.echoOf(body)
	case "init":
		return f.opening
	case "exchange":
		return f.kept(f.turnByRows, rows, func() []byte {
			return stream(withTokens(floatRows(int(rows)), cannedCursor, ""))
		})
	default:
		return f.echo
	}
}

// readInput reads a stream to its end, and returns the size of its last batch in
// rows and bytes.
func readInput(fr *frameReader) (rows, body int64, err error) {
	for {
		m, err := fr.next()
		if err != nil || m.end {
			return rows, body, err
		}
		rows, body = m.rows, m.body
	}
}
