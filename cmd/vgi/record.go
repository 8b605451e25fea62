package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
)

// recordFlags are the flags of record.
type recordFlags struct {
	file     string
	payloads bool
	maxBytes size
	buffer   size
}

// recordCommand is vgi record.
func (a *app) recordCommand() *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use:   "record -o FILE (-- WORKER [ARGUMENT]… | LISTEN TARGET)",
		Short: "Record what a client and a server say to each other",
		Long: `record stands between a client and a server, and appends what passes to a file.
It changes nothing of it, and never waits for the disk: what finds no room is
counted in the file.

With a worker's command behind --, it is what the client starts instead of the
worker. Otherwise it listens at LISTEN and connects to TARGET, for each
connection anew:

  unix:PATH             tcp:HOST:PORT          and the same for TARGET
  http://HOST:PORT      an http:// or https:// URL

Without --payloads the file holds no value: schemas, sizes, times, methods,
codes, classes of errors and the names of metadata and headers. 'vgi recording
show' prints a file.
With --payloads it can be replayed by 'vgi replay', and is as secret as what was
said; Authorization and cookies are left out even then.

{pid} in FILE stands for the process. FILE must not exist.`,
		Example: `  vgi call "stdio:vgi record -o worker.vgirec -- ./worker" add a=1 b=2
  vgi record -o r.vgirec unix:/tmp/front.sock unix:/tmp/worker.sock
  vgi record -o r.vgirec --payloads http://127.0.0.1:8081 https://api.example.com/rpc`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.began = true
			return a.record(cmd.Context(), &f, args, cmd.ArgsLenAtDash())
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "out", "o", "", "`FILE` to write the recording to, with mode 0600")
	fs.BoolVar(&f.payloads, "payloads", false, "keep parameters, results, messages and tokens")
	fs.Var(&f.maxBytes, "max-bytes", "stop recording when the file has this size, such as 1GiB (default none); connections go on")
	fs.Var(&f.buffer, "buffer", "most bytes that wait for the disk; a larger message is not recorded (default 64MiB)")
	fs.StringVar(&a.conn.caCert, "cacert", "", "`FILE` with the certificates of the authorities to trust for an https target, in PEM")
	fs.BoolVarP(&a.conn.insecure, "insecure", "k", false, "do not check the certificate of an https target")
	return cmd
}

func (a *app) record(ctx context.Context, f *recordFlags, args []string, dash int) (err error) {
	if f.file == "" {
		return usagef("record: want -o FILE")
	}
	var way recordedWay
	switch {
	case dash == 0 && len(args) > 0:
		way = &recordedWorker{a: a, command: args}
	case dash < 0 && len(args) == 2:
		if way, err = a.recordedWay(args[0], args[1]); err != nil {
			return err
		}
	default:
		return usagef("record: want either LISTEN and TARGET, or -- and a worker's command")
	}
	w, closeFile, err := a.openRecording(f, way.transport())
	if err != nil {
		return err
	}
	err = way.run(ctx, w)
	if closed := closeFile(); closed != nil {
		// What was said was said: the recording's fate is not the connection's.
		fmt.Fprintln(a.err, "vgi record: the recording is not complete:", clean(closed.Error()))
	}
	return err
}

// openRecording begins a recording, and returns what ends it.
func (a *app) openRecording(f *recordFlags, transport string) (*recording.Writer, func() error, error) {
	path := strings.ReplaceAll(f.file, "{pid}", strconv.Itoa(os.Getpid()))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("record: %w", err)
	}
	w, err := recording.New(file, recording.Options{
		Payloads: f.payloads, MaxBytes: int64(f.maxBytes), Buffer: int64(f.buffer), Transport: transport,
	})
	if err != nil {
		return nil, nil, errors.Join(usagef("record: %w", err), file.Close(), os.Remove(path))
	}
	if f.payloads {
		fmt.Fprintf(a.err, "vgi record: WARNING: --payloads keeps every parameter, result, message and token in %s: guard it as what it holds\n", clean(path))
	}
	return w, func() error { return errors.Join(w.Close(), file.Close()) }, nil
}

// recordedWay is the way between client and server that is recorded.
type recordedWay interface {
	transport() string
	run(ctx context.Context, w *recording.Writer) error
}

// recordedWay makes the way between two addresses.
func (a *app) recordedWay(listen, target string) (recordedWay, error) {
	if strings.HasPrefix(listen, "http://") {
		return a.newRecordedHTTP(listen, target)
	}
	from, err := parseAddress(listen)
	if err != nil {
		return nil, err
	}
	to, err := parseAddress(target)
	if err != nil {
		return nil, err
	}
	return &recordedSocket{a: a, listen: from, target: to}, nil
}

// address is where a byte stream begins or ends.
type address struct{ network, place string }

func parseAddress(text string) (address, error) {
	network, place, _ := strings.Cut(text, ":")
	place = strings.TrimPrefix(place, "//")
	if (network != "unix" && network != "tcp") || place == "" {
		return address{}, usagef("%q: want unix:PATH, tcp:HOST:PORT or, on both sides, http://HOST:PORT", text)
	}
	return address{network, place}, nil
}

// copyBytes is how much is moved at once.
const copyBytes = 256 << 10

// pump moves bytes from one end to the other, past the tap: what is recorded is
// in the order of cause and effect. It returns which of the two ends failed, or
// nil for both when from has ended.
func pump(to io.Writer, from io.Reader, tap *recording.Tap) (readErr, writeErr error) {
	buf := make([]byte, copyBytes)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = tap.Write(buf[:n]) // a tap never fails
			if _, err := to.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}
