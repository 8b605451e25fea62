package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
)

// What the fixture's sticky sessions are unless a flag says otherwise.
const (
	stickyTTL       = 300 * time.Second
	stickyEcho      = "x-vgi-conformance-echo"
	stickyEchoValue = "conformance-fixed-marker"
)

// http is what the worker serves over HTTP before the flags of package
// workerhttp are applied. id is what of the identity protocol is hosted.
func (f *fixture) http(id *identity.Identity) workerhttp.Options {
	sticky := &httpserver.Sticky{TTL: stickyTTL}
	if !f.noStickyEcho {
		sticky.EchoHeaders = map[string]string{stickyEcho: stickyEchoValue}
	}
	return workerhttp.Options{
		Handler: httpserver.Options{Sticky: sticky},
		Configure: func(_ context.Context, o *httpserver.Options) error {
			if f.storage.store != nil {
				o.Uploads = f.storage.store
				if o.MaxRequestBytes == 0 {
					o.MaxRequestBytes = f.storage.threshold
				}
			}
			return f.authenticate(o, id)
		},
		Wrap: func(h *httpserver.Handler) http.Handler { return &withTestRoutes{h} },
	}
}

// authenticate chooses who may call (CONTRACT.md, section 5).
func (f *fixture) authenticate(o *httpserver.Options, id *identity.Identity) (err error) {
	switch {
	case f.identity.value != identityOff:
		o.Auth, err = id.Authenticator(auth.Func(byHeader))
	case f.flags.Changed("http-auth"):
		o.Auth = auth.Func(refuse)
	case f.flags.Changed("http-proof"):
		o.Auth, err = f.proof()
	case f.flags.Changed("http-pkce"):
		err = f.signIn(o)
	case f.stickyAuth:
		o.Auth = auth.Func(byHeader)
	}
	return err
}

// proof lets callers in that come through a proxy which proves it.
func (f *fixture) proof() (auth.Authenticator, error) {
	mode, err := proof.ParseMode(f.proofMode.value)
	if err != nil {
		return nil, err
	}
	opts := proof.Options{
		Mode: mode, OriginID: f.proofOrigin, Skew: time.Duration(f.proofSkew) * time.Second, NoReplayCache: f.proofNoReplays,
	}
	if mode != proof.Off {
		if opts.Keys, err = proof.ParseKeys(f.proofSecrets); err != nil {
			return nil, fmt.Errorf("--proof-secrets: %w", err)
		}
	}
	gate, err := proof.New(opts)
	if err != nil {
		return nil, err
	}
	return gate.Guard(nil)
}

// refuse refuses everybody, for the reason that a request names when it is one
// that a request may name.
func refuse(r *http.Request) (vgirpc.Identity, error) {
	switch reason := auth.Reason(r.Header.Get("X-Conformance-Auth-Reason")); reason {
	case auth.MissingCredential, auth.InvalidCredential, auth.ExpiredCredential, auth.InsufficientScope:
		return vgirpc.Identity{}, &auth.Failure{Reason: reason, Detail: string(reason)}
	default:
		return vgirpc.Identity{}, &auth.Failure{Err: errors.New("this worker refuses every caller")}
	}
}

// byHeader takes the caller's word for who it is: anybody who reaches the port
// can be anybody, and nothing but a test may have it. When a sign-in was is
// passed on as it came; whoever needs it reads it.
func byHeader(r *http.Request) (vgirpc.Identity, error) {
	principal := r.Header.Get("X-Conformance-Principal")
	switch {
	case principal != "":
		id := vgirpc.Identity{Principal: principal, Domain: "conformance", Authenticated: true}
		if at := r.Header.Values("X-Conformance-Auth-Time"); len(at) > 0 {
			id.Claims = map[string]any{"auth_time": at[0]}
		}
		return id, nil
	case r.Header.Get("Authorization") != "":
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.InvalidCredential, Err: errors.New("a bearer is for the identity protocol")}
	}
	return vgirpc.Identity{}, nil
}

// withTestRoutes is a handler with the routes that only a test may reach.
type withTestRoutes struct{ *httpserver.Handler }

// ServeHTTP answers POST and DELETE of /__test_drain__, which set and clear the
// drain flag, and leaves the rest to the handler.
func (h *withTestRoutes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/__test_drain__" {
		h.Handler.ServeHTTP(w, r)
		return
	}
	switch r.Method {
	case http.MethodPost:
		h.Drain()
	case http.MethodDelete:
		h.Undrain()
	default:
		w.Header().Set("Allow", "POST, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// failOnce is an OnServeStart whose first run fails.
func failOnce() func(context.Context, vgirpc.TransportKind) error {
	var failed atomic.Bool
	return func(context.Context, vgirpc.TransportKind) error {
		if failed.CompareAndSwap(false, true) {
			return errors.New("the first start fails, as asked for")
		}
		return nil
	}
}
