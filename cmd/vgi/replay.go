package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// replayCommand is vgi replay.
func (a *app) replayCommand() *cobra.Command {
	var serve string
	var ignore []string
	cmd := &cobra.Command{
		Use:   "replay (FILE URL | --serve ADDRESS FILE)",
		Short: "Make the calls of a recording again, or answer them",
		Long: `With a URL, replay makes the recorded calls again, one after the other, and
compares the answers: schemas, values, metadata, errors, levels of logs.
Identifiers, times in metadata and tokens may differ. What differs is printed,
and the exit status is 1. A recording of one transport can be replayed on any
other. What cannot be made again is named: a call with files or shared memory,
one that is not in the file as a whole.

With --serve, replay answers as the recorded server did: a request with the same
protocol, method and parameters gets the recorded answer, the second such request
the second one, and so on; when there are no more, the last one again. Anything
else is answered with the error NOT_FOUND, kind not_recorded. ADDRESS is stdio:,
unix:PATH, tcp:HOST:PORT or, for recordings of HTTP, http://HOST:PORT.

Both need a recording made with --payloads.`,
		Example: `  vgi replay r.vgirec unix:/tmp/worker.sock
  vgi replay r.vgirec https://api.example.com/rpc --bearer-file token --ignore created_at
  vgi replay --serve tcp:127.0.0.1:9000 r.vgirec
  vgi call 'stdio:vgi replay --serve stdio: r.vgirec' add a=1 b=2`,
		Args: func(_ *cobra.Command, args []string) error {
			if serve == "" && len(args) != 2 {
				return usagef("want a file and a URL, or --serve ADDRESS and a file")
			}
			if serve != "" && len(args) != 1 {
				return usagef("want a file and nothing else with --serve")
			}
			return nil
		},
		RunE: a.runs(func(ctx context.Context, args []string) error {
			info, frames, err := a.readRecording(args[0])
			if err != nil {
				return err
			}
			if serve != "" {
				return a.serveRecording(ctx, serve, info, frames)
			}
			calls, err := recording.Calls(info, frames)
			if err != nil {
				return err
			}
			return a.replay(ctx, args[1], calls, ignore)
		}),
	}
	a.conn.register(cmd.Flags())
	cmd.Flags().StringVar(&serve, "serve", "", "answer at this `ADDRESS` as the recorded server did")
	cmd.Flags().StringArrayVar(&ignore, "ignore", nil, "`COLUMN` of answers that may differ, such as one with times; may be repeated")
	return cmd
}

// readRecording reads a recording that holds payloads. One whose recorder was
// killed is good as far as it goes.
func (a *app) readRecording(path string) (recording.Info, []recording.Frame, error) {
	file, err := os.Open(path)
	if err != nil {
		return recording.Info{}, nil, fmt.Errorf("replay: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, frames, err := recording.ReadAll(bufio.NewReaderSize(file, copyBytes))
	if errors.Is(err, recording.ErrUnfinished) && len(frames) > 0 {
		fmt.Fprintln(a.err, "vgi replay:", clean(err.Error()))
		err = nil
	}
	if err == nil && !info.Payloads {
		err = recording.ErrRedacted
	}
	return info, frames, err
}

// replay makes the calls on one connection.
func (a *app) replay(ctx context.Context, target string, calls []*recording.Call, ignore []string) (err error) {
	opts, err := a.conn.options(target, a.err)
	if err != nil {
		return err
	}
	p := player{app: a, ignore: ignore}
	opts.Client.OnLog = func(_ context.Context, m vgirpc.LogMessage) { p.logs = append(p.logs, string(m.Level)) }
	if p.client, err = a.conn.dial(ctx, target, opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.client.Close()) }()
	var alike, differ, left int
	for i, c := range calls {
		name := fmt.Sprintf("call %d (connection %d, %.6fs) %s/%s", i+1, c.Conn, c.At.Seconds(), c.Protocol, c.Method)
		lines, why, err := p.play(ctx, c)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", clean(name), err)
		case why != "":
			left++
			fmt.Fprintln(a.out, clean(name)+": not replayed: "+clean(why))
		case len(lines) > 0:
			differ++
			fmt.Fprintln(a.out, clean(name)+"\n  "+clean(strings.Join(lines, "\n  ")))
		default:
			alike++
		}
	}
	fmt.Fprintf(a.out, "%d calls: %d answered alike, %d differ, %d not replayed\n", len(calls), alike, differ, left)
	if differ > 0 || alike == 0 {
		return &failure{exitFailed, errTold}
	}
	return nil
}

