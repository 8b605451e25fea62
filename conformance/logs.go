package conformance

import (
	"context"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func hostLogs(s *vgirpc.Server) {
	logs := func(m *vgirpc.Unary[Value[string], string], levels ...vgirpc.Level) {
		vgirpc.HandleUnary(s, m, func(ctx context.Context, p Value[string]) (string, error) {
			for _, level := range levels {
				vgirpc.CallFrom(ctx).Log(level, strings.ToLower(string(level))+": "+p.Value)
			}
			return p.Value, nil
		})
	}
	logs(EchoWithInfoLog, vgirpc.LevelInfo)
	logs(EchoWithMultiLogs, vgirpc.LevelDebug, vgirpc.LevelInfo, vgirpc.LevelWarn)
	logs(EchoWithAllLogLevels, vgirpc.LevelTrace, vgirpc.LevelDebug, vgirpc.LevelInfo, vgirpc.LevelWarn, vgirpc.LevelError)
	vgirpc.HandleUnary(s, EchoWithLogExtras, func(ctx context.Context, p Value[string]) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "info: "+p.Value, "source", "conformance", "detail", p.Value)
		return p.Value, nil
	})
}
