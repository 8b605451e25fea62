package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/values"
	"github.com/vgirpc/vgirpc-go/wire"
)

// arguments are what the command line gives for the parameters of a method.
type arguments struct {
	data  string
	packs []string
	in    io.Reader
}

func (a *arguments) register(fs *pflag.FlagSet) {
	fs.StringVarP(&a.data, "data", "d", "", "arguments as one `JSON` object, @FILE, or - for standard input")
	fs.StringArrayVar(&a.packs, "pack", nil, "the fields, as `NAME=FIELD:TYPE,...`, of a dataclass that travels in a binary parameter; may be repeated")
}

// row is the request: one row with a value for each parameter.
func (a *arguments) row(schema *wire.Schema, words []string) (*wire.Batch, error) {
	fields := schema.Arrow().Fields()
	given, err := a.object()
	if err != nil {
		return nil, err
	}
	for _, word := range words {
		name, v, err := argument(fields, word)
		if err != nil {
			return nil, err
		}
		if !given.Set(name, v) {
			return nil, usagef("argument %s is given twice", name)
		}
	}
	if err := a.pack(fields, given); err != nil {
		return nil, err
	}
	rec, err := values.Record(schema.Arrow(), []*values.Object{given})
	if err != nil {
		return nil, argumentError(err)
	}
	return wire.NewBatch(schema, rec, nil)
}

// argumentError is the refusal of a value as the user sees it.
func argumentError(err error) error {
	var e *values.Error
	if errors.As(err, &e) && e.Path == "" {
		return usagef("arguments: %w", err)
	}
	return usagef("argument %w", err)
}

// object is what -d gives.
func (a *arguments) object() (*values.Object, error) {
	if a.data == "" {
		return values.NewObject(), nil
	}
	text := []byte(a.data)
	var err error
	if a.data == "-" {
		text, err = io.ReadAll(a.in)
	} else if path, ok := strings.CutPrefix(a.data, "@"); ok {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	o, err := values.ParseObject(text)
	if err != nil {
		return nil, usagef("--data: %w", err)
	}
	return o, nil
}

// argument reads NAME=VALUE, NAME=@FILE, NAME:=JSON and NAME:=@FILE.
func argument(fields []arrow.Field, word string) (string, any, error) {
	name, text, ok := strings.Cut(word, "=")
	name, raw := strings.CutSuffix(name, ":")
	if !ok || name == "" {
		return "", nil, usagef("argument %q: want NAME=VALUE or NAME:=JSON", word)
	}
	content, fromFile := []byte(text), false
	if path, ok := strings.CutPrefix(text, "@"); ok {
		var err error
		if content, err = os.ReadFile(path); err != nil {
			return "", nil, fmt.Errorf("argument %s: %w", name, err)
		}
		fromFile = true
	}
	if raw {
		v, err := values.Parse(content)
		if err != nil {
			return "", nil, usagef("argument %s: %w", name, err)
		}
		return name, v, nil
	}
	i := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
	switch {
	case i < 0:
		return name, string(content), nil // refused with the rest of the row
	case fromFile && isBinary(fields[i].Type):
		return name, base64.StdEncoding.EncodeToString(content), nil
	}
	v, err := values.FromText(fields[i], string(content))
	if err != nil {
		return "", nil, usagef("argument %s: %w", name, err)
	}
	return name, v, nil
}

func isBinary(t arrow.DataType) bool {
	id := t.ID()
	return id == arrow.BINARY || id == arrow.LARGE_BINARY || id == arrow.FIXED_SIZE_BINARY || id == arrow.BINARY_VIEW
}

// pack puts the objects that --pack describes into the form in which they travel:
// an IPC stream of one row (WIRE_PROTOCOL section 4).
func (a *arguments) pack(fields []arrow.Field, given *values.Object) error {
	for _, p := range a.packs {
		name, columns, ok := strings.Cut(p, "=")
		if !ok {
			return usagef("--pack %q: want NAME=FIELD:TYPE,…", p)
		}
		i := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
		if i < 0 || !isBinary(fields[i].Type) {
			return usagef("--pack %s: the method has no binary parameter of that name", name)
		}
		members, err := values.ParseColumns(columns)
		if err != nil {
			return usagef("--pack %s: %w", name, err)
		}
		value, _ := given.Get(name)
		object, err := packedObject(value)
		if err != nil {
			return usagef("argument %s: %w", name, err)
		}
		if object == nil {
			continue
		}
		packed, err := packRow(arrow.NewSchema(members, nil), object)
		if err != nil {
			return usagef("argument %s: %w", name, err)
		}
		given.Replace(name, base64.StdEncoding.EncodeToString(packed))
	}
	return nil
}

// packedObject is an argument to be packed: an object, its text, or nil.
func packedObject(v any) (*values.Object, error) {
	switch v := v.(type) {
	case *values.Object:
		return v, nil
	case string:
		return values.ParseObject([]byte(v))
	}
	return nil, nil //nolint:nilnil // nothing to pack: whether that may be is checked with the row
}

func packRow(s *arrow.Schema, o *values.Object) ([]byte, error) {
	schema, err := wire.NewSchema(s)
	if err != nil {
		return nil, err
	}
	rec, err := values.Record(s, []*values.Object{o})
	if err != nil {
		return nil, err
	}
	b, err := wire.NewBatch(schema, rec, nil)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	err = errors.Join(w.Open(schema), w.Batch(b), w.Close(), w.Flush())
	return out.Bytes(), err
}

// unpackRow is the row that bytes hold when they are an IPC stream of one row,
// as dataclasses travel, and nil for all other bytes.
func unpackRow(data []byte) arrow.RecordBatch {
	if len(data) < 8 || !bytes.HasPrefix(data, []byte{0xFF, 0xFF, 0xFF, 0xFF}) {
		return nil
	}
	r := wire.NewReader(bytes.NewReader(data), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		return nil
	}
	if _, err := r.Announce(); err != nil {
		return nil
	}
	b, err := r.Take(wire.Own)
	if err != nil || b.Rows != 1 {
		return nil
	}
	rec, err := b.Record()
	if err != nil {
		return nil
	}
	if _, err := r.Announce(); err != io.EOF { //nolint:errorlint // the end of the stream, by identity
		return nil
	}
	return rec
}
