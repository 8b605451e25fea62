package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestEveryTransportGivesTheSameAnswers(t *testing.T) {
	for name, url := range map[string]string{
		"stdio": stdio(), "unix": serve(t, "--unix", socket(t)), "tcp": serve(t, "--tcp", "0"), "http": serve(t, "--http", "0"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				args []string
				in   string
				want outcome
			}{
				{[]string{"call", url, "add_floats", "a=1.5", "b=2"}, "", outcome{out: "3.5\n"}},
				{[]string{"call", url, "void_noop"}, "", outcome{out: "null\n"}},
				{[]string{"stream", url, "produce_n", "count=2"}, "", outcome{out: "{\"index\":0,\"value\":0}\n{\"index\":1,\"value\":10}\n"}},
				{[]string{"stream", url, "produce_n", "count=5", "--limit", "1"}, "", outcome{out: "{\"index\":0,\"value\":0}\n"}},
				{[]string{"stream", url, "produce_empty"}, "", outcome{}},
				{
					[]string{"stream", url, "produce_with_header", "count=1"},
					"",
					outcome{out: "{\"index\":0,\"value\":0}\n", errors: `{"header":{"total_expected":1,"description":"producing 1 batches"}}` + "\n"},
				},
				{
					[]string{"stream", url, "exchange_scale", "factor=2", "-i", "-", "--input-format", "jsonl"},
					"{\"value\":1.5}\n\n{\"value\":2}\n",
					outcome{out: "{\"value\":3}\n{\"value\":4}\n"},
				},
				{[]string{"stream", url, "exchange_scale", "factor=2", "-i", "-", "--input-format", "jsonl"}, "", outcome{}},
			} {
				got := vgiWith(t, strings.NewReader(tt.in), tt.args...)
				if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
					t.Errorf("%q (-want +got):\n%s", tt.args, diff)
				}
			}
		})
	}
}

func TestEachFormatHasItsForm(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct{ name, format, method, args, want string }{
		{"a stream as a table", "table", "produce_n", "count=2", "index  value\n-----  -----\n    0      0\n    1     10\n"},
		{"a stream as JSON lines", "jsonl", "produce_n", "count=2", "{\"index\":0,\"value\":0}\n{\"index\":1,\"value\":10}\n"},
		{"a stream as JSON", "json", "produce_n", "count=2", "[\n  {\"index\":0,\"value\":0},\n  {\"index\":1,\"value\":10}\n]\n"},
		{"an empty stream as JSON", "json", "produce_empty", "", "[]\n"},
		{"a stream as CSV", "csv", "produce_n", "count=2", "index,value\n0,0\n1,10\n"},
		{"a value as JSON", "json", "echo_list", `values=["a","b"]`, "[\n  \"a\",\n  \"b\"\n]\n"},
		{"a value as a JSON line", "jsonl", "echo_list", `values=["a","b"]`, "[\"a\",\"b\"]\n"},
		{"a value as CSV", "csv", "echo_list", `values=["a","b"]`, "result\n\"[\"\"a\"\",\"\"b\"\"]\"\n"},
		{"nothing as CSV", "csv", "void_noop", "", ""},
		{"nothing as a table", "table", "void_noop", "", ""},
		{"a null as CSV", "csv", "echo_optional_int", "value=null", "result\n\"\"\n"},
		{"a value as a table", "table", "echo_optional_string", "value=null", "result\n------\nnull\n"},
		{"a null as a table", "table", "echo_optional_int", "value=null", "result\n------\n  NULL\n"},
		{"text that would steer a terminal", "table", "echo_optional_string", "value=a\x1b[2Jb", "result\n-----------\na\\u001b[2Jb\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command := "stream"
			if !strings.HasPrefix(tt.method, "produce") {
				command = "call"
			}
			args := []string{command, url, tt.method, "-o", tt.format}
			if tt.args != "" {
				args = append(args, tt.args)
			}
			got := vgi(t, args...)
			if diff := cmp.Diff(tt.want, got.out); diff != "" || got.status != 0 {
				t.Errorf("status %d, %s (-want +got):\n%s", got.status, got.errors, diff)
			}
		})
	}
}

