// Package vgirpcgo_test guards the rooms of the code base: which package may
// know which (docs/architecture.md).
package vgirpcgo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vgirpc/vgirpc-go"

// A ban keeps packages out of a room, however indirectly they would come in.
// Patterns are import paths; "/..." at the end takes in everything below.
type ban struct {
	packages []string
	reason   string
}

// Bans that hold for every package of the module.
var everywhere = []ban{
	{
		[]string{"github.com/apache/arrow-go/v18/arrow/compute/...", "github.com/apache/arrow-go/v18/parquet/..."},
		"the one cast that it is wanted for doubles the binary: internal/cast does it",
	},
	{[]string{"github.com/apache/arrow-go/v18/arrow/flight/..."}, "another protocol"},
	{[]string{"net/http/pprof"}, "being imported opens a route"},
}

// A ban that holds for every package but those that bring it along: the drivers of
// clouds, and the exporters of telemetry.
var (
	noGRPC = ban{[]string{"google.golang.org/grpc/..."}, "another protocol"}
	clouds = []string{
		"external/blobstore", "external/s3store", "external/gcsstore", "external/azurestore", "external/storetest", "auth/spiffe/workload", "vgirpc/worker/workerspiffe",
		"vgirpc/worker/workerotel", // whose exporter speaks it, where the environment says so
		"examples/production",      // which links that
	}
	// The client of Prometheus brings expvar along: nobody here serves the mux that
	// it puts its route on.
	noExpvar = ban{[]string{"expvar"}, "being imported opens a route"}
	metrics  = []string{"observability/prom", "vgirpc/worker/workeradmin", "vgirpc/worker/workerotel", "examples/production"}
)

// What must not reach those who serve or call over byte streams alone.
var (
	noHTTP = ban{
		[]string{"net/http/...", "github.com/go-chi/chi/...", "golang.org/x/net/...", module + "/httpserver/...", module + "/vgirpc/httpclient/..."},
		"a worker that does not name HTTP does not link it",
	}
	noTLS       = ban{[]string{"crypto/tls"}, "byte streams have no TLS of their own, and it is 2 MB of a binary"}
	noTelemetry = ban{[]string{"go.opentelemetry.io/...", "github.com/getsentry/...", "github.com/prometheus/..."}, "observers are linked by the main that names them"}
	noCloud     = ban{
		[]string{"gocloud.dev/...", "cloud.google.com/...", "github.com/aws/...", "github.com/Azure/..."},
		"cloud drivers are linked by the main that names them",
	}
	noTokens  = ban{[]string{"github.com/golang-jwt/...", "github.com/lestrrat-go/...", "github.com/coreos/go-oidc/..."}, "who is calling is decided in auth"}
	noFlags   = ban{[]string{"github.com/spf13/...", "os/signal"}, "flags and signals belong to the mains"}
	noTesting = ban{
		[]string{
			"testing/...", "github.com/google/go-cmp/...", "github.com/santhosh-tekuri/jsonschema/...",
			"github.com/stretchr/testify/...", "go.uber.org/goleak", module + "/vgirpc/vgitest",
		},
		"for tests: package vgitest has it, and nobody links that",
	}
)

func light(more ...ban) []ban {
	return append([]ban{noHTTP, noTLS, noTelemetry, noCloud, noTokens}, more...)
}

// http is for those who serve or call over HTTP.
func http(more ...ban) []ban { return append([]ban{noTelemetry, noCloud, noTokens}, more...) }

// A room is what packages may know of this module, and what they must not link.
type room struct {
	packages string   // pattern, relative to the module
	knows    []string // packages of the module that they import themselves
	bans     []ban
}

