//go:build linux

package deploy_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A collector takes lines over TCP.
type collector struct {
	port  string
	mu    sync.Mutex
	lines []string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{port: port}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				lines.Buffer(nil, 2<<20)
				for lines.Scan() {
					c.mu.Lock()
					c.lines = append(c.lines, lines.Text())
					c.mu.Unlock()
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return c
}

// got is what has come so far.
func (c *collector) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

// appendLines writes lines to the end of a file.
func appendLines(t *testing.T, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
}

func TestEveryLineOfTheAccessLogReachesTheCollectorAcrossARename(t *testing.T) {
	rsyslogd := find(t, "rsyslogd")
	c, dir := startCollector(t), t.TempDir()
	log := filepath.Join(dir, "access.jsonl")
	text := strings.NewReplacer("/var/log/vgi-rpc/access.jsonl", log, `"6514"`, `"`+c.port+`"`, `resumeInterval="5"`, `resumeInterval="1"`).
		Replace(read(t, "log-shipping/rsyslog.conf"))
	config := write(t, filepath.Join(dir, "rsyslog.conf"), fmt.Sprintf("global(workDirectory=%q)\n%s", dir, text))
	output(t, rsyslogd, "-N1", "-f", config)

	var want []string
	add := func(lines ...string) {
		want = append(want, lines...)
		appendLines(t, log, lines...)
	}
	arrived := func(context.Context) error {
		if diff := cmp.Diff(want, c.got()); diff != "" {
			return fmt.Errorf("lines (-written +arrived):\n%.2000s", diff)
		}
		return nil
	}
	add(`{"n":1,"message":"quotes \" and \u00e4 \\"}`, `{"n":2,"long":"`+strings.Repeat("x", 1<<20)+`"}`)
	start(t, exec.Command(rsyslogd, "-n", "-f", config, "-i", filepath.Join(dir, "pid")))
	poll(t, "the first lines have arrived", arrived)

	add(`{"n":3}`)
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	// The worker goes on in the old file until it is told.
	want = append(want, `{"n":4}`)
	appendLines(t, log+".1", `{"n":4}`)
	poll(t, "the lines of the old file have arrived", arrived)
	add(`{"n":5}`, `{"n":6}`)
	poll(t, "those of the new one have", arrived)
}
