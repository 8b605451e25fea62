package conformance_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// logged is what a worker has logged, in all files of a directory.
type logged struct {
	records []map[string]any
	torn    int
	dropped int
}

// enoughValidated is how many records of a log are held against the schema: of
// those of a load, one is like the other.
const enoughValidated = 1000

// readLog reads the access log at a path with the files that it was renamed to.
// The canonical schema accepts every record.
func readLog(t *testing.T, path string) logged {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("../observability/testdata/access_log.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) == 0 {
		t.Fatalf("files %v, %v", names, err)
	}
	var all logged
	for _, name := range names {
		for line := range strings.Lines(readFile(t, name)) {
			var r map[string]any
			if err := json.Unmarshal([]byte(line), &r); err != nil || !strings.HasSuffix(line, "\n") {
				all.torn++
				continue
			}
			if len(all.records) < enoughValidated {
				if err := schema.Validate(r); err != nil {
					t.Errorf("%v\n%s", err, line)
				}
			}
			n, _ := r["dropped_records"].(float64)
			all.dropped += int(n)
			all.records = append(all.records, r)
		}
	}
	return all
}

// readFile returns what is in a file, decompressed where its name says so.
func readFile(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "" // renamed since it was listed, by a worker that still writes: its reader comes again
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// reach starts a worker on a transport and connects. The worker ends with stop.
func reach(t *testing.T, transport string, args ...string) (c *vgirpc.Client, stop func()) {
	t.Helper()
	client := vgirpc.ClientOptions{}
	var err error
	switch transport {
	case "stdio":
		if c, err = overStdio(t, nil, args...); err == nil {
			return c, func() { _ = c.Close() }
		}
	case "unix":
		w := start(t, nil, append(args, "--unix", socketPath(t))...)
		c, err = vgirpc.DialUnix(t.Context(), strings.TrimPrefix(w.line, "UNIX:"), client)
		stop = func() { _ = c.Close(); w.stop(t, syscall.SIGTERM) }
	case "tcp":
		w := start(t, nil, append(args, "--tcp", "0")...)
		c, err = vgirpc.DialTCP(t.Context(), strings.TrimPrefix(w.line, "TCP:"), client)
		stop = func() { _ = c.Close(); w.stop(t, syscall.SIGTERM) }
	case "http":
		w := start(t, nil, append(args, "--http", "0")...)
		c, err = httpclient.Dial(t.Context(), "http://127.0.0.1:"+strings.TrimPrefix(w.line, "PORT:"), httpclient.Options{}, client)
		stop = func() { _ = c.Close(); w.stop(t, syscall.SIGTERM) }
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, stop
}

// everyOutcome makes calls that end in each way that there is.
func everyOutcome(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	ctx := t.Context()
	expect := func(what string, err error, fails bool) {
		t.Helper()
		if (err != nil) != fails {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := conformance.EchoInt.Call(ctx, c, conformance.Value[int64]{Value: 1})
	expect("echo_int", err, false)
	_, err = conformance.VoidNoop.Call(ctx, c, vgirpc.None{})
	expect("void_noop", err, false)
	_, err = conformance.RaiseValueError.Call(ctx, c, conformance.MessageParams{Message: "line\nbreak \u2028 \"quoted\""})
	expect("raise_value_error", err, true)
	wrong := vgirpc.NewProtocol("ConformanceService", "99.0.0")
	_, err = vgirpc.NewUnary[vgirpc.None, vgirpc.None](wrong, "void_noop").Call(ctx, c, vgirpc.None{})
	expect("another version", err, true)
	other := vgirpc.NewProtocol("ConformanceService", conformance.Service.Version())
	_, err = vgirpc.NewUnary[vgirpc.None, vgirpc.None](other, "echo_int").Call(ctx, c, vgirpc.None{})
	expect("other parameters", err, true)

	drain := func(s *vgirpc.ProducerStream[conformance.CounterRow], err error) error {
		if err != nil {
			return err
		}
		for _, err := range s.All() {
			if err != nil {
				return err
			}
		}
		return s.Close()
	}
	expect("produce_n", drain(conformance.ProduceN.Open(ctx, c, conformance.CountParams{Count: 3})), false)
	expect("produce_empty", drain(conformance.ProduceEmpty.Open(ctx, c, vgirpc.None{})), false)
	expect("produce_error_mid_stream", drain(conformance.ProduceErrorMidStream.Open(ctx, c, conformance.EmitParams{EmitBeforeError: 2})), true)
	expect("produce_error_on_init", drain(conformance.ProduceErrorOnInit.Open(ctx, c, vgirpc.None{})), true)
	s, err := conformance.CancellableProducer.Open(ctx, c, vgirpc.None{})
	expect("cancellable_producer", err, false)
	for _, err := range s.All() {
		expect("cancellable_producer", err, false)
		break
	}
	x, err := conformance.ExchangeScale.Open(ctx, c, conformance.FactorParams{Factor: 2})
	expect("exchange_scale", err, false)
	for range 3 {
		_, err = x.Exchange(ctx, conformance.FloatRow{Value: 1})
		expect("exchange_scale", err, false)
	}
	expect("exchange_scale", x.Close(), false)
	x, err = conformance.ExchangeErrorOnNth.Open(ctx, c, conformance.FailOnParams{FailOn: 2})
	expect("exchange_error_on_nth", err, false)
	_, err = x.Exchange(ctx, conformance.FloatRow{Value: 1})
	expect("exchange_error_on_nth", err, false)
	_, err = x.Exchange(ctx, conformance.FloatRow{Value: 1})
	expect("exchange_error_on_nth", err, true)
	_ = x.Close()
}

func TestTheAccessLogOfEveryTransportAndOutcome(t *testing.T) {
	for _, transport := range []string{"stdio", "unix", "tcp", "http"} {
		for _, tt := range []struct {
			name  string
			flags []string
		}{
			{"INFO", nil},
			{"DEBUG", []string{"--access-log-debug"}},
			{"in the background and in many files", []string{"--access-log-async", "--access-log-max-bytes", "2000", "--access-log-backup-count", "1000"}},
			{"records without room", []string{"--access-log-max-record-bytes", "100"}},
		} {
			t.Run(transport+", "+tt.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "access")
				c, stop := reach(t, transport, append(tt.flags, "--access-log", path)...)
				everyOutcome(t, c)
				stop()
				got := readLog(t, path)
				if got.torn+got.dropped > 0 {
					t.Errorf("%d torn, %d dropped", got.torn, got.dropped)
				}
				outcomes := map[string]bool{}
				streams := map[any][]any{} // by method
				for _, r := range got.records {
					cancelled := ""
					if r["cancelled"] == true {
						cancelled = ", cancelled"
					}
					outcomes[fmt.Sprint(r["method"], " ", r["status"], cancelled)] = true
					if r["method_type"] == "stream" {
						streams[r["method"]] = append(streams[r["method"]], r["stream_id"])
					}
					if status := r["http_status"]; transport == "http" && tt.name != "records without room" &&
						status != 200.0 && (status != 400.0 || r["status"] != "error") {
						t.Errorf("%s %s: http_status %v", r["method"], r["status"], status)
					}
				}
				want := []string{
					"echo_int ok", "void_noop ok", "raise_value_error error", "void_noop error", "echo_int error",
					"produce_n ok", "produce_empty ok", "produce_error_mid_stream error", "produce_error_on_init error",
					"exchange_scale ok", "exchange_error_on_nth error",
				}
				if tt.name != "records without room" {
					want = append(want, "cancellable_producer ok, cancelled")
				}
				for _, outcome := range want {
					if !outcomes[outcome] {
						t.Errorf("no record of %q", outcome)
					}
				}
				for method, ids := range streams {
					if slices.Sort(anyStrings(ids)); len(slices.Compact(anyStrings(ids))) != 1 {
						t.Errorf("%s: the records of one stream have the identifiers %v", method, ids)
					}
				}
				if n := len(streams["exchange_scale"]); transport == "http" && n < 4 || transport != "http" && n != 1 {
					t.Errorf("%d records of a stream with three turns", n)
				}
			})
		}
	}
}

func anyStrings(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return out
}

func TestTheRecordsOfOneStreamShareItsFate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	c, stop := reach(t, "http", "--access-log", path, "--access-log-sample", "0.5")
	const streams, turns = 100, 3
	for range streams {
		x, err := conformance.ExchangeScale.Open(t.Context(), c, conformance.FactorParams{Factor: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range turns {
			if _, err := x.Exchange(t.Context(), conformance.FloatRow{Value: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	turnsOf := map[any]int{}
	for _, r := range readLog(t, path).records {
		if r["method"] == "exchange_scale" && r["cancelled"] != true {
			turnsOf[r["stream_id"]]++
			if r["sample_rate"] != 0.5 {
				t.Errorf("sample_rate %v", r["sample_rate"])
			}
		}
	}
	if n := len(turnsOf); n < 20 || n > 80 {
		t.Errorf("%d of %d streams logged", n, streams)
	}
	for id, n := range turnsOf {
		if n != 1+turns {
			t.Errorf("stream %v has %d records, want one for its opening and %d turns", id, n, turns)
		}
	}
}

// load makes calls over connections of their own until it is stopped or a
// connection is lost. Each call has an identifier of its own.
type load struct {
	answered atomic.Int64
	stopping atomic.Bool
	wg       sync.WaitGroup
	ids      [][]string // of the answered calls, of each connection
}

func startLoad(t *testing.T, address string, connections int) *load {
	t.Helper()
	l := &load{ids: make([][]string, connections)}
	for i := range connections {
		c, err := vgirpc.DialTCP(t.Context(), address, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.wg.Go(func() {
			defer func() { _ = c.Close() }()
			for n := 0; !l.stopping.Load(); n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				ctx := vgirpc.WithMetadata(t.Context(), wire.Pair{Key: wire.KeyRequestID, Value: id})
				if _, err := conformance.EchoInt.Call(ctx, c, conformance.Value[int64]{Value: 1}); err != nil {
					return
				}
				l.ids[i] = append(l.ids[i], id)
				l.answered.Add(1)
			}
		})
	}
	return l
}

// until waits for n further answers.
func (l *load) until(t *testing.T, n int64) {
	t.Helper()
	for goal := l.answered.Load() + n; l.answered.Load() < goal; {
		select {
		case <-t.Context().Done():
			t.Fatal("no answers any more")
		case <-time.After(time.Millisecond):
		}
	}
}

func (l *load) stop() {
	l.stopping.Store(true)
	l.wg.Wait()
}

// missing returns the answered calls of each connection that have no record.
func (l *load) missing(t *testing.T, got logged) [][]string {
	t.Helper()
	seen := map[any]bool{}
	for _, r := range got.records {
		if r["method"] != "echo_int" {
			continue
		}
		if seen[r["request_id"]] {
			t.Errorf("%v has two records", r["request_id"])
		}
		seen[r["request_id"]] = true
	}
	out := make([][]string, len(l.ids))
	for i, ids := range l.ids {
		for _, id := range ids {
			if !seen[id] {
				out[i] = append(out[i], id)
			}
		}
	}
	return out
}

// TestAKilledWorkerHasLoggedWhatItAnswered kills a worker under load while its
// log is renamed every few calls, and starts another one with the same log.
func TestAKilledWorkerHasLoggedWhatItAnswered(t *testing.T) {
	const connections, kills = 4, 3
	for _, tt := range []struct {
		name string
		args []string
		most int // calls of a connection without a record; negative: any number
	}{
		// The record of a call is written after its reply, before the next call.
		{"at once", nil, 1},
		{"in the background", []string{"--access-log-async"}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range kills {
				path := filepath.Join(t.TempDir(), "access")
				args := append([]string{"--tcp", "0", "--access-log", path, "--access-log-max-bytes", "20000", "--access-log-backup-count", "100000"}, tt.args...)
				w := start(t, nil, args...)
				l := startLoad(t, strings.TrimPrefix(w.line, "TCP:"), connections)
				l.until(t, 3000)
				if err := w.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				l.wg.Wait()
				_ = w.Wait()
				got := readLog(t, path)
				if got.torn > 1 {
					t.Errorf("%d torn lines", got.torn)
				}
				var lost int
				for _, missing := range l.missing(t, got) {
					lost += len(missing)
					if tt.most >= 0 && len(missing) > tt.most {
						t.Errorf("answered and not logged: %v", missing)
					}
				}
				t.Logf("%d calls answered, %d of them without a record, %d torn lines", l.answered.Load(), lost, got.torn)

				w = start(t, nil, args...)
				c, err := vgirpc.DialTCP(t.Context(), strings.TrimPrefix(w.line, "TCP:"), vgirpc.ClientOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conformance.VoidNoop.Call(t.Context(), c, vgirpc.None{}); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				w.stop(t, syscall.SIGTERM)
				after := readLog(t, path)
				if after.torn != got.torn || after.dropped != got.torn || len(after.records) != len(got.records)+1 {
					t.Errorf("after another call there are %d records and %d torn lines, %d announced; before it were %d and %d",
						len(after.records), after.torn, after.dropped, len(got.records), got.torn)
				}
			}
		})
	}
}

func TestAWorkerThatEndsHasLoggedOrAnnouncedEveryCall(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		lose bool
	}{
		{"at once", nil, false},
		{"in the background", []string{"--access-log-async", "--access-log-queue-size", "1000000"}, false},
		{"with a queue that is too short", []string{"--access-log-async", "--access-log-queue-size", "1"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access")
			w := start(t, nil, append(tt.args, "--tcp", "0", "--access-log", path, "--access-log-max-bytes", "50000", "--access-log-backup-count", "100000")...)
			l := startLoad(t, strings.TrimPrefix(w.line, "TCP:"), 4)
			l.until(t, 5000)
			l.stop()
			made := l.answered.Load()
			if tt.lose { // a last record has to get through, to announce those before it
				last, err := vgirpc.DialTCP(t.Context(), strings.TrimPrefix(w.line, "TCP:"), vgirpc.ClientOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for got := (logged{}); len(got.records)+got.dropped < int(made); got = readLog(t, path) {
					if _, err := conformance.EchoInt.Call(t.Context(), last, conformance.Value[int64]{}); err != nil {
						t.Fatal(err)
					}
					made++
				}
				_ = last.Close()
			}
			w.stop(t, syscall.SIGTERM)
			got := readLog(t, path)
			if n := int64(len(got.records) + got.dropped); n != made || got.torn > 0 {
				t.Errorf("%d calls, %d records, %d announced as dropped, %d torn", made, len(got.records), got.dropped, got.torn)
			}
			if (got.dropped > 0) != tt.lose {
				t.Errorf("%d dropped", got.dropped)
			}
		})
	}
}

// TestTwoWorkersThatShareALogLoseNothing has each of two processes rename the
// file that the other one writes to, as when one takes over from the other.
func TestTwoWorkersThatShareALogLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	var workers [2]*started
	var loads [2]*load
	for i := range workers {
		workers[i] = start(t, nil, "--tcp", "0", "--access-log", path, "--access-log-max-bytes", "5000", "--access-log-backup-count", "100000")
		loads[i] = startLoad(t, strings.TrimPrefix(workers[i].line, "TCP:"), 2)
	}
	for i := range 10 {
		loads[i%2].until(t, 300)
		if err := workers[i%2].Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	var made int64
	for i := range workers {
		loads[i].stop()
		workers[i].stop(t, syscall.SIGTERM)
		made += loads[i].answered.Load()
	}
	if got := readLog(t, path); int64(len(got.records)) != made || got.torn+got.dropped > 0 {
		t.Errorf("%d calls, %d records, %d torn, %d dropped", made, len(got.records), got.torn, got.dropped)
	}
}

// logrotate finds the program, which is in no user's path.
func logrotate(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"logrotate", "/usr/sbin/logrotate"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no logrotate: run deploy/log-shipping/setup.sh")
	}
	t.Skip("no logrotate: run deploy/log-shipping/setup.sh")
	return ""
}

// deployed is the configuration that is delivered, for another file and process.
func deployed(t *testing.T, path string, pid int) string {
	t.Helper()
	text, err := os.ReadFile("../deploy/log-shipping/logrotate.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for was, is := range map[string]string{
		"/var/log/vgi-rpc/access.jsonl":                                path,
		"create 0600 vgi-rpc vgi-rpc":                                  "create 0600",
		"systemctl kill --kill-whom=main --signal=HUP vgi-rpc.service": fmt.Sprint("kill -HUP ", pid),
	} {
		if strings.Count(config, was) != 1 {
			t.Fatalf("%q is not in the configuration once", was)
		}
		config = strings.Replace(config, was, is, 1)
	}
	return config
}

// TestLogrotate lets the real program rename the log of a worker under load.
func TestLogrotate(t *testing.T) {
	program := logrotate(t)
	for _, tt := range []struct {
		name   string
		config func(t *testing.T, path string, pid int) string
		loses  bool
	}{
		{"as delivered", deployed, false},
		{"nocreate", func(_ *testing.T, path string, pid int) string {
			return fmt.Sprintf("%s {\n\trotate 9\n\tnocreate\n\tpostrotate\n\t\tkill -HUP %d\n\tendscript\n}\n", path, pid)
		}, false},
		{"copytruncate", func(_ *testing.T, path string, _ int) string {
			return fmt.Sprintf("%s {\n\trotate 9\n\tcopytruncate\n}\n", path)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "access")
			w := start(t, nil, "--tcp", "0", "--access-log", path)
			config := filepath.Join(dir, "logrotate.conf")
			if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(config, []byte(tt.config(t, path, w.Process.Pid)), 0o600)); err != nil {
				t.Fatal(err)
			}
			l := startLoad(t, strings.TrimPrefix(w.line, "TCP:"), 4)
			const rotations = 5
			for range rotations {
				l.until(t, 500)
				out, err := exec.CommandContext(t.Context(), program, "-f", "-s", filepath.Join(dir, "state"), config).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				// The signal was only sent: the worker writes the new file once it has it.
				end := time.Now().Add(time.Minute)
				for info, err := os.Stat(path); err != nil || info.Size() == 0; info, err = os.Stat(path) {
					if l.until(t, 1); time.Now().After(end) {
						t.Fatalf("the worker writes no new file: %v", err)
					}
				}
			}
			l.until(t, 500)
			l.stop()
			w.stop(t, syscall.SIGTERM)
			got := readLog(t, path)
			if got.torn+got.dropped > 0 && !tt.loses {
				t.Errorf("%d torn, %d dropped", got.torn, got.dropped)
			}
			if missing := slices.Concat(l.missing(t, got)...); len(missing) > 0 && !tt.loses {
				t.Errorf("%d of %d calls are lost: %v", len(missing), l.answered.Load(), missing[:min(len(missing), 5)])
			} else {
				t.Logf("%d of %d calls are lost", len(missing), l.answered.Load())
			}
			names, err := filepath.Glob(path + ".*")
			if err != nil || len(names) != rotations {
				t.Errorf("renamed %v, %v: want %d files", names, err, rotations)
			}
			if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte{0}) || len(text) == 0 {
				t.Errorf("the last file: %v, %d bytes, with a hole: %v", err, len(text), bytes.Contains(text, []byte{0}))
			}
		})
	}
}

// TestTheCanonicalValidatorAcceptsTheLog runs the validator of the Python
// reference over logs of every transport.
func TestTheCanonicalValidatorAcceptsTheLog(t *testing.T) {
	python := pyref.Python(t)
	for _, transport := range []string{"stdio", "unix", "tcp", "http"} {
		t.Run(transport, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access")
			c, stop := reach(t, transport, "--access-log", path, "--access-log-sample", "0.9", "--access-log-async")
			everyOutcome(t, c)
			stop()
			out, err := exec.CommandContext(t.Context(), python, "-m", "vgi_rpc.access_log_conformance", path).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
