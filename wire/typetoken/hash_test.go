package typetoken_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// The shapes of the golden preimage, read with encoding/json.
type (
	goldenField struct {
		Name     string `json:"name"`
		Nullable bool   `json:"nullable"`
		Type     string `json:"type"`
	}
	goldenMethod struct {
		Name      string         `json:"name"`
		Type      string         `json:"type"`
		HasReturn bool           `json:"has_return"`
		HasHeader bool           `json:"has_header"`
		Params    []goldenField  `json:"params"`
		Result    *[]goldenField `json:"result"`
		Header    *[]goldenField `json:"header"`
	}
	goldenProtocol struct {
		Protocol string         `json:"protocol"`
		Methods  []goldenMethod `json:"methods"`
	}
)

func golden(t *testing.T) (digest, preimage string) {
	t.Helper()
	// The vector is a comment line with the digest, and the preimage.
	data, err := os.ReadFile("testdata/protocol_hash_vector.json")
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(data), "\n")
	return strings.TrimPrefix(head, "# sha256 = "), strings.TrimSuffix(body, "\n")
}

func rebuild(t *testing.T, preimage string) (string, []typetoken.Method) {
	t.Helper()
	var g goldenProtocol
	if err := json.Unmarshal([]byte(preimage), &g); err != nil {
		t.Fatal(err)
	}
	schema := func(fields *[]goldenField) *arrow.Schema {
		if fields == nil {
			return nil
		}
		out := make([]arrow.Field, len(*fields))
		for i, f := range *fields {
			dt, err := parseToken(f.Type)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = arrow.Field{Name: f.Name, Nullable: f.Nullable, Type: dt}
		}
		return arrow.NewSchema(out, nil)
	}
	methods := make([]typetoken.Method, len(g.Methods))
	for i, m := range g.Methods {
		// In reverse, so that the order of the result is Preimage's doing.
		methods[len(methods)-1-i] = typetoken.Method{
			Name: m.Name, Type: m.Type, HasReturn: m.HasReturn, HasHeader: m.HasHeader,
			Params: schema(&m.Params), Result: schema(m.Result), Header: schema(m.Header),
		}
	}
	return g.Protocol, methods
}

func TestTheGoldenVectorIsReproducedByteForByte(t *testing.T) {
	digest, want := golden(t)
	protocol, methods := rebuild(t, want)
	got, err := typetoken.Preimage(protocol, methods)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("preimage (-want +got):\n%s", diff)
	}
	hash, err := typetoken.ProtocolHash(protocol, methods)
	if err != nil || hash != digest {
		t.Errorf("ProtocolHash = %q, %v; want %q", hash, err, digest)
	}
}

func schemaOf(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }

func identity() (introspect, grant typetoken.Method) {
	utf8, result := arrow.BinaryTypes.String, schemaOf(field("result", arrow.BinaryTypes.Binary))
	introspect = typetoken.Method{
		Name: "introspect_token", Type: "unary", HasReturn: true, Result: result,
		Params: schemaOf(field("token", utf8)),
	}
	grant = typetoken.Method{
		Name: "issue_grant", Type: "unary", HasReturn: true, Result: result,
		Params: schemaOf(field("purpose", utf8), field("scopes", arrow.ListOf(utf8)), field("ttl_seconds", arrow.PrimitiveTypes.Int64)),
	}
	return introspect, grant
}

func TestProtocolHashGivesThePublishedDigests(t *testing.T) {
	utf8 := arrow.BinaryTypes.String
	secondary := []typetoken.Method{
		{Name: "fail_oversized", Type: "unary"},
		{Name: "fail", Type: "unary", Params: schemaOf(
			field("code", utf8), field("kind", utf8), field("retry_delay_seconds", arrow.PrimitiveTypes.Float64))},
		{Name: "echo_string", Type: "unary", HasReturn: true, Params: schemaOf(field("value", utf8)), Result: schemaOf(field("result", utf8))},
	}
	introspect, grant := identity()
	for _, tt := range []struct {
		name, protocol, want string
		methods              []typetoken.Method
	}{
		{"the conformance suite's secondary protocol", "conformance.Secondary.v1", "58557cf1611546ad22d1c379bc3ce1b04166082f78375e9fc959f0086347eab6", secondary},
		{"Identity", "vgi_rpc.Identity.v2", "145267755ff90d5c3313d79c7ff771306f2530626380d01cb0e57a951d0f9ec3", []typetoken.Method{introspect, grant}},
		{"Identity without grants", "vgi_rpc.Identity.v2", "4039fbf6db3e64ae234e0be605b977477150ace892f10b6c691920eaf925e7ac", []typetoken.Method{introspect}},
		{"Identity without introspection", "vgi_rpc.Identity.v2", "4199df7403c9ca1a02c4c524b405a999eb1489614a1480873ffc23a0e5b0d312", []typetoken.Method{grant}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := typetoken.ProtocolHash(tt.protocol, tt.methods)
			if err != nil || got != tt.want {
				preimage, _ := typetoken.Preimage(tt.protocol, tt.methods)
				t.Errorf("ProtocolHash = %q, %v; want %q over\n%s", got, err, tt.want, preimage)
			}
		})
	}
}