// player makes calls again.
type player struct {
	*app
	client *vgirpc.Client
	ignore []string
	logs   []string
}

// play makes one call, and returns in what its answer differs, or why it was not
// made. An error is the connection's.
func (p *player) play(ctx context.Context, c *recording.Call) (lines []string, why string, err error) {
	if c.Gap != "" {
		return nil, c.Gap, nil
	}
	m, want, err := prepare(c)
	if err != nil {
		return nil, err.Error(), nil //nolint:nilerr // the call's, not the connection's
	}
	p.logs = nil
	got := &recording.Outcome{}
	request := *c.Request
	request.Meta = request.Meta.Without(fresh)
	if c.Stream {
		err = p.stream(ctx, c, m, &request, got)
	} else {
		err = p.unary(ctx, m, &request, got)
	}
	if err != nil {
		var e *vgirpc.Error
		if !errors.As(err, &e) || !vgirpc.IsRemote(err) {
			return nil, "", err
		}
		got.Err = e
	}
	got.Logs = p.logs
	ignore := p.ignore
	if framework(c.Protocol) {
		ignore = append(slices.Clip(ignore), "server_id")
	}
	return recording.Diff(want, got, ignore), "", nil
}

// prepare finds out how a call is made, and what was recorded of its answers.
func prepare(c *recording.Call) (*vgirpc.Method, *recording.Outcome, error) {
	m, err := methodFor(c)
	if err != nil {
		return nil, nil, err
	}
	for _, pair := range m.RequestMetadata() {
		if !c.Request.Meta.Has(pair.Key) {
			return nil, nil, fmt.Errorf("its request has no %s, and a client sends one", pair.Key)
		}
	}
	want, err := c.Recorded()
	return m, want, err
}

// fresh are the keys of a request's metadata that belong to the recorded
// connection.
func fresh(key string) bool {
	switch key {
	case wire.KeyTimeout, wire.KeySHMSegmentName, wire.KeySHMSegmentSize, wire.KeyStreamState, wire.KeyCallState:
		return true
	}
	return false
}

// methodFor makes a method of what the recording shows of it.
func methodFor(c *recording.Call) (*vgirpc.Method, error) {
	info := vgirpc.MethodInfo{Name: c.Method, MethodType: string(vgirpc.TypeUnary), HasHeader: c.HasHeader}
	if c.Stream {
		info.MethodType, info.StreamKind = string(vgirpc.TypeStream), string(vgirpc.KindExchange)
		if c.Ticks {
			info.StreamKind = string(vgirpc.KindProducer)
		}
	}
	d := vgirpc.ServiceDescription{Protocol: c.Protocol, Methods: []vgirpc.MethodInfo{info}}
	p, err := d.Untyped()
	if err != nil {
		return nil, err
	}
	return methodOf(p, c.Method)
}

func (p *player) unary(ctx context.Context, m *vgirpc.Method, request *wire.Batch, got *recording.Outcome) error {
	result, release, err := p.client.CallBatch(ctx, m, request)
	if err != nil {
		return err
	}
	defer release()
	return keep(&got.Outputs, result)
}

func keep(to *[]*recording.Data, b *wire.Batch) error {
	d, err := recording.Keep(b)
	*to = append(*to, d)
	return err
}

// stream takes the recorded turns of a stream.
func (p *player) stream(ctx context.Context, c *recording.Call, m *vgirpc.Method, request *wire.Batch, got *recording.Outcome) (err error) {
	s, err := p.client.OpenBatches(ctx, m, request)
	if err != nil {
		return err
	}
	defer func() {
		end := s.Close
		if c.Cancelled {
			end = s.Cancel
		}
		if ended := end(ctx); err == nil {
			err = ended
		}
	}()
	if h := s.Header(); h != nil {
		if err := keep(&got.Header, h); err != nil {
			return err
		}
	}
	for _, in := range c.Inputs {
		input := *in
		input.Meta = input.Meta.Without(fresh)
		out, err := s.Turn(ctx, &input)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := keep(&got.Outputs, out); err != nil {
			return err
		}
	}
	return nil
}
