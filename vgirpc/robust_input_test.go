package vgirpc_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/endian"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// smallLimits make an oversized message cheap.
var smallLimits = wire.Limits{MaxMessageBytes: 1 << 20}

// badRequest is bytes that are no good request, and what becomes of them.
type badRequest struct {
	name  string
	bytes []byte
	want  refusal
}

// onEveryNetwork runs the same test over Unix sockets and TCP.
func onEveryNetwork(t *testing.T, run func(t *testing.T, network string)) {
	t.Helper()
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) { run(t, network) })
	}
}

func TestABadRequestIsAnsweredAndTheConnectionGoesOn(t *testing.T) {
	cases := slicesOf(badEnvelopes(t), badRoutes(t), badParameters(t), badBodies(t))
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{Limits: smallLimits})
		survivor := s.dial(t) // lives through all of them
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				for _, p := range []*bytePeer{s.dial(t), {t, survivor.Conn, survivor.r}} {
					for range 2 { // a second one gets no other answer than the first
						p.send(tt.bytes)
						p.refusal(tt.want)
						p.works(2)
					}
				}
				s.dial(t).works(1)
			})
		}
	})
}

func slicesOf(groups ...[]badRequest) (all []badRequest) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func badEnvelopes(t *testing.T) []badRequest {
	t.Helper()
	add := callOf("add")
	protocol := func(says string) refusal { return refusal{vgirpc.InvalidArgument, "ProtocolError", says} }
	return []badRequest{
		{"no batch", forge(t, addSchema, row(1, 2)), protocol("without a batch")},
		{"two batches", forge(t, addSchema, row(1, 2), add, add), protocol("more than one batch")},
		{"no rows", forge(t, addSchema, `[]`, add), protocol("0 rows")},
		{"two rows", forge(t, addSchema, `[{"a":1,"b":2},{"a":3,"b":4}]`, add), protocol("2 rows")},
		{"no method", forge(t, addSchema, row(1, 2), without(add, wire.KeyMethod)), protocol(wire.KeyMethod)},
		{"no metadata at all", forge(t, addSchema, row(1, 2), nil), protocol(wire.KeyMethod)},
		{
			"no request version", forge(t, addSchema, row(1, 2), without(add, wire.KeyRequestVersion)),
			refusal{vgirpc.InvalidArgument, "VersionError", wire.KeyRequestVersion},
		},
		{
			"a request version to come", forge(t, addSchema, row(1, 2), add.With(wire.KeyRequestVersion, "2")),
			refusal{vgirpc.InvalidArgument, "VersionError", `"2"`},
		},
		{
			"a request version without end",
			forge(t, addSchema, row(1, 2), add.With(wire.KeyRequestVersion, strings.Repeat("1", 100_000))),
			refusal{vgirpc.InvalidArgument, "VersionError", "not supported"},
		},
		{"a method that is not UTF-8", forge(t, addSchema, row(1, 2), add.With(wire.KeyMethod, "a\xff\xfe")), protocol("UTF-8")},
		{
			"a pointer to a URL",
			forge(t, addSchema, `[]`, append(callOf("add"), wire.Pair{Key: wire.KeyLocation, Value: "http://127.0.0.1/secret"})),
			protocol("pointer batch"),
		},
		{
			"a pointer into shared memory",
			forge(t, addSchema, `[]`, append(callOf("add"),
				wire.Pair{Key: wire.KeySHMOffset, Value: "0"}, wire.Pair{Key: wire.KeySHMLength, Value: "64"})),
			protocol("pointer batch"),
		},
	}
}