func TestThePreimageHoldsTheWireSurfaceAndNothingElse(t *testing.T) {
	empty := schemaOf()
	value := schemaOf(field("v", arrow.Null))
	md := arrow.NewMetadata([]string{"doc"}, []string{"words"})
	for _, tt := range []struct {
		name string
		in   typetoken.Method
		want string
	}{
		{"nil parameters are none", typetoken.Method{Name: "m", Type: "unary"}, `{"has_header":false,"has_return":false,"name":"m","params":[],"type":"unary"}`},
		{
			"an unannounced result and header stay out",
			typetoken.Method{Name: "m", Type: "stream", Params: empty, Result: value, Header: value},
			`{"has_header":false,"has_return":false,"name":"m","params":[],"type":"stream"}`,
		},
		{
			"an empty result is not an absent one",
			typetoken.Method{Name: "m", Type: "unary", HasReturn: true, Result: empty},
			`{"has_header":false,"has_return":true,"name":"m","params":[],"result":[],"type":"unary"}`,
		},
		{
			"a header",
			typetoken.Method{Name: "m", Type: "stream", HasHeader: true, Header: value},
			`{"has_header":true,"has_return":false,"header":[{"name":"v","nullable":false,"type":"null"}],"name":"m","params":[],"type":"stream"}`,
		},
		{
			"metadata is not part of it",
			typetoken.Method{Name: "m", Type: "unary", Params: arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.Null, Nullable: true, Metadata: md}}, &md)},
			`{"has_header":false,"has_return":false,"name":"m","params":[{"name":"v","nullable":true,"type":"null"}],"type":"unary"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := typetoken.Preimage("p.v1", []typetoken.Method{tt.in})
			want := `{"methods":[` + tt.want + `],"protocol":"p.v1"}`
			if err != nil || string(got) != want {
				t.Errorf("Preimage = %s, %v; want %s", got, err, want)
			}
		})
	}
}

func TestADescriptionThatContradictsItselfIsRefused(t *testing.T) {
	ok := typetoken.Method{Name: "m", Type: "unary"}
	unsupported := new(typetoken.UnsupportedTypeError)
	for _, tt := range []struct {
		name, protocol string
		methods        []typetoken.Method
		check          func(error) bool
	}{
		{"two methods of one name", "p", []typetoken.Method{ok, ok}, isErr(typetoken.ErrDescription)},
		{"an unknown type", "p", []typetoken.Method{{Name: "m", Type: "exchange"}}, isErr(typetoken.ErrDescription)},
		{"a result without a schema", "p", []typetoken.Method{{Name: "m", Type: "unary", HasReturn: true}}, isErr(typetoken.ErrDescription)},
		{"a header without a schema", "p", []typetoken.Method{{Name: "m", Type: "stream", HasHeader: true}}, isErr(typetoken.ErrDescription)},
		{"a name that is not UTF-8", "p\xff", []typetoken.Method{ok}, isErr(typetoken.ErrNotCanonical)},
		{
			"a type without a token", "p",
			[]typetoken.Method{{Name: "m", Type: "unary", Params: schemaOf(field("d", &arrow.Decimal32Type{Precision: 3}))}},
			func(err error) bool {
				return errors.As(err, &unsupported) && strings.Contains(err.Error(), `field "d"`)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := typetoken.ProtocolHash(tt.protocol, tt.methods); got != "" || !tt.check(err) {
				t.Errorf("ProtocolHash = %q, %v", got, err)
			}
		})
	}
}

func isErr(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}