// The first room that matches a package is its room.
var rooms = []room{
	{"wire", nil, light(noFlags, noTesting, ban{[]string{"log/slog", "os/exec"}, "wire neither logs nor starts anything"})},
	{"wire/...", []string{"wire/..."}, light(noFlags, noTesting)},
	{"vgirpc/internal/...", []string{"wire/...", "vgirpc/internal/..."}, light(noFlags, noTesting)},
	{"internal/accept", nil, light(noFlags, noTesting)},
	{"vgirpc", []string{"wire/...", "vgirpc/internal/...", "internal/accept"}, light(noFlags, noTesting)},
	{"vgirpc/vgitest", []string{"wire/...", "vgirpc"}, light(noFlags)},
	{"internal/bucket", nil, light(noFlags, noTesting)},
	{"internal/arrowjson", nil, light(noFlags, noTesting)},
	{"internal/network", nil, light(noFlags, noTesting)},
	{"auth/ratelimit", []string{"vgirpc", "internal/bucket", "internal/network"}, light(noFlags, noTesting)},
	{"vgirpc/worker", []string{"wire", "vgirpc", "observability", "auth/ratelimit"}, light(noTesting)},
	{"vgirpc/subprocess", []string{"wire", "vgirpc"}, light(noFlags, noTesting)},
	{"shm", []string{"wire/...", "vgirpc"}, light(noFlags, noTesting)},
	{"vgirpc/pool", []string{"wire", "vgirpc"}, light(noFlags, noTesting)},
	{"vgirpc/launch", []string{"wire", "vgirpc"}, light(noTesting)},
	{"vgirpc/dial", []string{"vgirpc", "vgirpc/httpclient", "vgirpc/subprocess", "vgirpc/launch", "auth/socket"}, http(noFlags, noTesting)},
	{"auth/socket", []string{"vgirpc", "internal/network"}, light(noFlags, noTesting)},
	{"internal/peercert", nil, []ban{noHTTP, noFlags, noTesting}},
	{"auth/socket/sockettls", []string{"vgirpc", "auth/socket", "internal/peercert"}, []ban{noHTTP, noTelemetry, noCloud, noTokens, noFlags, noTesting}},
	// HTTP, and what goes with it: linked by the main that names it.
	{"auth/jwt", []string{"vgirpc", "auth/..."}, []ban{noTelemetry, noCloud, noFlags, noTesting}},
	{"auth/oauth", []string{"vgirpc", "auth"}, []ban{noTelemetry, noCloud, noFlags, noTesting}},
	{"auth/...", []string{"vgirpc", "auth/..."}, http(noFlags, noTesting)},
	{"external/blobstore", []string{"wire/...", "vgirpc", "external/..."}, []ban{noFlags, noTesting}},
	{"external/s3store", []string{"wire/...", "vgirpc", "external/..."}, []ban{noFlags, noTesting}},
	{"external/gcsstore", []string{"wire/...", "vgirpc", "external/..."}, []ban{noFlags, noTesting}},
	{"external/azurestore", []string{"wire/...", "vgirpc", "external/..."}, []ban{noFlags, noTesting}},
	{"external/storetest", []string{"..."}, nil},
	{"external/internal/server", []string{"external/..."}, nil},
	{"external/...", []string{"wire/...", "vgirpc", "external/..."}, http(noFlags, noTesting)},
	{"httpserver/internal/...", []string{"wire/...", "vgirpc", "auth", "internal/arrowjson", "httpserver/internal/..."}, http(noFlags, noTesting)},
	{"httpserver", []string{"wire/...", "vgirpc", "auth", "auth/peer", "auth/proof", "auth/ratelimit", "external", "httpserver/internal/...", "internal/peercert"}, http(noFlags, noTesting)},
	{"vgirpc/httpclient/...", []string{"wire/...", "vgirpc", "vgirpc/httpclient/..."}, http(noFlags, noTesting)},
	{"vgirpc/worker/workerhttp", []string{"vgirpc", "vgirpc/worker", "httpserver", "external", "auth", "auth/grant", "auth/identity", "auth/proof", "auth/ratelimit"}, http(noTesting)},
	{
		"vgirpc/worker/workeroauth",
		[]string{"vgirpc", "vgirpc/worker", "httpserver", "auth", "auth/jwt", "auth/oauth"},
		[]ban{noTelemetry, noCloud, noTesting},
	},
	{"vgirpc/worker/workerauth", []string{"vgirpc", "vgirpc/worker", "auth", "auth/mtls", "auth/socket/..."}, http(noTesting)},
	{
		"vgirpc/worker/workeridentity", // evidence of SPIFFE IDs needs their library, which has keys of its own
		[]string{"vgirpc", "vgirpc/worker", "vgirpc/worker/workerhttp", "httpserver", "auth", "auth/..."},
		[]ban{noTelemetry, noCloud, noTesting},
	},
	{
		"vgirpc/worker/workerspiffe",
		[]string{"auth/spiffe/workload", "vgirpc/worker/workeridentity"},
		[]ban{noTelemetry, noCloud, noTesting},
	},
	{"vgirpc/worker/workerproxy", []string{"vgirpc", "vgirpc/worker", "auth/proxyproto"}, http(noTesting)},
	{"vgirpc/worker/workerstorage", []string{"vgirpc", "vgirpc/worker", "external", "external/localstore"}, http(noTesting)},
	{"observability", []string{"vgirpc", "internal/bucket", "internal/network"}, light(noFlags, noTesting)},
	{"observability/otel", []string{"wire", "vgirpc", "external"}, []ban{noCloud, noTokens, noFlags, noTesting}},
	{
		"vgirpc/worker/workerotel",
		[]string{"vgirpc", "vgirpc/worker", "observability/otel", "external", "auth/peer"},
		[]ban{noCloud, noTokens, noTesting},
	},
	{
		"observability/prom",
		[]string{"vgirpc"},
		[]ban{noCloud, noTokens, noFlags, noTesting, {[]string{"go.opentelemetry.io/...", "github.com/getsentry/..."}, "other observers"}},
	},
	{"observability/admin", nil, http(noFlags, noTesting)},
	{
		"observability/sentry",
		[]string{"wire", "vgirpc"},
		[]ban{noCloud, noTokens, noFlags, noTesting, {[]string{"go.opentelemetry.io/...", "github.com/prometheus/..."}, "other observers"}},
	},
	{
		"vgirpc/worker/workeradmin",
		[]string{"vgirpc", "vgirpc/worker", "external", "observability/admin", "observability/prom"},
		[]ban{noCloud, noTokens, noTesting, {[]string{"go.opentelemetry.io/...", "github.com/getsentry/..."}, "other observers"}},
	},
	{
		"vgirpc/worker/workersentry",
		[]string{"vgirpc", "vgirpc/worker", "observability/sentry"},
		[]ban{noCloud, noTokens, noTesting, {[]string{"go.opentelemetry.io/...", "github.com/prometheus/..."}, "other observers"}},
	},
	{"examples/hello/...", []string{"vgirpc", "vgirpc/worker", "vgirpc/subprocess", "examples/hello/..."}, light(noTesting)},
	{"examples", nil, nil}, // only tests, which run the examples
	{"examples/production/...", []string{"vgirpc", "vgirpc/worker/...", "examples/production/..."}, []ban{noCloud, noTesting}},
	{"examples/tool", []string{"vgirpc", "vgirpc/worker", "vgirpc/subprocess"}, light(noTesting)},
	{"examples/dataframes", []string{"vgirpc", "vgirpc/worker"}, light(noTesting)},
	{"examples/duckdb", []string{"vgirpc", "vgirpc/worker"}, light(noTesting)},
	{
		"examples/transports/...",
		[]string{"auth", "httpserver", "shm", "vgirpc", "vgirpc/dial", "vgirpc/httpclient", "vgirpc/subprocess", "vgirpc/worker"},
		http(noTesting),
	},
	// What exists because of the Python suite knows everything, and only the
	// fixture's main and tests know it.
	{"conformance/...", []string{"..."}, []ban{noTesting}},
	{"cmd/...", []string{"..."}, []ban{noTesting}},
	{"bench/...", []string{"..."}, nil},
	{"deploy/...", []string{"..."}, nil},
	{"fuzz", []string{"..."}, nil},
	{"internal/pyref", nil, light(noFlags)}, // only for tests
	{"internal/oidctest", nil, nil},         // as well
	{"internal/freeport", nil, light(noFlags)},
	{"internal/workertest", nil, light(noFlags)},
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string   `json:"ImportPath"`
	Imports    []string `json:"Imports"`
}

