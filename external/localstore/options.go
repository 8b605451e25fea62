package localstore

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Defaults and bounds of [Options].
const (
	DefaultTTL        = time.Hour
	DefaultMaxBytes   = 4 << 30
	DefaultMaxObjects = 100_000
	DefaultMaxUpload  = 256 << 20
	DefaultSweepEvery = time.Minute

	minKey  = 32
	mostAll = 1 << 60
)

// Options configure a [Store]. Only URL is necessary.
type Options struct {
	// URL is where objects lie: "mem://", or "file:///absolute/path" for a
	// directory, which is made with mode 0700 when it does not exist.
	URL string
	// BaseURL is what the store's URLs begin with, "http://host:port" or with a
	// path, as those who fetch reach the handler. [Start] has its listener's
	// address when it is empty, and needs it where that is every address.
	BaseURL string
	// Key seals the URLs, in 32 bytes or more. A random one when nil, with which
	// no URL outlives the process.
	Key []byte
	// TTL is how long a URL works, and an object lives. 1 h when 0, at least 1 s.
	TTL time.Duration
	// SweepEvery is how often the store looks for objects to remove. 1 min when 0,
	// and never more than TTL.
	SweepEvery time.Duration
	// MaxBytes is how many bytes all objects may have together. 4 GiB when 0.
	MaxBytes int64
	// MaxObjects is how many objects there may be. 100,000 when 0.
	MaxObjects int64
	// MaxUploadBytes bounds one object that is put by URL. 256 MiB when 0.
	MaxUploadBytes int64
	// Logger is told what the sweeper could not do, and of failures of the disk.
	// Nobody is when nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	pick := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	pick((*int64)(&o.TTL), int64(DefaultTTL))
	pick((*int64)(&o.SweepEvery), int64(min(DefaultSweepEvery, max(o.TTL, 1))))
	pick(&o.MaxBytes, DefaultMaxBytes)
	pick(&o.MaxObjects, DefaultMaxObjects)
	pick(&o.MaxUploadBytes, min(DefaultMaxUpload, max(o.MaxBytes, 1)))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate reports an option that makes no sense, by name. Defaults are in place.
func (o Options) validate() error {
	for _, f := range []struct {
		name         string
		value, least int64
	}{
		{"TTL", int64(o.TTL), int64(time.Second)},
		{"SweepEvery", int64(o.SweepEvery), 1},
		{"MaxBytes", o.MaxBytes, 1},
		{"MaxObjects", o.MaxObjects, 1},
		{"MaxUploadBytes", o.MaxUploadBytes, 1},
	} {
		if f.value < f.least || f.value > mostAll {
			return fmt.Errorf("localstore: option %s is %d: want 0 for the default, or %d to %d", f.name, f.value, f.least, int64(mostAll))
		}
	}
	if o.SweepEvery > o.TTL {
		return fmt.Errorf("localstore: option SweepEvery is %v: want no more than TTL, %v", o.SweepEvery, o.TTL)
	}
	if o.Key != nil && len(o.Key) < minKey {
		return fmt.Errorf("localstore: option Key has %d bytes: want %d or more", len(o.Key), minKey)
	}
	return nil
}

// parseBase checks Options.BaseURL, and returns it without a slash at its end, and
// its origin with a port.
func parseBase(base string) (trimmed, origin string, err error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", "", errors.New("localstore: option BaseURL: want http://host:port or https://host:port, with a path or without")
	}
	origin = u.Scheme + "://" + u.Host
	if u.Port() == "" {
		origin += map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	}
	return strings.TrimRight(base, "/"), origin, nil
}

// openShelf opens what Options.URL names.
func openShelf(rawURL string) (shelf, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, errors.New(`localstore: option URL: want "mem://" or "file:///absolute/path"`)
	}
	switch {
	case u.Scheme == "mem" && u.Host == "" && u.Path == "":
		return newMemory(), nil
	case u.Scheme == "file" && u.Host == "" && len(u.Path) > 1:
		return openDirectory(filepath.FromSlash(u.Path))
	}
	return nil, errors.New(`localstore: option URL: want "mem://" or "file:///absolute/path"`)
}
