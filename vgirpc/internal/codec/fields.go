package codec

import (
	"fmt"
	"reflect"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

// field is one field of a Go struct that is a column.
type field struct {
	name   string
	goName string
	typ    reflect.Type
	offset uintptr
	tag    tag
	arrow  arrow.Field // as the plan declares it
	absent func(unsafe.Pointer)
}

// compiler turns types into codecs. It serves one compilation.
type compiler struct {
	level   Level
	streams *streams
	open    []reflect.Type // structs being compiled, outermost first
}

// enter notes that t is being compiled, and refuses a type inside itself.
func (c *compiler) enter(t reflect.Type) error {
	if slices.Contains(c.open, t) {
		return &CompileError{Type: t.String(), Reason: "the type contains itself, and an Arrow schema is finite: " +
			"give the inner one another form, such as []byte"}
	}
	c.open = append(c.open, t)
	return nil
}

func (c *compiler) leave() { c.open = c.open[:len(c.open)-1] }

// fields lists the columns of a struct type, those of embedded structs among
// them. top says that the struct is the plan's own type.
func (c *compiler) fields(t reflect.Type, top bool) ([]field, error) {
	out, err := c.collect(nil, t, 0)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 && hides(t) {
		return nil, &CompileError{Type: t.String(), Reason: "the struct has no exported fields: it would be stored without its content"}
	}
	for i := range out {
		f := &out[i]
		if j := slices.IndexFunc(out[:i], func(o field) bool { return o.name == f.name }); j >= 0 {
			return nil, &CompileError{t.String(), f.goName, fmt.Sprintf("column %q is field %s already", f.name, out[j].goName)}
		}
		if err := c.declare(f, top); err != nil {
			return nil, compileError(err, t, f.goName)
		}
	}
	return out, nil
}

// hides reports whether t has fields that are unexported and not left out.
func hides(t reflect.Type) bool {
	for f := range t.Fields() {
		if !f.IsExported() && !f.Anonymous && f.Name != "_" && f.Tag.Get("vgi") != "-" {
			return true
		}
	}
	return false
}

// compileError says where a compilation failed, unless err does.
func compileError(err error, t reflect.Type, field string) error {
	if _, ok := err.(*CompileError); ok { //nolint:errorlint // made in this package, never wrapped
		return err
	}
	return &CompileError{Type: t.String(), Field: field, Reason: err.Error()}
}

// collect appends the fields of t, which lies at offset base.
func (c *compiler) collect(out []field, t reflect.Type, base uintptr) ([]field, error) {
	for f := range t.Fields() {
		tag, err := parseTag(f.Tag)
		if err != nil {
			return nil, &CompileError{t.String(), f.Name, err.Error()}
		}
		if tag.skip || f.Name == "_" {
			continue
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct && tag.name == "" && !c.opaque(f.Type) {
			if out, err = c.collect(out, f.Type, base+f.Offset); err != nil {
				return nil, err
			}
			continue
		}
		if !f.IsExported() {
			if _, tagged := f.Tag.Lookup("vgi"); tagged || c.level == state {
				return nil, &CompileError{t.String(), f.Name, "the field is unexported and would not be stored: " +
					"export it, or tag it `vgi:\"-\"`"}
			}
			continue
		}
		name := tag.name
		if name == "" {
			name = snakeCase(f.Name)
		}
		if !utf8.ValidString(name) {
			return nil, &CompileError{t.String(), f.Name, "the column's name is not UTF-8"}
		}
		out = append(out, field{name: name, goName: f.Name, typ: f.Type, offset: base + f.Offset, tag: tag})
	}
	return out, nil
}

// declare decides f's column, and what stands for it when it is absent.
func (c *compiler) declare(f *field, top bool) error {
	typ := f.tag.typ
	if typ == nil {
		var err error
		if typ, err = c.infer(pointee(f.typ), top); err != nil {
			return err
		}
	}
	f.arrow = arrow.Field{Name: f.name, Type: typ, Nullable: c.isNullable(f)}
	if !f.tag.hasDef {
		return nil
	}
	var err error
	f.absent, err = parseDefault(f.typ, f.tag.def)
	return err
}

func (c *compiler) isNullable(f *field) bool {
	if f.tag.nullable != byType {
		return f.tag.nullable == nullable
	}
	return isPointer(f.typ) || (c.level == state && isNilable(f.typ) && !marshals(f.typ))
}

// isPointer reports whether t is a pointer that means "optional".
func isPointer(t reflect.Type) bool { return t.Kind() == reflect.Pointer && specials[t] == nil }

// pointee is what t points to, if t means "optional", else t.
func pointee(t reflect.Type) reflect.Type {
	if isPointer(t) {
		return t.Elem()
	}
	return t
}

// isNilable reports whether t has a nil that a null can be.
func isNilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface, reflect.Pointer:
		return !isPointer(t)
	}
	return false
}

