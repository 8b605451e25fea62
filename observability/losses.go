package observability

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// losses keeps account of lines that could not be written, and tells the logger
// without flooding it.
type losses struct {
	opts       *LogFileOptions
	pending    atomic.Int64 // to be announced in the file
	suppressed atomic.Int64 // likewise: what was left out on purpose
	total      atomic.Int64
	failing    atomic.Bool // since the last line that was written

	mu         sync.Mutex
	said       time.Time // when the logger was last told of losses
	warned     time.Time // and of trouble
	unsaid     int64     // lost since then
	outage     int64     // lost since lines were last written
	announced  bool      // the logger knows of this outage
	lastReason error
}

// gap is what is not in the file, for a line to announce.
type gap struct{ lost, suppressed int64 }

// take returns what is to be announced. It goes back with giveBack when the line
// that should have announced it is lost itself.
func (l *losses) take() (g gap) {
	if l.pending.Load() > 0 {
		g.lost = l.pending.Swap(0)
	}
	if l.suppressed.Load() > 0 {
		g.suppressed = l.suppressed.Swap(0)
	}
	return g
}

func (l *losses) giveBack(g gap) {
	l.pending.Add(g.lost)
	l.suppressed.Add(g.suppressed)
}

// lose counts n lines that were lost for one reason.
func (l *losses) lose(n int64, reason error) {
	now := l.opts.clock() // before it is counted: who sees the count may move the clock
	l.pending.Add(n)
	l.total.Add(n)
	l.mu.Lock()
	l.failing.Store(true)
	l.unsaid += n
	l.outage += n
	l.lastReason = reason
	lost, due := l.unsaid, l.said.IsZero() || now.Sub(l.said) >= l.opts.ReportInterval
	if due {
		l.said, l.unsaid, l.announced = now, 0, true
	}
	l.mu.Unlock()
	if due {
		l.log(slog.LevelError, "records lost", slog.Int64("lost", lost), slog.Any("error", reason))
	}
}

// recovered is called when lines were written.
func (l *losses) recovered() {
	if !l.failing.Load() {
		return
	}
	l.mu.Lock()
	lost, announced := l.outage, l.announced && l.failing.Load()
	l.outage, l.announced = 0, false
	if announced {
		l.unsaid = 0
	}
	l.failing.Store(false)
	l.mu.Unlock()
	if announced {
		l.log(slog.LevelWarn, "writing again", slog.Int64("lost", lost))
	}
}

// rest reports what was lost since the logger was last told.
func (l *losses) rest() {
	l.mu.Lock()
	lost, reason := l.unsaid, l.lastReason
	l.unsaid = 0
	l.mu.Unlock()
	if lost > 0 {
		l.log(slog.LevelError, "records lost", slog.Int64("lost", lost), slog.Any("error", reason))
	}
}

// warn reports an error that lost nothing, at most once per interval.
func (l *losses) warn(err error) {
	now := l.opts.clock()
	l.mu.Lock()
	due := l.warned.IsZero() || now.Sub(l.warned) >= l.opts.ReportInterval
	if due {
		l.warned = now
	}
	l.mu.Unlock()
	if due {
		l.log(slog.LevelWarn, "the file goes on as it is", slog.Any("error", err))
	}
}

func (l *losses) log(level slog.Level, message string, attrs ...slog.Attr) {
	l.opts.Logger.LogAttrs(context.Background(), level, l.opts.Name+": "+message, attrs...)
}
