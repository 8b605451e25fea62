package conformance

import (
	"context"
	"fmt"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func hostUnary(s *vgirpc.Server) {
	echo(s, AddFloats, func(p AddParams) float64 { return p.A + p.B })
	echo(s, Concatenate, func(p ConcatenateParams) string { return p.Prefix + p.Separator + p.Suffix })
	echo(s, WithDefaults, func(p DefaultsParams) string {
		return fmt.Sprintf("required=%d, optional_str=%s, optional_int=%d", p.Required, p.OptionalStr, p.OptionalInt)
	})
	echo(s, InspectPoint, func(p PointParams[Point]) string {
		return "Point(" + pythonFloat(p.Point.X) + ", " + pythonFloat(p.Point.Y) + ")"
	})
	vgirpc.HandleUnary(s, OversizedUnary, oversizedUnary)
	vgirpc.HandleUnary(s, PublishedString, newPublisher(s).answer)

	fails := func(m *vgirpc.Unary[MessageParams, string], exception string) {
		vgirpc.HandleUnary(s, m, func(_ context.Context, p MessageParams) (string, error) {
			return "", raise(exception, "%s", p.Message)
		})
	}
	fails(RaiseValueError, valueError)
	fails(RaiseRuntimeError, runtimeError)
	fails(RaiseTypeError, typeError)
}

// oversizedUnary returns as many zeros as it was asked for.
func oversizedUnary(_ context.Context, p OversizedParams) ([]byte, error) {
	if p.TargetBytes < 0 {
		return nil, raise(valueError, "target_bytes is %d: want 0 or more", p.TargetBytes)
	}
	n, err := made(p.TargetBytes, 1)
	if err != nil {
		return nil, err
	}
	return make([]byte, n), nil
}
