//go:build unix

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestFilesOfACallGoThroughTheRecorder(t *testing.T) {
	p := vgirpc.NewProtocol("test.Files", "1.0.0")
	join := vgirpc.NewUnary[vgirpc.None, string](p, "join")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, p)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(server, join, func(ctx context.Context, _ vgirpc.None) (string, error) {
		var all strings.Builder
		for _, f := range vgirpc.CallFrom(ctx).Files() {
			text, err := io.ReadAll(f)
			closeAll(f)
			if err != nil {
				return "", err
			}
			all.Write(text)
		}
		return all.String(), nil
	})
	l, err := vgirpc.ListenUnix(t.Context(), socket(t), vgirpc.UnixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.WithoutCancel(t.Context()), l) }()
	recorded := filepath.Join(t.TempDir(), "r")
	front, stop := background(t, "record", "-o", recorded, "--payloads", "unix:"+socket(t), "unix:"+l.Addr().String())
	client, err := vgirpc.DialUnix(t.Context(), strings.TrimPrefix(front, "unix:"), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var files []*os.File
		for _, text := range []string{"hunter", "2"} {
			f, err := os.Open(file(t, "passed", text))
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(f)
			files = append(files, f)
		}
		if got, err := join.Call(vgirpc.WithFiles(t.Context(), files...), client, vgirpc.None{}); err != nil || got != "hunter2" {
			t.Errorf("%q, %v", got, err)
		}
	}
	closeAll(client)
	stop()
	closeAll(l)
	if err := <-served; err != nil {
		t.Error(err)
	}
	got := vgi(t, "replay", recorded, "unix:"+l.Addr().String(), "--connect-timeout", "1s")
	if got.status == exitOK {
		t.Errorf("a replay without the server: %+v", got)
	}
	got = vgi(t, "replay", recorded, stdio())
	if got.status != exitFailed || !strings.Contains(got.out, "not replayed: it brought files") {
		t.Errorf("a replay of calls with files: %+v", got)
	}
}
