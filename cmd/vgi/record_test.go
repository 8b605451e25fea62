package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// background runs a command line that serves, and returns the URL that it
// announces, and what ends it and returns what became of it.
func background(t *testing.T, args ...string) (url string, stop func() outcome) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	first := make(chan string, 1)
	ended := make(chan outcome, 1)
	go func() {
		var errs bytes.Buffer
		status := run(ctx, args, streams{in: strings.NewReader(""), out: w, err: &errs})
		_ = w.Close()
		ended <- outcome{status: status, errors: errs.String()}
	}()
	go func() {
		text, _ := io.ReadAll(io.LimitReader(r, 1)) // wait until something comes
		buf := make([]byte, 256)
		n, _ := r.Read(buf)
		first <- string(text) + string(buf[:n])
		_, _ = io.Copy(io.Discard, r)
	}()
	kind, place, ok := strings.Cut(strings.TrimSpace(<-first), ":")
	stop = sync.OnceValue(func() outcome {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	if !ok {
		t.Fatalf("nothing is announced: %+v", stop())
	}
	if kind == "PORT" {
		return "http://127.0.0.1:" + place, stop
	}
	return strings.ToLower(kind) + ":" + place, stop
}

// self is the command that runs this binary in a role, for stdio URLs.
func self(role string) string { return "env " + roleVariable + "=" + role + " '" + os.Args[0] + "'" }

// recorder starts a recorder in front of a worker on a transport, and returns the
// URL of the worker and that of the recorder; stop ends it.
func recorder(t *testing.T, transport, file string, flags ...string) (worker, front string, stop func() outcome) {
	t.Helper()
	args := append([]string{"record", "-o", file}, flags...)
	switch transport {
	case "stdio":
		if runtime.GOOS == "windows" {
			t.Skip("env is a program of Unix systems")
		}
		front = "stdio:" + self(roleCommand) + " " + strings.Join(args, " ") + " -- " + self(roleWorker)
		return stdio(), front, func() outcome { return outcome{} }
	case "unix":
		worker = serve(t, "--unix", socket(t))
		front, stop = background(t, append(args, "unix:"+socket(t), worker)...)
	case "tcp":
		worker = serve(t, "--tcp", "127.0.0.1:0")
		front, stop = background(t, append(args, "tcp:127.0.0.1:0", worker)...)
	case "http":
		worker = serve(t, "--http", "0")
		front, stop = background(t, append(args, "http://127.0.0.1:0", worker)...)
	}
	return worker, front, stop
}

// conversation is what a client does in these tests, and what becomes of it.
func conversation(t *testing.T, url string) map[string]outcome {
	t.Helper()
	return map[string]outcome{
		"unary":    vgi(t, "call", url, "add_floats", "a=1", "b=2"),
		"text":     vgi(t, "call", url, "ConformanceService/echo_string", "value=hunter2-SECRET"),
		"void":     vgi(t, "call", url, "void_noop"),
		"error":    vgi(t, "call", url, "raise_value_error", "message=hunter2-SECRET", "--json-errors"),
		"producer": vgi(t, "stream", url, "produce_n", "count=3", "-o", "jsonl"),
		"cut":      vgi(t, "stream", url, "produce_n", "count=1000", "-n", "2", "-o", "jsonl"),
		"header":   vgi(t, "stream", url, "produce_with_header", "count=2", "-o", "jsonl"),
		"logs":     vgi(t, "call", url, "echo_with_info_log", "value=x", "--log-level", "trace"),
		"exchange": vgiWith(t, strings.NewReader("{\"value\":1}\n{\"value\":2}\n"), "stream", url, "exchange_scale", "factor=2",
			"-i", "-", "--input-format", "jsonl", "--columns", "value:float64", "--batch-size", "1", "-o", "jsonl"),
	}
}

// settled takes from outcomes what is another each time.
func settled(all map[string]outcome) map[string]outcome {
	out := map[string]outcome{}
	for name, o := range all {
		if name == "error" { // it has the request's identifier
			o.errors, _, _ = strings.Cut(o.errors, `"request_id"`)
		}
		out[name] = o
	}
	return out
}

func transports() []string { return []string{"stdio", "unix", "tcp", "http"} }

// recordings are the files of a recorder: over stdio there is one for each call.
func recordings(t *testing.T, file string) []string {
	t.Helper()
	found, err := filepath.Glob(strings.ReplaceAll(file, "{pid}", "*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("%v: no recording %s", err, file)
	}
	return found
}

func TestTheRecorderChangesNothingAndReplayFindsNoDifference(t *testing.T) {
	longTest(t)
	for _, transport := range transports() {
		t.Run(transport, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r-{pid}")
			worker, front, stop := recorder(t, transport, file, "--payloads")
			direct, recorded := conversation(t, worker), conversation(t, front)
			if o := stop(); o.status != exitOK {
				t.Fatalf("the recorder: %+v", o)
			} else if transport != "stdio" && !strings.Contains(o.errors, "WARNING") {
				t.Errorf("nobody is warned of payloads: %q", o.errors)
			}
			if diff := cmp.Diff(settled(direct), settled(recorded), cmp.AllowUnexported(outcome{})); diff != "" {
				t.Fatal("with the recorder things are different:\n", diff)
			}
			for _, url := range []string{worker, stdio()} {
				for _, path := range recordings(t, file) {
					got := vgi(t, "replay", path, url, "--timeout", "1m")
					if got.status != exitOK || !strings.Contains(got.out, " 0 differ, 0 not replayed") {
						t.Errorf("replay to %s: %+v", url, got)
					}
				}
			}
		})
	}
}

func TestARecordingIsRedactedUnlessPayloadsAreAskedFor(t *testing.T) {
	longTest(t)
	for _, transport := range transports() {
		t.Run(transport, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r-{pid}")
			_, front, stop := recorder(t, transport, file)
			conversation(t, front)
			if o := stop(); o.status != exitOK {
				t.Fatalf("the recorder: %+v", o)
			}
			for _, path := range recordings(t, file) {
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				info, err := os.Stat(path)
				if err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
					t.Errorf("%v: the file's mode is %v", err, info.Mode())
				}
				if bytes.Contains(content, []byte("hunter2")) {
					t.Error("a parameter is in the file")
				}
				got := vgi(t, "replay", path, stdio())
				if got.status != exitFailed || !strings.Contains(got.errors, "record again with --payloads") {
					t.Errorf("a replay of it: %+v", got)
				}
				got = vgi(t, "recording", "show", path)
				if got.status != exitOK || !strings.Contains(got.out, wantShown(transport)) {
					t.Errorf("shown: %+v", got)
				}
			}
		})
	}
}

