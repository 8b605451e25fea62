package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// accessLog are the flags of the access log.
type accessLog struct {
	flags     *pflag.FlagSet
	path      string
	maxRecord int
	sample    float64
	file      observability.LogFileOptions
}

// AddFlags declares the flags.
func (o *accessLog) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.path, "access-log", "", "append one JSON line for each call to the file at `PATH`; "+
		"{pid} and {server_id} in it stand for this process and server")
	flags.Int64Var(&o.file.MaxBytes, "access-log-max-bytes", 0, "begin a new file before the access log exceeds `N` bytes; "+
		"the old one becomes PATH.1 (default never)")
	flags.StringVar(&o.file.When, "access-log-when", "", "begin a new file with each `PERIOD` of UTC: S, M, H, D, midnight, "+
		"or W0 (Monday) to W6; excludes --access-log-max-bytes (default never)")
	flags.IntVar(&o.file.BackupCount, "access-log-backup-count", observability.DefaultBackupCount, "keep `N` old files of the access log")
	flags.IntVar(&o.maxRecord, "access-log-max-record-bytes", observability.DefaultMaxRecordBytes,
		"leave out of a record what makes it longer than `N` bytes, 0 for no limit")
	flags.Float64Var(&o.sample, "access-log-sample", 1, "log this `FRACTION` of the calls that succeed, 0 to 1; those that fail are always logged")
	flags.BoolVar(&o.file.Async, "access-log-async", false, "write the access log in the background: no call waits for the disk, "+
		"and a crash loses what was not written")
	flags.IntVar(&o.file.QueueSize, "access-log-queue-size", observability.DefaultQueueSize,
		"let `N` records wait to be written in the background; further ones are dropped and counted")
}

// Apply makes the access log an observer. It runs after the options that may
// change the server's identifier.
func (o *accessLog) Apply(_ context.Context, setup *Setup) error {
	if err := o.check(); err != nil {
		return err
	}
	if !o.flags.Changed("access-log") {
		return nil
	}
	if o.path == "" {
		return errors.New("--access-log: want a path")
	}
	opts, err := setup.options()
	if err != nil {
		return err
	}
	logOpts := observability.AccessLogOptions{
		ServerID: opts.ServerID, ServerVersion: opts.Version, Logger: opts.Logger,
		MaxRecordBytes: o.maxRecord, SampleRate: o.sample, TraceOf: setup.logs.traceOf, File: o.file,
	}
	if o.maxRecord == 0 {
		logOpts.MaxRecordBytes = -1
	}
	if o.sample == 0 {
		logOpts.SampleRate = -1
	}
	log, err := observability.OpenAccessLog(o.path, logOpts)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	setup.logs.access = log
	setup.OnReload(func(ctx context.Context) error { return reopen(ctx, "access log", log.Reopen) })
	setup.AtExit(log.Shutdown)
	return setup.Server().Configure(func(o *vgirpc.ServerOptions) { o.Observers = append(o.Observers, log) })
}

// reopen opens a log anew. It does not wait for a disk that hangs.
func reopen(ctx context.Context, name string, again func() error) error {
	done := make(chan error, 1)
	go func() { done <- again() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: reopening: %w", name, ctx.Err())
	}
}

// nothingWithout names the first of some flags that the command line gives: they
// have no effect without another. The environment and a file may say more than one
// worker needs.
func nothingWithout(flags *pflag.FlagSet, other string, names ...string) error {
	for _, name := range names {
		if source, _ := OriginOf(flags, name); source == CommandLine {
			return fmt.Errorf("--%s is nothing without %s", name, other)
		}
	}
	return nil
}

// check names the flag that has an impossible value, or no effect.
func (o *accessLog) check() error {
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"access-log-max-bytes", o.file.MaxBytes, 0},
		{"access-log-backup-count", int64(o.file.BackupCount), 1},
		{"access-log-max-record-bytes", int64(o.maxRecord), 0},
		{"access-log-queue-size", int64(o.file.QueueSize), 1},
	} {
		if f.value < f.least {
			return fmt.Errorf("--%s %d: want at least %d", f.name, f.value, f.least)
		}
	}
	switch {
	case !(o.sample >= 0 && o.sample <= 1): // NaN as well
		return fmt.Errorf("--access-log-sample %v: want a fraction from 0 to 1: 0.1 for every tenth call", o.sample)
	case o.file.MaxBytes > 0 && o.file.When != "":
		return errors.New("--access-log-max-bytes and --access-log-when exclude each other: a new file begins by size or by time")
	case !o.flags.Changed("access-log"):
		return nothingWithout(o.flags, "--access-log", "access-log-max-bytes", "access-log-when", "access-log-backup-count",
			"access-log-max-record-bytes", "access-log-sample", "access-log-async", "access-log-queue-size")
	case !o.file.Async:
		if err := nothingWithout(o.flags, "--access-log-async", "access-log-queue-size"); err != nil {
			return err
		}
	}
	if o.file.MaxBytes == 0 && o.file.When == "" {
		return nothingWithout(o.flags, "--access-log-max-bytes or --access-log-when", "access-log-backup-count")
	}
	return nil
}

// logs is what a worker knows of its access log.
type logs struct {
	traceOf func(context.Context) (trace, span string)
	access  *observability.AccessLog
}

// TraceOf tells the access log how to find the span that a call runs in; see
// observability.AccessLogOptions. An option calls it in its Apply.
func (s *Setup) TraceOf(f func(ctx context.Context) (trace, span string)) { s.logs.traceOf = f }

// AccessLog is the worker's access log, or nil when it has none. It is known
// before the worker serves, not yet when options are applied.
func (s *Setup) AccessLog() *observability.AccessLog { return s.logs.access }