func TestArrowOutputIsOneStreamThatCanBeSentBack(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	got := vgi(t, "stream", url, "produce_n", "count=3", "-o", "arrow")
	if got.status != 0 {
		t.Fatal(got.errors)
	}
	r := wire.NewReader(strings.NewReader(got.out), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for {
		b, err := r.Next()
		if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Meta) > 0 {
			t.Errorf("metadata %v", b.Meta)
		}
		rows += b.Rows
	}
	if rows != 3 || r.Consumed() != int64(len(got.out)) {
		t.Errorf("%d rows in %d of %d bytes", rows, r.Consumed(), len(got.out))
	}

	floats := vgi(t, "stream", url, "exchange_scale", "factor=2", "-i", file(t, "in.csv", "value\n1.5\n2\n"), "-o", "arrow")
	back := vgiWith(t, strings.NewReader(floats.out), "stream", url, "exchange_scale", "factor=2", "-i", "-", "--input-format", "arrow")
	if diff := cmp.Diff(outcome{out: "{\"value\":6}\n{\"value\":8}\n"}, back, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}

	empty := vgi(t, "stream", url, "produce_empty", "-o", "arrow")
	r = wire.NewReader(strings.NewReader(empty.out), wire.Limits{}, nil)
	if s, err := r.NextStream(); err != nil || s.NumFields() != 0 {
		t.Errorf("an empty stream is %v, %v", s, err)
	}
}

