package workerstorage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/localstore"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Options are what a program sets, where a flag says nothing else. The zero value
// works.
type Options struct {
	// URL is the storage, "" for none.
	URL string
	// Stores open storage by the scheme of its URL, besides mem and file. A
	// store that is an io.Closer is closed when the worker ends, and one with a
	// method Ready(context.Context) error has a say in whether the worker is
	// ready. ttl is how long its URLs should work.
	Stores map[string]func(ctx context.Context, url string, ttl time.Duration) (external.Store, error)
	// External configures what moves batches there. Its Store is that of the
	// URL.
	External external.Options
}

// Option adds storage to a worker.
func Option(opts Options) worker.Option { return &option{opts: opts} }

// option is the flags.
type option struct {
	opts        Options
	flags       *pflag.FlagSet
	threshold   int64
	compression string
	ttlSeconds  float64
	listen      string
	baseURL     string

	origins               []string
	fetchBytes, decoded   int64
	fetchTime, uploadTime float64 // in seconds
}

// flagOrigin has errors of its own.
const flagOrigin = "storage-allow-origin"

// names are all flags that are of no use without storage.
var names = []string{
	"externalize-threshold", "storage-compression", "storage-ttl", "storage-listen", "storage-base-url",
	flagOrigin, "storage-max-fetch-bytes", "storage-max-decoded-bytes", "storage-fetch-timeout", "storage-upload-timeout",
}

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.opts.URL, "storage", o.opts.URL, "let large batches leave for the storage at `URL`, mem:// or file:///path among others")
	flags.Int64Var(&o.threshold, "externalize-threshold", 0, "batches of `N` bytes or more leave (default 1 MiB)")
	flags.StringVar(&o.compression, "storage-compression", "", "`CODING` of what leaves: none, zstd or gzip")
	flags.Float64Var(&o.ttlSeconds, "storage-ttl", 0, "URLs of the storage work for `SECONDS` (default one hour)")
	flags.StringVar(&o.listen, "storage-listen", "127.0.0.1:0", "`ADDRESS` to serve mem:// and file:// storage on")
	flags.StringVar(&o.baseURL, "storage-base-url", "", "`URL` at which others reach that address")
	flags.StringArrayVar(&o.origins, flagOrigin, nil,
		"fetch what callers point to from `ORIGIN`, such as https://*.example.com, and the storage, and from nowhere else; may be repeated (default https://*)")
	flags.Int64Var(&o.fetchBytes, "storage-max-fetch-bytes", 0, "fetch at most `N` bytes of an object, as stored (default 256 MiB)")
	flags.Int64Var(&o.decoded, "storage-max-decoded-bytes", 0, "and at most `N` bytes after decompression (default 16 times that)")
	flags.Float64Var(&o.fetchTime, "storage-fetch-timeout", 0, "give each attempt to fetch an object `SECONDS` (default 60)")
	flags.Float64Var(&o.uploadTime, "storage-upload-timeout", 0, "give an upload `SECONDS`, with all its attempts (default 180)")
}

// Apply opens the storage.
func (o *option) Apply(ctx context.Context, setup *worker.Setup) error {
	if o.opts.URL == "" {
		return o.unused()
	}
	opts, ttl, err := o.external()
	if err != nil {
		return err
	}
	if opts.Store, err = o.open(ctx, ttl, setup.Server()); err != nil {
		return fmt.Errorf("--storage: %w", err)
	}
	if opts.Logger == nil {
		opts.Logger = setup.Server().Logger()
	}
	if opts.Budget == nil {
		opts.Budget = setup.Server().Limits().Budget
	}
	offload, err := external.New(opts)
	if err != nil {
		return errors.Join(fmt.Errorf("--storage: %w", err), closeStore(opts.Store))
	}
	setup.AtExit(func(context.Context) error { return errors.Join(offload.Close(), closeStore(opts.Store)) })
	if store, ok := opts.Store.(interface {
		Ready(ctx context.Context) error
	}); ok {
		setup.Ready("storage", store.Ready)
	}
	return setup.Server().Configure(func(s *vgirpc.ServerOptions) { s.Offload = offload })
}

