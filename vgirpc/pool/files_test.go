package pool_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/pool"
)

func TestFilesTravelOverAPoolOfConnectionsThatCarryThem(t *testing.T) {
	protocol := vgirpc.NewProtocol("test.Files.v1", "1.0.0")
	read := vgirpc.NewUnary[vgirpc.None, string](protocol, "read")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, protocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, read, func(ctx context.Context, _ vgirpc.None) (string, error) {
		var text strings.Builder
		for _, f := range vgirpc.CallFrom(ctx).Files() {
			b, err := io.ReadAll(f)
			_ = f.Close()
			if err != nil {
				return "", err
			}
			text.Write(b)
		}
		return text.String(), nil
	})
	unix := serving(t, s)
	piped := func(context.Context) (vgirpc.Transport, error) {
		client, server := net.Pipe()
		go func() { _ = s.ServePipe(context.Background(), server) }()
		return vgirpc.NewStreamTransport(client, vgirpc.ClientOptions{}), nil
	}
	asClient := func(dial pool.Dial) pool.Dial {
		return pool.OnClients(func(ctx context.Context) (*vgirpc.Client, error) {
			t, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return vgirpc.NewClientOn(t, vgirpc.ClientOptions{}), nil
		})
	}
	for _, tt := range []struct {
		name string
		dial pool.Dial
		want vgirpc.Code
	}{
		{"sockets", unix, ""},
		{"clients on sockets", asClient(unix), ""},
		{"pipes", piped, vgirpc.FailedPrecondition},
		{"clients on pipes", asClient(piped), vgirpc.FailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c := pooled(t, tt.dial, pool.Options{}, vgirpc.ClientOptions{})
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // before there is a connection, and on one that is there
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				got, err := read.Call(vgirpc.WithFiles(t.Context(), f), c, vgirpc.None{})
				_ = f.Close()
				if tt.want == "" && (err != nil || got != "content") || tt.want != "" && vgirpc.CodeOf(err) != tt.want {
					t.Errorf("%q, %v", got, err)
				}
			}
			if _, err := read.Call(t.Context(), c, vgirpc.None{}); err != nil {
				t.Errorf("a call without files afterwards: %v", err)
			}
			if tt.want == "" && p.Stats().Dials != 1 {
				t.Errorf("%+v, want one connection", p.Stats())
			}
		})
	}
}
