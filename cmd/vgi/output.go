package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
)

// output is what the flags say of the form of results.
type output struct {
	format   string
	rawBytes bool
}

func (o *output) register(fs *pflag.FlagSet, standard string) {
	fs.StringVarP(&o.format, "output", "o", "", "`FORMAT` of the output: "+strings.Join(tabular.OutputFormats(), ", ")+" (default "+standard+")")
	fs.BoolVar(&o.rawBytes, "raw-bytes", false, "show dataclasses that travel packed in bytes as base64")
}

// check settles the format.
func (o *output) check(standard tabular.Format) error {
	if o.format == "" {
		o.format = string(standard)
	}
	if !slices.Contains(tabular.OutputFormats(), o.format) {
		return usagef("--output %q: want one of %s", o.format, strings.Join(tabular.OutputFormats(), ", "))
	}
	return nil
}

func (o *output) unpack() values.Unpack {
	if o.rawBytes {
		return nil
	}
	return unpackRow
}

func (o *output) writer(w io.Writer) (tabular.Writer, error) {
	return tabular.NewWriter(w, tabular.Format(o.format), o.unpack())
}

// atLeast is the check of a command's arguments.
func atLeast(n int, names string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usagef("want %s", names)
		}
		return nil
	}
}
