package clientdriver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// endTimeout bounds each part of the shutdown: who drives gives all of it five
// seconds.
const endTimeout = 2 * time.Second

// Run answers the operations on in until it is told to shut down or in ends, and
// ends the connection. stderr gets diagnostics, and the standard error of a
// worker that was started. It returns the error of in or out; what an operation
// fails with is part of its answer.
func Run(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
	d := &driver{stderr: stderr, log: slog.New(slog.NewTextHandler(stderr, nil)), methods: map[call]*vgirpc.Method{}}
	lines := bufio.NewReader(in)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			d.end(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read of an operation: %w", err)
		}
		answer, last := d.answer(ctx, line)
		if err := enc.Encode(answer); err != nil {
			d.end(ctx)
			return fmt.Errorf("write of an answer: %w", err)
		}
		if last {
			return nil
		}
	}
}

// driver is one connection and what is open on it.
type driver struct {
	stderr io.Writer
	log    *slog.Logger

	conn     *connection // nil before connect
	protocol string
	methods  map[call]*vgirpc.Method
	schemas  wire.SchemaCache
	sessions []session // the innermost is the last
	stream   vgirpc.TurnStream
	logs     []logRecord // since the last answer
}

// request is one operation. Fields that it does not know are ignored.
type request struct {
	Op string `json:"op"`

	// connect
	Transport        string            `json:"transport"`
	Target           json.RawMessage   `json:"target"`
	Protocol         string            `json:"protocol"`
	External         bool              `json:"external"`
	CompressionLevel json.RawMessage   `json:"compression_level"` // nil when absent, "null" when null
	SHMSize          int64             `json:"shm_size"`
	ZeroCopy         bool              `json:"zero_copy"` // ours: batches are read where they lie, where the server allows it
	Headers          map[string]string `json:"headers"`

	// calls and streams
	Request    string `json:"request_b64"`
	Input      string `json:"input_b64"`
	IsExchange *bool  `json:"is_exchange"`
	HasHeader  bool   `json:"has_header"`

	Count *int    `json:"count"`
	Token *string `json:"token"`
}

// answers is the answer to an operation: "ok" and what goes with it.
type answers map[string]any

// operation does what a request says. Its error is the driver's own: the request
// was not carried out.
type operation func(d *driver, ctx context.Context, q *request) (answers, error)

// operations are all but shutdown, by name. Those of the second table need an
// HTTP connection, those of both any.
var (
	operations = map[string]operation{
		"describe": (*driver).describe, "unary": (*driver).unary, "stream_open": (*driver).openStream,
		"tick": (*driver).tick, "next_with_token": (*driver).nextWithToken, "exchange": (*driver).exchange,
		"cancel": (*driver).cancel, "close": (*driver).closeStream,
	}
	httpOperations = map[string]operation{
		"capabilities": (*driver).capabilities, "request_upload_urls": (*driver).uploadURLs,
		"session_begin": (*driver).beginSession, "session_token": (*driver).sessionToken,
		"session_echo_headers": (*driver).echoHeaders, "session_detach": (*driver).detachSession,
		"session_end": (*driver).endSession,
	}
)

// Errors of operations that come at the wrong time.
var (
	errNotConnected = errors.New("not connected")
	errConnected    = errors.New("connected already")
	errNeedsHTTP    = errors.New("op requires http transport")
	errNoStream     = errors.New("no stream is open")
	errStreamOpen   = errors.New("a stream is open")
	errNoSession    = errors.New("no session is open")
)

// answer carries out the operation on a line. last says that it was a shutdown.
func (d *driver) answer(ctx context.Context, line []byte) (a answers, last bool) {
	var q request
	if err := decodeLine(line, &q); err != nil {
		return answers{"ok": false, "error": err.Error()}, false
	}
	if q.Op == "shutdown" {
		d.end(ctx)
		return answers{"ok": true}, true
	}
	a, err := d.carryOut(ctx, &q)
	if err != nil {
		a = answers{"error": err.Error()}
	}
	a["ok"] = err == nil
	a["logs"], d.logs = relayed(d.logs), nil
	return a, false
}

func decodeLine(line []byte, q *request) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	if err := dec.Decode(q); err != nil {
		return fmt.Errorf("malformed operation: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("malformed operation: more than one value on a line")
	}
	return nil
}

func (d *driver) carryOut(ctx context.Context, q *request) (answers, error) {
	if q.Op == "connect" {
		return d.connect(q)
	}
	do, http := operations[q.Op], false
	if do == nil {
		do, http = httpOperations[q.Op], true
	}
	switch {
	case do == nil:
		return nil, fmt.Errorf("unknown op %q", q.Op)
	case d.conn == nil:
		return nil, errNotConnected
	case http && d.conn.http == nil:
		return nil, errNeedsHTTP
	}
	return do(d, ctx, q)
}

// client is what calls go through: the innermost session's, where there is one.
func (d *driver) client() *vgirpc.Client {
	if n := len(d.sessions); n > 0 {
		return d.sessions[n-1].client
	}
	return d.conn.client
}

// end gives back all that is open. It is part of no operation that could report
// a failure.
func (d *driver) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if s := d.stream; s != nil {
		d.stream = nil
		d.note("end of the stream", s.Cancel(ctx))
	}
	for len(d.sessions) > 0 {
		d.popSession(ctx)
	}
	if c := d.conn; c != nil {
		d.conn = nil
		d.note("end of the connection", c.close())
	}
}

func (d *driver) note(what string, err error) {
	if err != nil {
		d.log.Warn(what, "error", err)
	}
}
