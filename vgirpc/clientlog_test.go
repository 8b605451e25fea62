package vgirpc_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

func TestMessagesOfMethodsCanGoToALogger(t *testing.T) {
	contract := vgitest.NewContract()
	for level, want := range map[slog.Level]string{slog.LevelDebug: `level=DEBUG msg=echoing`, slog.LevelInfo: ""} {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		s := vgitest.NewServer(t, contract, vgirpc.ServerOptions{ServerID: "s1"})
		c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{OnLog: vgirpc.LogTo(logger)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := contract.Echo.Call(t.Context(), c, vgitest.TextParams{Text: "four"}); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		got := out.String()
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("at %v: %q", level, got)
		}
		if want != "" && (!strings.Contains(got, "server_id=s1") || !strings.Contains(got, `\"length\":4`)) {
			t.Errorf("without what goes along: %q", got)
		}
	}
}
