package vgirpc_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestConnectionsAreCounted(t *testing.T) {
	contract := vgirpc.NewProtocol("test.Stats", "1.0.0")
	call := vgirpc.NewUnary[vgirpc.None, string](contract, "call")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, contract)
	if err != nil {
		t.Fatal(err)
	}
	var within vgirpc.ConnStats
	vgirpc.HandleUnary(s, call, func(context.Context, vgirpc.None) (string, error) {
		within = s.ConnStats()
		return "", nil
	})
	for range 2 {
		c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call.Call(t.Context(), c, vgirpc.None{}); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if diff := cmp.Diff(vgirpc.ConnStats{Open: 1, Served: 2}, within); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnErrorKnowsWhereItWasMade(t *testing.T) {
	err := vgirpc.Errorf(vgirpc.Internal, "here")
	frame, _ := runtime.CallersFrames(err.StackTrace()).Next()
	if !strings.HasSuffix(frame.Function, ".TestAnErrorKnowsWhereItWasMade") {
		t.Errorf("made in %s", frame.Function)
	}
	if stack := (&vgirpc.Error{Cause: errors.New("elsewhere")}).StackTrace(); stack != nil {
		t.Errorf("stack %v of an error that does not know", stack)
	}
}
