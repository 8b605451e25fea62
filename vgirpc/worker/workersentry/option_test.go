package workersentry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdk "github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workersentry"
)

// asProgram names the variable with a DSN that the program of the worker under test
// gives to the SDK itself.
const asProgram = "VGIRPC_TEST_SENTRY_PROGRAM"

type textParams struct {
	Text string `vgi:"text"`
}

func newContract() (*vgirpc.Protocol, *vgirpc.Unary[textParams, string]) {
	p := vgirpc.NewProtocol("test.Sentry", "1.0.0")
	return p, vgirpc.NewUnary[textParams, string](p, "fail")
}

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

func workerMain(string) {
	if dsn := os.Getenv(asProgram); dsn != "" {
		scrub := func(e *sdk.Event, _ *sdk.EventHint) *sdk.Event {
			e.Tags["scrubbed"] = "by the program"
			return e
		}
		if err := sdk.Init(sdk.ClientOptions{Dsn: dsn, Environment: "the program's", BeforeSend: scrub}); err != nil {
			panic(err)
		}
	}
	protocol, fail := newContract()
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Version: "1.2.3", ServerID: "srv"}, protocol)
	if err != nil {
		panic(err)
	}
	vgirpc.HandleUnary(server, fail, func(context.Context, textParams) (string, error) {
		return "", vgirpc.Errorf(vgirpc.Internal, "it broke")
	})
	worker.Main(server, workersentry.Option(workersentry.Options{}))
}

// intake keeps what is sent to it.
type intake struct {
	*httptest.Server

	mu   sync.Mutex
	text strings.Builder
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	in := &intake{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.mu.Lock()
		defer in.mu.Unlock()
		_, _ = io.Copy(&in.text, r.Body)
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *intake) got() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.text.String()
}

func (in *intake) dsn() string { return strings.Replace(in.URL, "://", "://s3cretkey@", 1) + "/7" }

func TestAFaultIsReportedBeforeTheWorkerEnds(t *testing.T) {
	_, fail := newContract()
	for _, tt := range []struct {
		name  string
		args  func(dsn string) []string
		env   func(dsn string) []string
		want  []string
		never []string
	}{
		{
			name: "with a DSN in a file",
			args: func(dsn string) []string {
				file := filepath.Join(t.TempDir(), "dsn")
				if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return []string{"--sentry-dsn-file", file, "--sentry-environment", "blue", "--sentry-release", "r9"}
			},
			want:  []string{`"environment":"blue"`, `"release":"r9"`, `"server_id":"srv"`, `"type":"event"`},
			never: []string{`"type":"transaction"`},
		},
		{
			name: "as the environment says",
			env: func(dsn string) []string {
				return []string{"SENTRY_DSN=" + dsn, "SENTRY_ENVIRONMENT=green", "SENTRY_TRACES_SAMPLE_RATE=1"}
			},
			want: []string{`"environment":"green"`, `"release":"1.2.3"`, `"type":"event"`, `"type":"transaction"`, `vgi_rpc/fail`},
		},
		{
			name: "by the client of the program",
			env:  func(dsn string) []string { return []string{asProgram + "=" + dsn} },
			want: []string{`"environment":"the program's"`, `"type":"event"`, `"server_id":"srv"`},
		},
		{
			name:  "by the client of the program, though both of them read SENTRY_DSN",
			env:   func(dsn string) []string { return []string{asProgram + "=" + dsn, "SENTRY_DSN=" + dsn} },
			want:  []string{`"environment":"the program's"`, `"scrubbed":"by the program"`, `"type":"event"`, `"server_id":"srv"`},
			never: []string{`"release":"1.2.3"`},
		},
		{
			name:  "by the client of the program, without who calls",
			args:  func(string) []string { return []string{"--sentry-anonymous"} },
			env:   func(dsn string) []string { return []string{asProgram + "=" + dsn} },
			want:  []string{`"scrubbed":"by the program"`, `"type":"event"`},
			never: []string{`"user":{"`},
		},
		{
			name: "as the worker's own variable says, whatever the program has",
			env: func(dsn string) []string {
				return []string{asProgram + "=https://k@192.0.2.1/7", "VGI_RPC_SENTRY_DSN=" + dsn, "SENTRY_ENVIRONMENT=green"}
			},
			want:  []string{`"environment":"green"`, `"type":"event"`},
			never: []string{"the program"},
		},
		{name: "not at all without a DSN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newIntake(t)
			opts := subprocess.Options{
				Command: []string{os.Args[0], "--exit-timeout", "0"}, Env: workertest.Environ(), Stderr: io.Discard, CloseGrace: workertest.Patience,
			}
			if tt.args != nil {
				opts.Command = append(opts.Command, tt.args(in.dsn())...)
			}
			if tt.env != nil {
				opts.Env = append(opts.Env, tt.env(in.dsn())...)
			}
			c, err := subprocess.New(t.Context(), opts, vgirpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fail.Call(t.Context(), c, textParams{"p4yl0ad"}); vgirpc.CodeOf(err) != vgirpc.Internal {
				t.Errorf("error %v", err)
			}
			if err := c.Close(); err != nil { // waits for the process
				t.Error(err)
			}
			for _, part := range tt.want {
				if !strings.Contains(in.got(), part) {
					t.Errorf("no %s in %s", part, in.got())
				}
			}
			for _, part := range append(tt.never, "p4yl0ad") {
				if strings.Contains(in.got(), part) {
					t.Errorf("%s in %s", part, in.got())
				}
			}
			if len(tt.want) == 0 && in.got() != "" {
				t.Errorf("it sends %s", in.got())
			}
		})
	}
}

