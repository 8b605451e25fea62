package workerauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/auth/socket/sockettls"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Option adds the flags to a worker. What they ask for comes behind the admitters
// that the program has set itself.
func Option() worker.Option { return &option{} }

// option is the flags.
type option struct {
	flags *pflag.FlagSet

	tls          sockettls.Files
	clientName   string
	trustDomains []string
	uids, gids   []int
	signedBy     string
	mode         string
	secretFile   string
	oneClient    bool
	perPeer      int
}

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.tls.Cert, "tcp-tls-cert", "", "speak TLS over TCP with the certificate chain at `PATH`")
	flags.StringVar(&o.tls.Key, "tcp-tls-key", "", "and its private key at `PATH`")
	flags.StringVar(&o.tls.ClientCA, "tcp-tls-client-ca", "", "and demand client certificates signed by those at `PATH`")
	flags.StringVar(&o.clientName, "tcp-tls-client-name", "",
		"`NAME` in them that is the caller: common_name, subject_dn, spiffe_id, uri, dns or sha256 (default common_name)")
	flags.StringArrayVar(&o.trustDomains, "tcp-tls-trust-domain", nil, "SPIFFE trust `DOMAIN` of clients; may be repeated")
	flags.IntSliceVar(&o.uids, "unix-allow-uid", nil, "let user `UID` connect to the Unix socket; may be repeated")
	flags.IntSliceVar(&o.gids, "unix-allow-gid", nil, "let primary group `GID` connect to the Unix socket; may be repeated")
	flags.StringVar(&o.signedBy, "unix-signed-by", "", "let programs connect that the public keys in the file at `PATH` have signed")
	flags.StringVar(&o.mode, "handshake", "", "demand a handshake of `MODE` version, hmac or signed before the first message")
	flags.StringVar(&o.secretFile, "handshake-secret-file", "", "secrets of mode hmac, in the file at `PATH`")
	flags.BoolVar(&o.oneClient, "one-client", false, "serve one connection at a time and refuse others")
	flags.IntVar(&o.perPeer, "connections-per-peer", 0, "serve at most `N` connections of one peer at a time, refuse others")
}

// Apply puts the admitters that were asked for behind those of the program.
func (o *option) Apply(_ context.Context, setup *worker.Setup) error {
	if err := o.check(); err != nil {
		return err
	}
	var admitters []vgirpc.Admitter
	for _, part := range []func(*vgirpc.Server) (vgirpc.Admitter, error){
		o.overTLS, o.credentials, o.process, o.handshake, o.policy,
	} {
		a, err := part(setup.Server())
		if err != nil {
			return err
		}
		if a != nil {
			admitters = append(admitters, a)
		}
	}
	if len(admitters) == 0 {
		return nil
	}
	if o.oneClient {
		setup.BeforeServing(func(context.Context) error { return leavesRoom(setup.Server()) })
	}
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) {
		opts.Conns.Admit = append(opts.Conns.Admit, admitters...)
	})
}

// leavesRoom reports a server that could not refuse a second client.
func leavesRoom(s *vgirpc.Server) error {
	most := 0
	err := s.Configure(func(opts *vgirpc.ServerOptions) { most = opts.Conns.MaxConns })
	if err == nil && most == 1 {
		err = errors.New("--one-client wants --max-connections 2 or more: who is refused has to be accepted first")
	}
	return err
}

// check refuses flags that have no effect.
func (o *option) check() error {
	unix, tcp := o.flags.Changed("unix"), o.flags.Changed("tcp")
	for _, f := range []struct {
		names []string
		fits  bool
		want  string
	}{
		{[]string{"tcp-tls-cert", "tcp-tls-key"}, tcp, "--tcp"},
		{[]string{"tcp-tls-client-ca"}, tcp && o.tls.Cert != "", "--tcp-tls-cert"},
		{[]string{"tcp-tls-client-name", "tcp-tls-trust-domain"}, o.tls.ClientCA != "", "--tcp-tls-client-ca"},
		{[]string{"unix-allow-uid", "unix-allow-gid", "unix-signed-by"}, unix, "--unix"},
		{[]string{"handshake", "one-client", "connections-per-peer"}, unix || tcp, "--unix or --tcp"},
		{[]string{"handshake-secret-file"}, o.mode == string(socket.HMAC), "--handshake hmac"},
	} {
		for _, name := range f.names {
			if o.flags.Changed(name) && !f.fits {
				return fmt.Errorf("--%s is nothing without %s", name, f.want)
			}
		}
	}
	switch {
	case o.flags.Changed("connections-per-peer") && o.perPeer < 1:
		return fmt.Errorf("--connections-per-peer %d: want at least 1", o.perPeer)
	case o.mode == string(socket.Signed) && o.signedBy == "":
		return errors.New("--handshake signed wants --unix-signed-by")
	}
	return nil
}

