package worker

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Source is where a setting's value comes from. Of two sources the greater one
// is listened to.
type Source int

// Sources, the weakest first.
const (
	// Default is what the program and its packages have set.
	Default Source = iota
	// File is the file of --config.
	File
	// Environment is a variable.
	Environment
	// CommandLine is a flag.
	CommandLine
)

// String names the source.
func (s Source) String() string {
	return [...]string{"default", "file", "environment", "command line"}[s]
}

// envPrefix begins the names of a worker's environment variables.
const envPrefix = "VGI_RPC_"

// envConfig names the configuration file.
const envConfig = envPrefix + "CONFIG"

// envName is the variable that sets a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Annotations of flags.
const (
	secretFlag      = "vgirpc.worker/secret" //nolint:gosec // a name
	environmentFlag = "vgirpc.worker/environment"
	typedFlag       = "vgirpc.worker/command-line-only"
	originFlag      = "vgirpc.worker/origin"
)

func annotate(flag *pflag.Flag, key string, values ...string) {
	if flag.Annotations == nil {
		flag.Annotations = map[string][]string{}
	}
	flag.Annotations[key] = values
}

// fileSuffix ends the name of the flag with the path of a secret.
const fileSuffix = "-file"

// Secret says that the value of a flag is nobody's business: it is left out of
// everything that is printed. It declares a flag beside it, with the name and
// "-file", for the path of a file with the value; space at its end does not
// count. The file is read when the worker starts.
func Secret(flags *pflag.FlagSet, name string) {
	flag := flags.Lookup(name)
	annotate(flag, secretFlag, "true")
	flags.String(name+fileSuffix, "", "file at `PATH` with the value of --"+name)
}

// AlsoEnvironment names further environment variables that set a flag, beside
// the one that follows from its name and goes before them.
func AlsoEnvironment(flags *pflag.FlagSet, name string, variables ...string) {
	annotate(flags.Lookup(name), environmentFlag, variables...)
}

// OriginOf says where the value of a flag comes from, and how an operator knows
// the place: the flag itself with its hyphens, a variable, or a line of a file.
func OriginOf(flags *pflag.FlagSet, name string) (Source, string) {
	flag := flags.Lookup(name)
	switch origin := flag.Annotations[originFlag]; {
	case !flag.Changed:
		return Default, ""
	case len(origin) == 0: // set by an option
		return CommandLine, "--" + name
	default:
		return Source(origin[0][0] - '0'), origin[1]
	}
}

// given is what one source says of a flag.
type given struct {
	source Source
	origin string
	values []string // more than one for a list
}

// A SettingError is a value that makes no sense.
type SettingError struct {
	Origin string // how the operator knows the place: a flag, a variable, a line of a file
	Flag   string // without hyphens
	Value  string // "" when it is a secret
	Secret bool
	Want   string // what would have made sense
}

// Error names all of it, but no secret.
func (e *SettingError) Error() string {
	text := e.Origin
	if e.Origin != "--"+e.Flag {
		text += " (--" + e.Flag + ")"
	}
	if e.Secret {
		return text + ": the value, which is not shown, makes no sense: " + e.Want
	}
	return fmt.Sprintf("%s: %q: %s", text, e.Value, e.Want)
}

// configuration is the flags of a worker with what all sources say of them.
type configuration struct {
	flags   *pflag.FlagSet
	environ []string
	given   map[string]given // by flag, what applies
	unknown []string         // variables that nothing reads
	// What the program has set of what has a flag that does not show it.
	programs map[string]string
}

// parse reads the command line, without anything else.
func (c *configuration) parse(args []string) error {
	c.given = map[string]given{}
	return c.flags.ParseAll(JoinOptionalValues(c.flags, args), func(flag *pflag.Flag, value string) error {
		g := c.given[flag.Name]
		if _, list := flag.Value.(pflag.SliceValue); !list {
			g.values = nil // the last one counts
		}
		g = given{CommandLine, "--" + flag.Name, append(g.values, value)}
		c.given[flag.Name] = g
		return c.set(flag, g, value)
	})
}

// fill sets the flags that were not given on the command line, from the
// environment and from the file at path, if there is one.
func (c *configuration) fill(path string) error {
	var errs []error
	file := map[string]given{}
	if path != "" {
		var err error
		if file, err = readConfig(path); err != nil {
			return err
		}
	}
	variables := c.variables()
	c.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Annotations[typedFlag] != nil {
			return
		}
		fromEnv, inEnv := variables.take(flag)
		fromFile, inFile := file[flag.Name]
		delete(file, flag.Name)
		switch {
		case flag.Changed:
		case inEnv:
			c.given[flag.Name] = fromEnv
		case inFile:
			c.given[flag.Name] = fromFile
		}
	})
	for _, g := range sorted(file) {
		errs = append(errs, fmt.Errorf("%s: this worker has no such setting", g.origin))
	}
	c.unknown = variables.unknown()
	c.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Annotations[secretFlag] != nil {
			errs = append(errs, c.reveal(flag))
		}
	})
	c.flags.VisitAll(func(flag *pflag.Flag) {
		if g, ok := c.given[flag.Name]; ok && g.source != CommandLine {
			errs = append(errs, c.apply(flag, g))
		}
	})
	return errors.Join(errs...)
}

// sorted are the settings of a file by their places.
func sorted(file map[string]given) []given {
	var out []given
	for _, g := range file {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b given) int { return cmp.Compare(a.origin, b.origin) })
	return out
}

