package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// activate takes the listeners that a service manager has opened for this process
// (systemd.socket, LISTEN_FDS).
func (s *sockets) activate() error {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil // not for us
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 256 {
		return fmt.Errorf("worker: LISTEN_FDS=%q: want a number of sockets", count)
	}
	for fd := handoverDescriptor; fd < handoverDescriptor+n; fd++ {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "activated")
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("worker: LISTEN_FDS: descriptor %d is no listening stream socket: %w", fd, err)
		}
		if path, ok := l.(*net.UnixListener); ok {
			path.SetUnlinkOnClose(false)
		}
		s.inherited = append(s.inherited, &inherited{
			socket: l, network: l.Addr().Network(), keep: true, abandoned: make(chan struct{}),
		})
	}
	return nil
}

// startedByServiceManager reports whether the service manager that the environment
// speaks of has started this process, and not one that has started this one.
func startedByServiceManager() bool {
	pid := os.Getenv("SYSTEMD_EXEC_PID")
	return pid == "" || pid == strconv.Itoa(os.Getpid())
}

// forgetServiceManager keeps this process from speaking to the service manager of
// another one.
func forgetServiceManager() {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // which fails for no such name
	}
}

// tell tells the service manager, if there is one, about the worker's state
// (sd_notify). That it does not listen is no trouble.
func (s *Setup) tell(state string) { _, _ = daemon.SdNotify(false, state) }

// monotonic is the time that systemd wants to know at the beginning of a reload.
func monotonic() string { return daemon.SdNotifyMonotonicUsec() }

// keepWatch tells the service manager that the worker is alive, as often as it
// wants to know, until ctx ends.
func (w *worker) keepWatch(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		if err != nil {
			w.log.LogAttrs(ctx, slog.LevelWarn, "the service manager's watchdog is not served", slog.Any("error", err))
		}
		return
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		w.setup.tell(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
