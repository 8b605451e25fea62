package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/pflag"
)

// defaultMemoryRatio leaves something for what Go's collector does not count:
// mappings of large messages, and the kernel's own buffers.
const defaultMemoryRatio = 0.9

// memory is the flag of the memory limit.
type memory struct {
	flags    *pflag.FlagSet
	ratio    float64
	allowed  func() (uint64, error)
	setLimit func(int64) int64
}

func newMemory() *memory {
	return &memory{allowed: memlimit.FromCgroup, setLimit: debug.SetMemoryLimit}
}

// AddFlags declares the flag.
func (o *memory) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.Float64Var(&o.ratio, "memory-limit-ratio", defaultMemoryRatio,
		"collect garbage so that no more than this `FRACTION` of what the control group allows is used, 0 for as Go does; "+
			"GOMEMLIMIT goes before it. Over standard input and output, where many workers share a group, it has to be asked for")
}

// Apply sets the limit. It runs when the transport is known: a worker over
// standard input and output, which has to start quickly, reads no files for a
// limit that is not only its own.
func (o *memory) Apply(ctx context.Context, setup *Setup) error {
	asked := o.flags.Changed("memory-limit-ratio")
	if !(o.ratio >= 0 && o.ratio <= 1) {
		return fmt.Errorf("--memory-limit-ratio %v: want a number from 0 to 1", o.ratio)
	}
	if o.ratio == 0 || os.Getenv("GOMEMLIMIT") != "" || !asked && setup.transport == nil {
		return nil
	}
	allowed, err := o.allowed()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit):
		return nil
	case err != nil:
		level := slog.LevelDebug
		if asked {
			level = slog.LevelWarn
		}
		setup.Server().Logger().LogAttrs(ctx, level, "the memory limit of the control group cannot be read", slog.Any("error", err))
		return nil
	}
	limit := int64(min(float64(allowed)*o.ratio, math.MaxInt64/2))
	o.setLimit(limit)
	setup.Server().Logger().LogAttrs(ctx, slog.LevelInfo, "memory limit", slog.Int64("bytes", limit), slog.Uint64("allowed", allowed))
	return nil
}
