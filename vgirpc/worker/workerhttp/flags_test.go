package workerhttp_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
)

// storage is a program's own places for requests.
type storage struct{ external.UploadURLs }

// withoutFlag are fields that have no flag on purpose: doc.go gives the reasons.
var withoutFlag = []string{"Options.OAuth", "ServeOptions.Logger", "ServeOptions.Refused", "ServeOptions.TLSConfig"}

// flagsOfFields say for each field which flags set it, and to what. "present"
// stands for any value but the zero one.
func flagsOfFields(t *testing.T) map[string]struct {
	args string
	want any
} {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("s3cret alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]struct {
		args string
		want any
	}{
		"Options.Prefix":                       {"--prefix /vgi", "/vgi"},
		"Options.RequireProtocolKey":           {"--require-protocol-key", true},
		"Options.Keys":                         {"--token-key " + key, "present"},
		"Options.Replicas":                     {"--replicas 3", 3},
		"Options.TokenTTL":                     {"--token-ttl 90", 90 * time.Second},
		"Options.CallCache":                    {"--call-state-cache 12", 12},
		"Options.MaxRequestBytes":              {"--max-request-bytes 4096", int64(4096)},
		"Options.MaxResponseBytes":             {"--max-response-bytes 70000", int64(70000)},
		"Options.HostingMaxRequestBytes":       {"--hosting-max-request-bytes 4097", int64(4097)},
		"Options.HostingMaxResponseBytes":      {"--hosting-max-response-bytes 70001", int64(70001)},
		"Options.PreferredResponseBytes":       {"--preferred-response-bytes 70002", int64(70002)},
		"Options.MaxExternalizedResponseBytes": {"--max-externalized-response-bytes 5", int64(5)},
		"Options.NoCompression":                {"--no-compression", true},
		"Options.NoZstd":                       {"--no-zstd", true},
		"Options.CORS.Origins":                 {"--cors-origin https://a --cors-origin https://b", []string{"https://a", "https://b"}},
		"Options.Sticky.TTL":                   {"--sticky-ttl 1.5", 1500 * time.Millisecond},
		"Options.Sticky.EchoHeaders":           {"--sticky-ttl 1 --sticky-echo X-Machine=m=1", map[string]string{"X-Machine": "m=1"}},
		"Options.Sticky.MaxSessions":           {"--sticky-ttl 1 --sticky-max-sessions 7", 7},
		"Options.Auth":                         {"--bearer-tokens " + tokens, "present"},
		"Options.Challenge":                    {"--challenge Custom", "Custom"},
		"Options.ProxyAuthHeaders":             {"--proxy-auth-header X-Proof", []string{"X-Proof"}},
		"Options.Uploads":                      {"--no-uploads", nil},
		"Options.NoPages":                      {"--no-pages", true},
		"Options.RepositoryURL":                {"--repository-url https://x.example", "https://x.example"},
		"Options.JSON.Hosts":                   {"--json-gateway --json-host box", []string{"box"}},
		"Options.JSON.MaxBodyBytes":            {"--json-gateway --json-max-bytes 9", int64(9)},
		"Options.MaxInFlight":                  {"--max-in-flight 2", 2},
		"Options.AddressLimit":                 {"--rate-limit-address 5/s:9", "present"},
		"Options.PrincipalLimit":               {"--rate-limit-principal 5/m", "present"},
		"Options.TrustedProxies":               {"--forwarded-by 10.0.0.0/8 --forwarded-by 192.0.2.1", "present"},
		"ServeOptions.ReadHeaderTimeout":       {"--header-timeout 3", 3 * time.Second},
		"ServeOptions.ProgressTimeout":         {"--progress-timeout 0.25", 250 * time.Millisecond},
		"ServeOptions.IdleTimeout":             {"--keep-alive-timeout 0", time.Duration(-1)},
		"ServeOptions.MaxHeaderBytes":          {"--max-header-bytes 8192", 8192},
		"ServeOptions.MaxConns":                {"--max-connections 11", 11},
		"ServeOptions.NoH2C":                   {"--no-h2c", true},
		"ServeOptions.TLS.CertFile":            {"--tls-cert c", "c"},
		"ServeOptions.TLS.KeyFile":             {"--tls-key k", "k"},
		"ServeOptions.TLS.ClientCAFile":        {"--tls-client-ca a", "a"},
		"ServeOptions.TLS.ClientCertOptional":  {"--tls-client-optional", true},
		"ServeOptions.TLS.ReloadInterval":      {"--tls-reload 4", 4 * time.Second},
		"ServeOptions.DrainDelay":              {"--drain-delay 5", 5 * time.Second},
		"ServeOptions.SessionGrace":            {"--session-grace 6", 6 * time.Second},
	}
}

