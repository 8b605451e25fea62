//go:build linux

package vgirpc_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// allowance is how much a worker may grow over what good calls need.
const allowance = 200 << 20

// hurtWorker is a worker process with the default limits: cmd/vgi-worker demo,
// which package worker serves.
type hurtWorker struct {
	addr net.Addr
	pid  int
}

// startWorker builds and starts the worker, and makes good calls. It is for the
// slow tests.
func startWorker(t *testing.T) *hurtWorker {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts a worker")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "vgi-worker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/vgi-worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), binary, "demo", "--unix", filepath.Join(dir, "s"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // t.Context has ended: the worker was told to
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the worker ended badly: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "UNIX:") {
		t.Fatalf("the worker said %q, %v", line, err)
	}
	w := &hurtWorker{&net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "s")}, cmd.Process.Pid}
	w.works(t)
	return w
}

// demoCall is a good request's metadata.
func demoCall() wire.Metadata {
	return callOf("add").With(wire.KeyProtocol, "demo.Calc").With(wire.KeyProtocolVersion, "1.0.0")
}

// works makes good calls on connections of their own, many at once.
func (w *hurtWorker) works(t *testing.T) {
	t.Helper()
	peers := make([]*bytePeer, 32)
	for i := range peers {
		peers[i] = dialPeer(t, w.addr)
		w.worksOn(t, peers[i])
	}
	for _, p := range peers {
		_ = p.Close()
	}
}

func (w *hurtWorker) worksOn(t *testing.T, p *bytePeer) {
	t.Helper()
	p.send(forge(t, addSchema, row(1, 2), demoCall()))
	if a := p.answer(); a == nil || a.status != nil || a.sum != 3 {
		t.Fatalf("a good call: %+v", a)
	}
}

// peak is the largest resident size of the worker so far, in bytes.
func (w *hurtWorker) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	if _, err := fmt.Sscan(string(after), &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// grows runs f and checks what it cost the worker, which must still work.
func (w *hurtWorker) grows(t *testing.T, f func()) {
	t.Helper()
	before := w.peak(t)
	f()
	grown := w.peak(t) - before
	t.Logf("the worker grew by %d MiB", grown>>20)
	if grown > allowance {
		t.Errorf("the worker grew by %d MiB, want at most %d", grown>>20, allowance>>20)
	}
	w.works(t)
}

func TestAHostileClientCostsLittleMemory(t *testing.T) {
	w := startWorker(t)
	t.Run("64 bodies of 256 MiB that never come", func(t *testing.T) {
		request := claim(forge(t, addSchema, row(1, 2), demoCall()), wire.DefaultMaxMessageBytes)
		request = request[:headerEnd(request)]
		w.grows(t, func() {
			// Each sends more than a socket holds, so that the worker has begun
			// to read the body.
			piece := make([]byte, 1<<20+512<<10)
			peers := make([]*bytePeer, 64)
			for i := range peers {
				peers[i] = dialPeer(t, w.addr)
				peers[i].send(request, piece)
			}
			for _, p := range peers {
				p.endInput()
				p.refusal(refusal{vgirpc.InvalidArgument, "FormatError", "connection lost"})
				p.closed()
				_ = p.Close()
			}
		})
	})
	const huge = 320 << 20
	for name, codec := range compressions() {
		bomb := bombOf(t, huge, codec)
		t.Run("64 bombs in "+name, func(t *testing.T) {
			w.grows(t, func() {
				atOnce(t, w, bomb, refusal{vgirpc.ResourceExhausted, "LimitError", "MaxMessageBytes"})
			})
		})
		t.Run("64 bombs in "+name+" that say they are small", func(t *testing.T) {
			w.grows(t, func() {
				atOnce(t, w, disguised(t, bomb, huge, 64<<10), refusal{vgirpc.InvalidArgument, "FormatError", "text"})
			})
		})
	}
}

// atOnce sends the same bad request on 64 connections before it reads an answer.
func atOnce(t *testing.T, w *hurtWorker, request []byte, want refusal) {
	t.Helper()
	peers := make([]*bytePeer, 64)
	for i := range peers {
		peers[i] = dialPeer(t, w.addr)
	}
	sent := make(chan struct{}, len(peers))
	for _, p := range peers {
		go func() {
			_, _ = p.Write(request) // what came of it shows below
			sent <- struct{}{}
		}()
	}
	for _, p := range peers {
		p.refusal(want)
		w.worksOn(t, p)
		_ = p.Close()
	}
	for range peers {
		<-sent
	}
}

func TestAnEchoOf2GiBIsRefusedByTheDefaultLimitAndTheWorkerGoesOn(t *testing.T) {
	w := startWorker(t)
	const size = 1<<31 + 1
	schema := columns(column("value", arrow.BinaryTypes.LargeBinary))
	p := dialPeer(t, w.addr)
	if err := p.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		t.Fatal(err)
	}
	// Only the header is forged. The body comes, in pieces of one and the same
	// memory.
	request := claim(forge(t, schema, `[{"value":"AA=="}]`, demoCall().With(wire.KeyMethod, "echo")), (size+7)&^7)
	end := []byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}
	w.grows(t, func() {
		for range 2 {
			p.send(request[:headerEnd(request)])
			if n, err := io.Copy(p.Conn, io.LimitReader(repeating(make([]byte, 1<<20)), (size+7)&^7)); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			p.send(end)
			p.refusal(refusal{vgirpc.ResourceExhausted, "LimitError", "MaxMessageBytes (268435456 bytes)"})
			w.worksOn(t, p)
		}
	})
}

// repeating reads the same bytes without end.
type repeating []byte

// Read implements [io.Reader].
func (r repeating) Read(p []byte) (int, error) { return copy(p, r), nil }

func TestMemoryOfExpandedBatchesIsCounted(t *testing.T) {
	// Each bomb is within the limit of a message. Together they are not within
	// the budget, although what travels is next to nothing.
	const size = 4 << 20
	onEveryNetwork(t, func(t *testing.T, network string) {
		for name, codec := range compressions() {
			t.Run(name, func(t *testing.T) {
				returnsEverything(t)
				budget := wire.NewBudget(size)
				g := newGate("echo")
				c := vgitest.NewContract()
				s := vgitest.NewServer(t, c, vgirpc.ServerOptions{
					Limits: wire.Limits{Budget: budget}, Interceptors: []vgirpc.Interceptor{g.hold},
				})
				target := newTargetOf(t, network, s, budget)
				open := sync.OnceFunc(func() { close(g.open) })
				defer open()
				first, second := target.dial(t), target.dial(t)
				bomb := bombOf(t, size-64<<10, codec)
				first.send(bomb)
				<-g.entered // the first one is expanded, and held by its handler
				second.send(bomb)
				second.refusal(refusal{vgirpc.ResourceExhausted, "BusyError", "MaxBytesInFlight"})
				second.works(1)
				open()
				if a := first.answer(); a == nil || a.status != nil {
					t.Errorf("the first: %+v", a)
				}
				// An answer is out before its request's memory is given back.
				eventually(t, "the first call's memory is given back", func() bool { return budget.Held() == 0 })
				second.send(bombOf(t, 64<<10, codec))
				if a := second.answer(); a == nil || a.status != nil {
					t.Errorf("after: %+v", a)
				}
			})
		}
	})
}
