package worker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/wire"
)

// withoutFlag are the limits that no operator sets.
var withoutFlag = map[string]string{
	"ConnOptions.Admit": "a program's, and of package workerauth",
}

// flagsOfLimits say for each limit which flag sets it, and to what.
var flagsOfLimits = map[string]struct {
	args string
	want any
}{
	"Limits.MaxSchemaBytes":        {"--max-schema-bytes 70000", int64(70000)},
	"Limits.MaxMessageBytes":       {"--max-message-bytes 70MiB", int64(70 << 20)},
	"Limits.MaxDiscardBytes":       {"--max-discard-bytes 70002", int64(70002)},
	"Limits.Budget":                {"--max-bytes-in-flight 70003", wire.NewBudget(70003)},
	"Limits.Validation":            {"--ipc-validation standard", wire.ValidateStandard},
	"ConnOptions.MaxConns":         {"--max-connections 3", 3},
	"ConnOptions.MaxFiles":         {"--max-files 0", -1},
	"ConnOptions.FirstByteTimeout": {"--first-byte-timeout 4", 4 * time.Second},
	"ConnOptions.ProgressTimeout":  {"--message-progress-timeout 0", time.Duration(-1)},
	"ConnOptions.IdleTimeout":      {"--connection-idle-timeout 5", 5 * time.Second},
	"ConnOptions.QuietTimeout":     {"--idle-timeout 6", 6 * time.Second},
	"ConnOptions.DrainTimeout":     {"--drain-timeout 0", time.Duration(-1)},
	"ConnOptions.AdmitTimeout":     {"--admit-timeout 1.5", 1500 * time.Millisecond},
}

func TestEveryLimitHasAFlag(t *testing.T) {
	table := map[string]bool{}
	for _, structure := range []struct {
		name string
		of   func(vgirpc.ServerOptions) reflect.Value
	}{
		{"Limits", func(o vgirpc.ServerOptions) reflect.Value { return reflect.ValueOf(o.Limits) }},
		{"ConnOptions", func(o vgirpc.ServerOptions) reflect.Value { return reflect.ValueOf(o.Conns) }},
	} {
		before, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		fields := structure.of(before).Type()
		for i := range fields.NumField() {
			name := structure.name + "." + fields.Field(i).Name
			row, ok := flagsOfLimits[name]
			if withoutFlag[name] != "" {
				continue
			}
			if !ok {
				t.Errorf("%s has no flag: add one, or say in withoutFlag why", name)
				continue
			}
			table[name] = true
			t.Run(name, func(t *testing.T) {
				after, err := worker.ApplyForTest(newServer(t, vgirpc.ServerOptions{}), strings.Fields(row.args)...)
				if err != nil {
					t.Fatal(err)
				}
				opts := cmp.Comparer(func(a, b *wire.Budget) bool { return reflect.DeepEqual(a, b) })
				if diff := cmp.Diff(row.want, structure.of(after).Field(i).Interface(), opts); diff != "" {
					t.Errorf("%s (-want +got):\n%s", row.args, diff)
				}
				if cmp.Equal(row.want, structure.of(before).Field(i).Interface(), opts) {
					t.Errorf("it is %v without the flag", row.want)
				}
			})
		}
	}
	for name := range flagsOfLimits {
		if !table[name] {
			t.Errorf("there is no limit %s", name)
		}
	}
}

func TestReadinessIsTheWorkersStateAndAllChecks(t *testing.T) {
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	down := errors.New("no answer")
	setup.Ready("keys", func(context.Context) error { return down })
	setup.Ready("storage", func(ctx context.Context) error { return ctx.Err() })
	var states []worker.State
	setup.OnState(func(s worker.State) { states = append(states, s) })
	checked := func() map[string]string {
		out := map[string]string{}
		for _, r := range setup.CheckReady(t.Context()) {
			out[r.Name] = ""
			if r.Err != nil {
				out[r.Name] = r.Err.Error()
			}
		}
		return out
	}
	for _, tt := range []struct {
		enter  worker.State
		worker string
	}{
		{worker.Starting, "the worker is starting"},
		{worker.Serving, ""},
		{worker.Draining, "the worker is draining"},
	} {
		worker.Enter(setup, tt.enter)
		worker.Enter(setup, tt.enter)
		if diff := cmp.Diff(map[string]string{"worker": tt.worker, "keys": "no answer", "storage": ""}, checked()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.enter, diff)
		}
	}
	if diff := cmp.Diff([]worker.State{worker.Serving, worker.Draining}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestAReloadTriesEverything(t *testing.T) {
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ran []int
	broken := errors.New("broken")
	for i, result := range []error{nil, broken, nil} {
		setup.OnReload(func(context.Context) error {
			ran = append(ran, i)
			return result
		})
	}
	if err := setup.Reload(t.Context()); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]int{0, 1, 2}, ran); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSIGHUPReopensTheAccessLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access.log")
	p := start(t, "--access-log", log)
	c := client(t, p)
	mustEcho(t, c)
	// The record is written after the answer: it could be in either file otherwise.
	for end := time.Now().Add(workertest.Patience); lines(t, log) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the access log stays empty")
		}
	}
	if err := os.Rename(log, log+".old"); err != nil {
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGHUP)
	p.Says(t, "msg=reloaded")
	mustEcho(t, c)
	_ = p.Stdin.Close()
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, path := range []string{log, log + ".old"} {
		if n := lines(t, path); n != 1 {
			t.Errorf("%s has %d lines", filepath.Base(path), n)
		}
	}
}