// parsed returns a program's option that has read args, as a worker reads them.
func parsed(t *testing.T, opts workerhttp.Options, args string) worker.Option {
	t.Helper()
	o := workerhttp.With(opts)
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	o.AddFlags(flags)
	flags.Int("max-connections", 0, "") // as package worker does
	flags.String("drain-delay", "", "")
	flags.String("rate-limit-address", "", "")
	flags.String("rate-limit-principal", "", "")
	if err := flags.Parse(worker.JoinOptionalValues(flags, strings.Fields(args))); err != nil {
		t.Fatal(err)
	}
	return o
}

func effective(t *testing.T, opts workerhttp.Options, args string) (map[string]reflect.Value, error) {
	t.Helper()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, vgirpc.NewProtocol("test.Flags", ""))
	if err != nil {
		t.Fatal(err)
	}
	handler, serve, err := workerhttp.Effective(t.Context(), parsed(t, opts, args), s)
	fields := map[string]reflect.Value{}
	collect(fields, "Options", reflect.ValueOf(handler))
	collect(fields, "ServeOptions", reflect.ValueOf(serve))
	return fields, err
}

// collect finds the fields of a struct of package httpserver, and of those that
// it points to. What it does not point to has zero values.
func collect(into map[string]reflect.Value, name string, v reflect.Value) {
	if slices.Contains(withoutFlag, name) {
		return
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().PkgPath() == reflect.TypeFor[httpserver.Options]().PkgPath() {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type().PkgPath() != reflect.TypeFor[httpserver.Options]().PkgPath() {
		into[name] = v
		return
	}
	for i := range v.NumField() {
		collect(into, name+"."+v.Type().Field(i).Name, v.Field(i))
	}
}

func TestEveryFieldThatAnOperatorSetsHasAFlag(t *testing.T) {
	program := workerhttp.Options{Handler: httpserver.Options{Uploads: storage{}}}
	before, err := effective(t, program, "")
	if err != nil {
		t.Fatal(err)
	}
	table := flagsOfFields(t)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		row, ok := table[name]
		if !ok {
			t.Errorf("%s has no flag: add one, or list the field in withoutFlag and doc.go with the reason", name)
			continue
		}
		delete(table, name)
		t.Run(name, func(t *testing.T) {
			after, err := effective(t, program, row.args)
			if err != nil {
				t.Fatal(err)
			}
			switch got := after[name]; {
			case !before[name].IsZero() && row.want != nil:
				t.Errorf("it is %v without a flag", before[name])
			case row.want == "present":
				if got.IsZero() {
					t.Errorf("%s: it is not there", row.args)
				}
			default:
				if diff := cmp.Diff(row.want, got.Interface()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", row.args, diff)
				}
			}
		})
	}
	for name := range table {
		t.Errorf("there is no field %s", name)
	}
}

func TestTheDocumentationNamesEveryFlag(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	workerhttp.Option(httpserver.Options{}).AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if !regexp.MustCompile(`--` + f.Name + `[^\w-]`).Match(doc) {
			t.Errorf("doc.go does not tell of --%s", f.Name)
		}
	})
	for _, field := range withoutFlag {
		if !strings.Contains(string(doc), field) {
			t.Errorf("doc.go does not say why %s has no flag", field)
		}
	}
}

