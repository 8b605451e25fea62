package workerhttp_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
)

func TestCheckTriesTheHandlerWithoutServing(t *testing.T) {
	for _, tt := range []struct {
		args string
		env  []string
		want string // "" when nothing is wrong
	}{
		{"--http --sticky-ttl 5", []string{"VGI_RPC_TOKEN_KEY=" + key}, ""},
		{"--http --tls-cert /nowhere --tls-key /nowhere", nil, "/nowhere"},
		{"--http --tls-cert /nowhere", []string{"VGI_RPC_TLS_KEY=/nowhere"}, "/nowhere"},
		{"--http", []string{"VGI_RPC_PREFIX=x"}, "Prefix"},
		{"--http", []string{"VGI_RPC_TOKEN_KEY=short"}, "VGI_RPC_TOKEN_KEY"},
		{"--http --token-key-file /nowhere", nil, "--token-key-file"},
		{"--http --host ho/st", nil, "want a host"},
		{"--http --sticky-echo X-A=a", nil, "add --sticky-ttl"},
	} {
		t.Run(tt.args+" "+strings.Join(tt.env, " "), func(t *testing.T) {
			end := workertest.Run(t, workertest.Command(tt.env, append(strings.Fields(tt.args), "--check")...))
			want := 2
			if tt.want == "" {
				want = 0
			}
			if end.Status != want || !strings.Contains(end.Stderr, tt.want) ||
				(tt.want == "") != strings.Contains(end.Stdout, "makes sense") || strings.Contains(end.Stderr, key) {
				t.Errorf("%+v", end)
			}
		})
	}
}

func TestHTTPIsConfiguredByAFile(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := os.WriteFile(keys, []byte("# the first seals\n"+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "worker.yaml")
	text := "http: true\nprefix: /vgi\nreplicas: 2\ntoken-key-file: " + keys + `
max: {request-bytes: 4096, response-bytes: 70000}
sticky: {ttl: 5, echo: [X-Machine=m1]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, []string{"VGI_RPC_CONFIG=" + file, "VGI_RPC_MAX_RESPONSE_BYTES=80000"}, "--max-request-bytes", "5000")
	res := do(t, http.MethodGet, "http://"+p.Address(t)+"/vgi/health", nil) //nolint:bodyclose // do closes it
	for name, want := range map[string]string{
		"Vgi-Max-Request-Bytes": "5000", "Vgi-Max-Response-Bytes": "80000", "Vgi-Sticky-Enabled": "true",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(p.Said(), "no token key") || res.StatusCode != http.StatusOK {
		t.Errorf("status %s: %s", res.Status, p.Said())
	}
}

func TestTheEnvironmentMayHoldWhatOnlyHTTPUses(t *testing.T) {
	p := serve(t, []string{"VGI_RPC_TOKEN_KEY=" + key, "VGI_RPC_TLS_CERT=/nowhere", "VGI_HTTP_DISABLE_ZSTD=1"}, "--tcp", "0")
	if line := p.Announcement(t); !strings.HasPrefix(line, "TCP:") {
		t.Fatalf("announcement %q", line)
	}
	if log := p.Said(); !strings.Contains(log, "--tls-cert") || strings.Contains(log, key) {
		t.Errorf("the log is %q", log)
	}
}
