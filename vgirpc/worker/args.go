package worker

import (
	"strings"

	"github.com/spf13/pflag"
)

// optional annotates flags whose value may be left out.
const optional = "vgirpc.worker/optional-value"

// OptionalValue says that a flag may stand alone on the command line, and means
// without then. Its value, when there is one, is the next argument or follows
// an equals sign, as with every other flag. A value that begins with a hyphen
// needs the equals sign.
func OptionalValue(flags *pflag.FlagSet, name, without string) {
	flag := flags.Lookup(name)
	flag.NoOptDefVal = without
	if flag.Annotations == nil {
		flag.Annotations = map[string][]string{}
	}
	flag.Annotations[optional] = []string{"true"}
}

// JoinOptionalValues returns args with the values of the flags of
// [OptionalValue] joined to them with an equals sign, which is how pflag has to
// get them. Run does that itself.
func JoinOptionalValues(flags *pflag.FlagSet, args []string) []string {
	joined := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(joined, args[i:]...)
		}
		joined = append(joined, arg)
		name, long := strings.CutPrefix(arg, "--")
		flag := flags.Lookup(name)
		if !long || flag == nil || i+1 == len(args) {
			continue
		}
		switch next := args[i+1]; {
		case flag.NoOptDefVal == "": // the next argument is its value, whatever it looks like
			joined = append(joined, next)
			i++
		case flag.Annotations[optional] != nil && !strings.HasPrefix(next, "-"):
			joined[len(joined)-1] += "=" + next
			i++
		}
	}
	return joined
}