func badRoutes(t *testing.T) []badRequest {
	t.Helper()
	request := func(meta wire.Metadata) []byte { return forge(t, addSchema, row(1, 2), meta) }
	add := callOf("add")
	version := func(says string) refusal { return refusal{vgirpc.FailedPrecondition, "ProtocolVersionError", says} }
	unhosted := refusal{vgirpc.Unimplemented, "ProtocolNotSupportedError", ""}
	absent := refusal{vgirpc.Unimplemented, "MethodNotImplementedError", ""}
	return []badRequest{
		{
			"no protocol", request(without(add, wire.KeyProtocol)),
			refusal{vgirpc.InvalidArgument, "ProtocolNotSpecifiedError", "test.Calc.v1"},
		},
		{"a protocol that is not hosted", request(add.With(wire.KeyProtocol, "test.Other.v1")), unhosted},
		{"an empty protocol", request(add.With(wire.KeyProtocol, "")), unhosted},
		{"a protocol that is no name", request(add.With(wire.KeyProtocol, "../\xff\n")), unhosted},
		{"a method that is absent", request(callOf("subtract")), refusal{vgirpc.Unimplemented, "MethodNotImplementedError", "echo"}},
		{"an empty method", request(callOf("")), absent},
		{"a method that is no name", request(callOf("a b\n")), absent},
		{"a method of 100,000 letters", request(callOf(strings.Repeat("m", 100_000))), absent},
		{"no protocol version", request(without(add, wire.KeyProtocolVersion)), version("sent no")},
		{"an old client", request(add.With(wire.KeyProtocolVersion, "1.1.9")), version("client is too old")},
		{"an old server", request(add.With(wire.KeyProtocolVersion, "1.3.0")), version("server is too old")},
		{"a version that is none", request(add.With(wire.KeyProtocolVersion, "1.2")), version("malformed")},
		{"a version that is not UTF-8", request(add.With(wire.KeyProtocolVersion, "\xff")), version("not UTF-8")},
		{
			"the retired describe method", forge(t, noColumns, `[{}]`, callOf(wire.MethodDescribe)),
			refusal{vgirpc.Unimplemented, "MethodNotImplementedError", vgirpc.ReflectionName},
		},
		{"another method of the server's own", forge(t, noColumns, `[{}]`, callOf("__shutdown__")), absent},
	}
}

func badParameters(t *testing.T) []badRequest {
	t.Helper()
	a, b := column("a", float64Type), column("b", float64Type)
	nullable := arrow.Field{Name: "b", Type: float64Type, Nullable: true}
	c := column("c", float64Type)
	request := func(fields ...arrow.Field) []byte {
		cols := make([]arrow.Array, len(fields))
		for i, f := range fields {
			cols[i], _, _ = array.FromJSON(memory.DefaultAllocator, f.Type, strings.NewReader(`[1]`))
		}
		return forgeRecord(t, array.NewRecordBatch(columns(fields...), cols, 1), nil, callOf("add"))
	}
	mistyped := refusal{vgirpc.InvalidArgument, "TypeError", "test.Calc.v1/add"}
	return []badRequest{
		{"parameters in another order", request(b, a), mistyped},
		{"a parameter too few", request(a), mistyped},
		{"a parameter too many", request(a, b, c), mistyped},
		{"no parameters", forge(t, noColumns, `[{}]`, callOf("add")), mistyped},
		{"a parameter of another name", request(column("A", float64Type), b), mistyped},
		{"a parameter twice", request(a, a), mistyped},
		{"a parameter of another type", request(a, column("b", arrow.PrimitiveTypes.Int64)), mistyped},
		{"a parameter of another width", request(a, column("b", arrow.PrimitiveTypes.Float32)), mistyped},
		{"a nullable parameter", request(a, nullable), mistyped},
		{
			"a null where none may be", nullForged(t),
			refusal{vgirpc.InvalidArgument, "TypeError", "null"},
		},
	}
}

// nullForged is a request whose second parameter is null although its schema
// says that it cannot be.
func nullForged(t *testing.T) []byte {
	t.Helper()
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(1)
	one := b.NewArray()
	b.AppendNull()
	null := b.NewArray()
	return forgeRecord(t, array.NewRecordBatch(addSchema, []arrow.Array{one, null}, 1), nil, callOf("add"))
}

func badBodies(t *testing.T) []badRequest {
	t.Helper()
	limit := func(says ...string) refusal {
		return refusal{vgirpc.ResourceExhausted, "LimitError", strings.Join(says, "")}
	}
	format := func(says string) refusal { return refusal{vgirpc.InvalidArgument, "FormatError", says} }
	echo := forge(t, textSchema, `[{"text":"abcdefgh"}]`, callOf("echo"))
	out := []badRequest{
		{
			"an oversized message", forge(t, textSchema, `[{"text":"`+strings.Repeat("x", 2<<20)+`"}]`, callOf("echo")),
			limit("exceeds MaxMessageBytes (1048576 bytes)"),
		},
		{"text that is not UTF-8", bytes.Replace(echo, []byte("abcdefgh"), []byte("abc\xff\xfefgh"), 1), format("text")},
		{"an offset past the end", bytes.Replace(echo, []byte{0, 0, 0, 0, 8, 0, 0, 0}, []byte{0, 0, 0, 0, 0xFF, 0xFF, 0, 0}, 1), format("text")},
		{"an offset that falls", bytes.Replace(echo, []byte{0, 0, 0, 0, 8, 0, 0, 0}, []byte{9, 0, 0, 0, 8, 0, 0, 0}, 1), format("text")},
	}
	for name, codec := range compressions() {
		bomb := bombOf(t, 8<<20, codec)
		if len(bomb) > 128<<10 {
			t.Fatalf("%s: %d bytes: not much of a bomb", name, len(bomb))
		}
		out = append(out,
			badRequest{"a bomb in " + name, bomb, limit("decompressed batch of ")},
			badRequest{"a bomb in " + name + " that says it is small", disguised(t, bomb, 8<<20, 1<<10), format("text")},
			badRequest{"a bomb in " + name + " that says it is negative", disguised(t, bomb, 8<<20, -8), format("text")},
			badRequest{"bytes that are not " + name, spoiled(t, bomb, 8<<20), format("text")})
	}
	return out
}

