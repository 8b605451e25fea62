package dial_test

import (
	"os"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

func TestAHandshakeThatWouldNotHappenIsAnError(t *testing.T) {
	h, err := socket.NewClient(socket.ClientOptions{Mode: socket.Version})
	if err != nil {
		t.Fatal(err)
	}
	opts := dial.Options{Handshake: h, Servers: map[string]*vgirpc.Server{"here": newServer(t)}}
	for _, target := range []string{"stdio:" + os.Args[0], "launch:" + os.Args[0], "http://127.0.0.1:1", "https://127.0.0.1:1", "inproc:here"} {
		if c, err := dial.Dial(t.Context(), target, opts); vgirpc.CodeOf(err) != vgirpc.InvalidArgument {
			t.Errorf("%s: %v, %v", target, c, err)
		}
	}
	for target, want := range map[string]vgirpc.Code{
		"unix:/nowhere/at/all": vgirpc.Unavailable, "tcp:127.0.0.1:1": vgirpc.Unavailable, "tcp+tls:127.0.0.1:1": vgirpc.Unavailable,
	} {
		if c, err := dial.Dial(t.Context(), target, opts); vgirpc.CodeOf(err) != want {
			t.Errorf("%s: %v, %v", target, c, err)
		}
	}
}
