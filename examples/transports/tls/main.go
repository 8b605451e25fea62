// TLS serves TLS over TCP and calls it. Server and client show each other
// certificates: whoever has none that the authority signed does not get in.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

// AddParams are the parameters of add.
type AddParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

var (
	calc = vgirpc.NewProtocol("example.Calc.v1", "1.0.0")
	add  = vgirpc.NewUnary[AddParams, float64](calc, "add")
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	certificate, authority, err := newCertificate()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := vgirpc.ListenTCP(ctx, "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	secure := tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
		ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	served := make(chan error, 1)
	go func() { served <- serve(ctx, secure) }()

	client := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authority, Certificates: []tls.Certificate{certificate}}
	if err := call(ctx, listener.Addr().String(), client); err != nil {
		log.Fatal(err)
	}
	stop() // cuts off what is still there; see Server.Shutdown for a gentle end
	if err := <-served; err != nil {
		log.Fatal(err)
	}
}

// serve is the server.
func serve(ctx context.Context, listener net.Listener) error {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	return server.Serve(ctx, listener)
}

// call is the client: by URL, and over a connection of its own.
func call(ctx context.Context, address string, config *tls.Config) error {
	sum, err := dial.CallOnce(ctx, "tcp+tls:"+address, dial.Options{TLS: config}, add, AddParams{A: 1, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("1 + 2 =", sum)

	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
	defer func() { _ = client.Close() }()
	sum, err = add.Call(ctx, client, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)
	return nil
}

// newCertificate makes a certificate that is its own authority, for both sides.
// Yours come from files: tls.LoadX509KeyPair.
func newCertificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	authority := x509.NewCertPool()
	authority.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, authority, nil
}