func compressions() map[string]ipc.Option {
	return map[string]ipc.Option{"zstd": ipc.WithZstd(), "lz4": ipc.WithLZ4()}
}

// bombOf is a request for an echo of size bytes, all zero, which a codec
// compresses to next to nothing.
func bombOf(t *testing.T, size int, codec ...ipc.Option) []byte {
	t.Helper()
	offsets := arrow.Int32Traits.CastToBytes([]int32{0, int32(size)})
	data := array.NewData(arrow.BinaryTypes.String, 1, []*memory.Buffer{
		nil, memory.NewBufferBytes(offsets), memory.NewBufferBytes(make([]byte, size)),
	}, nil, 0, 0)
	text := array.NewStringData(data)
	return forgeRecord(t, array.NewRecordBatch(textSchema, []arrow.Array{text}, 1), codec, callOf("echo"))
}

// expanded is where a bomb says how large it is.
func expanded(t *testing.T, bomb []byte, size int) int {
	t.Helper()
	body := headerEnd(bomb)
	at := bytes.LastIndex(bomb[body:], binary.LittleEndian.AppendUint64(nil, uint64(size)))
	if at < 0 {
		t.Fatal("the bomb's size is not there to forge")
	}
	return body + at
}

// disguised is a bomb with another claim of what it expands to.
func disguised(t *testing.T, bomb []byte, size, claimed int) []byte {
	t.Helper()
	out := bytes.Clone(bomb)
	binary.LittleEndian.PutUint64(out[expanded(t, bomb, size):], uint64(claimed))
	return out
}

// spoiled is a bomb that claims to be small, and whose compressed bytes are
// noise.
func spoiled(t *testing.T, bomb []byte, size int) []byte {
	t.Helper()
	out := disguised(t, bomb, size, 64)
	at := expanded(t, bomb, size)
	for i := range 16 {
		out[at+8+i] = 0xA5
	}
	return out
}

func TestRequestsThatNameNoMethodAreAllAnswered(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, network string) {
		p := newTarget(t, network, vgirpc.ServerOptions{}).dial(t)
		for range 3 {
			p.send(forge(t, addSchema, row(1, 2), without(callOf("add"), wire.KeyMethod)))
			p.refusal(refusal{vgirpc.InvalidArgument, "ProtocolError", wire.KeyMethod})
			p.send(forge(t, addSchema, row(1, 2)))
			p.refusal(refusal{vgirpc.InvalidArgument, "ProtocolError", "without a batch"})
		}
		p.works(1)
	})
}

func TestACapabilityRequestIsAnsweredBetweenRefusals(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, network string) {
		p := newTarget(t, network, vgirpc.ServerOptions{}).dial(t)
		ask := forge(t, noColumns, `[{}]`, without(callOf(wire.MethodTransport), wire.KeyProtocol))
		nameless := forge(t, addSchema, row(1, 2), without(callOf("add"), wire.KeyMethod))
		for range 3 {
			p.send(ask)
			if a := p.answer(); a == nil || a.status != nil || a.meta.Value(wire.KeyTransportSHM) != "false" {
				t.Fatalf("got %+v", a)
			}
			// An answer is no refusal: nobody's input stream is to be expected.
			p.send(nameless)
			p.refusal(refusal{vgirpc.InvalidArgument, "ProtocolError", wire.KeyMethod})
			p.works(1)
		}
	})
}

