//go:build unix

package workertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { Main(m, program) }

// program does what its arguments say, one after the other, and comes back when they
// are over.
func program(role string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR2)
	for _, arg := range os.Args[1:] {
		verb, text, _ := strings.Cut(arg, "=")
		switch verb {
		case "role":
			fmt.Fprintln(os.Stderr, role, os.Getenv("MORE"))
		case "print":
			fmt.Println(text)
		case "say":
			fmt.Fprintln(os.Stderr, text)
		case "exit":
			status, err := strconv.Atoi(text)
			if err != nil {
				panic(err)
			}
			os.Exit(status)
		case "serve": // to a SIGTERM
			if <-signals == syscall.SIGUSR2 {
				handOver()
				<-signals // of the successor
			}
			os.Exit(0)
		}
	}
}

// handOver starts a process that serves, which ends this one when it is told to end
// itself.
func handOver() {
	next := exec.Command(os.Args[0], "say=next", "serve")
	next.Stderr = os.Stderr
	if err := next.Start(); err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "msg=\"another process has taken over\" pid=%d\n", next.Process.Pid)
	_ = next.Wait()
	os.Exit(0)
}

// judge is a test that may fail.
type judge struct {
	testing.TB
	said strings.Builder
}

// errFatal ends a function that a judge looks at.
var errFatal = errors.New("fatal")

func (j *judge) Helper()                      {}
func (j *judge) Cleanup(func())               {} // the real test's is enough
func (j *judge) Error(args ...any)            { fmt.Fprintln(&j.said, args...) }
func (j *judge) Errorf(f string, args ...any) { fmt.Fprintf(&j.said, f+"\n", args...) }

func (j *judge) Fatal(args ...any) {
	j.Error(args...)
	panic(errFatal)
}

func (j *judge) Fatalf(f string, args ...any) {
	j.Errorf(f, args...)
	panic(errFatal)
}

// verdict is what a test would say of f.
func verdict(t *testing.T, f func(j *judge)) string {
	t.Helper()
	j := &judge{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(errFatal) {
				panic(r)
			}
		}()
		f(j)
	}()
	return j.said.String()
}

// judged fails a test unless it would fail saying a text, or not at all when that is
// "".
func judged(t *testing.T, said, want string) {
	t.Helper()
	if want == "" && said != "" || !strings.Contains(said, want) {
		t.Errorf("a test would say %q, want %q", said, want)
	}
}

