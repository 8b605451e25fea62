package oauth

import "strings"

// maxChallenges bounds what is read of a response's challenges, in bytes.
const maxChallenges = 16 << 10

// A Challenge is one of those with which a server answers 401 (RFC 9110 section
// 11.3).
type Challenge struct {
	// Scheme is as the server wrote it; it is compared without case.
	Scheme string
	// Token68 is what follows the scheme where that is no list of parameters.
	Token68 string
	// Params are the parameters, their names in lower case. The first of a name
	// counts.
	Params map[string]string
}

// ParseChallenges reads the values of a WWW-Authenticate header, each of which may
// have several challenges. What cannot be understood ends the value it stands in;
// what was read before it counts.
func ParseChallenges(values []string) []Challenge {
	var all []Challenge
	budget := maxChallenges
	for _, v := range values {
		if budget -= len(v); budget < 0 {
			break
		}
		p := &challengeParser{rest: v}
		all = append(all, p.challenges()...)
	}
	return all
}

// challengeParser reads a list of challenges. Commas separate both challenges
// and their parameters, so it looks at what follows a token to tell them apart.
type challengeParser struct{ rest string }

func (p *challengeParser) challenges() []Challenge {
	var all []Challenge
	for {
		p.skip(" \t,")
		scheme := p.token()
		if scheme == "" || (p.rest != "" && p.rest[0] != ' ' && p.rest[0] != ',') {
			return all
		}
		c := Challenge{Scheme: scheme, Params: map[string]string{}}
		p.skip(" \t")
		c.Token68 = p.token68()
		ok := c.Token68 != "" || p.params(c.Params)
		all = append(all, c)
		if !ok {
			return all
		}
	}
}

// params reads parameters up to the next challenge, and reports whether it could.
func (p *challengeParser) params(to map[string]string) bool {
	for {
		p.skip(" \t,")
		before := p.rest
		name := p.token()
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			p.rest = before // a scheme, or the end
			return true
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value, ok := p.value()
		if !ok {
			return false
		}
		name = strings.ToLower(name)
		if _, twice := to[name]; !twice {
			to[name] = value
		}
		p.skip(" \t")
		if p.rest != "" && p.rest[0] != ',' {
			return false
		}
	}
}

// value reads a token or a quoted string.
func (p *challengeParser) value() (string, bool) {
	if !strings.HasPrefix(p.rest, `"`) {
		v := p.token()
		return v, v != ""
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// token68 reads credentials in place of parameters: they end with the challenge.
// A name with its equals sign looks like some, but something follows.
func (p *challengeParser) token68() string {
	n := 0
	for n < len(p.rest) && (isAlnum(p.rest[n]) || strings.IndexByte("-._~+/", p.rest[n]) >= 0) {
		n++
	}
	end := n
	for end < len(p.rest) && p.rest[end] == '=' {
		end++
	}
	after := strings.TrimLeft(p.rest[end:], " \t")
	if n == 0 || (after != "" && after[0] != ',') {
		return ""
	}
	// "Basic, Bearer": the second is a scheme of its own and never gets here,
	// because a comma precedes it.
	v := p.rest[:end]
	p.rest = after
	return v
}

// token reads a token (RFC 9110 section 5.6.2), "" when there is none.
func (p *challengeParser) token() string {
	n := 0
	for n < len(p.rest) && (isAlnum(p.rest[n]) || strings.IndexByte("!#$%&'*+-.^_`|~", p.rest[n]) >= 0) {
		n++
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

func (p *challengeParser) skip(what string) { p.rest = strings.TrimLeft(p.rest, what) }

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// bearerChallenge is the challenge that an OAuth client can act on: of the Bearer
// challenges the first that names the resource's metadata, or else the first.
func bearerChallenge(values []string) (Challenge, bool) {
	var found Challenge
	ok := false
	for _, c := range ParseChallenges(values) {
		if !strings.EqualFold(c.Scheme, "Bearer") {
			continue
		}
		if c.Params["resource_metadata"] != "" {
			return c, true
		}
		if !ok {
			found, ok = c, true
		}
	}
	return found, ok
}
