package main

import (
	"context"
	"errors"
	"strings"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// framework reports whether a protocol is the framework's own.
func framework(protocol string) bool { return strings.HasPrefix(protocol, wire.ReservedNamePrefix) }

// findMethod asks the server for a method: "protocol/method", or the method alone
// where one of the application's protocols has it.
func findMethod(ctx context.Context, c *vgirpc.Client, name string) (*vgirpc.Method, error) {
	if protocol, method, ok := strings.Cut(name, "/"); ok {
		p, err := findProtocol(ctx, c, protocol)
		if err != nil {
			return nil, err
		}
		return methodOf(p, method)
	}
	list, err := c.Describe(ctx)
	if err != nil {
		return nil, noReflection(err)
	}
	var found []*vgirpc.Method
	var names []string
	for _, s := range list.Protocols {
		if framework(s.Protocol) {
			continue
		}
		p, err := c.Discover(ctx, s.Protocol)
		if err != nil {
			return nil, err
		}
		for _, m := range p.Methods() {
			names = append(names, m.Name())
			if m.Name() == name {
				found = append(found, m)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, unknownMethod(name, "", names)
	case 1:
		return found[0], nil
	}
	full := make([]string, len(found))
	for i, m := range found {
		full[i] = m.String()
	}
	return nil, usagef("method %q is not one alone: want one of %s", name, strings.Join(full, ", "))
}

// findProtocol asks the server for a protocol by its name.
func findProtocol(ctx context.Context, c *vgirpc.Client, name string) (*vgirpc.Protocol, error) {
	if name == "" {
		return nil, usagef("a method without a protocol in front of the slash")
	}
	p, err := c.Discover(ctx, name)
	var e *vgirpc.Error
	if err == nil || !errors.As(err, &e) || e.Kind != vgirpc.KindProtocolNotSupported {
		return p, noReflection(err)
	}
	list, listErr := c.Describe(ctx)
	if listErr != nil {
		return nil, err
	}
	names := make([]string, len(list.Protocols))
	for i, s := range list.Protocols {
		names[i] = s.Protocol
		if s.Protocol == name { // then it is the server's reflection that is not hosted
			return nil, err
		}
	}
	return nil, usagef("unknown protocol %q%s: the server hosts %s",
		name, values.DidYouMean(name, names), strings.Join(names, ", "))
}

// noReflection says what it means that a server does not describe itself.
func noReflection(err error) error {
	var e *vgirpc.Error
	if !errors.As(err, &e) || !vgirpc.IsRemote(err) || e.Code != vgirpc.Unimplemented {
		return err
	}
	explained := *e
	explained.Message = "the server does not describe itself, so its methods cannot be called by name: " + e.Message
	explained.Cause = err
	return &explained
}

// methodOf is a protocol's method.
func methodOf(p *vgirpc.Protocol, name string) (*vgirpc.Method, error) {
	var names []string
	for _, m := range p.Methods() {
		if m.Name() == name {
			return m, nil
		}
		names = append(names, m.Name())
	}
	return nil, unknownMethod(name, p.Name(), names)
}

// showAll is up to how many methods are named to who asked for another.
const showAll = 12

func unknownMethod(name, protocol string, names []string) error {
	where := "the server"
	if protocol != "" {
		where = protocol
	}
	switch near := values.DidYouMean(name, names); {
	case near != "":
		return usagef("unknown method %q%s", name, near)
	case len(names) == 0:
		return usagef("unknown method %q: %s has none", name, where)
	case len(names) <= showAll:
		return usagef("unknown method %q: %s has %s", name, where, strings.Join(names, ", "))
	}
	return usagef("unknown method %q: %s has %d, which 'vgi describe' lists", name, where, len(names))
}