func wantShown(transport string) string {
	if transport == "http" {
		return ":path=/ConformanceService/add_floats"
	}
	return "vgi_rpc.method=describe"
}

func TestCredentialsAreInNoRecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r")
	_, front, stop := recorder(t, "http", file, "--payloads")
	if got := vgi(t, "call", front, "add_floats", "a=1", "b=2", "--bearer", "hunter2", "-H", "Cookie: a=hunter2"); got.status != exitOK {
		t.Fatalf("%+v", got)
	}
	stop()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte("hunter2")) || !bytes.Contains(content, []byte("Authorization")) {
		t.Error("want the header's name in the file, and not its value")
	}
}

func TestARecordedServerAnswersAgain(t *testing.T) {
	longTest(t)
	for _, transport := range transports() {
		t.Run(transport, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r")
			way, serveAt := transport, map[string]string{
				"stdio": "stdio:", "unix": "unix:" + socket(t), "tcp": "tcp:127.0.0.1:0", "http": "http://127.0.0.1:0",
			}[transport]
			if transport == "stdio" {
				way = "unix" // one recording of all calls
			}
			_, front, stop := recorder(t, way, file, "--payloads")
			want := conversation(t, front)
			stop()
			url := "stdio:" + self(roleCommand) + " replay --serve stdio: " + file
			if transport != "stdio" {
				url, _ = background(t, "replay", "--serve", serveAt, file)
			}
			got := conversation(t, url)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error("the recorded answers are different:\n", diff)
			}
			for _, args := range [][]string{
				{"call", url, "add_floats", "a=1", "b=7"},
				{"stream", url, "produce_n", "count=4"},
			} {
				unknown := vgi(t, args...)
				if unknown.status != codeStatus(vgirpc.NotFound) || !strings.Contains(unknown.errors, recording.KindNotRecorded) {
					t.Errorf("%v, which was not recorded: %+v", args, unknown)
				}
			}
		})
	}
}

