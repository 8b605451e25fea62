package worker_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// hungDisk is a path at which every write waits, until heal is called: a pipe that
// is full and has a reader.
func hungDisk(t *testing.T) (path string, heal func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	pipe := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { _ = pipe.Close() })
	for _, size := range []int{64 << 10, 1} {
		for some := make([]byte, size); err == nil; {
			_, err = syscall.Write(fd, some)
		}
		if !errors.Is(err, syscall.EAGAIN) {
			t.Fatal(err)
		}
		err = nil
	}
	return path, func() { go func() { _, _ = io.Copy(io.Discard, pipe) }() }
}

// within fails a test in which f does not return.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(workertest.Patience):
		t.Fatal("it waits for the disk")
	}
}

func TestNobodyWaitsForTheDiskOfTheRequestLog(t *testing.T) {
	disk, heal := hungDisk(t)
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), []string{"--request-log", disk, "--request-log-rate", "1000000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(heal) // before the log is closed
	refuse := func() {
		setup.Server().ReportRefused(t.Context(), &vgirpc.Refused{Transport: vgirpc.TransportTCP, Reason: vgirpc.RefusedAdmission})
	}
	t.Run("whose connection is refused", func(t *testing.T) {
		within(t, func() {
			for range 1000 {
				refuse()
			}
		})
	})
	t.Run("who has it reopened", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		within(t, func() {
			for err = setup.Reload(ctx); err == nil; err = setup.Reload(ctx) { // until a write hangs
				refuse()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFlagsWithoutTheirLogAreRefused(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, tt := range []struct {
		name    string
		args    []string
		environ []string
		want    string // "" for none
	}{
		{name: "a part of the calls, logged nowhere", args: []string{"--access-log-sample", "0.5"}, want: "--access-log-sample is nothing without --access-log"},
		{name: "in the background of nothing", args: []string{"--access-log-async"}, want: "--access-log-async is nothing without --access-log"},
		{name: "a rate of refusals", args: []string{"--request-log-rate", "5"}, want: "--request-log-rate is nothing without --request-log"},
		{name: "of the other log", args: []string{"--access-log", log, "--request-log-max-bytes", "5"}, want: "--request-log-max-bytes is nothing without --request-log"},
		{
			name: "a queue before a write that waits", args: []string{"--access-log", log, "--access-log-queue-size", "5"},
			want: "--access-log-queue-size is nothing without --access-log-async",
		},
		{
			name: "old files of one that is never renamed", args: []string{"--access-log", log, "--access-log-backup-count", "5"},
			want: "--access-log-backup-count is nothing without --access-log-max-bytes or --access-log-when",
		},
		{
			name: "old files of the request log", args: []string{"--request-log", log, "--request-log-backup-count", "5"},
			want: "--request-log-backup-count is nothing without --request-log-max-bytes",
		},
		{name: "of an environment that more than one worker reads", environ: []string{"VGI_RPC_ACCESS_LOG_ASYNC=true", "VGI_RPC_REQUEST_LOG_RATE=5"}},
		{
			name: "beside a log of the environment", args: []string{"--access-log-sample", "0.5", "--access-log-queue-size", "5"},
			environ: []string{"VGI_RPC_ACCESS_LOG=" + log, "VGI_RPC_ACCESS_LOG_ASYNC=true"},
		},
		{name: "each with its log", args: []string{"--access-log", log, "--access-log-when", "D", "--access-log-backup-count", "5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), tt.args, tt.environ)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
