package conformance

import (
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/wire"
)

// storageFlags are the flags of section 3 of CONTRACT.md.
type storageFlags struct {
	url             string
	threshold       int64
	compression     *choice
	maxFetch        int64
	maxDecoded      int64
	rejectLocalhost bool

	store *FakeStore // nil without storage
}

func (f *storageFlags) addFlags(flags *pflag.FlagSet) {
	f.compression = newChoice("none", "zstd")
	flags.StringVar(&f.url, "fake-storage", "", "the suite's storage at `URL`, over HTTP")
	flags.Int64Var(&f.threshold, "externalize-threshold", 4096, "batches of more than `N` bytes leave through storage")
	flags.Var(f.compression, "compression", "of externalized objects")
	flags.Int64Var(&f.maxFetch, "max-fetch-bytes", 0, "at most `N` bytes of a fetched object, as stored")
	flags.Int64Var(&f.maxDecoded, "max-decompressed-fetch-bytes", 0, "at most `N` bytes of a fetched object, decoded")
	flags.BoolVar(&f.rejectLocalhost, "reject-localhost-redirects", false, "fetch from 127.0.0.1 only")
}

// open connects the worker to the suite's storage, nil without any. Objects are
// fetched from the loopback interface alone.
func (f *storageFlags) open(budget *wire.Budget) (*external.Offload, error) {
	if f.url == "" {
		return nil, nil //nolint:nilnil // no storage
	}
	store, err := NewFakeStore(f.url)
	if err != nil {
		return nil, err
	}
	f.store = store
	origins := []string{"http://127.0.0.1"}
	if !f.rejectLocalhost {
		origins = append(origins, "http://localhost")
	}
	return external.New(external.Options{
		Store: store, Threshold: f.threshold, Compression: external.Compression(f.compression.value),
		MaxFetchBytes: f.maxFetch, MaxDecodedBytes: f.maxDecoded, AllowedOrigins: origins, Budget: budget,
	})
}
