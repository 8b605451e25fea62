package worker

import (
	"context"
	"fmt"
	"regexp"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// serverID is the flag of the server's identifier. It comes before those of other
// options, which name the server to others.
type serverID struct {
	flags *pflag.FlagSet
	id    string
}

// AddFlags declares the flag.
func (o *serverID) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.id, "server-id", "", "name this process `ID` in replies, logs and traces; each process has one of its own (default random)")
}

// Apply sets the identifier when it was given. It is a metadata value, a label and
// a part of file names, so it is a word that is the same in all of them.
func (o *serverID) Apply(_ context.Context, setup *Setup) error {
	if !o.flags.Changed("server-id") {
		return nil
	}
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`).MatchString(o.id) {
		return fmt.Errorf("--server-id %q: want up to 128 letters, digits and . _ : @ -, the first one a letter or a digit", o.id)
	}
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) { opts.ServerID = o.id })
}
