package worker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Bounds of a configuration file.
const (
	maxConfigBytes = 1 << 20
	maxConfigDepth = 8
)

// readConfig reads a configuration file, YAML or JSON: what it says of each flag.
func readConfig(path string) (map[string]given, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--config: %w", err)
	case len(text) > maxConfigBytes:
		return nil, fmt.Errorf("--config: %s is larger than %d bytes", path, maxConfigBytes)
	}
	var document, another yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return map[string]given{}, nil // nothing but comments
	} else if err != nil {
		return nil, fmt.Errorf("--config: %s: %w", path, err)
	}
	if err := decoder.Decode(&another); err == nil {
		return nil, fmt.Errorf("--config: %s:%d: another document: want all settings in one, without --- between them", path, another.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("--config: %s: %w", path, err)
	}
	r := configReader{path: path, out: map[string]given{}}
	r.section("", document.Content[0], 0)
	return r.out, errors.Join(r.errs...)
}

// configReader collects the settings of a file.
type configReader struct {
	path string
	out  map[string]given
	errs []error
}

func (r *configReader) fail(n *yaml.Node, key, want string) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", r.origin(n, key), want))
}

func (r *configReader) origin(n *yaml.Node, key string) string {
	return fmt.Sprintf("%s:%d: %s", r.path, n.Line, cmp.Or(key, "(document)"))
}

// section reads a mapping. The names of the flags in it begin with prefix.
func (r *configReader) section(prefix string, n *yaml.Node, depth int) {
	if n.Kind != yaml.MappingNode || depth == maxConfigDepth {
		r.fail(n, prefix, "want names of flags, each with a value or a list of values")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := strings.TrimPrefix(prefix+"-"+name.Value, "-")
		if value.Kind == yaml.MappingNode {
			r.section(key, value, depth+1)
			continue
		}
		values, ok := scalars(value)
		before, twice := r.out[key]
		switch {
		case !ok:
			r.fail(name, key, "want a value, a list of values or a section")
		case twice:
			r.fail(name, key, "it is there already: "+before.origin)
		default:
			r.out[key] = given{File, r.origin(name, key), values}
		}
	}
}

// scalars are the texts of a value or of a list of values, as they stand there.
func scalars(n *yaml.Node) (values []string, ok bool) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return nil, false
		}
		values = append(values, item.Value)
	}
	return values, len(values) > 0
}

// Setting is one thing that an operator can set.
type Setting struct {
	Name   string   // of the flag, without hyphens
	Values []string // one, or those of a list, a default perhaps in words; nil when they are hidden, or there is none
	Source Source
	Origin string // the flag, the variable or the line of a file that has set it; "" for none
	Hidden bool   // it is set, and its value is nobody's business
}

// settings are all flags with their values, in alphabetical order, but for those
// that make sense on a command line alone.
func (c *configuration) settings() []Setting {
	var out []Setting
	c.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Annotations[typedFlag] != nil {
			return
		}
		s := Setting{Name: flag.Name}
		s.Source, s.Origin = OriginOf(c.flags, flag.Name)
		switch g, known := c.given[flag.Name]; {
		case flag.Changed && known:
			s.Values = g.values
		case flag.Changed:
			s.Values = []string{flag.Value.String()} // an option has set it
		case c.programs[flag.Name] != "":
			s.Values = []string{c.programs[flag.Name]}
		default:
			s.Values = defaultOf(flag)
		}
		if flag.Annotations[secretFlag] != nil || slices.ContainsFunc(s.Values, holdsPassword) {
			s.Hidden, s.Values = len(s.Values) > 0, nil
		}
		out = append(out, s)
	})
	return out
}

// defaultInUsage is a default that the program does not know as a value.
var defaultInUsage = regexp.MustCompile(`\(default ([^;)]*)`)

// defaultOf is the default of a flag, nil for none.
func defaultOf(flag *pflag.Flag) []string {
	if inWords := defaultInUsage.FindStringSubmatch(flag.Usage); inWords != nil {
		return []string{inWords[1]}
	}
	if flag.DefValue == "" || flag.DefValue == "[]" {
		return nil
	}
	return []string{flag.DefValue}
}

// holdsPassword reports whether a value is a URL with a password in it.
func holdsPassword(value string) bool {
	if !strings.Contains(value, "@") || !strings.Contains(value, "://") {
		return false
	}
	u, err := url.Parse(value)
	if err != nil {
		return true // who knows
	}
	_, has := u.User.Password()
	return has
}

// write writes the settings as a configuration file, in which nothing but what
// somebody has set counts.
func (c *configuration) write(w io.Writer) error {
	var b bytes.Buffer
	for _, s := range c.settings() {
		switch {
		case s.Hidden:
			fmt.Fprintf(&b, "# %s: hidden, from %s\n", s.Name, cmp.Or(s.Origin, s.Source.String()))
		case s.Source == Default:
			fmt.Fprintf(&b, "# %s:%s # default\n", s.Name, spaced(s.Values))
		case len(s.Values) == 1:
			fmt.Fprintf(&b, "%s:%s # %s\n", s.Name, spaced(s.Values), s.Origin)
		default:
			fmt.Fprintf(&b, "%s: # %s\n", s.Name, s.Origin)
			for _, value := range s.Values {
				fmt.Fprintf(&b, "  - %s\n", scalar(value))
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// spaced is a value behind its key.
func spaced(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return " " + scalar(values[0])
}

// scalar is a text as YAML has it on one line.
func scalar(value string) string {
	if _, err := strconv.ParseFloat(value, 64); err == nil || value == "true" || value == "false" {
		return value // readConfig takes the text as it stands
	}
	return strconv.QuoteToASCII(value)
}
