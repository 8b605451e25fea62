package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// completionTime is how long a shell's user waits for a server.
var completionTime = 2 * time.Second // but for tests

// complete completes methods of a type, and then the names of their arguments,
// by asking the server. TypeUnary and TypeStream choose; "" takes both.
func (a *app) complete(kind vgirpc.MethodType) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return []cobra.Completion{"stdio:", "launch:", "unix:", "tcp:", "tcp+tls:", "http://", "https://"},
				cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		opts, err := a.conn.options(args[0], io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		c, err := a.conn.dial(ctx, args[0], opts)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer func() { _ = c.Close() }() // nothing depends on it any more
		if len(args) == 1 {
			return completeMethods(ctx, c, kind), cobra.ShellCompDirectiveNoFileComp
		}
		m, err := findMethod(ctx, c, args[1])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return completeArguments(m, args[2:]), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
}

func completeMethods(ctx context.Context, c *vgirpc.Client, kind vgirpc.MethodType) []cobra.Completion {
	list, err := c.Describe(ctx)
	if err != nil {
		return nil
	}
	count := map[string]int{} // protocols that have a method of the name
	var methods []*vgirpc.Method
	for _, s := range list.Protocols {
		if framework(s.Protocol) {
			continue
		}
		p, err := c.Discover(ctx, s.Protocol)
		if err != nil {
			continue // what the others have is of use
		}
		for _, m := range p.Methods() {
			count[m.Name()]++
			if kind == "" || m.Type() == kind {
				methods = append(methods, m)
			}
		}
	}
	out := make([]cobra.Completion, 0, len(methods))
	for _, m := range methods {
		name := m.Name()
		if count[name] > 1 {
			name = m.String()
		}
		out = append(out, cobra.CompletionWithDesc(name, signature(m)))
	}
	return out
}

// completeArguments are the parameters that have no argument yet.
func completeArguments(m *vgirpc.Method, given []string) []cobra.Completion {
	var out []cobra.Completion
	for _, f := range m.ParamsSchema().Arrow().Fields() {
		taken := false
		for _, word := range given {
			name, _, _ := strings.Cut(word, "=")
			taken = taken || strings.TrimSuffix(name, ":") == f.Name
		}
		if !taken {
			out = append(out, cobra.CompletionWithDesc(f.Name+"=", fieldType(f)))
		}
	}
	return out
}
