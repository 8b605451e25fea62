package observability

import (
	"fmt"
	"time"
)

// schedule is when a file is to be renamed: at the end of each period of UTC.
type schedule struct {
	suffix string // of a renamed file: the layout of the time its period began
	begin  func(time.Time) time.Time
	next   func(begin time.Time) time.Time
}

// newSchedule reads LogFileOptions.When; nil for never.
func newSchedule(when string) (*schedule, error) {
	const day = 24 * time.Hour
	every := func(suffix string, d time.Duration) *schedule {
		return &schedule{
			suffix: suffix,
			begin:  func(t time.Time) time.Time { return t.UTC().Truncate(d) },
			next:   func(begin time.Time) time.Time { return begin.Add(d) },
		}
	}
	switch when {
	case "":
		return nil, nil //nolint:nilnil // no schedule is one
	case "S", "s":
		return every("2006-01-02_15-04-05", time.Second), nil
	case "M", "m":
		return every("2006-01-02_15-04", time.Minute), nil
	case "H", "h":
		return every("2006-01-02_15", time.Hour), nil
	case "D", "d", "midnight", "MIDNIGHT":
		return every("2006-01-02", day), nil
	}
	if len(when) == 2 && (when[0] == 'W' || when[0] == 'w') && '0' <= when[1] && when[1] <= '6' {
		first := time.Weekday((int(when[1]-'0') + 1) % 7) // 0 is Monday
		return &schedule{
			suffix: "2006-01-02",
			begin: func(t time.Time) time.Time {
				t = t.UTC().Truncate(day)
				return t.Add(-day * time.Duration((t.Weekday()-first+7)%7))
			},
			next: func(begin time.Time) time.Time { return begin.Add(7 * day) },
		}, nil
	}
	return nil, fmt.Errorf("when to begin a new file: %q: want S, M, H, D, midnight or W0 to W6", when)
}