func TestReplayPrintsWhatDiffers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r")
	_, front, stop := recorder(t, "tcp", file, "--payloads")
	for _, args := range [][]string{{"ConformanceService/echo_string", "value=abc"}, {"raise_value_error", "message=abc"}} {
		vgi(t, append([]string{"call", front}, args...)...)
	}
	stop()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, frames, err := recording.ReadAll(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames { // what the server is made to have said
		if frames[i].From == recording.Server {
			frames[i].Bytes = bytes.ReplaceAll(frames[i].Bytes, []byte("abc"), []byte("xyz"))
		}
	}
	calls, err := recording.Calls(info, frames)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	a := &app{streams: streams{out: &out, err: &errs}}
	a.conn.connectTimeout = time.Minute
	err = a.replay(t.Context(), stdio(), calls, nil)
	if statusOf(t.Context(), err) != exitFailed {
		t.Errorf("%v", err)
	}
	for _, want := range []string{
		`output 1: column "result": row 0: recorded xyz, got abc`,
		`error: recorded UNKNOWN ValueError: xyz, got UNKNOWN ValueError: abc`,
		`2 differ, 0 not replayed`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := a.replay(t.Context(), stdio(), calls, []string{"result"}); err == nil || strings.Contains(out.String(), "column") {
		t.Errorf("%v: a column that is ignored is compared:\n%s", err, out.String())
	}
}

func TestAReplayThatBreaksOffSaysAtWhichCall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r")
	_, front, stop := recorder(t, "tcp", file, "--payloads")
	vgi(t, "call", front, "add_floats", "a=1", "b=2")
	stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(l)
	go func() { // a server that hangs up
		for nc, err := l.Accept(); err == nil; nc, err = l.Accept() {
			closeAll(nc)
		}
	}()
	got := vgi(t, "replay", file, "tcp:"+l.Addr().String())
	if got.status < exitCodes || !strings.Contains(got.errors, ": call 1 (connection 1, ") {
		t.Errorf("%+v", got)
	}
}

func TestTheTextOfAnErrorIsRecordedWithPayloadsAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(l)
	go func() { // a server that answers what is no HTTP
		for nc, err := l.Accept(); err == nil; nc, err = l.Accept() {
			_, _ = nc.Read(make([]byte, 4096)) // what is unread would make a reset of it
			_, _ = io.WriteString(nc, "HTTP/1.1 hunter2-SECRET\r\n\r\n")
			closeAll(nc)
		}
	}()
	for _, payloads := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "r")
		args := []string{"record", "-o", file, "http://127.0.0.1:0", "http://" + l.Addr().String()}
		if payloads {
			args = append(args, "--payloads")
		}
		front, stop := background(t, args...)
		resp, err := http.Get(front + "/health")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		stop()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("hunter2")) != payloads {
			t.Errorf("with payloads %v, what the peer said is in the file: %v", payloads, !payloads)
		}
		if shown := vgi(t, "recording", "show", file); !strings.Contains(shown.out, "class=protocol") {
			t.Errorf("%+v", shown)
		}
	}
}

// poorListener has no descriptors at first, then one connection, and then fails for
// good.
type poorListener struct {
	net.Listener // has none of the other methods
	short        int
	conn         net.Conn
	closed       chan struct{}
	once         sync.Once
}

var errGone = errors.New("the network is gone")

func (l *poorListener) Accept() (net.Conn, error) {
	if l.short > 0 {
		l.short--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	if nc := l.conn; nc != nil {
		l.conn = nil
		return nc, nil
	}
	return nil, errGone
}

func (l *poorListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func TestAWantOfDescriptorsPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer closeAll(client)
		l := &poorListener{short: 3, conn: server, closed: make(chan struct{})}
		var said bytes.Buffer
		served := 0
		err := serveConns(t.Context(), l, &said, func(nc net.Conn) {
			served++
			<-l.closed // ahead of the wait for this connection
			closeAll(nc)
		})
		if !errors.Is(err, errGone) || served != 1 {
			t.Errorf("%d connections are served, then %v", served, err)
		}
		if n := strings.Count(said.String(), "accept failed, trying again"); n != 1 {
			t.Errorf("told %d times: %s", n, said.String())
		}
	})
}

func TestTheRecorderEndsAsItsWorkerDoes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("sh is a program of Unix systems")
	}
	for _, tt := range []struct {
		name, script string
		in           string
		want         outcome
	}{
		{"its status", "exit 7", "", outcome{status: 7}},
		{"its signal", "kill -9 $$", "", outcome{status: 128 + int(syscall.SIGKILL)}},
		{"its output after the client's end", "cat >/dev/null; echo late", "hello", outcome{status: 0, out: "late\n"}},
		{"its standard error", "echo oops >&2", "", outcome{errors: "oops\n"}},
		{"before the client has said anything", "exec <&-; echo bye", "", outcome{out: "bye\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "record", "-o", file, "--", "sh", "-c", tt.script)
			cmd.Env = append(os.Environ(), roleVariable+"="+roleCommand)
			cmd.Stdin = strings.NewReader(tt.in)
			if tt.in == "" { // a client that says nothing and stays
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer closeAll(r, w)
				cmd.Stdin = r
			}
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				t.Fatal(err)
			}
			got := outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error(diff)
			}
			if shown := vgi(t, "recording", "show", file); shown.status != exitOK || !strings.Contains(shown.out, "finish") {
				t.Errorf("the recording: %+v", shown)
			}
		})
	}
}

