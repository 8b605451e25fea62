package clientdriver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/conformance/clientdriver"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// What a process that was started from this test binary is.
const (
	roleVariable = "VGI_CLIENTDRIVER_TEST_ROLE"
	roleWorker   = "worker"
	roleDriver   = "driver"
)

// quickRace keeps the race detector from sleeping at the end of a process.
const quickRace = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleWorker:
		os.Exit(conformance.Main(context.Background(), os.Args[1:]))
	case roleDriver:
		if err := os.Setenv(roleVariable, roleWorker); err != nil { // of what it starts
			panic(err)
		}
		if err := clientdriver.Run(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// object is a line of the control channel.
type object = map[string]any

// running is a driver that a test asks.
type running struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Reader
	done chan error
}

// drive starts a driver, which is ended with the test.
func drive(t *testing.T) *running {
	t.Helper()
	t.Setenv(roleVariable, roleWorker) // of what the driver starts
	t.Setenv("GORACE", quickRace)
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	var stderr bytes.Buffer
	r := &running{t: t, in: inW, out: bufio.NewReader(outR), done: make(chan error, 1)}
	go func() {
		r.done <- clientdriver.Run(context.Background(), inR, outW, &stderr)
		_ = outW.Close() // of a pipe: cannot fail
	}()
	t.Cleanup(func() {
		_ = inW.Close()
		if err := <-r.done; err != nil {
			t.Errorf("the driver: %v", err)
		}
		if t.Failed() {
			t.Logf("stderr of the driver: %s", &stderr)
		}
	})
	return r
}

// raw sends a line and returns the answer.
func (r *running) raw(line string) object {
	r.t.Helper()
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.out.ReadBytes('\n')
	if err != nil {
		r.t.Fatalf("answer to %.80s: %v", line, err)
	}
	var a object
	if err := json.Unmarshal(answer, &a); err != nil {
		r.t.Fatalf("answer to %.80s: %v: %s", line, err, answer)
	}
	return a
}

// ask sends an operation with pairs of fields.
func (r *running) ask(op string, fields ...any) object {
	r.t.Helper()
	q := object{"op": op}
	for i := 0; i < len(fields); i += 2 {
		q[fields[i].(string)] = fields[i+1]
	}
	line, err := json.Marshal(q)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.raw(string(line))
}

// good is ask for an operation that must not fail.
func (r *running) good(op string, fields ...any) object {
	r.t.Helper()
	a := r.ask(op, fields...)
	if a["ok"] != true || a["error"] != nil {
		r.t.Fatalf("%s: %v", op, a)
	}
	return a
}

func (r *running) connect(transport string, target any, more ...any) {
	r.t.Helper()
	r.good("connect", append([]any{"transport", transport, "target", target, "protocol", "ConformanceService"}, more...)...)
}

// open opens a stream.
func (r *running) open(method string, exchange, header bool, cols ...column) object {
	r.t.Helper()
	return r.good("stream_open", "request_b64", request(r.t, method, cols...), "is_exchange", exchange, "has_header", header)
}

// column is one value of a request.
type column struct {
	name  string
	value any // string, int64 or float64
}

// batch is a batch of the control channel: one row, none without columns.
func batch(t *testing.T, meta wire.Metadata, cols ...column) string {
	t.Helper()
	b := wire.Batch{Rows: min(len(cols), 1), Meta: meta}
	var fields []arrow.Field
	for _, c := range cols {
		f, col := arrow.Field{Name: c.name}, wire.Column{Rows: 1}
		switch v := c.value.(type) {
		case string:
			f.Type, col.Offsets, col.Data = arrow.BinaryTypes.String, wire.Bytes([]int32{0, int32(len(v))}), []byte(v)
		case int64:
			f.Type, col.Data = arrow.PrimitiveTypes.Int64, wire.Bytes([]int64{v})
		case float64:
			f.Type, col.Data = arrow.PrimitiveTypes.Float64, wire.Bytes([]float64{v})
		default:
			t.Fatalf("no column of a %T", v)
		}
		fields, b.Cols = append(fields, f), append(b.Cols, col)
	}
	schema, err := wire.NewSchema(arrow.NewSchema(fields, nil))
	if err != nil {
		t.Fatal(err)
	}
	b.Schema = schema
	return base64.StdEncoding.EncodeToString(encode(t, &b))
}

