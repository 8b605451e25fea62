//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"
)

// canned is a connection whose other end has said everything in advance.
type canned struct {
	io.Reader
	io.Writer
}

// exceptionStream is a response that is an error.
func exceptionStream() []byte {
	rec := floatRows(0)
	return stream(array.NewRecordBatchWithMetadata(rec.Schema(), rec.Columns(), 0, arrow.NewMetadata(
		[]string{"vgi_rpc.log_level", "vgi_rpc.log_message"}, []string{"EXCEPTION", "ValueError: too odd"})))
}

func announced(headers string, body []byte) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s", headers, len(body), body)
}

func TestACallOverHTTPSucceedsOnlyWithAWholeResult(t *testing.T) {
	t.Parallel()
	result := newFloor().echo
	half := len(result) / 2
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, test := range map[string]struct {
		response string
		want     string // in the error
	}{
		"a result of an announced length": {announced("", result), ""},
		"a result in chunks":              {fmt.Sprintf("%s%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", chunked, half, result[:half], len(result)-half, result[half:]), ""},
		"chunks with a trailer":           {fmt.Sprintf("%s%x\r\n%s\r\n0\r\nServer-Timing: 1\r\n\r\n", chunked, len(result), result), ""},
		"nothing":                         {"", "EOF"},
		"something else than HTTP":        {"SSH-2.0-x\r\n", `not an HTTP/1.1 response: "SSH-2.0-x"`},
		"another version of HTTP":         {"HTTP/1.0 200 OK\r\n\r\n", "not an HTTP/1.1 response"},
		"a head that ends early":          {"HTTP/1.1 200 OK\r\nDate: now\r\n", "head of a response: EOF"},
		"a body of unknown length":        {"HTTP/1.1 200 OK\r\n\r\n" + string(result), "neither announces its length"},
		"a length that is no number":      {"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "many"},
		"half a body":                     {strings.TrimSuffix(announced("", result), string(result[half:])), "unexpected EOF"},
		"a body of something else":        {announced("", []byte("<html></html>")), "not an IPC message"},
		"bytes behind the stream":         {announced("", append(bytes.Clone(result), 1, 2, 3)), "3 bytes follow the stream"},
		"another status":                  {strings.Replace(announced("", []byte("busy")), "200 OK", "503 Service Unavailable", 1), `status 503 Service Unavailable: "busy"`},
		"an error in the header":          {announced("x-vgi-rpc-error: true\r\n", result), "X-VGI-RPC-Error: true"},
		"an error in header and body":     {announced("X-VGI-RPC-Error: true\r\n", exceptionStream()), "ValueError: too odd"},
		"an error in the body alone":      {announced("", exceptionStream()), "ValueError: too odd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := 1
			if test.want == "" {
				times = 2 // the second response starts where the first one ends
			}
			c := canned{strings.NewReader(strings.Repeat(test.response, times)), io.Discard}
			call := unaryOperation(transportHTTP, c, smallCall())
			for i := range times {
				n, err := call()
				if test.want != "" {
					if err == nil || !strings.Contains(err.Error(), test.want) {
						t.Errorf("got error %v, want one with %q", err, test.want)
					}
				} else if n != 8 || err != nil {
					t.Errorf("call %d: %d bytes of batches, error %v", i+1, n, err)
				}
			}
		})
	}
}

// sealer is a server whose tokens tell which turn they are for.
type sealer struct {
	seen    []string // the tokens of each request
	opened  int
	cursors int
	forget  int // the turn whose answer has no token, 0 for none
}

func (s *sealer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fr := &frameReader{r: r.Body}
	var cursor, call string
	var rows int64
	for {
		m, err := fr.next()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if m.end {
			break
		}
		if m.header == batchHeader {
			cursor, _ = m.custom("vgi_rpc.stream_state#b64")
			call, _ = m.custom("vgi_rpc.call_state#b64")
			rows = m.rows
		}
	}
	s.seen = append(s.seen, fmt.Sprintf("%s rows=%d cursor=%s call=%s", r.URL.Path, rows, cursor, call))
	s.cursors++
	call = ""
	if strings.HasSuffix(r.URL.Path, "/init") {
		s.opened++
		call = strings.Repeat("call", 10*s.opened)
	}
	// Tokens of three lengths, so that requests of each are made anew.
	cursor = strings.Repeat("cursor", s.cursors%3+1) + fmt.Sprintf("%05d", s.cursors)
	if s.cursors == s.forget {
		cursor = ""
	}
	_, _ = w.Write(stream(withTokens(floatRows(int(rows)), cursor, call)))
}

func dialed(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestATurnOverHTTPCarriesTheTokensOfTheAnswersBefore(t *testing.T) {
	t.Parallel()
	s := new(sealer)
	turns := newHTTPStream(dialed(t, s), 3)
	const more = 5
	for i := range turnsPerStream + more {
		if n, err := turns.turn(); n != 24 || err != nil {
			t.Fatalf("turn %d: %d bytes of batches, error %v", i+1, n, err)
		}
	}
	var want []string
	for i := range turnsPerStream + more + 2 { // two requests open a stream
		const first, second = 0, turnsPerStream + 1
		call := strings.Repeat("call", 10)
		if i > second {
			call += call
		}
		line := fmt.Sprintf("/ConformanceService/exchange_scale/exchange rows=3 cursor=%s%05d call=%s", strings.Repeat("cursor", i%3+1), i, call)
		if i == first || i == second {
			line = "/ConformanceService/exchange_scale/init rows=1 cursor= call="
		}
		want = append(want, line)
	}
	if diff := cmp.Diff(want, s.seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestATurnOverHTTPFailsWithoutATokenForTheNext(t *testing.T) {
	t.Parallel()
	turns := newHTTPStream(dialed(t, &sealer{forget: 3}), 1)
	if _, err := turns.turn(); err != nil {
		t.Fatal(err)
	}
	_, err := turns.turn()
	if want := "holds no vgi_rpc.stream_state#b64"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want one with %q", err, want)
	}
}

func TestTheFloorAnswersAsManyBytesAsItIsSent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newFloor().handler())
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		path        string
		body        []byte
		rows, bytes int64
	}{
		"one number for one number": {"echo_int", smallCall().body, 1, 8},
		"bytes for bytes":           {"echo_bytes", requestBytes("echo_bytes", "data", 99_992), 1, 100_000},
		"rows for rows":             {"exchange_scale/exchange", floats(1000), 1000, 8000},
		"no rows for the opening":   {"exchange_scale/init", requestFloat("exchange_scale", "factor", 2), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/ConformanceService/"+test.path, bytes.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			fr := newFrameReader(resp.Body, largeBuffer)
			_, schemaErr := fr.next()
			got, err := fr.next()
			if schemaErr != nil || err != nil {
				t.Fatalf("status %d: %v, %v", resp.StatusCode, schemaErr, err)
			}
			if got.header != batchHeader || got.rows != test.rows || got.body != test.bytes {
				t.Errorf("got a message of type %d, %d rows and %d bytes: want %d rows and %d bytes", got.header, got.rows, got.body, test.rows, test.bytes)
			}
		})
	}
}

func TestTheFloorTakesAPortOrAnAddressForHTTP(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0", "127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self(t), "floor", "--http", address)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if !regexp.MustCompile(`^PORT:[1-9][0-9]*\n$`).MatchString(line) {
				t.Errorf("announced %q, error %v", line, err)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // says that it was killed
		})
	}
}
