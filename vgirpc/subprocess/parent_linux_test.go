package subprocess

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestAWorkerDiesWithItsOwner(t *testing.T) {
	returnsEverything(t)
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), envMode+"=owner")
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if gone(pid) {
		t.Fatal("the worker has not even lived")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	eventually(t, "the worker is gone", func() bool { return gone(pid) })
}

// The parent-death signal belongs to a thread: one that ends must not take the
// worker with it.
func TestAWorkerOutlivesTheThreadThatAskedForIt(t *testing.T) {
	returnsEverything(t)
	type result struct {
		t   *transport
		tid int
		err error
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		tr, err := newTransport(t.Context(), workerIn("serve", ""), vgirpc.ClientOptions{})
		results <- result{tr, unix.Gettid(), err}
	}()
	r := <-results
	if r.err != nil {
		t.Fatal(r.err)
	}
	c := vgirpc.NewClientOn(r.t, vgirpc.ClientOptions{})
	defer c.Close()
	eventually(t, "the thread has ended", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", r.tid))
		return r.tid == os.Getpid() || err != nil
	})
	adds(t, c)
}