// listPackages lists the module's packages, without their tests, and all that
// they import.
func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := map[string]goPackage{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// matches reports whether an import path is what a pattern means.
func matches(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	base, below := strings.CutSuffix(pattern, "/...")
	return path == base || (below && strings.HasPrefix(path, base+"/"))
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// chain is the shortest way from a package to one that the patterns mean, nil
// when there is none. The package itself does not count.
func chain(all map[string]goPackage, from string, patterns []string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range all[queue[0]].Imports {
			if _, seen := cameFrom[next]; seen {
				continue
			}
			cameFrom[next] = queue[0]
			queue = append(queue, next)
			if !matchesAny(patterns, next) {
				continue
			}
			var path []string
			for at := next; at != ""; at = cameFrom[at] {
				path = append(path, at)
			}
			slices.Reverse(path)
			return path
		}
	}
	return nil
}

func TestEveryPackageKeepsToItsRoom(t *testing.T) {
	all := listPackages(t)
	for path, p := range all {
		name, ours := strings.CutPrefix(path, module+"/")
		if !ours {
			continue
		}
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(rooms, func(r room) bool { return matches(r.packages, name) })
			if i < 0 {
				t.Fatalf("%s has no room: add a row that says what it may know", name)
			}
			for _, imported := range p.Imports {
				other, ours := strings.CutPrefix(imported, module+"/")
				if ours && !matchesAny(rooms[i].knows, other) {
					t.Errorf("%s imports %s, which is none of its business: it may know %q", name, other, rooms[i].knows)
				}
			}
			bans := slices.Concat(everywhere, rooms[i].bans)
			if !slices.Contains(metrics, name) {
				bans = append(bans, noExpvar)
			}
			if !slices.Contains(clouds, name) {
				bans = append(bans, noGRPC)
			}
			for _, b := range bans {
				if found := chain(all, path, b.packages); found != nil {
					t.Errorf("banned: %s\nreason: %s", strings.Join(found, " → "), b.reason)
				}
			}
		})
	}
}