func TestWhatTheProgramSetStaysWhereNoFlagSaysOtherwise(t *testing.T) {
	program := workerhttp.Options{
		Handler: httpserver.Options{
			Sticky: &httpserver.Sticky{TTL: time.Minute, MaxSessions: 5, EchoHeaders: map[string]string{"X-A": "a"}},
			JSON:   &httpserver.JSONGateway{Hosts: []string{"box"}, MaxBodyBytes: 77},
		},
		Serve: httpserver.ServeOptions{
			ProgressTimeout: time.Second,
			TLS:             &httpserver.TLSOptions{CertFile: "old", KeyFile: "old", ClientCAFile: "ca", ReloadInterval: time.Hour},
		},
	}
	fields, err := effective(t, program, "--tls-cert new --tls-key new --sticky-max-sessions 6 --json-max-bytes 78")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"Options.Sticky.TTL":                  time.Minute,
		"Options.Sticky.MaxSessions":          6,
		"Options.Sticky.EchoHeaders":          map[string]string{"X-A": "a"},
		"Options.JSON.Hosts":                  []string{"box"},
		"Options.JSON.MaxBodyBytes":           int64(78),
		"ServeOptions.ProgressTimeout":        time.Second,
		"ServeOptions.TLS.CertFile":           "new",
		"ServeOptions.TLS.KeyFile":            "new",
		"ServeOptions.TLS.ClientCAFile":       "ca",
		"ServeOptions.TLS.ReloadInterval":     time.Hour,
		"ServeOptions.TLS.ClientCertOptional": false,
	} {
		if diff := cmp.Diff(want, fields[name].Interface()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if program.Serve.TLS.CertFile != "old" || program.Handler.Sticky.MaxSessions != 5 || program.Handler.JSON.MaxBodyBytes != 77 {
		t.Errorf("the program's own options were changed: %+v", program)
	}
}

func TestTheHelpTellsOneDefault(t *testing.T) {
	for name, tt := range map[string]struct {
		opts workerhttp.Options
		want string
	}{
		"the package's": {workerhttp.Options{}, "(default 30)"},
		"the program's": {workerhttp.Options{Serve: httpserver.ServeOptions{ProgressTimeout: time.Minute}}, "(default 60)"},
	} {
		flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
		workerhttp.With(tt.opts).AddFlags(flags)
		for line := range strings.Lines(flags.FlagUsages()) {
			if strings.Contains(line, "--progress-timeout") && (!strings.Contains(line, tt.want) || strings.Count(line, "(default") != 1) {
				t.Errorf("%s default: %q, want %q", name, line, tt.want)
			}
			if strings.Count(line, "(default") > 1 {
				t.Errorf("two defaults: %q", line)
			}
		}
	}
}

// signIn is a program's sign-in.
type signIn struct{ httpserver.SignIn }

func TestTheChallengeIsBearerUnlessTheProgramHasOne(t *testing.T) {
	tokens := flagsOfFields(t)["Options.Auth"].args
	for _, tt := range []struct {
		name    string
		program httpserver.Options
		args    string
		want    string
	}{
		{"tokens of a file", httpserver.Options{}, tokens, "Bearer"},
		{"a challenge of the program's", httpserver.Options{Challenge: "Own"}, tokens, "Own"},
		{"a challenge of the command line", httpserver.Options{Challenge: "Own"}, tokens + " --challenge Given", "Given"},
		{"a sign-in, which has its own", httpserver.Options{OAuth: signIn{}}, tokens, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields, err := effective(t, workerhttp.Options{Handler: tt.program}, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if got := fields["Options.Challenge"].String(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestFlagsTurnOffWhatTheProgramTurnedOn(t *testing.T) {
	program := httpserver.Options{Sticky: &httpserver.Sticky{}, JSON: &httpserver.JSONGateway{}, NoPages: true, CallCache: 9}
	o := parsed(t, workerhttp.Options{Handler: program}, "--no-sticky --json-gateway=false --no-pages=false --call-state-cache 0 --token-ttl 0")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, vgirpc.NewProtocol("test.Flags", ""))
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := workerhttp.Effective(context.Background(), o, s)
	if err != nil {
		t.Fatal(err)
	}
	if h.Sticky != nil || h.JSON != nil || h.NoPages || h.CallCache != -1 || h.TokenTTL >= 0 {
		t.Errorf("still on: %+v", h)
	}
}