// lines is how many lines a file has.
func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func TestCheckFindsWhatIsWrongWithoutServing(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want string // of the error, "" when nothing is wrong
	}{
		{"nothing", nil, "", ""},
		{"a socket", []string{"--unix", filepath.Join(dir, "s")}, "", ""},
		{"a port that is taken", []string{"--tcp", listenedAt(t)}, "", ""},
		{"a socket in a directory that is not there", []string{"--unix", "/nowhere/s"}, "", "no such file"},
		{"a socket with a path that is too long", []string{"--unix", dir + strings.Repeat("/x", 60)}, "", "at most 107 bytes"},
		{"a path that the environment sets", nil, "VGI_RPC_UNIX=/nowhere/s", "--unix is set by VGI_RPC_UNIX"},
		{"a host that cannot be one", []string{"--tcp", "a b:1"}, "", "want a host"},
		{"a method without a handler", nil, workertest.Role(incomplete), "unhandled"},
		{"a limit that makes no sense", []string{"--max-files", "1000"}, "", "MaxFiles"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := workertest.Command([]string{tt.env}, append(tt.args, "--check")...)
			if tt.want != "" {
				workertest.Refused(t, 2, cmd, tt.want)
				return
			}
			if end := workertest.Run(t, cmd); end.Status != 0 || !strings.Contains(end.Stdout, "makes sense") {
				t.Errorf("%+v", end)
			}
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("checking left %v, %v", left, err)
	}
}

// listenedAt is an address that is taken.
func listenedAt(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestPrintConfigPrintsAndExits(t *testing.T) {
	end := workertest.Run(t, workertest.Command([]string{"VGI_RPC_MAX_MESSAGE_BYTES=4096"}, "--print-config", "--tcp", "127.0.0.1:0"))
	if end.Status != 0 || !strings.Contains(end.Stdout, "\nmax-message-bytes: 4096 # VGI_RPC_MAX_MESSAGE_BYTES\n") ||
		!strings.Contains(end.Stdout, "\ntcp: \"127.0.0.1:0\" # --tcp\n") {
		t.Errorf("%+v", end)
	}
}

func TestTheEndIsToldInNumbers(t *testing.T) {
	p := start(t, "--tcp", "0", "--probe-drain", "2s")
	line := p.Announcement(t)
	mustEcho(t, dial(t, line)) // a connection that waits is no call
	short, long := dial(t, line), dial(t, line)
	go func() { _, _ = nap.Call(context.Background(), long, napParams{Seconds: 600}) }()
	p.Says(t, "napping\n")
	if _, err := nap.Call(t.Context(), short, napParams{}); err != nil { // it is none of those in progress
		t.Error(err)
	}
	p.Signal(t, syscall.SIGTERM)
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.Says(t, "cut=1 ")
}

func TestNewConnectionsAreServedDuringTheDrainDelay(t *testing.T) {
	p := start(t, "--tcp", "0", "--drain-delay", "600")
	line := p.Announcement(t)
	p.Signal(t, syscall.SIGTERM)
	p.Says(t, "stopping")
	mustEcho(t, dial(t, line))
	p.Signal(t, syscall.SIGTERM)
	if status := p.Wait(t); status != 143 {
		t.Errorf("exit status %d", status)
	}
}

func TestTheMemoryLimitFollowsTheControlGroup(t *testing.T) {
	for _, tt := range []struct {
		name      string
		args      string
		goLimit   string
		allowed   uint64
		err       error
		want      int64
		wantError string
	}{
		{"a worker that listens", "--tcp 0", "", 1000, nil, 900, ""},
		{"another share", "--tcp 0 --memory-limit-ratio 0.5", "", 1000, nil, 500, ""},
		{"a worker over standard input and output leaves it alone", "", "", 1000, nil, 0, ""},
		{"unless it is asked", "--memory-limit-ratio 0.5", "", 1000, nil, 500, ""},
		{"Go's own limit goes first", "--tcp 0 --memory-limit-ratio 0.5", "1GiB", 1000, nil, 0, ""},
		{"none is wanted", "--tcp 0 --memory-limit-ratio 0", "", 1000, nil, 0, ""},
		{"the group has no limit", "--tcp 0", "", 0, memlimit.ErrNoLimit, 0, ""},
		{"there are no groups", "--tcp 0", "", 0, memlimit.ErrCgroupsNotSupported, 0, ""},
		{"more than all", "--memory-limit-ratio 1.5", "", 1000, nil, 0, "from 0 to 1"},
		{"less than nothing", "--memory-limit-ratio -1", "", 1000, nil, 0, "from 0 to 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", tt.goLimit)
			got, err := worker.MemoryLimit(newServer(t, vgirpc.ServerOptions{}), strings.Fields(tt.args), func() (uint64, error) { return tt.allowed, tt.err })
			if got != tt.want || (err == nil) != (tt.wantError == "") || err != nil && !strings.Contains(err.Error(), tt.wantError) {
				t.Errorf("limit %d, %v: want %d, %q", got, err, tt.want, tt.wantError)
			}
		})
	}
}

