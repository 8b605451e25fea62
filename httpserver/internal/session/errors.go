package session

import "github.com/vgirpc/vgirpc-go/vgirpc"

// lost is why a token leads to no session. It is the same for every reason, so
// that nobody can probe with a stolen token.
func lost() error {
	return vgirpc.Errorf(vgirpc.Aborted,
		"the session is not available: it has ended, or it belongs to another caller or server").
		WithKind(vgirpc.KindSessionLost).WithType("SessionLostError")
}

func draining() error {
	return vgirpc.Errorf(vgirpc.Unavailable, "the server is draining and opens no new sessions").
		WithKind(vgirpc.KindServerDraining).WithType("ServerDrainingError").
		WithDetails(vgirpc.RetryInfo{RetryDelaySeconds: 1})
}

func tooMany(limit int) error {
	return vgirpc.Errorf(vgirpc.ResourceExhausted, "the server has %d sticky sessions, as many as it may", limit).
		WithType("SessionLimitError").
		WithDetails(
			vgirpc.RetryInfo{RetryDelaySeconds: 1},
			vgirpc.QuotaFailure{Violations: []vgirpc.QuotaViolation{{
				Subject: "sticky sessions", Description: "too many are open at once",
			}}},
		)
}

// misuse is a call of the session functions that the handler or its client could
// have known to fail. The name of the type is what every implementation sends.
func misuse(message string) error {
	return vgirpc.Errorf(vgirpc.FailedPrecondition, "%s", message).WithType("RuntimeError")
}
