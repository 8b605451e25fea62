package pages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/jsoncall"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

type protocolView struct {
	Name, Anchor, Version, Hash, Deprecated string
	Framework                               bool
	Methods                                 []methodView
}

// Count is the number of methods in words.
func (p protocolView) Count() string {
	if len(p.Methods) == 1 {
		return "1 method"
	}
	return fmt.Sprintf("%d methods", len(p.Methods))
}

type methodView struct {
	Name, Anchor, Doc, Deprecated string
	Badges                        []string
	Marks                         []string
	Tables                        []tableView
	Form                          *formView
}

type tableView struct {
	Label    string
	Empty    string // what to say when there are no rows
	Rows     []rowView
	Defaults bool // some row has one
}

type rowView struct {
	Name, Type, Note string
	Nullable         bool
	Default          string
	HasDefault       bool
}

// NameParts are the pieces of a long name between which a narrow screen may
// break it: a piece begins with an underscore. That also tells a column from a
// method of the same name, for whoever looks for methods in the page's source.
func (r rowView) NameParts() []string {
	return pieces(r.Name, func(c, next byte) bool { return next == '_' && c != '_' })
}

// TypeParts are the pieces of a type's token, likewise: a piece ends with
// punctuation.
func (r rowView) TypeParts() []string {
	return pieces(r.Type, func(c, next byte) bool { return c == ',' || c == '<' || (c == ':' && next != ':') })
}

// pieces cuts s after each byte where cut says so of it and the next one.
func pieces(s string, cut func(c, next byte) bool) []string {
	var out []string
	start := 0
	for i := 1; i < len(s); i++ {
		if cut(s[i-1], s[i]) {
			out, start = append(out, s[start:i]), i
		}
	}
	return append(out, s[start:])
}

// describeAll describes what the server hosts: the application's protocols,
// then those of the framework.
func describeAll(opts Options) ([]protocolView, error) {
	var out []protocolView
	for _, p := range opts.Server.Protocols() {
		hash, err := p.Hash()
		if err != nil {
			return nil, err
		}
		view := protocolView{
			Name: p.Name(), Anchor: p.Name(), Version: p.Version(), Hash: hash, Deprecated: p.Options().Deprecated,
			Framework: strings.HasPrefix(p.Name(), wire.ReservedNamePrefix),
		}
		for _, m := range p.Methods() {
			method, err := describe(opts, m)
			if err != nil {
				return nil, err
			}
			view.Methods = append(view.Methods, method)
		}
		out = append(out, view)
	}
	slices.SortStableFunc(out, func(a, b protocolView) int {
		switch {
		case a.Framework == b.Framework:
			return 0
		case a.Framework:
			return 1
		}
		return -1
	})
	return out, nil
}

func describe(opts Options, m *vgirpc.Method) (methodView, error) {
	o := m.Options()
	view := methodView{
		Name: m.Name(), Anchor: m.String(), Doc: strings.TrimSpace(o.Doc), Deprecated: strings.TrimSpace(o.Deprecated),
		Badges: badges(m),
	}
	switch o.Idempotency {
	case vgirpc.NoSideEffects:
		view.Marks = append(view.Marks, "no side effects")
	case vgirpc.Idempotent:
		view.Marks = append(view.Marks, "idempotent")
	default: // nothing was declared
	}
	params, err := m.ParamFields()
	if err != nil {
		return view, err
	}
	view.Tables = append(view.Tables, table("Parameters", "No parameters", fieldRows(params)))
	if m.Kind() != vgirpc.KindUnary {
		view.Tables = append(view.Tables, streamTables(m)...)
		return view, nil
	}
	result, err := m.ResultFields()
	if err != nil {
		return view, err
	}
	if len(result) > 0 {
		view.Tables = append(view.Tables, table("Returns", "", fieldRows(result)))
	}
	if _, err := jsoncall.New(m); opts.TryIt && err == nil {
		view.Form = newForm(opts.Prefix, m, params)
	}
	return view, nil
}

func badges(m *vgirpc.Method) []string {
	out := []string{string(m.Type())}
	if m.Kind() != vgirpc.KindUnary {
		out = append(out, string(m.Kind()))
	}
	if m.HasHeader() {
		out = append(out, "header")
	}
	return out
}

func streamTables(m *vgirpc.Method) []tableView {
	var out []tableView
	if m.HasHeader() {
		out = append(out, table("Stream Header", "No columns", schemaRows(m.HeaderSchema())))
	}
	if m.Kind() == vgirpc.KindExchange {
		out = append(out, streamTable("Input", "Batches of any schema", m.InputSchema()))
	}
	return append(out, streamTable("Output", "Each call chooses the schema", m.OutputSchema()))
}

// streamTable is the table of a schema that may be open.
func streamTable(label, open string, schema *wire.Schema) tableView {
	if schema == nil {
		return table(label, open, nil)
	}
	return table(label, "No columns", schemaRows(schema))
}

func table(label, empty string, rows []rowView) tableView {
	defaults := slices.ContainsFunc(rows, func(r rowView) bool { return r.HasDefault })
	return tableView{label, empty, rows, defaults}
}

func schemaRows(schema *wire.Schema) []rowView {
	var out []rowView
	for _, f := range schema.Arrow().Fields() {
		out = append(out, rowView{Name: f.Name, Type: typeName(f.Type), Nullable: f.Nullable})
	}
	return out
}

func fieldRows(fields []vgirpc.Field) []rowView {
	var out []rowView
	for _, f := range fields {
		out = append(out, rowView{
			Name: f.Name, Type: typeName(f.Type), Note: note(f), Nullable: f.Nullable,
			Default: f.DefaultText, HasDefault: f.Default != nil,
		})
	}
	return out
}

// note says what the type leaves open.
func note(f vgirpc.Field) string {
	switch {
	case len(f.Enum) > 0:
		return "one of " + strings.Join(f.Enum, ", ")
	case f.PackedSchema != nil:
		parts := make([]string, len(f.Packed))
		for i, inner := range f.Packed {
			parts[i] = inner.Name + ": " + typeName(inner.Type)
		}
		return "an Arrow IPC stream of one row (" + strings.Join(parts, ", ") + ")"
	}
	return ""
}

// typeName is the token of a type (WIRE_PROTOCOL section 14).
func typeName(t arrow.DataType) string {
	if token, err := typetoken.Of(t); err == nil {
		return token
	}
	return t.String()
}