// unused refuses flags that say how to use a storage that there is not.
func (o *option) unused() error {
	for _, name := range names {
		if o.flags.Changed(name) {
			return fmt.Errorf("--%s: there is no --storage", name)
		}
	}
	return nil
}

// external is what the flags say of the batches.
func (o *option) external() (opts external.Options, ttl time.Duration, err error) {
	opts = o.opts.External
	for _, f := range []struct {
		name string
		set  int64
		into *int64
	}{
		{"externalize-threshold", o.threshold, &opts.Threshold},
		{"storage-max-fetch-bytes", o.fetchBytes, &opts.MaxFetchBytes},
		{"storage-max-decoded-bytes", o.decoded, &opts.MaxDecodedBytes},
	} {
		if !o.flags.Changed(f.name) {
			continue
		}
		if f.set < 1 {
			return opts, 0, fmt.Errorf("--%s %d: want at least 1", f.name, f.set)
		}
		*f.into = f.set
	}
	for _, f := range []struct {
		name  string
		set   float64
		least float64
		into  *time.Duration
	}{
		{"storage-ttl", o.ttlSeconds, 1, &ttl},
		{"storage-fetch-timeout", o.fetchTime, 0.001, &opts.Timeout},
		{"storage-upload-timeout", o.uploadTime, 0.001, &opts.UploadTimeout},
	} {
		if !o.flags.Changed(f.name) {
			continue
		}
		if !(f.set >= f.least && f.set < math.MaxInt32) {
			return opts, 0, fmt.Errorf("--%s %v: want a number of seconds, at least %v", f.name, f.set, f.least)
		}
		*f.into = time.Duration(f.set * float64(time.Second))
	}
	switch c := external.Compression(o.compression); c {
	case "":
	case external.None, external.Zstd, external.Gzip:
		opts.Compression = c
	default:
		return opts, 0, fmt.Errorf("--storage-compression %q: want none, zstd or gzip", o.compression)
	}
	if o.flags.Changed(flagOrigin) {
		opts.AllowedOrigins = o.origins
		if _, err := external.New(external.Options{AllowedOrigins: o.origins}); err != nil {
			return opts, 0, fmt.Errorf("--%s: %w", flagOrigin, err)
		}
	}
	return opts, ttl, nil
}

// open opens the storage at the URL. ttl is 0 for the default of each.
func (o *option) open(ctx context.Context, ttl time.Duration, s *vgirpc.Server) (external.Store, error) {
	scheme, _, ok := strings.Cut(o.opts.URL, ":")
	if open := o.opts.Stores[scheme]; ok && open != nil {
		for _, name := range []string{"storage-listen", "storage-base-url"} {
			if o.flags.Changed(name) {
				return nil, fmt.Errorf("--%s is for mem:// and file:// storage, which the worker serves itself", name)
			}
		}
		store, err := open(ctx, o.opts.URL, ttl)
		if err != nil {
			return nil, errors.New(redact(err, o.opts.URL))
		}
		return store, nil
	}
	if !ok {
		return nil, errors.New("want a URL: mem://, or file:///absolute/path among others") // what it is instead may be a key
	}
	if scheme != "mem" && scheme != "file" {
		known := []string{"file", "mem"}
		for name := range o.opts.Stores {
			known = append(known, name)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("scheme %.32q: this worker knows %s", scheme, strings.Join(known, ", "))
	}
	return localstore.Start(o.listen, localstore.Options{URL: o.opts.URL, BaseURL: o.baseURL, TTL: ttl, Logger: s.Logger()})
}

// redact is an error's text without a URL that may hold a secret.
func redact(err error, url string) string {
	return strings.ReplaceAll(err.Error(), url, external.Redact(url))
}

func closeStore(s external.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
