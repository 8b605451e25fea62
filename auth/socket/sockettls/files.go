package sockettls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are the paths of a server's certificates, in PEM.
type Files struct {
	// Cert and Key are the chain, leaf first, and its private key.
	Cert, Key string
	// ClientCA are the authorities of clients. With it every client has to show
	// a certificate.
	ClientCA string
}

// poll is how long the files are used before they are read again.
const poll = 10 * time.Second

// Config reads the files. They may be replaced: a connection that comes some
// seconds later reads them again, and goes on with what was there when they are
// no good. log gets what is wrong with them.
func (f Files) Config(log *slog.Logger) (*tls.Config, error) {
	if f.Cert == "" || f.Key == "" {
		return nil, errors.New("sockettls: want both a certificate and its key")
	}
	current, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("sockettls: %w", err)
	}
	w := &watched{files: f, log: log, current: current, read: time.Now()}
	outer := current.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return w.config(hello.Context()), nil }
	return outer, nil
}

// watched are files that may change.
type watched struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	read    time.Time
	fault   string
}

func (w *watched) config(ctx context.Context) *tls.Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.read) < poll {
		return w.current
	}
	w.read = time.Now()
	config, err := w.files.read()
	if err != nil {
		if fault := err.Error(); fault != w.fault {
			w.fault = fault
			w.log.LogAttrs(ctx, slog.LevelError, "TLS files cannot be used, the old ones stay in use", slog.Any("error", err))
		}
		return w.current
	}
	w.current, w.fault = config, ""
	return config
}

func (f Files) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	if f.ClientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", f.ClientCA)
	}
	return config, nil
}
