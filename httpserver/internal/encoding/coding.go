package encoding

import (
	"net/http"
	"strings"
)

// Coding is a content coding.
type Coding uint8

// The codings. Identity leaves a body as it is.
const (
	Identity Coding = iota
	Zstd
	Gzip
)

// String returns the coding's token as it stands in a header.
func (c Coding) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	default:
		return "identity"
	}
}

// Names of headers in the form in which http.Header keeps them, so that the
// map can be read and written without canonicalizing.
const (
	// ContentEncoding names the coding of a body.
	ContentEncoding = "Content-Encoding"
	// CustomContentEncoding names the coding of a response whose client asked
	// for it through CustomAcceptEncoding alone.
	CustomContentEncoding = "X-Vgi-Content-Encoding"
	// AcceptEncoding offers codings for the response.
	AcceptEncoding = "Accept-Encoding"
	// CustomAcceptEncoding offers codings and outranks AcceptEncoding, which
	// HTTP libraries fill in on their own.
	CustomAcceptEncoding = "X-Vgi-Accept-Encoding"
)

// codings is a set of codings.
type codings uint8

func (s codings) has(c Coding) bool      { return s&(1<<c) != 0 }
func (s codings) with(c Coding) codings  { return s | 1<<c }
func (s codings) less(o codings) codings { return s &^ o }

// An offer is what an accept header says of the codings that we know.
type offer struct {
	first   Coding  // the client's favourite among those that may be chosen
	found   bool    // there is one
	listed  codings // offered
	refused codings // named with q=0
}

// parse reads accept headers in the client's order. Weights are no order here;
// only q=0, which refuses a coding, is read.
func parse(values []string, may codings) offer {
	var o offer
	for _, v := range values {
		for more := true; more; {
			var element string
			element, v, more = strings.Cut(v, ",")
			token, params, _ := strings.Cut(element, ";")
			c, ok := known(token)
			if !ok {
				continue
			}
			if zeroWeight(params) {
				o.refused = o.refused.with(c)
				continue
			}
			o.listed = o.listed.with(c)
			if !o.found && may.has(c) {
				o.first, o.found = c, true
			}
		}
	}
	return o
}

// known is the coding of a token. RFC 9110, section 8.4.1.3, makes x-gzip
// another name of gzip.
func known(token string) (Coding, bool) {
	token = strings.Trim(token, " \t")
	switch {
	case strings.EqualFold(token, "zstd"):
		return Zstd, true
	case strings.EqualFold(token, "gzip"), strings.EqualFold(token, "x-gzip"):
		return Gzip, true
	case strings.EqualFold(token, "identity"):
		return Identity, true
	}
	return Identity, false
}

// zeroWeight reports whether the parameters of an element hold q=0, which may
// have three decimals.
func zeroWeight(params string) bool {
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		p = strings.Trim(p, " \t")
		if len(p) >= 3 && (p[0] == 'q' || p[0] == 'Q') && p[1] == '=' && p[2] == '0' {
			return strings.Trim(p[2:], "0.") == ""
		}
	}
	return false
}

// Negotiate chooses the coding of a response from the request's headers, and
// the header that names it: X-VGI-Accept-Encoding first, then Accept-Encoding,
// each in the client's order, without regard to weights. Identity is a choice
// like the others and ends the search; without a match the answer is Identity
// as well, and its header is "".
//
// The header is CustomContentEncoding when only X-VGI-Accept-Encoding offered
// the coding: such a client's HTTP library would decode, or choke on, a
// Content-Encoding that it did not ask for. Negotiate does not allocate.
func (k *Codings) Negotiate(h http.Header) (Coding, string) {
	if k.produces == 0 {
		return Identity, ""
	}
	// The two keys are tried before anything is parsed: most callers send one
	// header or none.
	custom, standard := h[CustomAcceptEncoding], h[AcceptEncoding]
	if len(custom) == 0 && len(standard) == 0 {
		return Identity, ""
	}
	may := k.produces.with(Identity)
	own := parse(custom, may)
	general := parse(standard, may.less(own.refused))
	switch {
	case own.found && own.first == Identity:
		return Identity, ""
	case own.found && general.listed.has(own.first):
		return own.first, ContentEncoding
	case own.found:
		return own.first, CustomContentEncoding
	case general.found && general.first != Identity:
		return general.first, ContentEncoding
	}
	return Identity, ""
}

// Requested returns the coding of a request's body. Without Content-Encoding,
// or with identity, it is Identity. Whatever this server does not decode, and
// every stack of codings, is an *UnsupportedError. Codings that a server does
// not produce are decoded all the same.
func (k *Codings) Requested(h http.Header) (Coding, error) {
	values := h[ContentEncoding]
	coding := Identity
	for _, v := range values {
		for more := true; more; {
			var token string
			token, v, more = strings.Cut(v, ",")
			if strings.Trim(token, " \t") == "" {
				continue
			}
			c, ok := known(token)
			switch {
			case !ok || !k.decodes.with(Identity).has(c):
				return Identity, k.unsupported(values, false)
			case c == Identity:
			case coding != Identity:
				return Identity, k.unsupported(values, true)
			default:
				coding = c
			}
		}
	}
	return coding, nil
}

func (k *Codings) unsupported(values []string, stacked bool) error {
	// What is repeated to the client and to logs is bounded.
	const most = 64
	coding := strings.Join(values, ", ")
	if len(coding) > most {
		coding = coding[:most]
	}
	return &UnsupportedError{Coding: coding, Accept: k.decodes.String(), stacked: stacked}
}

// String lists the codings for a header, the preferred one first.
func (s codings) String() string {
	var names []string
	for _, c := range []Coding{Zstd, Gzip} {
		if s.has(c) {
			names = append(names, c.String())
		}
	}
	return strings.Join(names, ", ")
}
