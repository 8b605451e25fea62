package oauth_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

func TestChallengesAreReadAsTheGrammarSays(t *testing.T) {
	type challenges = []oauth.Challenge
	params := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		values []string
		want   challenges
	}{
		{"nothing", nil, nil},
		{"an empty value", []string{""}, nil},
		{"a scheme alone", []string{"Bearer"}, challenges{{Scheme: "Bearer", Params: params()}}},
		{
			"a client id is not found inside of another name",
			[]string{`Bearer resource_metadata="https://a/m", device_code_client_id="dev", client_id="web"`},
			challenges{{Scheme: "Bearer", Params: params("resource_metadata", "https://a/m", "device_code_client_id", "dev", "client_id", "web")}},
		},
		{
			"a device client id alone is no client id",
			[]string{`Bearer device_code_client_id="dev"`},
			challenges{{Scheme: "Bearer", Params: params("device_code_client_id", "dev")}},
		},
		{
			"a name inside of a quoted string is text",
			[]string{`Bearer realm="x, client_id=\"evil\"", client_id=good`},
			challenges{{Scheme: "Bearer", Params: params("realm", `x, client_id="evil"`, "client_id", "good")}},
		},
		{
			"several challenges in one value",
			[]string{`Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`},
			challenges{
				{Scheme: "Newauth", Params: params("realm", "apps", "type", "1", "title", `Login to "apps"`)},
				{Scheme: "Basic", Params: params("realm", "simple")},
			},
		},
		{
			"several values",
			[]string{"Negotiate", `Bearer realm = "spaced" , error=invalid_token`},
			challenges{
				{Scheme: "Negotiate", Params: params()},
				{Scheme: "Bearer", Params: params("realm", "spaced", "error", "invalid_token")},
			},
		},
		{
			"token68 and a scheme without parameters",
			[]string{"Negotiate a87421000492aa874209af8bc028==, Basic, Bearer x=y"},
			challenges{
				{Scheme: "Negotiate", Token68: "a87421000492aa874209af8bc028==", Params: params()},
				{Scheme: "Basic", Params: params()},
				{Scheme: "Bearer", Params: params("x", "y")},
			},
		},
		{
			"names are compared without case, and the first of two counts",
			[]string{`bearer Client_ID="one", CLIENT_id="two"`},
			challenges{{Scheme: "bearer", Params: params("client_id", "one")}},
		},
		{
			"empty elements of the list",
			[]string{`, ,Bearer ,, a=b,,`},
			challenges{{Scheme: "Bearer", Params: params("a", "b")}},
		},
		{
			"a string without an end ends the value, and what was before it counts",
			[]string{`Bearer a=b, c="unfinished`, "Basic"},
			challenges{{Scheme: "Bearer", Params: params("a", "b")}, {Scheme: "Basic", Params: params()}},
		},
		{
			"more than anybody needs",
			[]string{"Bearer a=" + strings.Repeat("b", 20<<10)},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, oauth.ParseChallenges(tt.values)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParseChallenges holds the parser to what it returns: written down, it is
// read as the same.
func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer resource_metadata="https://a/m", client_id=x`)
	f.Add(`Newauth realm="a\"b", Basic`)
	f.Add(`Negotiate abc==, Bearer a = "b"`)
	f.Add(`Bearer a="`)
	f.Fuzz(func(t *testing.T, value string) {
		got := oauth.ParseChallenges([]string{value})
		var again []string
		for _, c := range got {
			if c.Scheme == "" || (c.Token68 != "" && len(c.Params) > 0) {
				t.Fatalf("%q gave %+v", value, c)
			}
			var params []string
			for name, v := range c.Params {
				if name != strings.ToLower(name) {
					t.Fatalf("%q gave the name %q", value, name)
				}
				params = append(params, name+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)+`"`)
			}
			again = append(again, strings.TrimSpace(c.Scheme+" "+c.Token68+strings.Join(params, ", ")))
		}
		if len(strings.Join(again, "")) > 8<<10 {
			return // escapes may take it over the bound
		}
		if diff := cmp.Diff(got, oauth.ParseChallenges(again)); diff != "" {
			t.Errorf("%q, written as %q: %s", value, again, diff)
		}
	})
}
