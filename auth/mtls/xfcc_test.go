package mtls

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareElements = cmp.Options{cmp.AllowUnexported(element{}), cmpopts.EquateEmpty()}

func TestParseXFCC(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want []element // nil for an error
	}{
		{"one pair", `Hash=ab`, []element{{hash: "ab"}}},
		{"all of them", `By=a;By=b;Hash=h;Subject="CN=c";URI=u;URI=v;DNS=d;DNS=e;Cert="%0A";Chain="%20";Issuer="CN=i"`, []element{
			{by: []string{"a", "b"}, hash: "h", subject: "CN=c", uri: []string{"u", "v"}, dns: []string{"d", "e"}, cert: "\n", chain: " ", issuer: "CN=i"},
		}},
		{"two elements", `Hash=a,Hash=b`, []element{{hash: "a"}, {hash: "b"}}},
		{"keys in any case, and blanks", ` hash = a ; URI = "b" , HASH=c`, []element{{hash: "a", uri: []string{"b"}}, {hash: "c"}}},
		{"separators in quotes", `URI="a,b;c=d"`, []element{{uri: []string{"a,b;c=d"}}}},
		{"a quote in quotes", `DNS="a\"b\\"`, []element{{dns: []string{`a"b\`}}}},
		{"a subject keeps its escapes", `Subject="CN=a\"\,b\\"`, []element{{subject: `CN=a\"\,b\\`}}},
		{"an empty value in quotes", `Hash=a;Subject=""`, []element{{hash: "a"}}},
		{"nothing", ``, nil},
		{"a key alone", `Hash`, nil},
		{"no value", `Hash=`, nil},
		{"no key", `=a`, nil},
		{"an unknown key", `Hash=a;Role=admin`, nil},
		{"a hash twice", `Hash=a;Hash=b`, nil},
		{"an empty element", `Hash=a,,Hash=b`, nil},
		{"an element missing at the end", `Hash=a,`, nil},
		{"a pair missing at the end", `Hash=a;`, nil},
		{"a quote that does not end", `Subject="CN=a`, nil},
		{"a backslash at the end", `Subject="CN=a\`, nil},
		{"a quote within", `URI=a"b"`, nil},
		{"something behind a quote", `URI="a"b`, nil},
		{"an equals sign without quotes", `Subject=CN=a`, nil},
		{"a backslash without quotes", `Subject=\`, nil},
		{"another escape", `DNS="a\n"`, nil},
		{"a bad escape of a URL", `URI=%2G`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseXFCC(tt.text)
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if diff := cmp.Diff(tt.want, got, compareElements); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// write is the header of elements.
func write(elements []element) string {
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	var all []string
	for _, e := range elements {
		pairs := []string{`Hash=` + quote(e.hash), `Subject="` + e.subject + `"`, `Issuer="` + e.issuer + `"`}
		for key, list := range map[string][]string{"By": e.by, "URI": e.uri, "Cert": {e.cert}, "Chain": {e.chain}} {
			for _, value := range list {
				pairs = append(pairs, key+"="+quote(url.PathEscape(value)))
			}
		}
		for _, value := range e.dns {
			pairs = append(pairs, "DNS="+quote(value))
		}
		all = append(all, strings.Join(pairs, ";"))
	}
	return strings.Join(all, ",")
}

// FuzzXFCC: whatever is read can be written and is then read again as the same,
// and no name comes out of it that the header does not have.
func FuzzXFCC(f *testing.F) {
	hash := strings.Repeat("0a", 32)
	for _, seed := range []string{
		`By=spiffe%3A%2F%2Fmesh.example%2Fproxy;Hash=` + hash + `;URI=spiffe%3A%2F%2Fexample.org%2Fworkload`,
		`Hash=` + hash + `;Subject="CN=a\,b,O=\"x\"";DNS=a;DNS=b`,
		`Hash=` + hash + `;Cert="-----BEGIN%20CERTIFICATE-----%0A"`,
		`Hash=a,Hash=b;URI="a,b;c=d"`, `Subject="`, `Subject="\`, `=`, `,`, `;`, ` `, ``, `URI=%`, `Hash=a;hash=b`, `SuBjeCt=\`,
	} {
		f.Add(seed)
	}
	a, err := New(Options{Source: XFCC, Proxies: []string{"unix"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		elements, err := parseXFCC(text)
		if err != nil {
			if c, err := a.read(text); err == nil {
				t.Errorf("%q is not of its form, and was read as %+v", text, c)
			}
			return
		}
		again, err := parseXFCC(write(elements))
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, write(elements), err)
		}
		if diff := cmp.Diff(elements, again, compareElements); diff != "" {
			t.Errorf("%q was written as %q: %s", text, write(elements), diff)
		}
		c, err := a.read(text)
		if err != nil {
			return
		}
		if !strings.Contains(strings.ToLower(text), c.fingerprint) || len(elements) != 1 {
			t.Errorf("%q was read as %+v", text, c)
		}
	})
}

// FuzzDN: a name that was escaped is read as what it was.
func FuzzDN(f *testing.F) {
	for _, seed := range []string{"a", "a,b", `a\`, `"`, " a ", "#1", "é", "a\x00", "CN=b", ""} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, value, raw string) {
		parseDN(raw)
		escaped := strings.NewReplacer(
			`\`, `\5C`, `"`, `\22`, `,`, `\,`, `+`, `\+`, `;`, `\;`, `<`, `\<`, `>`, `\>`, `#`, `\#`, ` `, `\ `, `=`, `\=`, "\x00", `\00`,
		).Replace(value)
		names, ok := parseDN("O=x,CN=" + escaped + ",2.5.4.3=y+C=z")
		if want := []string{value, "y"}; ok != (strings.ToValidUTF8(value, "") == value) || (ok && !cmp.Equal(names, want)) {
			t.Errorf("%q, escaped as %q, was read as %q, %t", value, escaped, names, ok)
		}
	})
}
