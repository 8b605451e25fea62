package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/wire"
)

// recordingCommand is vgi recording.
func (a *app) recordingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recording",
		Short: "Look into what 'vgi record' has written",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Print a recording, one line for each message",
		Long: `Prints the frames of a recording, one on a line: when, on which connection, who
sent it (> the client, < the server, - the recorder), what it is, how large, and
what its metadata say. Values are shown where the recording has them.

The file of a recorder that was killed, or is still at work, is printed as far as
it goes, and the exit status is 1. It is an Arrow IPC stream: other programs read
it as well.`,
		Example: "  vgi recording show r.vgirec",
		Args:    exactly(1, "a file"),
		RunE: a.runs(func(_ context.Context, args []string) error {
			return a.showRecording(args[0])
		}),
	}
	cmd.AddCommand(show)
	return cmd
}

// exactly is the check of a command's arguments.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("want %s", names)
		}
		return nil
	}
}

func (a *app) showRecording(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	defer func() { _ = file.Close() }()
	r, err := recording.NewReader(bufio.NewReaderSize(file, copyBytes))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.out)
	err = writeFrames(out, r)
	return errors.Join(err, out.Flush())
}

func writeFrames(w io.Writer, r *recording.Reader) error {
	info := r.Info()
	payloads := "redacted"
	if info.Payloads {
		payloads = "kept"
	}
	fmt.Fprintf(w, "# recorded %s, %s, payloads %s\n", info.Started.UTC().Format(time.RFC3339), clean(info.Transport), payloads)
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, frameLine(&f)); err != nil {
			return err
		}
	}
}

// shownBytes is how much of a value is shown.
const shownBytes = 80

// frameLine is a frame for people.
func frameLine(f *recording.Frame) string {
	arrow := map[recording.Side]string{recording.Client: ">", recording.Server: "<"}[f.From]
	if arrow == "" {
		arrow = "-"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%12.6fs %4d %s %-10s", f.At.Seconds(), f.Conn, arrow, f.Kind)
	rows, meta := f.Rows, f.Meta
	if f.Kind == recording.KindBatch && f.Bytes != nil {
		rows, meta = recording.Header(f.Bytes)
	}
	switch f.Kind {
	case recording.KindDropped:
		fmt.Fprintf(&b, " %d messages of %d bytes are not in the file", f.Rows, f.Size)
	case recording.KindSchema:
		fmt.Fprintf(&b, " %8d B  %s", f.Size, recording.Columns(f.Bytes))
	case recording.KindBatch:
		fmt.Fprintf(&b, " %8d B  %d rows", f.Size, rows)
	case recording.KindRaw, recording.KindDictionary, recording.KindEnd:
		fmt.Fprintf(&b, " %8d B", f.Size)
	default: // its kind says everything
	}
	for _, p := range meta {
		b.WriteString("  " + p.Key + "=" + shown(p))
	}
	return strings.ReplaceAll(clean(strings.TrimRight(b.String(), " ")), "\n", " ") + "\n"
}

// shown is a value on one line.
func shown(p wire.Pair) string {
	v := strings.ToValidUTF8(p.Value, "\uFFFD")
	if len(v) > shownBytes {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(v[:shownBytes], ""), len(p.Value))
	}
	return v
}