func TestBytesThatBreakTheFramingAreAnsweredAndTheConnectionEnds(t *testing.T) {
	good := forge(t, addSchema, row(1, 2), callOf("add"))
	format := func(says string) refusal { return refusal{vgirpc.InvalidArgument, "FormatError", says} }
	limit := func(says string) refusal { return refusal{vgirpc.ResourceExhausted, "LimitError", says} }
	metadata := binary.LittleEndian.AppendUint32([]byte{0xFF, 0xFF, 0xFF, 0xFF}, 17<<20)
	cases := []badRequest{
		{"another protocol's bytes", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), format("continuation")},
		{"zeros", make([]byte, 4096), format("continuation")},
		{"noise for a schema", append([]byte{0xFF, 0xFF, 0xFF, 0xFF, 64, 0, 0, 0}, bytes.Repeat([]byte{0xA5}, 128)...), format("")},
		{"noise for a batch", append(bytes.Clone(good[:batchStart(good)]), bytes.Repeat([]byte{0xA5}, 64)...), format("continuation")},
		{"a batch without a schema", good[batchStart(good):], format("")},
		{"an end without a beginning", good[len(good)-8:], format("ends before")},
		{"a second schema", append(bytes.Clone(good[:batchStart(good)]), good...), format("second schema")},
		{"big-endian data", bigEndian(t), format("endian")},
		{"a schema over its limit", metadata, limit("MaxSchemaBytes")},
		{"a header over its limit", append(bytes.Clone(good[:batchStart(good)]), metadata...), limit("MaxSchemaBytes")},
		{"a body of 2 TiB", claim(good, 2<<40), limit("MaxDiscardBytes")},
		{"a body of less than nothing", claim(good, 1<<63), format("")},
	}
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{})
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				p := s.dial(t)
				p.works(1)
				p.send(tt.bytes)
				p.refusal(tt.want)
				p.closed()
				s.dial(t).works(1)
			})
		}
	})
}

func bigEndian(t *testing.T) []byte {
	t.Helper()
	schema := arrow.NewSchemaWithEndian(addSchema.Fields(), nil, endian.BigEndian)
	var buf bytes.Buffer
	if err := ipc.NewWriter(&buf, ipc.WithSchema(schema)).Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestARequestThatIsCutAnywhereIsAnsweredAndTheConnectionEnds(t *testing.T) {
	good := forge(t, addSchema, row(1, 2), callOf("add"))
	claimed := claim(good, wire.DefaultMaxMessageBytes)
	claimed = claimed[:headerEnd(claimed)+8]
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{})
		cut := func(p []byte) {
			c := s.dial(t)
			c.works(1)
			c.send(p)
			c.endInput()
			c.refusal(refusal{vgirpc.InvalidArgument, "FormatError", "connection lost"})
			if c.closed(); t.Failed() {
				t.Fatalf("cut at %d", len(p))
			}
		}
		for n := 1; n < len(good); n += 7 {
			cut(good[:n])
		}
		cut(good[:len(good)-1])
		cut(claimed) // within the limit, and never sent
		s.dial(t).works(1)
	})
}

func TestTheEndOfTheConnectionBetweenCallsIsNoError(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{})
		silent, spoken := s.dial(t), s.dial(t)
		spoken.works(2)
		for _, p := range []*bytePeer{silent, spoken} {
			p.endInput()
			p.closed()
		}
	})
}