// reveal reads a secret's file where that is what counts.
func (c *configuration) reveal(flag *pflag.Flag) error {
	name := flag.Name + fileSuffix
	path, named := c.given[name]
	value, direct := c.given[flag.Name]
	switch {
	case !named:
		return nil
	case direct && value.source == path.source:
		return fmt.Errorf("%s and %s exclude each other", value.origin, path.origin)
	case direct && value.source > path.source:
		delete(c.given, name)
		return nil
	case path.values[0] == "":
		return fmt.Errorf("%s: want a path", path.origin)
	}
	content, err := os.ReadFile(path.values[0])
	if err != nil {
		return fmt.Errorf("%s: %w", path.origin, err)
	}
	g := given{path.source, path.origin, []string{strings.TrimRight(string(content), " \t\r\n")}}
	if g.source == CommandLine { // apply has those of other sources still to do
		c.given[flag.Name] = g
		return c.apply(flag, g)
	}
	c.given[flag.Name] = g
	return nil
}

// apply sets a flag to what a source other than the command line says.
func (c *configuration) apply(flag *pflag.Flag, g given) error {
	if flag.NoOptDefVal != "" && flag.Annotations[optional] != nil && len(g.values) == 1 {
		switch g.values[0] {
		case "true": // as the flag alone
			g.values = []string{flag.NoOptDefVal}
		case "false": // as without the flag
			delete(c.given, flag.Name)
			return nil
		}
	}
	if _, list := flag.Value.(pflag.SliceValue); !list && len(g.values) != 1 {
		return fmt.Errorf("%s: want one value, not a list", g.origin)
	}
	for _, value := range g.values {
		if err := c.set(flag, g, value); err != nil {
			return err
		}
	}
	return nil
}

// set sets a flag to one value, or adds the value to a list.
func (c *configuration) set(flag *pflag.Flag, g given, value string) error {
	err := c.flags.Set(flag.Name, value)
	if err == nil {
		annotate(flag, originFlag, string(rune('0'+g.source)), g.origin)
		return nil
	}
	e := &SettingError{Origin: g.origin, Flag: flag.Name, Value: value, Want: wantOf(flag, err)}
	if flag.Annotations[secretFlag] != nil {
		e.Value, e.Secret, e.Want = "", true, "want "+flag.Value.Type()
	}
	if serviceLink.MatchString(value) && g.source == Environment {
		e.Want += "; Kubernetes sets such variables for a Service that is called vgi-rpc: set enableServiceLinks to false"
	}
	return e
}

// serviceLink is what Kubernetes puts into the variables of its own: NAME_PORT is
// one for each service.
var serviceLink = regexp.MustCompile(`^(tcp|udp)://[0-9]`)

// wantOf says what a flag takes, where its own error is one of package strconv.
func wantOf(flag *pflag.Flag, err error) string {
	switch flag.Value.Type() {
	case "bool":
		return "want true or false"
	case "int", "int64", "intSlice":
		return "want a whole number"
	case "uint16":
		return "want a number from 0 to 65535"
	case "float64":
		return "want a number"
	case "duration":
		return "want a time such as 1m30s"
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return invalid.Unwrap().Error()
	}
	return err.Error()
}

// variables are a worker's environment variables.
type variables struct {
	values map[string]string
	known  map[string]bool
}

func (c *configuration) variables() variables {
	v := variables{map[string]string{}, map[string]bool{}}
	for _, text := range c.environ {
		if name, value, ok := strings.Cut(text, "="); ok {
			v.values[name] = value
		}
	}
	return v
}

// take returns what the environment says of a flag. A variable that is empty says
// nothing.
func (v variables) take(flag *pflag.Flag) (g given, ok bool) {
	for _, name := range append([]string{envName(flag.Name)}, flag.Annotations[environmentFlag]...) {
		v.known[name] = true
		value := v.values[name]
		if ok || value == "" {
			continue
		}
		ok = true
		g = given{Environment, name, []string{value}}
		if _, list := flag.Value.(pflag.SliceValue); list && flag.Annotations[secretFlag] == nil {
			g.values = nil
			for item := range strings.SplitSeq(value, ",") {
				g.values = append(g.values, strings.TrimSpace(item))
			}
		}
	}
	return g, ok
}

// elsewhere are variables of the prefix that others read: package shm, the
// conformance worker, and those who start workers.
var elsewhere = []string{envConfig, "VGI_RPC_SHM_MIN_BATCH_BYTES", "VGI_RPC_CONFORMANCE_PROBE_FILE"}

// unknown are the variables of the prefix that nothing reads, as far as can be
// told: launchers and clients have some of their own.
func (v variables) unknown() []string {
	var out []string
	for name := range v.values {
		if strings.HasPrefix(name, envPrefix) && !v.known[name] && !slices.Contains(elsewhere, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// flagInText finds the flags that an error names.
var flagInText = regexp.MustCompile(`--[a-z0-9]+(-[a-z0-9]+)*`)

// explain adds to an error where the flags come from that it names, when that is
// not the command line.
func (c *configuration) explain(err error) error {
	var places []string
	for _, name := range flagInText.FindAllString(err.Error(), -1) {
		flag := c.flags.Lookup(strings.TrimPrefix(name, "--"))
		if flag == nil {
			continue
		}
		source, origin := OriginOf(c.flags, flag.Name)
		place := name + " is set by " + origin
		if source != Default && source != CommandLine && !strings.Contains(err.Error(), origin) && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(places, ", "))
}
