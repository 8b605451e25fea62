package conformance_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// Keys that seal tokens, in hex.
var (
	keyOne = strings.Repeat("1a", 32)
	keyTwo = strings.Repeat("2b", 32)
)

// replica is a worker process that serves HTTP. It remembers no stream: whatever
// it needs of one, it opens from the tokens of the request.
type replica struct {
	*started
	id   string
	host string // and port
}

// startReplica starts a worker whose server id is id. The caller stops it.
func startReplica(t *testing.T, id string, env []string, args ...string) *replica {
	t.Helper()
	w := start(t, env, append([]string{"--http", "0", "--no-call-state-cache", "--server-id", id}, args...)...)
	port, ok := strings.CutPrefix(w.line, "PORT:")
	if !ok {
		t.Fatalf("announced %q", w.line)
	}
	return &replica{started: w, id: id, host: "127.0.0.1:" + port}
}

// newPool returns connections that are closed with the test.
func newPool(t *testing.T) *http.Transport {
	t.Helper()
	pool := &http.Transport{DisableCompression: true}
	t.Cleanup(pool.CloseIdleConnections)
	return pool
}

// rotation sends the opening of a stream to the first of its places, and each
// further turn to the next place, over and over. Other requests go to the first.
type rotation struct {
	pool   http.RoundTripper
	places []*place
	turn   int          // of the open stream: 0 is its opening
	before func(*place) // unless nil, runs before a turn is sent
	last   *replica     // that was asked
	log    []string     // of the requests of streams that were answered: replica and route
}

// place is where a turn goes: a process, and the sticky session that is taken
// up there, if any.
type place struct {
	*replica
	session string
}

// RoundTrip implements [http.RoundTripper].
func (r *rotation) RoundTrip(req *http.Request) (*http.Response, error) {
	to, route := r.places[0], req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	streams := route == "init" || route == "exchange"
	if route == "init" {
		r.turn = 0
	}
	if streams {
		to = r.places[r.turn%len(r.places)]
		if r.turn > 0 && r.before != nil {
			r.before(to)
		}
		r.turn++
	}
	out := req.Clone(req.Context())
	out.URL.Host, out.Host = to.host, to.host
	if to.session != "" {
		out.Header.Set("Vgi-Session", to.session)
	}
	r.last = to.replica
	resp, err := r.pool.RoundTrip(out)
	if err == nil && streams {
		r.log = append(r.log, to.id+" "+route)
	}
	return resp, err
}

// rotated is the log of a stream that was taken to its end in so many turns
// after its opening.
func rotated(places []*place, turns int) []string {
	log := []string{places[0].id + " init"}
	for i := range turns {
		log = append(log, places[(i+1)%len(places)].id+" exchange")
	}
	return log
}

// requestID is the identifier of the requests over HTTP.
const requestID = "one-request"

// overAPipe is what a program gets from a server in this process that keeps its
// streams open between turns.
func overAPipe(t *testing.T, p program) []string {
	t.Helper()
	const id = "pipe"
	s, err := conformance.NewServer(vgirpc.ServerOptions{ServerID: id, Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{server: func() string { return id }}
	ctx := conformance.WithCancelProbe(t.Context(), conformance.NewCancelProbe(""))
	if r.c, err = vgirpc.DialServer(ctx, s, vgirpc.ClientOptions{OnLog: r.onLog(t)}); err != nil {
		t.Fatal(err)
	}
	return r.record(t, p)
}

// overHTTP is what a program gets whose requests rot sends.
func overHTTP(t *testing.T, rot *rotation, p program) []string {
	t.Helper()
	r := &recorder{id: requestID, server: func() string { return rot.last.id }}
	header := http.Header{"X-Request-Id": {requestID}}
	tr, err := httpclient.New("http://replicas.test", httpclient.Options{Transport: rot, Header: header}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.c = vgirpc.NewClientOn(ticking{tr}, vgirpc.ClientOptions{OnLog: r.onLog(t)})
	return r.record(t, p)
}

// record runs a program and returns what it wrote down, and at last what was
// counted of calls and cancellations.
func (r *recorder) record(t *testing.T, p program) []string {
	t.Helper()
	defer func() {
		if err := r.c.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := conformance.ResetCancelProbe.Call(t.Context(), r.c, vgirpc.None{}); err != nil {
		t.Fatal(err)
	}
	p.run(t, r)
	counts, err := conformance.CancelProbeCounters.Call(t.Context(), r.c, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	return append(r.lines, fmt.Sprint("counted ", counts))
}

// openCounters opens a sticky session at each place, with counters at 10, 20 and
// so on.
func openCounters(t *testing.T, pool http.RoundTripper, places []*place) {
	t.Helper()
	for i, p := range places {
		tr, err := httpclient.New("http://"+p.host, httpclient.Options{Transport: pool}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := tr.Session()
		if _, err := conformance.OpenCounter.Call(t.Context(), s.Client(), conformance.InitialParams{Initial: int64(i+1) * 10}); err != nil {
			t.Fatal(err)
		}
		p.session, _ = s.Detach()
	}
}

func TestEveryStreamMethodHasAProgramForReplicas(t *testing.T) {
	missing := map[string]bool{}
	for _, m := range conformance.Service.Methods() {
		if m.Type() == vgirpc.TypeStream {
			missing[m.Name()] = true
		}
	}
	if len(missing) == 0 {
		t.Fatal("the service has no streams")
	}
	for _, p := range programs() {
		delete(missing, p.method.Name())
	}
	for name := range missing {
		t.Errorf("no program takes a stream of %s through two processes: add one to programs", name)
	}
}

func TestEveryStreamGoesOnInAnotherProcessAfterEachTurn(t *testing.T) {
	env := []string{conformance.ProbeFileVariable + "=" + filepath.Join(t.TempDir(), "probe")}
	one := startReplica(t, "one", env, "--token-key", keyOne)
	defer one.stop(t, syscall.SIGTERM)
	two := startReplica(t, "two", env, "--token-key", keyOne)
	defer two.stop(t, syscall.SIGTERM)
	pool := newPool(t)
	turns, runs := 0, 0
	answered := map[string]int{"one init": 0, "one exchange": 0, "two init": 0, "two exchange": 0}
	for _, p := range programs() {
		t.Run(p.method.Name()+": "+p.name, func(t *testing.T) {
			runs, turns = runs+1, turns+p.turns
			want := p.want
			if want == nil {
				want = overAPipe(t, p)
			} else {
				want = append(want, "counted [0 0 0]")
			}
			for _, order := range [][]*replica{{one, two}, {two, one}} {
				places := []*place{{replica: order[0]}, {replica: order[1]}}
				if p.sessions {
					openCounters(t, pool, places)
				}
				rot := &rotation{pool: pool, places: places}
				got := overHTTP(t, rot, p)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("opened at %s (-want +got):\n%s", order[0].id, diff)
				}
				if diff := cmp.Diff(rotated(places, p.turns), rot.log); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				for _, r := range rot.log {
					answered[r]++
				}
			}
		})
	}
	// In both orders together, each process has every turn once.
	want := map[string]int{"one init": runs, "one exchange": turns, "two init": runs, "two exchange": turns}
	if diff := cmp.Diff(want, answered); diff != "" {
		t.Errorf("requests answered (-want +got):\n%s", diff)
	}
}
