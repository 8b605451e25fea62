package sentry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"sync"

	sdk "github.com/getsentry/sentry-go"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// scope is the context of a call. It makes a hub when somebody wants one: for
// most calls nobody does.
type scope struct {
	context.Context //nolint:containedctx // it is a context

	reporter *Reporter
	method   *vgirpc.Method
	peer     *vgirpc.Peer
	span     *sdk.Span // nil unless performance is on

	once sync.Once
	hub  *sdk.Hub

	mu  sync.Mutex
	ids map[string]string
}

type scopeKey struct{}

// Value finds the hub, and the scope itself.
func (c *scope) Value(key any) any {
	switch key {
	case sdk.HubContextKey:
		return c.Hub()
	case scopeKey{}:
		return c
	}
	return c.Context.Value(key)
}

// Hub is the hub of the call: a clone of the one that its context had before, or
// of the reporter's.
func (c *scope) Hub() *sdk.Hub {
	c.once.Do(func() {
		base := c.reporter.opts.Hub
		if ambient := sdk.GetHubFromContext(c.Context); ambient != nil && ambient.Client() == c.reporter.client {
			base = ambient
		}
		c.hub = base.Clone()
		c.describe(c.hub.Scope())
	})
	return c.hub
}

// describe says of what call an event is.
func (c *scope) describe(s *sdk.Scope) {
	opts := &c.reporter.opts
	name := "rpc " + c.method.Name()
	if !opts.NoTransactionName {
		s.AddEventProcessor(func(event *sdk.Event, _ *sdk.EventHint) *sdk.Event {
			if event.Type != "transaction" {
				event.Transaction = name
			}
			return event
		})
	}
	s.SetContext("rpc", c.rpc())
	s.SetTags(map[string]string{
		"rpc.method": c.method.Name(), "rpc.method_type": string(c.method.Type()),
		"auth.authenticated": strconv.FormatBool(c.peer.Identity.Authenticated),
	})
	if domain := c.peer.Identity.Domain; domain != "" {
		s.SetTag("auth.domain", clip(domain))
	}
	s.SetTags(opts.Tags)
	if opts.Anonymous {
		return
	}
	for claim, tag := range opts.ClaimTags {
		if text, ok := claimText(c.peer.Identity.Claims[claim]); ok {
			s.SetTag(tag, clip(text))
		}
	}
	s.SetUser(c.user())
}

// rpc is the context of that name.
func (c *scope) rpc() sdk.Context {
	return sdk.Context{
		"method": c.method.Name(), "method_type": string(c.method.Type()),
		"service": c.method.Protocol().Name(), "server_id": c.reporter.opts.ServerID,
	}
}

// user is who calls.
func (c *scope) user() (u sdk.User) {
	u.ID = c.peer.Identity.Principal
	for field, claim := range c.reporter.opts.UserClaims {
		text, ok := c.peer.Identity.Claims[claim].(string)
		if !ok || text == "" {
			continue
		}
		switch field {
		case "username":
			u.Username = text
		case "email":
			u.Email = text
		case "name":
			u.Name = text
		default:
			if u.Data == nil {
				u.Data = map[string]string{}
			}
			u.Data[field] = text
		}
	}
	return u
}

// claimText is a claim that is one value.
func claimText(claim any) (string, bool) {
	switch v := claim.(type) {
	case string:
		return v, v != ""
	case bool, float64, int, int64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// mostTag is the length of the longest value of a tag that Sentry keeps.
const mostTag = 200

func clip(text string) string {
	if r := []rune(text); len(r) > mostTag {
		return string(r[:mostTag])
	}
	return text
}

// hashes are what TagID was given.
func (c *scope) hashes() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.ids)
}

// TagID makes events of a call findable by an identifier, without telling it: the
// tag name has 12 hex digits of its hash ([ShortHash]). The identifiers of VGI
// have the names "vgi.attach_id" and "vgi.transaction_id". ctx is that of a
// handler or of an interceptor; where nothing is reported, nothing happens.
func TagID(ctx context.Context, name string, id []byte) {
	c, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok || len(id) == 0 {
		return
	}
	hash := ShortHash(id)
	c.Hub().Scope().SetTag(name, hash)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]string{}
	}
	c.ids[name] = hash
}

// ShortHash is the first 12 hex digits of the SHA-256 of an identifier's
// hexadecimal form, as other implementations of vgi-rpc tag it.
func ShortHash(id []byte) string {
	sum := sha256.Sum256([]byte(hex.EncodeToString(id)))
	return hex.EncodeToString(sum[:])[:12]
}
