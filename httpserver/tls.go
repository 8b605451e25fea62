package httpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSOptions are the certificates of a [Server]. The files may be changed while
// it serves, one by one or by swapping a symbolic link that the paths go
// through: new connections get what is there then. What cannot be used is
// logged, and what was used before stays.
type TLSOptions struct {
	// CertFile and KeyFile are paths of the certificate chain, leaf first, and
	// its private key, in PEM.
	CertFile, KeyFile string
	// ClientCAFile is the path of the certificates, in PEM, of those who vouch
	// for clients. With it every client has to show a certificate.
	ClientCAFile string
	// ClientCertOptional lets clients in that show no certificate; one that is
	// shown has to be good.
	ClientCertOptional bool
	// ReloadInterval is how long files are used without looking at them again.
	// 10 s when 0.
	ReloadInterval time.Duration
}

const defaultReloadInterval = 10 * time.Second

// newTLSConfig reads the files, and returns a configuration that keeps up with
// them.
func newTLSConfig(opts TLSOptions, log *slog.Logger) (*tls.Config, error) {
	switch {
	case opts.CertFile == "" || opts.KeyFile == "":
		return nil, errors.New("TLS: want both CertFile and KeyFile")
	case opts.ReloadInterval < 0:
		return nil, fmt.Errorf("TLS: ReloadInterval %v: want a positive time", opts.ReloadInterval)
	case opts.ClientCertOptional && opts.ClientCAFile == "":
		return nil, errors.New("TLS: ClientCertOptional: want a ClientCAFile")
	}
	if opts.ReloadInterval == 0 {
		opts.ReloadInterval = defaultReloadInterval
	}
	r := &reloader{opts: opts, log: log}
	files, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	config, err := r.configure(files)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	r.seen, r.looked = files, time.Now()
	r.current.Store(config)
	outer := config.Clone() // its session ticket keys outlive the certificates
	outer.GetConfigForClient = r.forClient
	return outer, nil
}

// pemFiles are the contents of the files.
type pemFiles struct{ cert, key, clientCA []byte }

func (f *pemFiles) equal(g *pemFiles) bool {
	return bytes.Equal(f.cert, g.cert) && bytes.Equal(f.key, g.key) && bytes.Equal(f.clientCA, g.clientCA)
}

// reloader is the TLS configuration of a server whose files may change.
type reloader struct {
	opts    TLSOptions
	log     *slog.Logger
	current atomic.Pointer[tls.Config]

	mu      sync.Mutex // held by the connection that looks at the files
	looked  time.Time
	seen    *pemFiles // good or bad
	reading string    // the last error of reading them, "" for none
}

// forClient is the configuration for a new connection.
func (r *reloader) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if r.mu.TryLock() { // others do not wait for the one that looks
		if time.Since(r.looked) >= r.opts.ReloadInterval {
			r.reload(hello.Context())
			r.looked = time.Now()
		}
		r.mu.Unlock()
	}
	return r.current.Load(), nil
}

// reload takes over files that have changed and are good. Contents are
// compared, and not times: the files are small, and times are coarse. Each
// state of them is told of once.
func (r *reloader) reload(ctx context.Context) {
	files, err := r.read()
	if err != nil {
		if err.Error() != r.reading {
			r.reading = err.Error()
			r.log.LogAttrs(ctx, slog.LevelError, "TLS files cannot be read, the old ones stay in use", slog.Any("error", err))
		}
		return
	}
	r.reading = ""
	if files.equal(r.seen) {
		return
	}
	r.seen = files
	config, err := r.configure(files)
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelError, "TLS files cannot be used, the old ones stay in use", slog.Any("error", err))
		return
	}
	r.current.Store(config)
	leaf := config.Certificates[0].Leaf
	r.log.LogAttrs(ctx, slog.LevelInfo, "TLS files reloaded",
		slog.String("subject", leaf.Subject.String()), slog.Time("not_after", leaf.NotAfter))
}

func (r *reloader) read() (*pemFiles, error) {
	files := new(pemFiles)
	for _, f := range []struct {
		path string
		into *[]byte
	}{
		{r.opts.CertFile, &files.cert},
		{r.opts.KeyFile, &files.key},
		{r.opts.ClientCAFile, &files.clientCA},
	} {
		if f.path == "" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		*f.into = text
	}
	return files, nil
}

// configure makes a configuration of the files' contents.
func (r *reloader) configure(files *pemFiles) (*tls.Config, error) {
	cert, err := tls.X509KeyPair(files.cert, files.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", r.opts.CertFile, r.opts.KeyFile, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if r.opts.ClientCAFile == "" {
		return config, nil
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(files.clientCA) {
		return nil, fmt.Errorf("%s: no certificate in it", r.opts.ClientCAFile)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if r.opts.ClientCertOptional {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}
