package encoding

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Options say which codings a server has. The zero value has all of them.
type Options struct {
	// NoResponse makes every response Identity. Requests may still be
	// compressed: what a server produces says nothing about what it reads.
	NoResponse bool
	// NoZstd leaves gzip as the only coding, both ways.
	NoZstd bool
}

// Codings are the content codings of one server and the pools of their codecs.
// All methods may run at once.
type Codings struct {
	produces, decodes codings
	advertised        string

	// zstdAll encodes whole bodies. It holds as many encoders as GOMAXPROCS
	// and lets callers wait for one, which bounds what they take together.
	zstdAll     *zstd.Encoder
	zstdWriters sync.Pool // of *zstdWriter
	gzipWriters sync.Pool // of *gzipWriter
	zstdStreams sync.Pool // of *stream
	gzipStreams sync.Pool // of *stream
}

// New returns the codings that the options leave.
func New(o Options) (*Codings, error) {
	k := &Codings{decodes: codings(0).with(Gzip)}
	if !o.NoZstd {
		k.decodes = k.decodes.with(Zstd)
	}
	if !o.NoResponse {
		k.produces = k.decodes
	}
	k.advertised = k.produces.String()

	var err error
	if k.zstdAll, err = zstd.NewWriter(nil, zstdOptions()...); err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	if err := errors.Join(
		fill(&k.zstdWriters, newZstdWriter),
		fill(&k.gzipWriters, newGzipWriter),
		fill(&k.zstdStreams, newZstdStream),
		fill(&k.gzipStreams, newGzipStream),
	); err != nil {
		return nil, err
	}
	return k, nil
}

// fill sets up a pool. A pool cannot report an error, so the first element is
// built here: options that made one make every other.
func fill[T any](p *sync.Pool, build func() (T, error)) error {
	first, err := build()
	if err != nil {
		return err
	}
	p.Put(first)
	p.New = func() any {
		element, _ := build() // as above
		return element
	}
	return nil
}

// Advertised is the value of VGI-Supported-Encodings: the codings that the
// server produces, the preferred one first. "" says that it produces none, and
// is sent as an empty value, never left out: without the header a client takes
// zstd for granted.
func (k *Codings) Advertised() string { return k.advertised }
