package conformance

import (
	"context"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// SecondaryHash is the protocol hash of [Secondary] that the suite pins.
const SecondaryHash = "58557cf1611546ad22d1c379bc3ce1b04166082f78375e9fc959f0086347eab6"

// Secondary is the second protocol of every worker. It shows that calls are
// routed by protocol and method ([SecondaryEcho] has the name and the types of
// [EchoString], and answers otherwise), that each protocol has a version gate
// of its own (this one declares no version), and that errors arrive as they
// were sent.
var Secondary = vgirpc.NewProtocol("conformance.Secondary.v1", "")

// The methods of [Secondary].
var (
	SecondaryEcho = vgirpc.NewUnary[Value[string], string](Secondary, "echo_string")
	Fail          = vgirpc.NewUnary[FailParams, vgirpc.None](Secondary, "fail")
	FailOversized = vgirpc.NewUnary[vgirpc.None, vgirpc.None](Secondary, "fail_oversized")
)

// FailParams are those of [Fail]: which error it returns.
type FailParams struct {
	Code              string  `vgi:"code"`
	Kind              string  `vgi:"kind"`                // "" for none
	RetryDelaySeconds float64 `vgi:"retry_delay_seconds"` // more than 0 to be sent along
}

// statusError is the name that errors with a chosen code have on the wire.
const statusError = "StatusError"

// oversizedPadding is more than the details of an error may have in bytes,
// however compactly they are written.
const oversizedPadding = 5000

// HostSecondary registers the handlers of [Secondary] on a server that hosts
// it.
func HostSecondary(s *vgirpc.Server) {
	echo(s, SecondaryEcho, func(p Value[string]) string { return "secondary:" + p.Value })
	vgirpc.HandleUnary(s, Fail, func(_ context.Context, p FailParams) (vgirpc.None, error) {
		return vgirpc.None{}, p.failure()
	})
	vgirpc.HandleUnary(s, FailOversized, func(context.Context, vgirpc.None) (vgirpc.None, error) {
		// Were only the detail dropped that is too large, the other one would
		// make the error one that may be retried.
		return vgirpc.None{}, vgirpc.Errorf(vgirpc.ResourceExhausted, "%s fail_oversized: details exceed 4 KiB", Secondary.Name()).
			WithType(statusError).WithKind("details_oversized").WithDetails(
			vgirpc.RetryInfo{RetryDelaySeconds: 1},
			vgirpc.ErrorInfo{Metadata: map[string]string{"padding": strings.Repeat("x", oversizedPadding)}},
		)
	})
}

// failure is the error that was asked for, or the one about having asked for
// one that does not exist.
func (p FailParams) failure() error {
	code := vgirpc.Code(p.Code)
	if !code.Valid() {
		return vgirpc.Errorf(vgirpc.InvalidArgument, "'%s' is not a canonical error code", p.Code).
			WithType(statusError).WithKind("invalid_code").WithDetails(vgirpc.BadRequest{FieldViolations: []vgirpc.FieldViolation{
			{Field: "code", Description: "must be a canonical code name"},
		}})
	}
	text := strings.TrimRight(Secondary.Name()+" fail: "+p.Code+" "+p.Kind, " ")
	e := vgirpc.Errorf(code, "%s", text).WithType(statusError).WithKind(p.Kind)
	e.Details = append(e.Details, vgirpc.ErrorInfo{Metadata: map[string]string{"fixture": Secondary.Name()}})
	if p.RetryDelaySeconds > 0 {
		e.Details = append(e.Details, vgirpc.RetryInfo{RetryDelaySeconds: p.RetryDelaySeconds})
	}
	// A detail that no client knows, under the protocol's own name.
	return e.WithDetails(vgirpc.CustomDetail{
		Type:   Secondary.Name() + ".Probe",
		Fields: map[string]any{"note": "clients ignore detail types they do not know"},
	})
}