func TestInputIsReadInEachFormat(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct {
		name, file, content string
		flags               []string
		want                outcome
	}{
		{"CSV", "in.csv", "value\n1\n2.5\n", nil, outcome{out: "{\"value\":2}\n{\"value\":5}\n"}},
		{"JSON lines", "in.jsonl", "{\"value\":1}\n{\"value\":2.5}\n", nil, outcome{out: "{\"value\":2}\n{\"value\":5}\n"}},
		{"batches of one row", "in.jsonl", "{\"value\":1}\n{\"value\":2.5}\n", []string{"--batch-size", "1"}, outcome{out: "{\"value\":2}\n", status: 1, errors: "error: the input from line 2: value: 2.5 is not of type int64\n"}},
		{"batches of one row of a declared type", "in.jsonl", "{\"value\":1}\n{\"value\":2.5}\n", []string{"--batch-size", "1", "--columns", "value:float64"}, outcome{out: "{\"value\":2}\n{\"value\":5}\n"}},
		{"CSV of a declared type", "in.csv", "value\n1\n2\n", []string{"--columns", "value:float64", "--batch-size", "1"}, outcome{out: "{\"value\":2}\n{\"value\":4}\n"}},
		{"CSV that stops fitting", "in.csv", "value\n1\n2.5\n", []string{"--batch-size", "1"}, outcome{out: "{\"value\":2}\n", status: 1, errors: "error: the input from line 3: value: 2.5 is not of type int64\n"}},
		{"CSV with a line that is short", "in.csv", "value,b\n1\n", nil, outcome{status: 1, errors: "error: the input: record on line 2: wrong number of fields\n"}},
		{"CSV with two columns of a name", "in.csv", "value,value\n1,2\n", nil, outcome{status: 1, errors: "error: the input has two columns \"value\"\n"}},
		{"CSV without a declared column", "in.csv", "value\n1\n", []string{"--columns", "b:int8"}, outcome{status: 1, errors: "error: the input has no column \"b\": it has value\n"}},
		{"CSV of names alone", "in.csv", "value\n", nil, outcome{}},
		{"a line that is no JSON", "in.jsonl", "{\"value\":1}\nnope\n", nil, outcome{status: 1, errors: "error: line 2 of the input: not JSON"}},
		{"a line that is no object", "in.jsonl", "[1]\n", nil, outcome{status: 1, errors: "error: line 1 of the input: want a JSON object, got an array\n"}},
		{"types that do not fit together", "in.jsonl", "{\"value\":1}\n{\"value\":\"x\"}\n", nil, outcome{status: 1, errors: "error: the input: value: \"x\" after values of type int64: declare the column with --columns\n"}},
		{"Arrow that is none", "in.arrow", "value\n", nil, outcome{status: 1, errors: "error: the input is no Arrow IPC stream"}},
		{"a name without a format", "in.xlsx", "", nil, outcome{status: 2, errors: "error: --input: "}},
		{"a format that there is not", "in.csv", "", []string{"--input-format", "xml"}, outcome{status: 2, errors: "error: --input-format: format \"xml\": want one of arrow, csv, jsonl\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"stream", url, "exchange_scale", "factor=2", "-i", file(t, tt.file, tt.content)}, tt.flags...)
			got := vgi(t, args...)
			if got.status != tt.want.status || got.out != tt.want.out || !strings.HasPrefix(got.errors, tt.want.errors) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestValuesOfEachTypeComeBack(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct{ method, arg, want string }{
		{"ConformanceService/echo_string", "value=a=b \"c\"", `"a=b \"c\""`},
		{"ConformanceService/echo_string", `value:="@\u00e9"`, `"@é"`},
		{"echo_bytes", "data=AAEC", `"AAEC"`},
		{"echo_int", "value=-9223372036854775808", "-9223372036854775808"},
		{"echo_uint64", "value=18446744073709551615", "18446744073709551615"},
		{"echo_float", "value=1e300", "1e+300"},
		{"echo_float", "value=NaN", `"NaN"`},
		{"echo_float", "value=-Inf", `"-Inf"`},
		{"echo_float32", "value=0.1", "0.1"},
		{"echo_bool", "value=true", "true"},
		{"echo_date", "value=2026-11-21", `"2026-11-21"`},
		{"echo_time", "value=13:45:00.5", `"13:45:00.5"`},
		{"echo_duration", "value=1m30.5s", `"90500000us"`},
		{"echo_timestamp", "value=2026-11-21T13:45:00.25", `"2026-11-21T13:45:00.25"`},
		{"echo_timestamp_utc", "value=2026-11-21T13:45:00+01:00", `"2026-11-21T12:45:00Z"`},
		{"echo_decimal", "value=12.5", `"12.5"`},
		{"echo_fixed_binary", "value=AAECAwQFBgc=", `"AAECAwQFBgc="`},
		{"echo_enum", "status=ACTIVE", `"ACTIVE"`},
		{"echo_list", `values:=["a","b"]`, `["a","b"]`},
		{"echo_dict", `mapping={"b":2,"a":1}`, `{"b":2,"a":1}`},
		{"echo_dict", `mapping=[["b",2]]`, `{"b":2}`},
		{"echo_nested_list", `matrix=[[1],[2,3],[]]`, `[[1],[2,3],[]]`},
		{"echo_status_list", `statuses=["ACTIVE","CLOSED"]`, `["ACTIVE","CLOSED"]`},
		{"echo_optional_string", "value=null", `"null"`},
		{"echo_optional_string", "value:=null", "null"},
		{"echo_optional_int", "value=null", "null"},
	} {
		t.Run(tt.method+" "+tt.arg, func(t *testing.T) {
			got := vgi(t, "call", url, tt.method, tt.arg, "-o", "jsonl")
			if got.status != 0 || got.out != tt.want+"\n" {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		})
	}
}

func TestArgumentsComeInManyForms(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	args := file(t, "args.json", `{"a":1}`)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"an object", []string{"add_floats", "-d", `{"a":1,"b":2}`}, "3"},
		{"an object from a file, and words", []string{"add_floats", "-d", "@" + args, "b=2"}, "3"},
		{"an object from standard input", []string{"add_floats", "-d", "-"}, "3"},
		{"words in any order", []string{"add_floats", "b=2", "a=1"}, "3"},
		{"bytes of a file", []string{"echo_bytes", "data=@" + file(t, "data", "\x00\x01\x02")}, `"AAEC"`},
		{"text of a file", []string{"ConformanceService/echo_string", "value=@" + file(t, "text", "hello")}, `"hello"`},
		{"JSON of a file", []string{"echo_list", "values:=@" + file(t, "list", `["x"]`)}, `["x"]`},
		{"what may be null, left out", []string{"echo_optional_int"}, "null"},
		{"a dataclass", []string{"inspect_point", "--pack", "point=x:float64,y:float64", `point={"x":1,"y":2}`}, `"Point(1.0, 2.0)"`},
		{"a dataclass, there and back", []string{"echo_point", "--pack", "point=x:float64,y:float64", "-d", `{"point":{"y":2,"x":1}}`}, `{"x":1,"y":2}`},
		{"dataclasses in a dataclass, read", []string{"pack_nested_containers", `statuses=[]`, `points=[{"x":1,"y":2}]`, "status_by_name={}"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgiWith(t, strings.NewReader(`{"a":1,"b":2}`), append([]string{"call", url, "-o", "jsonl"}, tt.args...)...)
			if got.status != 0 || (tt.want != "" && got.out != tt.want+"\n") {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
			if tt.want == "" && !strings.Contains(got.out, `"points":[{"x":1,"y":2}]`) {
				t.Errorf("got %s", got.out)
			}
		})
	}
	raw := vgi(t, "call", url, "echo_point", "--pack", "point=x:float64,y:float64", `point={"x":1,"y":2}`, "--raw-bytes")
	if !strings.HasPrefix(raw.out, `"/////`) {
		t.Errorf("bytes as they are: %+v", raw)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	call := func(args ...string) []string { return append([]string{"call", url}, args...) }
	stream := func(args ...string) []string { return append([]string{"stream", url}, args...) }
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"an unknown command", []string{"cal"}, `unknown command "cal"`},
		{"an unknown flag", call("--nope"), "unknown flag: --nope"},
		{"a call without a method", call(), "want a URL and a method"},
		{"a URL that is none", []string{"call", "foo", "x"}, `"foo" is no transport: want stdio:`},
		{"an unknown name", call("add_floats", "a=1", "bb=2"), `unknown name "bb" (did you mean b?): want a, b`},
		{"a name of a method that has none", call("void_noop", "x=1"), `unknown name "x": there are none`},
		{"a missing argument", call("add_floats", "a=1"), "argument b: missing: it is required, of type float64"},
		{"an argument given twice", call("add_floats", "a=1", "a=1"), "argument a is given twice"},
		{"an argument given twice in JSON", call("add_floats", "-d", `{"a":1,"a":2}`), `--data: "a" is given twice`},
		{"an argument without a value", call("add_floats", "a"), `argument "a": want NAME=VALUE or NAME:=JSON`},
		{"JSON that is none", call("add_floats", "a:=x"), "argument a: not JSON"},
		{"an object that is none", call("add_floats", "-d", "[1]"), "--data: want a JSON object, got an array"},
		{"two values", call("add_floats", "-d", `{} {}`), "--data: not JSON: something follows"},
		{"text for a number", call("add_floats", "a=x", "b=1"), `argument a: "x" is not of type float64`},
		{"a fraction for an integer", call("echo_int", "value=1.5"), "argument value: 1.5 is not of type int64"},
		{"a number out of range", call("echo_int8", "value=300"), "argument value: 300 is not of type int8"},
		{"a negative number for none", call("echo_uint8", "value=-1"), "argument value: -1 is not of type uint8"},
		{"a number for text", call("ConformanceService/echo_string", "value:=1"), "argument value: 1 is not of type utf8"},
		{"null where a value is required", call("echo_int", "value:=null"), "argument value: null is not of type int64: it is required"},
		{"no boolean", call("echo_bool", "value=yes"), `argument value: "yes" is not of type bool`},
		{"no date", call("echo_date", "value=tomorrow"), `argument value: "tomorrow" is not of type date32`},
		{"more digits than there are", call("echo_decimal", "value=1.23456"), `has 5 digits behind the point: a decimal128(20,4) has 4`},
		{"no base64", call("echo_bytes", "data=***"), `argument data: "***" is not base64`},
		{"too few bytes", call("echo_fixed_binary", "value=AAE="), "argument value: 2 bytes are not of type fixed_size_binary(8)"},
		{"an item of another type", call("echo_nested_list", `matrix=[[1],["x"]]`), `argument matrix[1][0]: "x" is not of type int64`},
		{"a member of another type", call("echo_dict", `mapping={"k":"v"}`), `argument mapping["k"]: "v" is not of type int64`},
		{"a dataclass without its fields", call("inspect_point", `point:={"x":1}`), "its description does not say which fields are packed into it (see --pack)"},
		{"a dataclass with other fields", call("inspect_point", "--pack", "point=x:float64", `point:={"z":1}`), `argument point: unknown name "z" (did you mean x?): want x`},
		{"fields of another parameter", call("add_floats", "--pack", "a=x:float64"), "--pack a: the method has no binary parameter of that name"},
		{"fields of a type that there is not", call("inspect_point", "--pack", "point=x:float"), `--pack point: column "x": "float" is not a type`},
		{"a method that is close", call("add_float"), `unknown method "add_float" (did you mean add_floats?)`},
		{"a method that is not", call("zzzzzz"), `unknown method "zzzzzz": the server has 93, which 'vgi describe' lists`},
		{"a method of a small protocol that is not", call("conformance.Secondary.v1/zzzzzz"), "conformance.Secondary.v1 has echo_string, fail, fail_oversized"},
		{"a method of two protocols", call("echo_string"), "want one of ConformanceService/echo_string, conformance.Secondary.v1/echo_string"},
		{"a protocol that is close", call("ConformanceServic/x"), "(did you mean ConformanceService?)"},
		{"a protocol without a name", call("/x"), "a method without a protocol"},
		{"a stream that is called", call("produce_n"), "ConformanceService/produce_n is a stream (producer): use 'vgi stream'"},
		{"a unary method that is streamed", stream("add_floats"), "is a unary method: use 'vgi call'"},
		{"an exchange without input", stream("exchange_scale", "factor=1"), "is an exchange: give the rows to send as --input FILE"},
		{"a producer with input", stream("produce_n", "count=1", "-i", "-"), "is a producer: it takes no --input"},
		{"standard input of no format", stream("exchange_scale", "-i", "-"), "say what comes as --input-format"},
		{"one standard input for two", stream("exchange_scale", "-i", "-", "--input-format", "csv", "-d", "-"), "there is one standard input"},
		{"columns that are none", stream("exchange_scale", "-i", "-", "--input-format", "csv", "--columns", "x"), `--columns: column "x": want NAME:TYPE`},
		{"columns given twice", stream("exchange_scale", "-i", "-", "--input-format", "csv", "--columns", "x:int8,x:int8"), `column "x" is given twice`},
		{"columns without input", stream("produce_n", "--columns", "x:int8"), "want an --input"},
		{"a format that there is not", call("add_floats", "-o", "xml"), `--output "xml": want one of table, jsonl, json, arrow, csv`},
		{"a batch of no rows", stream("produce_n", "--batch-size", "0"), "--batch-size 0"},
		{"a negative limit", stream("produce_n", "--limit", "-1"), "--limit -1"},
		{"a header nowhere", stream("produce_n", "--stream-header", "x"), "--stream-header \"x\""},
		{"a header in a table", stream("produce_n", "--stream-header", "stdout", "-o", "table"), "want the output as jsonl"},
		{"progress at no time", stream("produce_n", "--progress", "x"), "--progress \"x\""},
		{"HTTP headers without HTTP", call("add_floats", "-H", "a: b"), "--header is for HTTP alone"},
		{"a token without HTTP", call("add_floats", "--bearer", "t"), "--bearer is for HTTP alone"},
		{"trust without TLS", call("add_floats", "-k"), "--insecure is for https and tcp+tls alone"},
		{"a proxy without a network", call("add_floats", "--proxy", "socks5h://x:1"), "--proxy is for HTTP and TCP alone"},
		{"a header that is none", []string{"call", "http://127.0.0.1:1", "x", "-H", "a"}, `--header "a": want 'Name: value'`},
		{"a header that the protocol sets", []string{"call", "http://127.0.0.1:1", "x", "-H", "Content-Type: x"}, "Header has Content-Type, which the protocol sets"},
		{"a limit that is too small", []string{"call", "http://127.0.0.1:1", "x", "--max-response-bytes", "1K"}, "MaxResponseBytes is 1024: want 65536"},
		{"credentials in the URL", []string{"call", "http://u:p@127.0.0.1:1", "x"}, "the base URL has credentials"},
		{"a command with an open quote", []string{"call", "stdio:'a", "x"}, "a command with a ' that is not closed"},
		{"two tokens", []string{"call", "http://127.0.0.1:1", "x", "--bearer", "t", "--bearer-file", "f"}, "want one of them"},
		{"a certificate without a key", []string{"call", "https://127.0.0.1:1", "x", "--cert", "c"}, "--cert and --key: want both of them"},
		{"metadata without a value", call("add_floats", "--metadata", "a"), `--metadata "a": want KEY=VALUE`},
		{"a negative timeout", call("add_floats", "--timeout", "-1s"), "--timeout -1s"},
		{"no time to connect", call("add_floats", "--connect-timeout", "0"), "--connect-timeout 0s"},
		{"a size that is none", call("add_floats", "--max-response-bytes", "big"), "want a number of bytes above 0"},
		{"a log level that there is not", call("add_floats", "--log-level", "loud"), "want trace, debug, info, warn or error"},
		{"a storage origin that is none", call("add_floats", "--fetch-origin", "::"), "--fetch-origin"},
		{"no connections", []string{"bench", url, "add_floats", "-c", "0"}, "--connections 0"},
		{"a bench of an exchange", []string{"bench", url, "exchange_scale", "factor=1"}, "which bench cannot feed"},
		{"a doctor without a URL", []string{"doctor"}, "want a URL"},
		{"arguments without a probe", []string{"doctor", url, "a=1"}, "arguments are for the method of --probe"},
		{"too much to describe", []string{"describe", url, "a", "b"}, "want a URL, and perhaps"},
		{"nothing that is near to describe", []string{"describe", url, "ConformanceServic"}, "(did you mean ConformanceService?)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgi(t, tt.args...)
			if got.status != exitUsage || got.out != "" || !strings.Contains(got.errors, tt.want) {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

func TestEveryExitStatusIsWhatHelpSays(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name string
		ctx  context.Context
		args []string
		want int
	}{
		{"all is well", t.Context(), []string{"call", url, "void_noop"}, exitOK},
		{"a file that is not there", t.Context(), []string{"call", url, "add_floats", "-d", "@/nonexistent/it"}, exitFailed},
		{"a token that is not there", t.Context(), []string{"call", "http://127.0.0.1:1", "x", "--bearer-file", "/nonexistent/it"}, exitFailed},
		{"a command line without sense", t.Context(), []string{"call"}, exitUsage},
		{"a server that is not there", t.Context(), []string{"call", "unix:/nonexistent/it", "x"}, exitUnreachable},
		{"a worker that is no worker", t.Context(), []string{"call", "stdio:false", "x"}, exitUnreachable},
		{"interrupted", cancelled, []string{"call", url, "void_noop"}, exitInterrupted},
		{"out of time", t.Context(), []string{"call", url, "void_noop", "--timeout", "1ns"}, 68},
	}
	for i, code := range codeNumbers() {
		cases = append(cases, struct {
			name string
			ctx  context.Context
			args []string
			want int
		}{string(code), t.Context(), []string{"call", url, "fail", "code=" + string(code), "kind=k", "retry_delay_seconds=0"}, 65 + i})
	}
	help := vgi(t, "help", "exit-codes").out
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			got := run(tt.ctx, tt.args, streams{in: strings.NewReader(""), out: &out, err: &errs})
			if got != tt.want {
				t.Errorf("status %d, want %d: %s", got, tt.want, errs.String())
			}
			if code := vgirpc.Code(tt.name); code.Valid() && !strings.Contains(help, tt.name) {
				t.Errorf("help does not have %s:\n%s", code, help)
			}
		})
	}
}

func TestErrorsSayAllThatTheServerSaid(t *testing.T) {
	url := serve(t, "--unix", socket(t), "--server-id", "the-server")
	args := []string{"call", url, "fail", "code=UNAVAILABLE", "kind=busy", "retry_delay_seconds=2"}
	text := vgi(t, args...)
	for _, want := range []string{
		"error: UNAVAILABLE: conformance.Secondary.v1 fail: UNAVAILABLE busy\n", "  type: StatusError\n", "  kind: busy\n", "  server: the-server\n",
		`  detail: {"@type":"vgi_rpc.RetryInfo"`,
	} {
		if !strings.Contains(text.errors, want) {
			t.Errorf("%q is not in:\n%s", want, text.errors)
		}
	}
	if strings.Contains(text.errors, "traceback") {
		t.Errorf("a traceback without -v:\n%s", text.errors)
	}
	if verbose := vgi(t, append(args, "-v")...); !strings.Contains(verbose.errors, "  traceback:\n    StatusError: ") {
		t.Errorf("no traceback:\n%s", verbose.errors)
	}

	var got struct {
		Error report `json:"error"`
	}
	if err := json.Unmarshal([]byte(vgi(t, append(args, "--json-errors")...).errors), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Error.Details) != 3 || got.Error.RequestID == "" {
		t.Errorf("got %+v", got.Error)
	}
	got.Error.Details, got.Error.RequestID = nil, ""
	want := report{
		Status: 78, Code: vgirpc.Unavailable, Kind: "busy", Type: "StatusError",
		Message: "conformance.Secondary.v1 fail: UNAVAILABLE busy", Remote: true, ServerID: "the-server",
	}
	if diff := cmp.Diff(want, got.Error); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if usage := vgi(t, "call", "--json-errors", "--nope"); usage.errors != `{"error":{"exit_status":2,"message":"unknown flag: --nope","remote":false}}`+"\n" {
		t.Errorf("got %+v", usage)
	}
}

func TestAStreamThatFailsKeepsWhatCameBefore(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	got := vgi(t, "stream", url, "produce_error_mid_stream", "emit_before_error=2", "-o", "json")
	if got.status != 66 || got.out != "[\n  {\"index\":0,\"value\":0},\n  {\"index\":1,\"value\":10}\n]\n" || !strings.Contains(got.errors, "error: UNKNOWN: ") {
		t.Errorf("got %+v", got)
	}
}

func TestLogsComeFromTheLevelOn(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, ""},
		{[]string{"--log-level", "warn"}, "[WARN] warn: x\n[ERROR] error: x\n"},
		{[]string{"--log-level", "ERROR"}, "[ERROR] error: x\n"},
		{[]string{"-v"}, "[DEBUG] debug: x\n[INFO] info: x\n[WARN] warn: x\n[ERROR] error: x\n"},
		{[]string{"-v", "--log-level", "trace"}, "[TRACE] trace: x\n[DEBUG] debug: x\n[INFO] info: x\n[WARN] warn: x\n[ERROR] error: x\n"},
	} {
		got := vgi(t, append([]string{"call", url, "echo_with_all_log_levels", "value=x"}, tt.flags...)...)
		if got.errors != tt.want || got.out != "\"x\"\n" {
			t.Errorf("%q: got %+v", tt.flags, got)
		}
	}
	if got := vgi(t, "call", url, "echo_with_log_extras", "value=x", "-v"); !strings.HasPrefix(got.errors, "[INFO] info: x {") {
		t.Errorf("got %+v", got)
	}
}

func TestTheHeaderGoesWhereItIsSent(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	const header, row = `{"header":{"total_expected":1,"description":"producing 1 batches"}}` + "\n", "{\"index\":0,\"value\":0}\n"
	for where, want := range map[string]outcome{"stderr": {out: row, errors: header}, "stdout": {out: header + row}, "none": {out: row}} {
		got := vgi(t, "stream", url, "produce_with_header", "count=1", "--stream-header", where)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
}

func TestAWorkersStandardErrorShowsWithVerbose(t *testing.T) {
	args := []string{"call", stdio(), "raise_value_error", "message=no"}
	if quiet := vgi(t, args...); strings.Contains(quiet.errors, "call failed") {
		t.Errorf("got %s", quiet.errors)
	}
	if verbose := vgi(t, append(args, "-v")...); !strings.Contains(verbose.errors, "call failed") {
		t.Errorf("got %s", verbose.errors)
	}
}

func TestMetadataTravels(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	got := vgi(t, "call", url, "raise_value_error", "message=no", "--metadata", wire.KeyRequestID+"=mine")
	if !strings.Contains(got.errors, "  request: mine\n") {
		t.Errorf("got %+v", got)
	}
}

func TestTheBearerTokenLetsIn(t *testing.T) {
	secret := strings.Repeat("s3cret", 8)
	url := serve(t, "--http", "0", "--bearer-tokens", file(t, "tokens", secret+" alice\n"))
	for _, tt := range []struct {
		name  string
		flags []string
		want  int
	}{
		{"no token", nil, 80},
		{"another token", []string{"--bearer", "other"}, 80},
		{"the token", []string{"--bearer", secret}, 0},
		{"the token of a file", []string{"--bearer-file", file(t, "token", secret+"\n")}, 0},
		{"the token in a header", []string{"-H", "Authorization: Bearer " + secret}, 0},
		{"an empty file", []string{"--bearer-file", file(t, "empty", "\n")}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgi(t, append([]string{"call", url, "add_floats", "a=1", "b=2"}, tt.flags...)...)
			if got.status != tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestDescribeShowsServerProtocolAndMethod(t *testing.T) {
	url := serve(t, "--unix", socket(t), "--server-id", "the-server", "--transport-kind-probe")
	const hash = "hash "
	server := vgi(t, "describe", url)
	want := "server the-server\n\nconformance.TransportKindProbe.v1\nhash HASH\nKIND   METHOD\nunary  report_transport_kind() -> utf8\n"
	lines := strings.Split(server.out, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, hash) && len(line) == len(hash)+64 {
			lines[i] = "hash HASH"
		}
	}
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all := vgi(t, "describe", url, "--all"); !strings.Contains(all.out, "vgi_rpc.Reflection.v1") {
		t.Errorf("got %s", all.out)
	}

	url = serve(t, "--unix", socket(t))
	method := vgi(t, "describe", url, "with_defaults")
	want = "ConformanceService/with_defaults\n\n  kind         unary\n  idempotency  unknown\n\n" +
		"PARAMETER     TYPE   NULLABLE\nrequired      int64  false\noptional_str  utf8   false\noptional_int  int64  false\n\n" +
		"RESULT  TYPE  NULLABLE\nresult  utf8  false\n"
	if diff := cmp.Diff(want, method.out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", method.errors, diff)
	}
	protocol := vgi(t, "describe", url, "conformance.Secondary.v1")
	if !strings.Contains(protocol.out, "unary  fail(code: utf8, kind: utf8, retry_delay_seconds: float64)\n") {
		t.Errorf("got %s", protocol.out)
	}

	var got methodJSON
	if err := json.Unmarshal([]byte(vgi(t, "describe", url, "ConformanceService/produce_with_header", "--json").out), &got); err != nil {
		t.Fatal(err)
	}
	wantMethod := methodJSON{
		Name: "produce_with_header", Protocol: "ConformanceService", Kind: "producer", Idempotency: "unknown",
		Signature: "produce_with_header(count: int64)",
		Params:    []fieldJSON{{"count", "int64", false}},
		Header:    []fieldJSON{{"total_expected", "int64", false}, {"description", "utf8", false}},
	}
	if diff := cmp.Diff(wantMethod, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var whole serverJSON
	if err := json.Unmarshal([]byte(vgi(t, "describe", url, "--json").out), &whole); err != nil || len(whole.Protocols) != 2 || len(whole.Protocols[0].Methods) != 90 {
		t.Errorf("%v: %d protocols", err, len(whole.Protocols))
	}
}

func TestCompletionAsksTheServer(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, tt := range []struct {
		name string
		args []string
		want string
		not  string
	}{
		{"schemes", []string{"call", ""}, "tcp+tls:\n", "produce_n"},
		{"unary methods", []string{"call", url, ""}, "add_floats\tadd_floats(a: float64, b: float64) -> float64\n", "produce_n"},
		{"streams", []string{"stream", url, ""}, "produce_n\tproduce_n(count: int64)\n", "add_floats"},
		{"methods of two protocols in full", []string{"call", url, ""}, "conformance.Secondary.v1/echo_string\t", "\necho_string\t"},
		{"parameters that are left", []string{"call", url, "add_floats", "a=1", ""}, "b=\tfloat64\n", "a="},
		{"nothing from a server that is not there", []string{"call", "unix:/nonexistent/it", ""}, ":1\n", "add_floats"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgi(t, append([]string{"__complete"}, tt.args...)...)
			if !strings.Contains(got.out, tt.want) || strings.Contains(got.out, tt.not) {
				t.Errorf("got %s", got.out)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := vgi(t, "completion", shell); got.status != 0 || !strings.Contains(got.out, "vgi") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
}

func TestTerminalsGetTables(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"stream", url, "produce_n", "count=1"},
		streams{in: os.Stdin, out: &out, err: &errs, outTerminal: true, errTerminal: true})
	if diff := cmp.Diff("index  value\n-----  -----\n    0      0\n", out.String()); diff != "" || status != 0 || errs.Len() > 0 {
		t.Errorf("status %d, %s (-want +got):\n%s", status, errs.String(), diff)
	}
}

// leaver is an output whose reader leaves after the first write.
type leaver struct {
	bytes.Buffer
	leave context.CancelFunc
}

func (l *leaver) Write(p []byte) (int, error) {
	l.leave()
	return l.Buffer.Write(p)
}

func TestAnInterruptedStreamEndsInGoodOrder(t *testing.T) {
	for name, url := range map[string]string{"stdio": stdio(), "unix": serve(t, "--unix", socket(t)), "http": serve(t, "--http", "0")} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			out := &leaver{leave: cancel}
			var errs bytes.Buffer
			status := run(ctx, []string{"stream", url, "produce_n", "count=1000000", "-o", "jsonl"}, streams{in: strings.NewReader(""), out: out, err: &errs})
			if status != exitInterrupted || out.String() != "{\"index\":0,\"value\":0}\n" {
				t.Errorf("status %d, %q, %s", status, out.String(), errs.String())
			}
		})
	}
}

// broken is an output that nothing can be written to.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWhatCannotBeWrittenIsAFailure(t *testing.T) {
	url := serve(t, "--unix", socket(t))
	for _, args := range [][]string{
		{"call", url, "add_floats", "a=1", "b=2"},
		{"call", url, "add_floats", "a=1", "b=2", "-o", "table"},
		{"stream", url, "produce_n", "count=2", "-o", "arrow"},
		{"stream", url, "produce_n", "count=2", "-o", "csv"},
		{"stream", url, "produce_n", "count=2", "-o", "json"},
		{"describe", url},
		{"describe", url, "--json"},
		{"doctor", url},
		{"bench", url, "void_noop", "-n", "1", "--json"},
		{"bench", url, "void_noop", "-n", "1"},
	} {
		var errs bytes.Buffer
		status := run(t.Context(), args, streams{in: strings.NewReader(""), out: broken{}, err: &errs})
		if status != exitFailed || !strings.Contains(errs.String(), "short write") {
			t.Errorf("%q: status %d, %s", args, status, errs.String())
		}
	}
}
