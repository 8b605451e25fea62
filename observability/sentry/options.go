package sentry

import (
	"context"
	"errors"
	"maps"
	"slices"

	sdk "github.com/getsentry/sentry-go"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options configure a [Reporter]. The zero value works when the SDK was
// initialised before.
type Options struct {
	// Hub has the client that sends; that of the process, which sentry.Init
	// sets up, when nil.
	Hub *sdk.Hub
	// ServerID names the process in the context "rpc".
	ServerID string
	// IgnoreCodes are codes that are no events. [ExpectedCodes] when nil; every
	// error is one when empty.
	IgnoreCodes []vgirpc.Code
	// IgnoreTypes are types of errors, by their names on the wire, that are no
	// events.
	IgnoreTypes []string
	// Tags are on every event.
	Tags map[string]string
	// ClaimTags are tags for values of the caller's claims, by the names of the
	// claims.
	ClaimTags map[string]string
	// UserClaims are the claims that fill in the fields of an event's user, by
	// field: username, email and name, and others beside them. [UserClaims] when
	// nil; none when empty. The user's identifier is the principal.
	UserClaims map[string]string
	// Anonymous leaves the user out, and so principal and claims.
	Anonymous bool
	// NoTransactionName leaves the transaction of an event as others set it.
	NoTransactionName bool
	// Performance makes each call a span, for which the SDK needs EnableTracing.
	Performance bool
	// Op is the operation of these spans; "rpc.server" when empty.
	Op string
	// TraceOf returns the identifiers of the span that ctx is in, of
	// OpenTelemetry for instance, so that events can be found by it. Nil when
	// there are none.
	TraceOf func(ctx context.Context) (trace, span string)
}

// ExpectedCodes are the codes that say that the caller was wrong, or that things
// may be well at the next attempt: all but UNKNOWN, INTERNAL and DATA_LOSS.
func ExpectedCodes() []vgirpc.Code {
	return []vgirpc.Code{
		vgirpc.Cancelled, vgirpc.InvalidArgument, vgirpc.DeadlineExceeded, vgirpc.NotFound, vgirpc.AlreadyExists,
		vgirpc.PermissionDenied, vgirpc.ResourceExhausted, vgirpc.FailedPrecondition, vgirpc.Aborted, vgirpc.OutOfRange,
		vgirpc.Unimplemented, vgirpc.Unavailable, vgirpc.Unauthenticated,
	}
}

// UserClaims are the standard claims of OpenID Connect for the fields of a user.
func UserClaims() map[string]string {
	return map[string]string{"username": "preferred_username", "email": "email", "name": "name"}
}

// complete fills in the defaults, or says what makes no sense.
func (o *Options) complete() error {
	if o.Hub == nil {
		o.Hub = sdk.CurrentHub()
	}
	client := o.Hub.Client()
	if !client.IsEnabled() {
		return errors.New("sentry: the SDK is not initialised: call sentry.Init before, or give the option Hub a client")
	}
	if o.Performance && !client.Options().EnableTracing {
		return errors.New("sentry: option Performance: the SDK drops every span unless its EnableTracing is set")
	}
	for _, c := range o.IgnoreCodes {
		if !c.Valid() {
			return errors.New("sentry: option IgnoreCodes: " + string(c) + " is no code")
		}
	}
	if o.IgnoreCodes == nil {
		o.IgnoreCodes = ExpectedCodes()
	}
	if o.UserClaims == nil {
		o.UserClaims = UserClaims()
	}
	if o.Op == "" {
		o.Op = "rpc.server"
	}
	o.IgnoreCodes, o.IgnoreTypes = slices.Clone(o.IgnoreCodes), slices.Clone(o.IgnoreTypes)
	o.Tags, o.ClaimTags, o.UserClaims = maps.Clone(o.Tags), maps.Clone(o.ClaimTags), maps.Clone(o.UserClaims)
	return nil
}