// overTLS is TLS, nil for none.
func (o *option) overTLS(s *vgirpc.Server) (vgirpc.Admitter, error) {
	if o.tls == (sockettls.Files{}) {
		return nil, nil //nolint:nilnil // as documented
	}
	config, err := o.tls.Config(s.Logger())
	if err != nil {
		return nil, fmt.Errorf("--tcp-tls-cert: %w", err)
	}
	opts := sockettls.Options{Config: config}
	if o.tls.ClientCA != "" {
		rules, err := mtls.New(mtls.Options{Source: mtls.Direct, Name: mtls.Name(o.clientName), TrustDomains: o.trustDomains})
		if err != nil {
			return nil, fmt.Errorf("--tcp-tls-client-name: %w", err)
		}
		opts.Identify = identify(rules)
	}
	return sockettls.New(opts)
}

// identify are an HTTP authenticator's rules for certificates, without HTTP.
func identify(a auth.Authenticator) func(*tls.ConnectionState) (vgirpc.Identity, error) {
	return func(state *tls.ConnectionState) (vgirpc.Identity, error) {
		id, err := a.Authenticate(&http.Request{TLS: state})
		reason, refused := auth.ReasonOf(err)
		if !refused {
			return id, err
		}
		e := &vgirpc.Error{
			Code: vgirpc.Unauthenticated, Kind: string(reason), Type: "CertificateError", Message: "the client certificate is not accepted",
		}
		if reason == auth.InsufficientScope {
			e.Code = vgirpc.PermissionDenied
		}
		return vgirpc.Identity{}, fmt.Errorf("%w: %w", e, err)
	}
}

// credentials are the users that may connect, nil for all.
func (o *option) credentials(*vgirpc.Server) (vgirpc.Admitter, error) {
	if len(o.uids)+len(o.gids) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	return socket.NewPeerCredentials(socket.CredentialsOptions{UIDs: o.uids, GIDs: o.gids})
}

// process is what programs may connect, nil for all. With a handshake that is
// about it, the handshake asks.
func (o *option) process(*vgirpc.Server) (vgirpc.Admitter, error) {
	if o.signedBy == "" || o.mode == string(socket.Signed) {
		return nil, nil //nolint:nilnil // as documented
	}
	return o.signedProcess()
}

func (o *option) signedProcess() (*socket.SignedProcess, error) {
	keys, err := socket.ReadPublicKeys(o.signedBy)
	if err != nil {
		return nil, fmt.Errorf("--unix-signed-by: %w", err)
	}
	return socket.NewSignedProcess(socket.ProcessOptions{Keys: keys})
}

// handshake is the handshake, nil for none.
func (o *option) handshake(s *vgirpc.Server) (vgirpc.Admitter, error) {
	if !o.flags.Changed("handshake") {
		return nil, nil //nolint:nilnil // as documented
	}
	opts := socket.HandshakeOptions{Mode: socket.Mode(o.mode)}
	var err error
	switch opts.Mode {
	case socket.HMAC:
		if o.secretFile == "" {
			return nil, errors.New("--handshake hmac wants --handshake-secret-file")
		}
		opts.Secrets, err = socket.OpenSecrets(o.secretFile, s.Logger())
	case socket.Signed:
		opts.Process, err = o.signedProcess()
	case socket.Version:
	}
	if err != nil {
		return nil, err
	}
	h, err := socket.NewHandshake(opts)
	if err != nil {
		return nil, fmt.Errorf("--handshake: %w", err)
	}
	return h, nil
}

// policy bounds connections, nil for no more than MaxConns does.
func (o *option) policy(*vgirpc.Server) (vgirpc.Admitter, error) {
	if !o.oneClient && o.perPeer == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	opts := socket.PolicyOptions{PerPeer: o.perPeer}
	if o.oneClient {
		opts.Total = 1
	}
	return socket.NewConnectionPolicy(opts)
}
