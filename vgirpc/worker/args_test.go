package worker_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

func TestAFlagWhoseValueMayBeLeftOut(t *testing.T) {
	for _, tt := range []struct {
		name, args, want string
		rest             []string
	}{
		{"not there", "", "unset", nil},
		{"alone", "--at", "none", nil},
		{"before another flag", "--at --loud", "none", nil},
		{"with a value", "--at 5 --loud", "5", nil},
		{"with a value after an equals sign", "--at=5", "5", nil},
		{"with an empty one", "--at= 5", "", []string{"5"}},
		{"as another flag's value", "--name --at 5", "unset", []string{"5"}},
		{"after the end of the flags", "-- --at 5", "unset", []string{"--at", "5"}},
		{"after a flag without values", "--loud --at 5", "5", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			at := flags.String("at", "unset", "")
			flags.String("name", "", "")
			flags.Bool("loud", false, "")
			worker.OptionalValue(flags, "at", "none")
			if err := flags.Parse(worker.JoinOptionalValues(flags, strings.Fields(tt.args))); err != nil {
				t.Fatal(err)
			}
			if *at != tt.want {
				t.Errorf("value %q, want %q", *at, tt.want)
			}
			if rest := flags.Args(); len(rest)+len(tt.rest) > 0 {
				if diff := cmp.Diff(tt.rest, rest); diff != "" {
					t.Errorf("arguments left (-want +got):\n%s", diff)
				}
			}
		})
	}
}