func TestARefusedStreamCallLeavesTheConnectionInStep(t *testing.T) {
	count := callOf("count")
	one := `[{"n":1}]`
	request := func(meta wire.Metadata) []byte { return forge(t, countSchema, one, meta) }
	cases := []badRequest{
		{"an unknown method", request(callOf("absent")), refusal{vgirpc.Unimplemented, "MethodNotImplementedError", ""}},
		{"an unknown protocol", request(count.With(wire.KeyProtocol, "x.Y")), refusal{vgirpc.Unimplemented, "ProtocolNotSupportedError", ""}},
		{"no protocol", request(without(count, wire.KeyProtocol)), refusal{vgirpc.InvalidArgument, "ProtocolNotSpecifiedError", ""}},
		{"no request version", request(without(count, wire.KeyRequestVersion)), refusal{vgirpc.InvalidArgument, "VersionError", ""}},
		{
			"another version", request(count.With(wire.KeyProtocolVersion, "2.0.0")),
			refusal{vgirpc.FailedPrecondition, "ProtocolVersionError", ""},
		},
		{"wrong parameters", forge(t, textSchema, `[{"text":"x"}]`, count), refusal{vgirpc.InvalidArgument, "TypeError", ""}},
		{"two rows", forge(t, countSchema, `[{"n":1},{"n":2}]`, count), refusal{vgirpc.InvalidArgument, "ProtocolError", ""}},
		{"two batches", forge(t, countSchema, one, count, count), refusal{vgirpc.InvalidArgument, "ProtocolError", ""}},
		{"an oversized request", oversized(t, countSchema, count), refusal{vgirpc.ResourceExhausted, "LimitError", ""}},
		{"a handler's error", forge(t, countSchema, `[{"n":-1}]`, count), refusal{vgirpc.InvalidArgument, "Error", "-1"}},
		{"a handler's error in place of a header", forge(t, countSchema, `[{"n":-1}]`, callOf("headed")), refusal{vgirpc.Unknown, "Error", "today"}},
		{"wrong parameters in place of a header", forge(t, textSchema, `[{"text":"x"}]`, callOf("headed")), refusal{vgirpc.InvalidArgument, "TypeError", ""}},
		{"an exchange of another version", forge(t, noColumns, `[{}]`, callOf("sum").With(wire.KeyProtocolVersion, "9.9.9")), refusal{vgirpc.FailedPrecondition, "ProtocolVersionError", ""}},
	}
	tick := wire.Metadata{}
	inputs := map[string][]byte{
		"no batches":         forge(t, noColumns, ``),
		"a tick":             forge(t, noColumns, ``, tick),
		"ticks with keys":    forge(t, noColumns, ``, wire.Metadata{{Key: "k", Value: "v"}}, tick, tick),
		"a cancellation":     forge(t, noColumns, ``, wire.Metadata{{Key: wire.KeyCancel, Value: "1"}}),
		"rows":               forge(t, valueSchema, `[{"value":1},{"value":2}]`, tick, tick),
		"an oversized batch": oversized(t, valueSchema, nil),
	}
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{Limits: wire.Limits{MaxMessageBytes: 64 << 10}})
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				p := s.dial(t)
				for name, input := range inputs {
					for _, waits := range []bool{false, true} {
						p.send(tt.bytes)
						if !waits {
							p.send(input)
						}
						p.refusal(tt.want)
						if waits {
							p.send(input)
						}
						if p.works(3); t.Failed() {
							t.Fatalf("with %s, sent after the refusal: %v", name, waits)
						}
					}
				}
				s.dial(t).works(1)
			})
		}
	})
}

// oversized is a stream with a batch of more than 64 KiB.
func oversized(t *testing.T, schema *arrow.Schema, meta wire.Metadata) []byte {
	t.Helper()
	name := schema.Field(0).Name
	return forge(t, schema, "["+strings.Repeat(fmt.Sprintf(`{%q:1},`, name), 10_000)+fmt.Sprintf(`{%q:1}]`, name), meta)
}

func TestABadInputBatchEndsTheStreamAndTheConnectionGoesOn(t *testing.T) {
	good := forge(t, valueSchema, `[{"value":1}]`, nil)
	cases := []badRequest{
		{"rows of another schema", forge(t, textSchema, `[{"text":"x"}]`, nil), refusal{vgirpc.InvalidArgument, "TypeError", ""}},
		{"an oversized batch", oversized(t, valueSchema, nil), refusal{vgirpc.ResourceExhausted, "LimitError", "MaxMessageBytes"}},
	}
	onEveryNetwork(t, func(t *testing.T, network string) {
		s := newTarget(t, network, vgirpc.ServerOptions{Limits: wire.Limits{MaxMessageBytes: 64 << 10}})
		open := forge(t, noColumns, `[{}]`, callOf("sum"))
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				p := s.dial(t)
				p.send(open, tt.bytes)
				p.refusal(tt.want)
				p.works(2)
			})
		}
		t.Run("the stream goes on until then", func(t *testing.T) {
			p := s.dial(t)
			p.send(open, good)
			if a := p.answer(); a == nil || a.status != nil || a.data != 1 {
				t.Fatalf("got %+v", a)
			}
			p.works(1)
		})
		t.Run("an input that breaks the framing", func(t *testing.T) {
			p := s.dial(t)
			p.send(open, good[:batchStart(good)], bytes.Repeat([]byte{0xA5}, 64))
			p.refusal(refusal{vgirpc.InvalidArgument, "FormatError", ""})
			p.closed()
			s.dial(t).works(1)
		})
	})
}
