package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asOther makes the test binary another process that wants the port that it names.
const asOther = "VGI_TEST_FREEPORT"

func TestMain(m *testing.M) {
	wanted := os.Getenv(asOther)
	if wanted == "" {
		os.Exit(m.Run())
	}
	port, err := strconv.Atoi(wanted)
	if err != nil {
		panic(err)
	}
	if _, err := take(context.Background(), port); err != nil {
		os.Stdout.WriteString("taken")
	} else {
		os.Stdout.WriteString("free")
	}
}

// elsewhere says what another process gets that wants a port.
func elsewhere(t *testing.T, port int) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), asOther+"="+strconv.Itoa(port))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestAPortIsOneCallersUntilItsTestEnds(t *testing.T) {
	for range 3 { // one that is given back may be another test's at once
		var port int
		t.Run("its test", func(t *testing.T) { port = testOneCaller(t) })
		if elsewhere(t, port) == "free" {
			return
		}
	}
	t.Error("no port is free afterwards")
}

// testOneCaller takes a port and tests that nobody else gets it.
func testOneCaller(t *testing.T) (port int) {
	t.Helper()
	port = Port(t)
	if _, err := take(t.Context(), port); err == nil {
		t.Error("another caller of this process gets it")
	}
	if diff := cmp.Diff("taken", elsewhere(t, port)); diff != "" {
		t.Errorf("to another process (-want +got):\n%s", diff)
	}
	for range 2 { // it starts anew
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	return port
}

func TestAPortThatSomebodyListensOnIsNotTaken(t *testing.T) {
	for _, at := range []string{host, "0.0.0.0"} {
		port := listen(t, at)
		for range 2 { // the first one claims nothing
			if _, err := take(t.Context(), port); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "tcp") {
				t.Errorf("%s:%d is taken with %v", at, port, err)
			}
		}
	}
}

// listen listens on a port that nobody has claimed, and below those of which
// somebody may have the UDP port.
func listen(t *testing.T, at string) (port int) {
	t.Helper()
	for range number {
		port := lowest + rand.IntN(number)
		release, err := take(t.Context(), port)
		if err != nil {
			continue
		}
		release()
		if l, err := net.Listen("tcp4", net.JoinHostPort(at, strconv.Itoa(port))); err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return port
		}
	}
	t.Fatal(errNone)
	return 0
}

func TestPortsAreBelowThoseThatTheSystemHandsOut(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port := Port(t)
		if seen[port] || port < lowest || port >= lowest+number {
			t.Errorf("port %d, after %d others", port, len(seen))
		}
		seen[port] = true
	}
}

func TestAnAddressThatRefuses(t *testing.T) {
	address := Refusing(t)
	for range 3 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("connecting: %v, want that it is refused", err)
		}
	}
	if l, err := net.Listen("tcp", address); err == nil {
		_ = l.Close()
		t.Error("somebody else can listen there")
	}
}