func TestOnlyFixturesKnowTheConformancePackage(t *testing.T) {
	all := listPackages(t)
	for path := range all {
		name, ours := strings.CutPrefix(path, module+"/")
		if !ours || matchesAny([]string{"conformance/...", "cmd/vgi-worker/...", "bench/...", "fuzz"}, name) {
			continue
		}
		if found := chain(all, path, []string{module + "/conformance/..."}); found != nil {
			t.Errorf("%s: fixtures reach a user's binary", strings.Join(found, " → "))
		}
	}
}

func TestTheGuardSeesWhatIsThere(t *testing.T) {
	all := listPackages(t)
	for _, tt := range []struct {
		name, from string
		pattern    string
		want       bool
	}{
		{"a direct import", module + "/vgirpc/worker", "github.com/spf13/pflag", true},
		{"an indirect one", module + "/vgirpc/worker", "github.com/google/flatbuffers/...", true},
		{"a tree by its root", module + "/wire", "github.com/apache/arrow-go/v18/...", true},
		{"nothing below a package that is named alone", module + "/wire", "github.com/apache/arrow-go/v18", false},
		{"not the package itself", module + "/wire", module + "/wire", false},
		{"no name that merely begins alike", module + "/wire", "github.com/apache/arrow/...", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := chain(all, tt.from, []string{tt.pattern})
			if (found != nil) != tt.want {
				t.Errorf("found %q", found)
			}
			if found != nil && (found[0] != tt.from || !matches(tt.pattern, found[len(found)-1])) {
				t.Errorf("the way is %q", found)
			}
		})
	}
}