func TestAWorkerEndsThoughNobodyTakesItsReports(t *testing.T) {
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer server.Close()
	defer close(stuck)
	_, fail := newContract()
	c, err := subprocess.New(t.Context(), subprocess.Options{
		Command: []string{os.Args[0]}, Stderr: io.Discard,
		Env: workertest.Environ("SENTRY_DSN=" + strings.Replace(server.URL, "://", "://k@", 1) + "/7"),
	}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fail.Call(t.Context(), c, textParams{})
	if err := c.Close(); err != nil { // kills who takes more than CloseGrace, and says so
		t.Error(err)
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	program := []string{asProgram + "=https://s3cretkey@192.0.2.1/7"}
	for _, tt := range []struct {
		args, want string
		env        []string
	}{
		{"--sentry-anonymous", "nothing without --sentry-dsn", nil},
		{"--sentry-dsn s3cretkey", "want https://KEY@HOST/PROJECT", nil},
		{"--sentry-dsn https://s3cretkey@h/7 --sentry-sample-rate 0", "--sentry-sample-rate 0", nil},
		{"--sentry-dsn https://s3cretkey@h/7 --sentry-traces-sample-rate NaN", "--sentry-traces-sample-rate NaN", nil},
		{"--sentry-sample-rate 0.5", "this program has a client of its own", program},
		{"--sentry-traces-sample-rate 0.5", "this program has a client of its own", append(program, "SENTRY_DSN=https://s3cretkey@h/7")},
	} {
		t.Run(tt.args, func(t *testing.T) {
			said := workertest.Refused(t, 2, workertest.Command(tt.env, strings.Fields(tt.args)...), tt.want)
			if strings.Contains(said, "s3cretkey") {
				t.Errorf("it tells the key: %q", said)
			}
		})
	}
}

func TestTheConfigurationHidesTheKey(t *testing.T) {
	end := workertest.Run(t, workertest.Command([]string{"SENTRY_DSN=https://s3cretkey@h/7"}, "--print-config"))
	if end.Status != 0 {
		t.Fatalf("%+v", end)
	}
	var lines []string
	for line := range strings.Lines(end.Stdout) {
		if strings.Contains(line, "sentry-dsn:") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff([]string{"# sentry-dsn: hidden, from SENTRY_DSN"}, lines); diff != "" || strings.Contains(end.Stdout, "s3cretkey") {
		t.Errorf("(-want +got):\n%s\n%s", diff, end.Stdout)
	}
}
