//go:build !unix

package main

import "github.com/spf13/cobra"

// launchCommands are none: package launch is for systems with Unix sockets.
func (*app) launchCommands() []*cobra.Command { return nil }
