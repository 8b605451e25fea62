package httpserver

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// SignIn lets people in with a browser, and tells clients where tokens are to be
// had: *oauth.Server of package auth/oauth. What it needs to link is linked by
// the program that has one.
//
// A cookie is a credential for pages alone, which GET and HEAD get and which run
// no call. The reference takes the cookie for calls as well, and no test or text
// of the specification asks for that: a call would then be one that any page can
// make a visitor's browser send. A script of a page that wants to call reads the
// cookie and sends the token in a header.
type SignIn interface {
	// Prefix must be that of the handler.
	Prefix() string
	// Challenge is the WWW-Authenticate header of refusals.
	Challenge() string
	// SignOut is the path that signs a browser out; "" when nobody signs in.
	SignOut() string
	// Authenticator is a with the cookie as a credential for pages.
	Authenticator(a auth.Authenticator) auth.Authenticator
	// Owns reports whether a path, as it was sent, belongs to Handler.
	Owns(path string) bool
	// Handler serves the routes. accept decides about a token before it is kept.
	Handler(accept auth.Authenticator) http.Handler
	// Begin sends a browser to sign in that a page was refused, and reports
	// whether it answered.
	Begin(w http.ResponseWriter, r *http.Request, reason auth.Reason) bool
	// Release sends a browser that is signed in back to the page of another
	// origin that sent it here, and reports whether it did.
	Release(w http.ResponseWriter, r *http.Request) bool
}

// hostSignIn puts the cookie among the credentials of pages, and the challenge
// on refusals. It is the first to do with Auth.
func (h *Handler) hostSignIn() error {
	s := h.opts.OAuth
	switch {
	case s == nil:
		return nil
	case s.Prefix() != h.opts.Prefix:
		return fmt.Errorf("httpserver: option OAuth has the prefix %q, and Prefix is %q", s.Prefix(), h.opts.Prefix)
	case h.opts.Challenge != "":
		return errors.New("httpserver: option Challenge: option OAuth has one of its own")
	case s.SignOut() != "" && h.opts.Auth == nil:
		return errors.New("httpserver: option OAuth lets people sign in, and option Auth is missing: nobody would look at who they are")
	}
	h.opts.Challenge = s.Challenge()
	h.signIn = h.watched(s.Handler(h.opts.Auth), vgirpc.RefusedSignIn)
	h.opts.Auth = s.Authenticator(h.opts.Auth)
	return nil
}

// signInFirst answers what belongs to OAuth, outside of CORS and authentication:
// the token proxy has origins of its own, and the rest no use for either.
func (h *Handler) signInFirst(next http.Handler) http.Handler {
	if h.signIn == nil {
		return next
	}
	proxy, signIn := h.opts.Prefix+"/_oauth/", h.addressLimited(h.signIn)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.EscapedPath(); strings.HasPrefix(path, proxy) && h.opts.OAuth.Owns(path) {
			signIn.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// metadataFirst answers who asks where tokens are to be had, inside of CORS.
func (h *Handler) metadataFirst(next http.Handler) http.Handler {
	if h.signIn == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.opts.OAuth.Owns(r.URL.EscapedPath()) {
			h.signIn.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// beginSignIn answers a refusal by sending the browser to sign in, and reports
// whether it did. err is not for outages and faults, which signing in does not
// mend.
func (h *Handler) beginSignIn(w http.ResponseWriter, r *http.Request, err error) bool {
	if h.signIn == nil {
		return false
	}
	reason, refused := auth.ReasonOf(err)
	return refused && h.opts.OAuth.Begin(w, r, reason)
}

// releases reports whether a caller who was let in was sent on to where he came
// from.
func (h *Handler) releases(w http.ResponseWriter, r *http.Request) bool {
	return h.signIn != nil && h.opts.OAuth.Release(w, r)
}

// signOut is the path that pages link for signing out; "" for none.
func (h *Handler) signOut() string {
	if h.signIn == nil {
		return ""
	}
	return h.opts.OAuth.SignOut()
}
