package vgirpc

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// maxNameBytes bounds a protocol's and a method's name (WIRE_PROTOCOL section
// 3.1).
const maxNameBytes = 255

// validName reports whether s matches the grammar of protocol names:
// [A-Za-z_][A-Za-z0-9_.]*, at most 255 bytes. Names are checked before they are
// looked up, so that garbage never reaches a log or a label.
func validName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || (c|0x20 >= 'a' && c|0x20 <= 'z')
		if !letter && (i == 0 || (c != '.' && (c < '0' || c > '9'))) {
			return false
		}
	}
	return true
}

var semverPattern = regexp.MustCompile(`\A(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\z`)

// version is a parsed protocol version; the patch does not count.
type version struct{ major, minor uint64 }

// parseVersion reads canonical semver MAJOR.MINOR.PATCH without prerelease and
// build metadata (WIRE_PROTOCOL section 13).
func parseVersion(s string) (version, bool) {
	m := semverPattern.FindStringSubmatch(s)
	if m == nil {
		return version{}, false
	}
	major, err1 := strconv.ParseUint(m[1], 10, 64)
	minor, err2 := strconv.ParseUint(m[2], 10, 64)
	return version{major, minor}, err1 == nil && err2 == nil
}

// Protocol is a contract: a name, a version, and methods. Methods are added by
// [NewUnary], [NewProducer], [NewExchange] and their kin, usually in package
// variables; a server or client that uses the protocol seals it.
type Protocol struct {
	name    string
	version string
	parsed  version
	info    ProtocolOptions

	mu      sync.Mutex
	sealed  bool
	methods map[string]*Method
	hash    string
	exempt  bool // of the version gate: reflection
}

// ProtocolOptions describe a protocol beyond its name and version.
type ProtocolOptions struct {
	// Deprecated tells callers what to migrate to, when not empty.
	Deprecated string
}

// NewProtocol returns a protocol. The name matches [A-Za-z_][A-Za-z0-9_.]* in
// at most 255 bytes, carries the major version by convention ("acme.Sales.v2"),
// and does not begin with "vgi_rpc."; the version is MAJOR.MINOR.PATCH, or ""
// to turn the version gate off. It panics on anything else, as all registration
// does.
func NewProtocol(name, version string, opts ...ProtocolOptions) *Protocol {
	if strings.HasPrefix(name, wire.ReservedNamePrefix) {
		panic(fmt.Sprintf("vgirpc: protocol %q: the prefix %q is reserved for the framework", name, wire.ReservedNamePrefix)) //nolint:forbidigo // registration
	}
	return newProtocol(name, version, opts...)
}

func newProtocol(name, ver string, opts ...ProtocolOptions) *Protocol {
	if !validName(name) {
		panic(fmt.Sprintf("vgirpc: protocol name %q: want [A-Za-z_][A-Za-z0-9_.]* in at most %d bytes", name, maxNameBytes)) //nolint:forbidigo // registration
	}
	p := &Protocol{name: name, version: ver, methods: map[string]*Method{}, info: single(opts)}
	if ver != "" {
		var ok bool
		if p.parsed, ok = parseVersion(ver); !ok {
			panic(fmt.Sprintf("vgirpc: protocol %s: version %q is not MAJOR.MINOR.PATCH", name, ver)) //nolint:forbidigo // registration
		}
	}
	return p
}

// single returns the one option given, or the zero value.
func single[T any](opts []T) T {
	var zero T
	switch len(opts) {
	case 0:
		return zero
	case 1:
		return opts[0]
	}
	panic(fmt.Sprintf("vgirpc: at most one %T", zero)) //nolint:forbidigo // registration
}

// Name is the routing key on the wire.
func (p *Protocol) Name() string { return p.name }

// Version is the declared version, "" when the protocol opts out.
func (p *Protocol) Version() string { return p.version }

// Methods lists the methods by name.
func (p *Protocol) Methods() []*Method {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*Method, 0, len(p.methods))
	for _, m := range p.methods {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Method) int { return strings.Compare(a.name, b.name) })
	return out
}

// add registers a method; it panics where define fails.
func (p *Protocol) add(m *Method) {
	if err := p.define(m); err != nil {
		panic(err.Error()) //nolint:forbidigo // registration
	}
}

// define registers a method; it fails on a bad or repeated name, and after the
// protocol has been sealed.
func (p *Protocol) define(m *Method) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.sealed:
		return fmt.Errorf("vgirpc: %s.%s: the protocol is already in use", p.name, m.name)
	case !validName(m.name) || strings.HasPrefix(m.name, "__"):
		return fmt.Errorf("vgirpc: %s: method name %q", p.name, m.name)
	case p.methods[m.name] != nil:
		return fmt.Errorf("vgirpc: %s.%s is defined twice", p.name, m.name)
	}
	p.methods[m.name] = m
	return nil
}

// Host makes the server host one more protocol, after those that it hosts
// already, reflection included. Packages that bring a protocol of their own use
// it; an application passes its protocols to [NewServer]. It is an error when a
// protocol of that name is hosted, and once the server has begun to serve. Host
// must not run at once with another method.
func (s *Server) Host(p *Protocol) error {
	if s.sealed.Load() {
		return fmt.Errorf("vgirpc: protocol %s: the server has begun to serve: what it hosts is fixed", p.name)
	}
	return s.host(p)
}

// seal fixes the set of methods.
func (p *Protocol) seal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealed = true
}

// Hash is the protocol hash (WIRE_PROTOCOL section 14): 64 lowercase hex digits
// over the methods, their names and types. It seals the protocol.
func (p *Protocol) Hash() (string, error) {
	p.seal()
	methods := p.Methods()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hash != "" {
		return p.hash, nil
	}
	described := make([]typetoken.Method, len(methods))
	for i, m := range methods {
		described[i] = typetoken.Method{
			Name: m.name, Type: string(m.Type()), HasReturn: m.HasReturn(), HasHeader: m.header != nil,
			Params: m.params.Schema().Arrow(), Result: arrowOf(m.resultSchema()), Header: arrowOf(m.headerSchema()),
		}
	}
	hash, err := typetoken.ProtocolHash(p.name, described)
	if err != nil {
		return "", fmt.Errorf("vgirpc: hash of protocol %s: %w", p.name, err)
	}
	p.hash = hash
	return hash, nil
}

func arrowOf(s *wire.Schema) *arrow.Schema {
	if s == nil {
		return nil
	}
	return s.Arrow()
}