// A worker over standard input and output is started for a single call sometimes.
// What putting it together allocates is what its start costs that is ours.
func TestPuttingAWorkerTogetherIsCheap(t *testing.T) {
	const most = 500
	servers := make([]*vgirpc.Server, 12)
	for i := range servers {
		servers[i] = newServer(t, vgirpc.ServerOptions{})
	}
	next := 0
	got := testing.AllocsPerRun(10, func() {
		next++
		if _, err := worker.Configure(t, servers[next], nil, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%v allocations", got)
	if got > most {
		t.Errorf("%v allocations, want at most %d", got, most)
	}
}

func TestTheServiceManagerIsToldAndItsSocketsAreUsed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network string
		args    func(address string) []string
	}{
		{"a port of TCP, by its address", "tcp", func(a string) []string { return []string{"--tcp", a} }},
		{"a port of TCP, for any", "tcp", func(string) []string { return []string{"--tcp", "0"} }},
		{"a Unix socket", "unix", func(a string) []string { return []string{"--unix", a} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = manager.Close() }()
			address := "127.0.0.1:0"
			if tt.network == "unix" {
				address = filepath.Join(dir, "s")
			}
			l, err := net.Listen(tt.network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			f, err := l.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			// The shell knows the number that the worker will have.
			cmd := workertest.Command(nil, "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0])
			cmd.Path, cmd.Args[0] = "/bin/sh", "sh"
			cmd.Args = append(cmd.Args, tt.args(l.Addr().String())...)
			cmd.Env = append(cmd.Env, "SYSTEMD_EXEC_PID=", "LISTEN_FDS=1", "NOTIFY_SOCKET="+manager.LocalAddr().String(), "WATCHDOG_USEC=20000")
			cmd.ExtraFiles = []*os.File{f}
			p := workertest.Start(t, cmd)
			line := p.Announcement(t)
			if want := strings.ToUpper(tt.network) + ":" + l.Addr().String(); line != want {
				t.Errorf("announcement %q, want %q", line, want)
			}
			mustEcho(t, dial(t, line))
			hear := func(want string) string {
				t.Helper()
				buf := make([]byte, 1000)
				for {
					if err := manager.SetReadDeadline(time.Now().Add(workertest.Patience)); err != nil {
						t.Fatal(err)
					}
					n, err := manager.Read(buf)
					if err != nil {
						t.Fatalf("waiting for %q: %v", want, err)
					}
					if strings.HasPrefix(string(buf[:n]), want) {
						return string(buf[:n])
					}
				}
			}
			hear("READY=1")
			hear("WATCHDOG=1")
			p.Signal(t, syscall.SIGHUP)
			if said := hear("RELOADING=1"); !strings.Contains(said, "\nMONOTONIC_USEC=") {
				t.Errorf("%q has no time", said)
			}
			hear("READY=1")
			p.Signal(t, syscall.SIGUSR2)
			main := hear("MAINPID=")
			next, err := strconv.Atoi(strings.TrimPrefix(main, "MAINPID="))
			if err != nil || next == p.PID() {
				t.Fatalf("%q, %v", main, err)
			}
			hear("WATCHDOG=1")
			mustEcho(t, dial(t, line))
			if err := syscall.Kill(next, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			hear("STOPPING=1")
			p.SaysTimes(t, `finished=\d+ cut=0 `, 2) // both processes
			if tt.network == "unix" {
				if _, err := os.Stat(address); err != nil {
					t.Errorf("the socket of the service manager is gone: %v", err)
				}
			}
		})
	}
}

func TestTheServiceManagerOfAnotherProcessHearsNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  string
		args []string
	}{
		{"a worker that its client has started", "", nil},
		{"a worker that a service has started", "SYSTEMD_EXEC_PID=1", []string{"--tcp", "0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = manager.Close() }()
			p := workertest.Start(t, workertest.Command(
				[]string{tt.env, "NOTIFY_SOCKET=" + manager.LocalAddr().String(), "WATCHDOG_USEC=20000"}, tt.args...))
			if tt.args == nil {
				mustEcho(t, client(t, p))
			} else {
				mustEcho(t, dial(t, p.Announcement(t)))
			}
			p.Signal(t, syscall.SIGTERM)
			if status := p.Wait(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			raw, err := manager.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Read(func(fd uintptr) bool { // what was sent is there by now: it does not wait
				buf := make([]byte, 100)
				if n, err := syscall.Read(int(fd), buf); !errors.Is(err, syscall.EAGAIN) {
					t.Errorf("it hears %q, %v", buf[:max(0, n)], err)
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