func TestAWorkerIsTheTestsOwnBinary(t *testing.T) {
	for name, tt := range map[string]struct {
		env  []string
		want string
	}{
		"in the usual role":     {nil, "worker \n"},
		"in a role of its own":  {[]string{Role("other")}, "other \n"},
		"with more environment": {[]string{"MORE=less", "MORE=more"}, "worker more\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Run(t, Command(tt.env, "role", "print=out", "exit=3"))
			if diff := cmp.Diff(Outcome{3, "out\n", tt.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("whose main function does not come back", func(t *testing.T) {
		if got := Run(t, Command(nil)); got.Status != statusReturned {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnnouncementsAreAddresses(t *testing.T) {
	for line, want := range map[string]string{
		"UNIX:/a/b:c": "/a/b:c", "TCP:127.0.0.1:80": "127.0.0.1:80", "PORT:8080": "127.0.0.1:8080",
		"PORT:0": "", "PORT:+80": "", "PORT:65536": "", "FAX:1": "", "nothing": "",
	} {
		t.Run(line, func(t *testing.T) {
			p := Serve(t, Command(nil, "print="+line, "print=rest", "serve"))
			failure := "the worker announces"
			if want != "" {
				failure = ""
			}
			judged(t, verdict(t, func(j *judge) {
				if got := p.Address(j); got != want {
					t.Errorf("address %q, want %q", got, want)
				}
			}), failure)
			p.Stop(t)
			if got := p.Announcement(t) + " " + p.Rest(t); got != line+" rest\n" {
				t.Errorf("standard output %q", got)
			}
		})
	}
	t.Run("one that ends without any", func(t *testing.T) {
		p := Start(t, Command(nil, "exit=0"))
		judged(t, verdict(t, func(j *judge) { p.Announcement(j) }), `announces "": EOF`)
	})
}

func TestHowAWorkerEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		use  func(testing.TB, *Process)
		want string
	}{
		{"well, by a signal", []string{"print=x", "serve"}, func(tb testing.TB, p *Process) { tb.Helper(); p.Stop(tb) }, ""},
		{"by itself, unasked", []string{"print=x", "exit=5"}, func(tb testing.TB, p *Process) { tb.Helper(); p.Stop(tb) }, "status 5"},
		{"by itself, as the test expects", []string{"print=x", "exit=5"}, func(tb testing.TB, p *Process) {
			tb.Helper()
			if status := p.Wait(tb); status != 5 {
				tb.Errorf("exit status %d", status)
			}
			p.Stop(tb)
		}, ""},
		{"by SIGKILL", []string{"print=x", "serve"}, func(tb testing.TB, p *Process) {
			tb.Helper()
			p.Signal(tb, syscall.SIGKILL)
			p.Stop(tb)
		}, "status -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Start(t, Command(nil, tt.args...))
			p.Announcement(t)
			judged(t, verdict(t, func(j *judge) { tt.use(j, p) }), tt.want)
			<-p.Exited()
		})
	}
}

func TestWhatAWorkerSays(t *testing.T) {
	p := Serve(t, Command(nil, "print=x", "say=n=1", "say=n=22", "say=a.b", "serve"))
	if got := p.SaysTimes(t, `n=(\d+)\n`, 2)[1]; got != "22" {
		t.Errorf("the second number is %q", got)
	}
	p.Says(t, "a.b")
	p.Stop(t)
	judged(t, verdict(t, func(j *judge) { p.Says(j, "a.") }), "")
	judged(t, verdict(t, func(j *judge) { p.Says(j, "n.1") }), "does not say") // it is no pattern
	judged(t, verdict(t, func(j *judge) { p.SaysTimes(j, `n=`, 3) }), "3 times")
	if got := p.Said(); got != "n=1\nn=22\na.b\n" {
		t.Errorf("it says %q", got)
	}
}

func TestWhoIsRefusedSaysWhyOnStandardErrorAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a refusal", []string{"say=the reason", "exit=2"}, ""},
		{"another status", []string{"say=the reason", "exit=1"}, "status 1, want 2"},
		{"another reason", []string{"say=a reason", "exit=2"}, "a reason"},
		{"one on standard output too", []string{"say=the reason", "print=x", "exit=2"}, `standard output: "x`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			judged(t, verdict(t, func(j *judge) { Refused(j, 2, Command(nil, tt.args...), "the reason") }), tt.want)
		})
	}
}

func TestNothingIsLeftOfAWorker(t *testing.T) {
	for name, tt := range map[string]struct {
		handsOver bool
		byItself  bool // unknown to the test
	}{
		"that serves":          {},
		"that was restarted":   {handsOver: true},
		"that restarts itself": {handsOver: true, byItself: true},
	} {
		t.Run(name, func(t *testing.T) {
			var pids []int
			t.Run("while it lives", func(t *testing.T) {
				p := Start(t, Command(nil, "print=x", "serve"))
				p.Announcement(t)
				pids = append(pids, p.PID())
				switch {
				case tt.byItself:
					p.Signal(t, syscall.SIGUSR2)
					next, err := strconv.Atoi(p.SaysTimes(t, takeover.String(), 1)[1])
					if err != nil {
						t.Fatal(err)
					}
					pids = append(pids, next)
				case tt.handsOver:
					p.Restart(t)
					pids = append(pids, p.PID())
				}
				if len(pids) == 2 {
					p.Says(t, "next")
				}
			})
			if tt.handsOver && (len(pids) != 2 || pids[0] == pids[1]) {
				t.Fatalf("processes %v", pids)
			}
			for _, pid := range pids {
				for end := time.Now().Add(Patience); alive(pid); time.Sleep(pause) {
					if time.Now().After(end) {
						t.Fatalf("process %d of %v is still there", pid, pids)
					}
				}
			}
		})
	}
}

// alive reports whether a process is there and has not ended. Who is nobody's child
// may stay as a zombie where process 1 does not look after it.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || !strings.HasPrefix(state, "Z")
}

func TestASignalAndTheEndMeanTheLastProcess(t *testing.T) {
	p := Start(t, Command(nil, "print=x", "serve"))
	p.Announcement(t)
	first := p.PID()
	p.Restart(t)
	p.Says(t, "next")
	if p.PID() == first {
		t.Error("it is the same process")
	}
	p.Stop(t) // the first one waits for the second
	select {
	case <-p.Exited():
	default:
		t.Error("the first process is still there")
	}
}