// pair is a recorder between a client's connection and a server's.
func pair(t *testing.T, network string) (client, server net.Conn) {
	t.Helper()
	place := "127.0.0.1:0"
	if network == "unix" {
		place = socket(t)
	}
	l, err := net.Listen(network, place)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(l)
	listen := network + ":127.0.0.1:0"
	if network == "unix" {
		listen = "unix:" + socket(t)
	}
	front, _ := background(t, "record", "-o", filepath.Join(t.TempDir(), "r"), listen, network+":"+l.Addr().String())
	if client, err = net.Dial(network, strings.TrimPrefix(front, network+":")); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(client, server) })
	return client, server
}

func TestEndsAndErrorsOfConnectionsGoThrough(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network+": a half-close of the client, and bytes of the server behind it", func(t *testing.T) {
			client, server := pair(t, network)
			_, _ = io.WriteString(client, "question")
			_ = client.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(server); err != nil || string(got) != "question" {
				t.Fatalf("the server: %q, %v", got, err)
			}
			_, _ = io.WriteString(server, "answer")
			_ = server.Close()
			if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
				t.Errorf("the client: %q, %v", got, err)
			}
		})
		t.Run(network+": a half-close of the server", func(t *testing.T) {
			client, server := pair(t, network)
			_ = server.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(client); err != nil || len(got) != 0 {
				t.Fatalf("the client: %q, %v", got, err)
			}
			_, _ = io.WriteString(client, "still here")
			_ = client.Close()
			if got, err := io.ReadAll(server); err != nil || string(got) != "still here" {
				t.Errorf("the server: %q, %v", got, err)
			}
		})
	}
	t.Run("tcp: a reset", func(t *testing.T) {
		client, server := pair(t, "tcp")
		abort(server)
		if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client: %v, want a reset", err)
		}
	})
	t.Run("tcp: a server that is not there", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "r")
		front, stop := background(t, "record", "-o", file, "tcp:127.0.0.1:0", "tcp:"+freeport.Refusing(t))
		client, err := net.Dial("tcp", strings.TrimPrefix(front, "tcp:"))
		if err == nil {
			defer closeAll(client)
			_, err = io.ReadAll(client)
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client: %v, want a reset", err)
		}
		stop()
		if shown := vgi(t, "recording", "show", file); !strings.Contains(shown.out, "refused") {
			t.Errorf("the recording: %+v", shown)
		}
	})
}

func TestCommandLinesOfTheRecorderThatMakeNoSense(t *testing.T) {
	there := file(t, "there", "x")
	free := filepath.Join(t.TempDir(), "r")
	for _, tt := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"no file", []string{"record", "--", "worker"}, exitUsage, "-o FILE"},
		{"nothing to record", []string{"record", "-o", free}, exitUsage, "LISTEN and TARGET"},
		{"one address", []string{"record", "-o", free, "tcp:127.0.0.1:0"}, exitUsage, "LISTEN and TARGET"},
		{"an address of no kind", []string{"record", "-o", free, "tcp:127.0.0.1:0", "smtp:x"}, exitUsage, "smtp:x"},
		{"HTTP in front of TCP", []string{"record", "-o", free, "http://127.0.0.1:0", "tcp:127.0.0.1:1"}, exitUsage, "http://"},
		{"a file that is there", []string{"record", "-o", there, "--", "worker"}, exitFailed, "exists"},
		{"a file that may not grow", []string{"record", "-o", free, "--max-bytes", "10", "--", "worker"}, exitUsage, "MaxBytes"},
		{"no worker", []string{"record", "-o", free, "--", "./there-is-none"}, exitUnreachable, "there-is-none"},
		{"a replay of what is no recording", []string{"replay", there, stdio()}, exitFailed, "recording"},
		{"a replay without a URL", []string{"replay", there}, exitUsage, "URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := vgi(t, tt.args...); got.status != tt.want || !strings.Contains(got.errors, tt.says) {
				t.Errorf("%+v, want status %d and %q", got, tt.want, tt.says)
			}
		})
	}
}

// longTest is one that starts dozens of processes.
func longTest(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
}
