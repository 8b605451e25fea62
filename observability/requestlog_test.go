package observability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// refusedRecords are the lines of a request log.
func refusedRecords(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

func requestLogTo(t *testing.T, out *bytes.Buffer, opts RequestLogOptions) *RequestLog {
	t.Helper()
	opts.ServerID = "srv"
	l, err := NewRequestLog(out, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestARecordOfARefusalSaysWhatIsKnown(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   vgirpc.Refused
		want map[string]any
	}{
		{"a request over HTTP", vgirpc.Refused{
			Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedStreamToken, Code: vgirpc.InvalidArgument, Kind: "kind", Status: 400,
			Verb: "POST", Version: "HTTP/2.0", Protocol: "acme.P", Method: "m", RequestID: "id\n", Peer: "192.0.2.1:5", Client: "203.0.113.7",
			Principal: "alice", Domain: "jwt", UID: -1, PID: -1, BytesIn: 12, Duration: 1250 * time.Microsecond,
		}, map[string]any{
			"timestamp": "2000-01-01T00:00:00.000Z", "level": "INFO", "logger": "vgi_rpc.request", "message": "http refused: stream_token",
			"server_id": "srv", "transport": "http", "reason": "stream_token", "error_code": "INVALID_ARGUMENT", "http_status": 400.0,
			"error_kind": "kind", "http_method": "POST", "http_version": "HTTP/2.0", "protocol": "acme.P", "method": "m", "request_id": "id\n",
			"remote_addr": "192.0.2.1:5", "client_addr": "203.0.113.7", "principal": "alice", "auth_domain": "jwt",
			"server_version": "1.2", "request_bytes": 12.0, "duration_ms": 1.25,
		}},
		{"a connection of a Unix socket", vgirpc.Refused{
			Transport: vgirpc.TransportUnix, Reason: vgirpc.RefusedHandshake, Code: vgirpc.Unauthenticated, UID: 0, PID: 77,
		}, map[string]any{
			"timestamp": "2000-01-01T00:00:00.000Z", "level": "INFO", "logger": "vgi_rpc.request", "message": "unix refused: handshake",
			"server_id": "srv", "transport": "unix", "reason": "handshake", "error_code": "UNAUTHENTICATED", "server_version": "1.2",
			"uid": 0.0, "pid": 77.0, "duration_ms": 0.0,
		}},
		{"a text that is too long", vgirpc.Refused{
			Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAdmission, Code: vgirpc.Unknown, Principal: strings.Repeat("p", 5000), UID: -1, PID: -1,
		}, map[string]any{
			"timestamp": "2000-01-01T00:00:00.000Z", "level": "INFO", "logger": "vgi_rpc.request", "message": "tcp refused: admission",
			"server_id": "srv", "transport": "tcp", "reason": "admission", "error_code": "UNKNOWN", "server_version": "1.2",
			"principal": strings.Repeat("p", 1024), "duration_ms": 0.0,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where time begins with the year 2000
				var out bytes.Buffer
				requestLogTo(t, &out, RequestLogOptions{ServerVersion: "1.2"}).RequestRefused(t.Context(), &tt.of)
				if diff := cmp.Diff([]map[string]any{tt.want}, refusedRecords(t, out.String())); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestNobodyFillsADiskWithRefusals(t *testing.T) {
	from := func(format string) func(int) string { return func(i int) string { return fmt.Sprintf(format, i) } }
	for _, tt := range []struct {
		name   string
		opts   RequestLogOptions
		client func(int) string
		want   int // records of 100 refusals
	}{
		{"one address", RequestLogOptions{AddressRate: 5, Rate: -1}, from("192.0.2.1:%d"), 5},
		{"addresses of one IPv6 network", RequestLogOptions{AddressRate: 5, Rate: -1}, from("[2001:db8::%x]:1"), 5},
		{"networks of IPv6", RequestLogOptions{AddressRate: 5, Rate: -1}, from("[2001:db8:0:%x::1]:1"), 100},
		{"many addresses", RequestLogOptions{AddressRate: 5, Rate: 30}, from("192.0.2.%d:1"), 30},
		{"peers without an address", RequestLogOptions{AddressRate: 5, Rate: -1}, func(int) string { return "" }, 5},
		{"the defaults, for one address", RequestLogOptions{}, from("192.0.2.1:%d"), 10},
		{"no limits", RequestLogOptions{AddressRate: -1, Rate: -1}, from("192.0.2.1:%d"), 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				l := requestLogTo(t, &out, tt.opts)
				refuse := func(peer string) {
					l.RequestRefused(t.Context(), &vgirpc.Refused{Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAdmission, Peer: peer})
				}
				for i := range 100 {
					refuse(tt.client(i))
				}
				if got := len(refusedRecords(t, out.String())); got != tt.want || l.Suppressed() != int64(100-tt.want) {
					t.Errorf("%d records and %d suppressed, want %d", got, l.Suppressed(), tt.want)
				}
				time.Sleep(time.Minute)
				out.Reset()
				refuse(tt.client(1))
				refuse(tt.client(2))
				var got []any
				for _, r := range refusedRecords(t, out.String()) {
					got = append(got, r["suppressed_records"])
				}
				want := []any{float64(100 - tt.want), nil}
				if tt.want == 100 {
					want[0] = nil
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("what the next records say was left out (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// failing is a disk that fails as long as it is told to.
type failing struct {
	bytes.Buffer
	fails bool
}

func (f *failing) Write(p []byte) (int, error) {
	if f.fails {
		return 0, errors.New("no space left")
	}
	return f.Buffer.Write(p)
}

func TestWhatWasLeftOutIsToldThoughTheNextRecordIsLost(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(map[bool]string{false: "written at once", true: "written in the background"}[async], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var disk failing
				var told said
				opts := RequestLogOptions{ServerID: "srv", AddressRate: 1, Logger: told.logger(), File: LogFileOptions{Async: async}}
				opts.complete()
				if err := opts.File.complete(); err != nil {
					t.Fatal(err)
				}
				l, err := newRequestLog(opts, func() (*LogFile, error) { return newLogFile(&writer{lines{w: &disk}}, opts.File), nil })
				if err != nil {
					t.Fatal(err)
				}
				for _, step := range []struct {
					fails    bool
					refusals int
				}{{false, 3}, {true, 1}, {false, 1}} { // two are left out, one is lost, one tells
					disk.fails = step.fails
					for range step.refusals {
						l.RequestRefused(t.Context(), &vgirpc.Refused{Peer: "192.0.2.1:1"})
					}
					time.Sleep(time.Second) // of a clock of the test's own: the next may be logged
					synctest.Wait()
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				var got [][2]any
				for _, r := range refusedRecords(t, disk.String()) {
					got = append(got, [2]any{r["suppressed_records"], r["dropped_records"]})
				}
				if diff := cmp.Diff([][2]any{{nil, nil}, {2.0, 1.0}}, got); diff != "" {
					t.Errorf("what records say is missing (-want +got):\n%s", diff)
				}
				if l.Suppressed() != 2 || l.Dropped() != 1 {
					t.Errorf("%d suppressed, %d dropped", l.Suppressed(), l.Dropped())
				}
			})
		})
	}
}

func TestTheLastRefusalsThatWereTooManyAreToldToTheLogger(t *testing.T) {
	var out bytes.Buffer
	var told said
	l := requestLogTo(t, &out, RequestLogOptions{AddressRate: 1, Logger: told.logger()})
	for range 3 {
		l.RequestRefused(t.Context(), &vgirpc.Refused{Peer: "192.0.2.1:1"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{`level=WARN msg="request log: the last records were too many, and left out" suppressed=2`}
	if diff := cmp.Diff(want, told.lines()); diff != "" {
		t.Error(diff)
	}
}

func TestARequestLogIsAFileThatCanBeReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "request.jsonl")
	l, err := OpenRequestLog(path, RequestLogOptions{ServerID: "srv"})
	if err != nil {
		t.Fatal(err)
	}
	refused := &vgirpc.Refused{Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedNotFound, Code: vgirpc.Unimplemented, Status: 404}
	l.RequestRefused(t.Context(), refused)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.RequestRefused(t.Context(), refused)
	if err := l.Close(); err != nil || l.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, l.Dropped())
	}
	for _, name := range []string{path, path + ".old"} {
		text, err := os.ReadFile(name)
		if err != nil || len(refusedRecords(t, string(text))) != 1 {
			t.Errorf("%s: %q, %v", filepath.Base(name), text, err)
		}
	}
	if _, err := OpenRequestLog(filepath.Join(t.TempDir(), "no", "directory"), RequestLogOptions{}); err == nil || !strings.HasPrefix(err.Error(), "request log: ") {
		t.Error(err)
	}
}