// encode is a stream of batches on the schema of the first.
func encode(t *testing.T, batches ...*wire.Batch) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	err := w.Open(batches[0].Schema)
	for _, b := range batches {
		err = errors.Join(err, w.Batch(b))
	}
	if err := errors.Join(err, w.Close(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// request is the request of a conformance method.
func request(t *testing.T, method string, cols ...column) string {
	t.Helper()
	b64 := batch(t, wire.Metadata{
		{Key: wire.KeyMethod, Value: method},
		{Key: wire.KeyProtocol, Value: "ConformanceService"},
		{Key: wire.KeyRequestVersion, Value: "1"},
		{Key: wire.KeyProtocolVersion, Value: "2.0.0"},
	}, cols...)
	if len(cols) > 0 {
		return b64
	}
	// A method without parameters has one row as well.
	return base64.StdEncoding.EncodeToString(encode(t, &wire.Batch{Schema: wire.EmptySchema(), Rows: 1, Meta: wire.Metadata{
		{Key: wire.KeyMethod, Value: method},
		{Key: wire.KeyProtocol, Value: "ConformanceService"},
		{Key: wire.KeyRequestVersion, Value: "1"},
		{Key: wire.KeyProtocolVersion, Value: "2.0.0"},
	}}))
}

// decode is the one batch of a field of an answer.
func decode(t *testing.T, field any) *wire.Batch {
	t.Helper()
	text, ok := field.(string)
	if !ok {
		t.Fatalf("no batch but %v", field)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(bytes.NewReader(raw), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	b, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(t *testing.T, field any) string {
	t.Helper()
	return string(decode(t, field).Cols[0].Data)
}

func number(t *testing.T, field any) int64 {
	t.Helper()
	return wire.Values[int64](&decode(t, field).Cols[0])[0]
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// keys are the fields of an answer that do not depend on the call.
func keys(o object, names ...string) object {
	out := maps.Clone(o)
	maps.DeleteFunc(out, func(k string, _ any) bool { return !slices.Contains(names, k) })
	return out
}

// listening starts a worker and returns what it announces, without the kind.
func listening(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleWorker, "GORACE="+quickRace)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // with the context, mostly
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, where, _ := strings.Cut(strings.TrimSpace(line), ":")
	return where
}

// transports connect a driver to a worker over each transport.
var transports = map[string]func(t *testing.T) (transport string, target any, more []any){
	"stdio": func(*testing.T) (string, any, []any) { return "stdio", []string{os.Args[0]}, nil },
	"shm":   func(*testing.T) (string, any, []any) { return "shm", []string{os.Args[0]}, []any{"shm_size", 1 << 20} },
	"shm without a copy": func(*testing.T) (string, any, []any) {
		return "shm", []string{os.Args[0]}, []any{"shm_size", 1 << 20, "zero_copy", true}
	},
	"unix": func(t *testing.T) (string, any, []any) {
		t.Helper()
		return "unix", listening(t, "--unix", filepath.Join(t.TempDir(), "s")), nil
	},
	"tcp": func(t *testing.T) (string, any, []any) {
		t.Helper()
		_, port, _ := strings.Cut(listening(t, "--tcp", "0"), ":")
		return "tcp", ":" + port, nil
	},
	"http": func(t *testing.T) (string, any, []any) {
		t.Helper()
		return "http", "http://127.0.0.1:" + listening(t, "--http", "0"), []any{"compression_level", 1, "external", true, "headers", object{}}
	},
}

func TestEveryOperationOnEveryTransport(t *testing.T) {
	for name, start := range transports {
		t.Run(name, func(t *testing.T) {
			transport, target, more := start(t)
			t.Setenv(shm.MinBatchVariable, "1")
			r := drive(t)
			r.connect(transport, target, more...)
			testCalls(t, r)
			equal(t, "memory that was passed to the worker", passedMemory(t), transport == "shm" && shm.Supported)
			testProducers(t, r, transport == "http")
			testExchanges(t, r)
			testDescribe(t, r)
			if transport != "http" {
				for _, op := range []string{
					"capabilities", "request_upload_urls", "session_begin", "session_token", "session_echo_headers", "session_detach", "session_end",
				} {
					equal(t, op, keys(r.ask(op), "ok", "error"), object{"ok": false, "error": "op requires http transport"})
				}
			}
			equal(t, "shutdown", r.ask("shutdown"), object{"ok": true})
			if _, err := r.out.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("after the shutdown: %v", err)
			}
		})
	}
}

// passedMemory reports whether this process holds memory without a name, as the
// driver does while it shares some with a worker of ours.
func passedMemory(t *testing.T) bool {
	t.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(open, func(fd string) bool {
		link, err := os.Readlink(fd)
		return err == nil && strings.HasPrefix(link, "/memfd:"+vgirpc.MemoryName)
	})
}

func testCalls(t *testing.T, r *running) {
	t.Helper()
	a := r.good("unary", "request_b64", request(t, "echo_string", column{"value", "héllo"}))
	equal(t, "echo", text(t, a["result_b64"]), "héllo")
	equal(t, "no logs", a["logs"], []any{})

	a = r.good("unary", "request_b64", request(t, "void_noop"))
	equal(t, "columns of a void result", len(decode(t, a["result_b64"]).Cols), 0)

	a = r.good("unary", "request_b64", request(t, "echo_with_log_extras", column{"value", "v"}))
	equal(t, "logs", a["logs"], []any{object{"level": "INFO", "message": "info: v", "extra": object{"source": "conformance", "detail": "v"}}})
	a = r.good("unary", "request_b64", request(t, "echo_string", column{"value", "v"}))
	equal(t, "logs are told of once", a["logs"], []any{})

	a = r.ask("unary", "request_b64", request(t, "raise_value_error", column{"message", "boom"}))
	e, _ := a["error"].(object)
	equal(t, "error", keys(e, "error_type", "error_message", "error_code", "error_kind", "error_details"), object{
		"error_type": "ValueError", "error_message": "boom", "error_code": "UNKNOWN", "error_kind": "", "error_details": []any{},
	})
	if trace, _ := e["traceback"].(string); !strings.Contains(trace, "boom") {
		t.Errorf("traceback %q", e["traceback"])
	}
	equal(t, "answer to a failed call", keys(a, "ok", "result_b64"), object{"ok": true, "result_b64": nil})
	a = r.ask("unary", "request_b64", request(t, "no_such_method"))
	equal(t, "missing method", keys(a["error"].(object), "error_code", "error_kind"), object{
		"error_code": "UNIMPLEMENTED", "error_kind": "method_not_implemented",
	})
}

func testProducers(t *testing.T, r *running, resumable bool) {
	t.Helper()
	equal(t, "no header", r.open("produce_n", false, false, column{"count", int64(2)})["header_b64"], nil)
	for i := range int64(2) {
		a := r.good("tick")
		equal(t, "done", a["done"], false)
		equal(t, "index", number(t, a["batch_b64"]), i)
	}
	equal(t, "the end", keys(r.good("tick"), "done", "batch_b64", "error"), object{"done": true, "batch_b64": nil, "error": nil})
	equal(t, "after the end", r.ask("tick")["ok"], false)

	a := r.open("produce_with_header_and_logs", false, true, column{"count", int64(1)})
	equal(t, "header", number(t, a["header_b64"]), int64(1))
	equal(t, "logs of the header", len(a["logs"].([]any)), 1)
	equal(t, "a second stream", r.ask("stream_open", "request_b64", request(t, "produce_empty"), "is_exchange", false)["ok"], false)
	r.good("tick")
	r.good("close")
	equal(t, "close without a stream", r.good("close")["ok"], true)

	r.open("produce_tick_metadata", false, false, column{"count", int64(1)})
	a = r.good("tick", "input_b64", batch(t, wire.Metadata{{Key: "vgi.conformance.tick", Value: "seen"}}))
	equal(t, "tick metadata", string(decode(t, a["batch_b64"]).Cols[1].Data), "seen")
	r.good("cancel")
	equal(t, "cancel without a stream", r.good("cancel")["ok"], true)

	r.open("produce_n", false, false, column{"count", int64(5)})
	token, ok := r.good("next_with_token")["token"].(string)
	equal(t, "a token", ok && token != "", resumable)
	r.good("cancel")

	r.open("produce_error_mid_stream", false, false, column{"emit_before_error", int64(1)})
	r.good("tick")
	a = r.ask("tick")
	equal(t, "an error ends the stream", keys(a, "ok", "done", "batch_b64"), object{"ok": true, "done": true, "batch_b64": nil})
	equal(t, "its type", a["error"].(object)["error_type"], "RuntimeError")
	equal(t, "after an error", r.ask("next_with_token")["ok"], false)
}

func testExchanges(t *testing.T, r *running) {
	t.Helper()
	a := r.open("exchange_with_header", true, true, column{"factor", 2.0})
	if a["header_b64"] == nil {
		t.Error("no header")
	}
	for _, v := range []float64{1, 4} {
		a := r.good("exchange", "input_b64", batch(t, nil, column{"value", v}))
		equal(t, "output", wire.Values[float64](&decode(t, a["batch_b64"]).Cols[0])[0], 2*v)
	}
	r.good("close")
	a = r.ask("stream_open", "request_b64", request(t, "exchange_error_on_init"), "is_exchange", true, "has_header", false)
	if a["error"] == nil { // a byte stream shows it with the first turn
		a = r.ask("exchange", "input_b64", batch(t, nil, column{"value", 1.0}))
	}
	equal(t, "refusal", keys(a["error"].(object), "error_message"), object{"error_message": "intentional exchange init error"})
	equal(t, "no stream is left", r.ask("exchange", "input_b64", batch(t, nil, column{"value", 1.0}))["ok"], false)
}

func testDescribe(t *testing.T, r *running) {
	t.Helper()
	d, _ := r.good("describe")["describe"].(object)
	equal(t, "description", keys(d, "protocol_name", "protocol_version", "request_version", "describe_version"), object{
		"protocol_name": "ConformanceService", "protocol_version": "2.0.0", "request_version": "1", "describe_version": "5",
	})
	if id, _ := d["server_id"].(string); id == "" || len(d["protocol_hash"].(string)) != 64 {
		t.Errorf("server %v, hash %v", d["server_id"], d["protocol_hash"])
	}
	byName := map[string]object{}
	for _, m := range d["methods"].([]any) {
		byName[m.(object)["name"].(string)] = m.(object)
	}
	equal(t, "methods", len(byName), 90)
	kinds := object{}
	for _, name := range []string{"echo_string", "produce_n", "exchange_with_header"} {
		m := byName[name]
		kinds[name] = []any{m["method_type"], m["is_exchange"], m["has_return"], m["has_header"], m["header_schema_b64"] != nil}
	}
	equal(t, "kinds", kinds, object{
		"echo_string": []any{"unary", nil, true, false, false}, "produce_n": []any{"stream", false, false, false, false},
		"exchange_with_header": []any{"stream", true, false, true, true},
	})
	raw, err := base64.StdEncoding.DecodeString(byName["echo_string"]["params_schema_b64"].(string))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := wire.NewReader(bytes.NewReader(raw), wire.Limits{}, nil).NextStream()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "parameters", schema.Arrow().Field(0).Name, "value")
}

func TestWhatCannotBeCarriedOut(t *testing.T) {
	two := encode(t, &wire.Batch{Schema: wire.EmptySchema(), Rows: 1}, &wire.Batch{Schema: wire.EmptySchema(), Rows: 1})
	b64 := base64.StdEncoding.EncodeToString
	good := request(t, "void_noop")
	const connected = `{"op":"connect","transport":"stdio","protocol":"ConformanceService","target":["` // and a program
	for name, tt := range map[string]struct {
		connected  bool
		line, want string
	}{
		"no JSON":                           {line: `{"op"`, want: "malformed"},
		"an empty line":                     {line: ``, want: "malformed"},
		"a list":                            {line: `[]`, want: "malformed"},
		"two values on a line":              {line: `{"op":"describe"} {}`, want: "malformed"},
		"a field of another type":           {line: `{"op":1}`, want: "malformed"},
		"an operation that is not known":    {connected: true, line: `{"op":"dance"}`, want: "unknown op"},
		"no operation":                      {line: `{}`, want: "unknown op"},
		"a call before connect":             {line: `{"op":"unary","request_b64":` + strconv.Quote(good) + `}`, want: "not connected"},
		"a stream before connect":           {line: `{"op":"tick"}`, want: "not connected"},
		"connect a second time":             {connected: true, line: connected + `true"]}`, want: "already"},
		"connect without a protocol":        {line: `{"op":"connect","transport":"stdio","target":["true"]}`, want: "protocol is required"},
		"connect over an unknown transport": {line: `{"op":"connect","transport":"pigeon","protocol":"P","target":"x"}`, want: "unknown transport"},
		"connect without a command line":    {line: `{"op":"connect","transport":"stdio","protocol":"P","target":"x"}`, want: "target"},
		"connect to no program":             {line: connected + `/no/such/program"]}`, want: "no such file"},
		"connect to no socket":              {line: `{"op":"connect","transport":"unix","protocol":"P","target":"/no/such/socket"}`, want: "no such file"},
		"connect to no port":                {line: `{"op":"connect","transport":"tcp","protocol":"P","target":"127.0.0.1"}`, want: "port"},
		"connect to no URL":                 {line: `{"op":"connect","transport":"http","protocol":"P","target":"127.0.0.1:1"}`, want: "URL"},
		"a compression level of 0":          {line: `{"op":"connect","transport":"http","protocol":"P","target":"http://x","compression_level":0}`, want: "compression_level"},
		"a compression level that is none":  {line: `{"op":"connect","transport":"http","protocol":"P","target":"http://x","compression_level":"9"}`, want: "compression_level"},
		"a header of the protocol":          {line: `{"op":"connect","transport":"http","protocol":"P","target":"http://x","headers":{"content-type":"x"}}`, want: "Content-Type"},
		"a batch that is not base64":        {connected: true, line: `{"op":"unary","request_b64":"*"}`, want: "request_b64"},
		"a batch that is not Arrow":         {connected: true, line: `{"op":"unary","request_b64":"AAAAAA=="}`, want: "request_b64"},
		"no batch":                          {connected: true, line: `{"op":"unary"}`, want: "request_b64"},
		"a stream without a batch":          {connected: true, line: `{"op":"unary","request_b64":` + strconv.Quote(b64(wire.EmptySchema().Message())) + `}`, want: "request_b64"},
		"two batches":                       {connected: true, line: `{"op":"unary","request_b64":` + strconv.Quote(b64(two)) + `}`, want: "more than one batch"},
		"bytes after the stream":            {connected: true, line: `{"op":"unary","request_b64":` + strconv.Quote(b64(append(mustDecode(t, good), 1))) + `}`, want: "follow"},
		"a batch that names no method":      {connected: true, line: `{"op":"unary","request_b64":` + strconv.Quote(batch(t, nil)) + `}`, want: "vgi_rpc.method"},
		"a stream of no declared kind":      {connected: true, line: `{"op":"stream_open","request_b64":` + strconv.Quote(good) + `}`, want: "is_exchange"},
		"a tick without a stream":           {connected: true, line: `{"op":"tick"}`, want: "no stream"},
		"a token without a stream":          {connected: true, line: `{"op":"next_with_token"}`, want: "no stream"},
		"an exchange without a stream":      {connected: true, line: `{"op":"exchange","input_b64":` + strconv.Quote(batch(t, nil)) + `}`, want: "no stream"},
	} {
		t.Run(name, func(t *testing.T) {
			r := drive(t)
			if tt.connected {
				r.connect("stdio", []string{os.Args[0]})
			}
			a := r.raw(tt.line)
			why, _ := a["error"].(string)
			if a["ok"] != false || !strings.Contains(why, tt.want) {
				t.Errorf("got %v, want an error about %q", a, tt.want)
			}
			if tt.connected { // and it goes on
				r.good("unary", "request_b64", good)
			}
		})
	}
}

func mustDecode(t *testing.T, b64 string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestACallThatTheClientRefusesIsAFailedCall(t *testing.T) {
	r := drive(t)
	r.connect("stdio", []string{os.Args[0]})
	a := r.ask("unary", "request_b64", request(t, "__describe__"))
	e, _ := a["error"].(object)
	if a["ok"] != true || e["error_message"] == "" {
		t.Errorf("got %v", a)
	}
}

func TestALostWorkerIsAFailedCall(t *testing.T) {
	r := drive(t)
	r.connect("stdio", []string{"true"})
	a := r.ask("unary", "request_b64", request(t, "void_noop"))
	e, _ := a["error"].(object)
	if a["ok"] != true || e["error_message"] == "" || e["error_type"] == "" {
		t.Errorf("got %v", a)
	}
}

func TestTheEndOfInputIsAShutdown(t *testing.T) {
	for name, op := range map[string][]any{
		"between two calls": {"unary", "request_b64", request(t, "void_noop")},
		"in a stream":       {"stream_open", "request_b64", request(t, "cancellable_producer"), "is_exchange", false},
	} {
		t.Run(name+" no process is left", func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), roleVariable+"="+roleDriver, "GORACE="+quickRace)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines, enc := bufio.NewReader(out), json.NewEncoder(in)
			for _, q := range []object{
				{
					"op": "connect", "transport": "stdio", "protocol": "ConformanceService",
					"target": []string{"sh", "-c", `echo $$ >"$0"; exec "$1"`, pidFile, os.Args[0]},
				},
				{"op": op[0], op[1].(string): op[2], "is_exchange": false},
			} {
				if err := enc.Encode(q); err != nil {
					t.Fatal(err)
				}
				if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, `"ok":true`) {
					t.Fatalf("%v: %s", err, line)
				}
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(lines)
			if err != nil || len(rest) > 0 {
				t.Errorf("after the end: %v, %q", err, rest)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the driver: %v", err)
			}
			text, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the worker is still there: %v", err)
			}
		})
	}
}