// members binds fields of t to columns by name.
func (c *compiler) members(t reflect.Type, fields []field, columns []arrow.Field) (members, error) {
	out := make(members, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		at, err := columnOf(columns, f.name)
		if err != nil {
			return nil, compileError(err, t, f.goName)
		}
		m := member{name: f.name, column: at, offset: f.offset, absent: f.absent}
		switch {
		case at >= 0:
			if m.codec, err = c.column(f, columns[at].Type); err != nil {
				return nil, compileError(err, t, f.goName)
			}
		case f.absent == nil:
			return nil, &CompileError{t.String(), f.goName, fmt.Sprintf("column %q is absent and has no default", f.name)}
		}
		out = append(out, m)
	}
	return out, nil
}

// column is the codec of a field whose column has type got.
func (c *compiler) column(f *field, got arrow.DataType) (codec, error) {
	if !tolerates(f.arrow.Type, got) {
		return nil, fmt.Errorf("column %q is %s, which cannot be read as %s", f.name, token(got), token(f.arrow.Type))
	}
	if isPointer(f.typ) {
		return c.optional(f.typ, got, !f.arrow.Nullable)
	}
	cd, err := c.codec(f.typ, got)
	if err != nil {
		return nil, err
	}
	if f.tag.borrow {
		switch cd.(type) {
		case octets[int32], octets[int64], sizedOctets:
			cd = borrowed{cd}
		default:
			return nil, fmt.Errorf("borrow is for []byte, not for %v", f.typ)
		}
	}
	if f.arrow.Nullable && isNilable(f.typ) {
		return &nilable{elem: cd, size: f.typ.Size(), offsets: cd.traits().offsets}, nil
	}
	return cd, nil
}

// optional is the codec of a pointer type.
func (c *compiler) optional(t reflect.Type, a arrow.DataType, required bool) (codec, error) {
	elem := t.Elem()
	if isPointer(elem) {
		return nil, fmt.Errorf("%v: a pointer to a pointer has no Arrow form", t)
	}
	cd, err := c.codec(elem, a)
	if err != nil {
		return nil, err
	}
	return &optional{newElements(elem, cd), required, cd.traits().offsets}, nil
}

// compilePlan compiles a struct type.
func compilePlan(t reflect.Type, level Level) (*Plan, error) {
	c := &compiler{level: level, streams: &streams{}}
	return c.plan(t)
}

func (c *compiler) plan(t reflect.Type) (*Plan, error) {
	if t.Kind() != reflect.Struct || c.opaque(t) {
		return nil, &CompileError{Type: t.String(), Reason: "want a struct, whose fields are the columns"}
	}
	if err := c.enter(t); err != nil {
		return nil, err
	}
	defer c.leave()
	fields, err := c.fields(t, true)
	if err != nil {
		return nil, err
	}
	p := &Plan{typ: t, what: "row", fields: fields, size: t.Size(), streams: c.streams, level: c.level}
	if c.level == Params {
		p.what = "parameters"
	}
	return p, c.finish(p)
}

// compileResult compiles the one column of a result.
func compileResult(t reflect.Type, options []string) (*Plan, error) {
	c := &compiler{level: Params, streams: &streams{}}
	p := &Plan{typ: t, what: "result", size: t.Size(), streams: c.streams, level: Params}
	if t == reflect.TypeFor[struct{}]() {
		p.void = true
		return p, c.finish(p)
	}
	f := field{name: wire.ResultColumn, goName: "result", typ: t}
	for _, o := range options {
		if err := f.tag.parseOptions(o); err != nil {
			return nil, &CompileError{Type: t.String(), Reason: err.Error()}
		}
	}
	if err := c.declare(&f, true); err != nil {
		return nil, compileError(err, t, "")
	}
	p.fields = []field{f}
	return p, c.finish(p)
}

// finish makes the schema and the codecs of p from its fields.
func (c *compiler) finish(p *Plan) error {
	columns := make([]arrow.Field, len(p.fields))
	for i := range p.fields {
		columns[i] = p.fields[i].arrow
	}
	var err error
	if p.schema, err = wire.NewSchema(arrow.NewSchema(columns, nil)); err != nil {
		return compileError(err, p.typ, "")
	}
	p.schema = p.streams.cache.Add(p.schema)
	p.own = &Binding{plan: p, schema: p.schema}
	if p.own.members, err = c.members(p.typ, p.fields, columns); err != nil {
		return err
	}
	p.own.traits = p.own.members.traits()
	return nil
}
