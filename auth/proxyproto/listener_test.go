package proxyproto_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/proxyproto"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// reporter answers with what it sees of a connection, and with what an
// authenticator makes of it.
func reporter(authenticator auth.Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := peer.FromRequest(r, "")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		who := "nobody"
		if authenticator != nil {
			if id, err := authenticator.Authenticate(r); err == nil {
				who = id.Principal
			}
		}
		here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		remote := r.RemoteAddr
		if remote == s.Source {
			remote = "the same"
		}
		fmt.Fprintf(w, "%s %s from %s, remote %s, asserted %q, here %v", r.Proto, who, s.Immediate, remote, s.Asserted,
			here.(*net.TCPAddr).IP)
	})
}

// site serves a handler behind a receiver.
func site(t *testing.T, h http.Handler, r *proxyproto.Receiver, opts httpserver.ServeOptions) net.Addr {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s := must[*httpserver.Server](t)(httpserver.NewServer(h, opts))
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), r.Listener(l)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr()
}

// getter makes requests over connections that begin with some bytes.
func getter(from string, first []byte, config *tls.Config, protocols *http.Protocols) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: config != nil, Protocols: protocols,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			conn, err := d.DialContext(ctx, network, address)
			if err == nil {
				_, err = conn.Write(first)
			}
			return conn, err
		},
	}}
}

func get(t *testing.T, client *http.Client, url string, header http.Header) string {
	t.Helper()
	defer client.CloseIdleConnections()
	request := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody))
	maps.Copy(request.Header, header)
	response, err := client.Do(request)
	if err != nil {
		return "closed"
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	return string(must[[]byte](t)(io.ReadAll(response.Body)))
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestRequestsHaveTheClientsAddress(t *testing.T) {
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13}
	client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	const rest = "nobody from 127.0.0.1, remote " + asserted + `, asserted "` + asserted + `", here 127.0.0.1`
	for _, tt := range []struct {
		name, scheme string
		opts         httpserver.ServeOptions
		first        []byte
		config       *tls.Config
		protocols    *http.Protocols
		want         string
	}{
		{"HTTP/1.1", "http", httpserver.ServeOptions{}, header(asserted), nil, nil, "HTTP/1.1 " + rest},
		{"HTTP/2 without TLS", "http", httpserver.ServeOptions{}, header(asserted), nil, h2c, "HTTP/2.0 " + rest},
		{"TLS behind the header", "https", httpserver.ServeOptions{TLSConfig: server}, header(asserted), client, nil, "HTTP/2.0 " + rest},
		{"a connection of the proxy's own", "http", httpserver.ServeOptions{}, local, nil, nil, `HTTP/1.1 nobody from 127.0.0.1, remote the same, asserted "", here 127.0.0.1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := site(t, reporter(nil), receiver(t, proxyproto.Options{Local: true}), tt.opts)
			if got := get(t, getter("127.0.0.1", tt.first, tt.config, tt.protocols), tt.scheme+"://"+addr.String(), nil); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAnAssertedAddressIsNoProxy(t *testing.T) {
	xfcc := http.Header{"X-Forwarded-Client-Cert": {"Hash=" + strings.Repeat("0a", 32) + ";URI=spiffe://example.org/worker"}}
	for _, tt := range []struct {
		name, trusted, asserts, want string
	}{
		{"the load balancer is the trusted proxy", "127.0.0.1", asserted, "spiffe://example.org/worker"},
		{"the client is where the trusted proxy is", "192.0.2.7", asserted, "nobody"},
		{"the client says that it is the load balancer", "192.0.2.7", "127.0.0.1:4242", "nobody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			authenticator := must[*mtls.Authenticator](t)(mtls.New(mtls.Options{
				Source: mtls.XFCC, Name: mtls.SPIFFEID, Proxies: []string{tt.trusted}, TrustDomains: []string{"example.org"},
			}))
			addr := site(t, reporter(authenticator), receiver(t, proxyproto.Options{}), httpserver.ServeOptions{})
			got := get(t, getter("127.0.0.1", header(tt.asserts), nil, nil), "http://"+addr.String(), xfcc)
			if fields := strings.Fields(got); len(fields) < 2 || fields[1] != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// answer is the status that a request gets behind some bytes, both written at once:
// a client would not expect the answer to come before its request.
func answer(t *testing.T, from string, to net.Addr, first []byte) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn := must[net.Conn](t)(d.DialContext(t.Context(), "tcp", to.String()))
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The other end may have closed it before it has read everything.
	_, _ = conn.Write(append(slices.Clip(first), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"...))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "left open"
	case err != nil:
		return "closed"
	}
	defer func() { _ = response.Body.Close() }()
	return response.Status
}

func TestConnectionsThatAreRefusedGetNoAnswer(t *testing.T) {
	big := append([]byte{0xea, 0xff, 0xff}, make([]byte, 65520)...)
	for _, tt := range []struct {
		name, from string
		first      []byte
		want       string
	}{
		{"an untrusted address", "127.0.0.2", header(asserted), "closed"},
		{"an untrusted address without a header", "127.0.0.2", nil, "closed"},
		{"no header", "127.0.0.1", nil, "closed"},
		{"version 1", "127.0.0.1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 4242 443\r\n"), "closed"},
		{"a connection of the proxy's own", "127.0.0.1", local, "closed"},
		{"an oversized addition", "127.0.0.1", header(asserted, big...), "closed"},
		{"a second header", "127.0.0.1", append(header(asserted), header("203.0.113.9:1")...), "400 Bad Request"},
		{"garbage behind it", "127.0.0.1", append(header(asserted), "garbage\r\n\r\n"...), "400 Bad Request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := site(t, reporter(nil), receiver(t, proxyproto.Options{}), httpserver.ServeOptions{})
			if got := answer(t, tt.from, addr, tt.first); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAnotherServerLearnsOfTheProxyByConnContext(t *testing.T) {
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	s := &http.Server{Handler: reporter(nil), ConnContext: proxyproto.ConnContext, ReadHeaderTimeout: patience}
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13}
	go func() { _ = s.Serve(tls.NewListener(receiver(t, proxyproto.Options{}).Listener(l), server)) }()
	defer func() { _ = s.Close() }()
	client := getter("127.0.0.1", header(asserted), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, nil)
	got := get(t, client, "https://"+l.Addr().String(), nil)
	if want := "nobody from 127.0.0.1, remote " + asserted + `, asserted "` + asserted + `", here 127.0.0.1`; !strings.HasSuffix(got, want) {
		t.Errorf("got %s", got)
	}
}

// pipes is a listener of pipes that come from the proxy.
type pipes chan net.Conn

func (l pipes) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l pipes) Close() error {
	close(l)
	return nil
}

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestOneSlowHeaderHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := make(pipes)
		var log bytes.Buffer
		refusals := make(chan vgirpc.Refused, 1)
		l := punctual(t, proxyproto.Options{
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
			Refused: func(_ context.Context, r *vgirpc.Refused) { refusals <- *r },
		}).Listener(inner)
		dial := func(source string, first []byte) net.Conn {
			near, far := net.Pipe()
			inner <- endOf{far, source}
			go func() { _, _ = near.Write(first) }()
			return near
		}
		slow := dial("127.0.0.1:1", header(asserted)[:20])
		quick := dial("127.0.0.1:2", header(asserted))
		conn, err := l.Accept()
		if err != nil || conn.RemoteAddr().String() != asserted {
			t.Errorf("accepted %v, %v", conn, err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, err := slow.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the slow one is still there: %v", err)
		}
		if !strings.Contains(log.String(), "was not there within 5s") || strings.Contains(log.String(), asserted) {
			t.Errorf("the log is %s", log.String())
		}
		want := vgirpc.Refused{
			Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedProxyHeader, Code: vgirpc.DeadlineExceeded, Kind: proxyproto.KindTimeout,
			Peer: "127.0.0.1:1", UID: -1, PID: -1, Duration: 5 * time.Second,
		}
		if got := <-refusals; got != want {
			t.Errorf("told %+v", got)
		}
		knock := dial("127.0.0.1:3", nil)
		_ = knock.Close()
		synctest.Wait()
		if strings.Contains(log.String(), ":3") {
			t.Errorf("the log tells of somebody who only knocked: %s", log.String())
		}
		// The end: one has sent nothing, one is not accepted.
		silent, waiting := dial("127.0.0.1:4", nil), dial("127.0.0.1:5", header(asserted))
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for _, c := range []net.Conn{silent, waiting} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("it outlives its listener: %v", err)
			}
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_ = quick.Close()
		_ = conn.Close()
	})
}

// failing fails to accept now and then.
type failing struct {
	pipes
	errs chan error
}

func (l failing) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	case conn, ok := <-l.pipes:
		if !ok {
			return nil, net.ErrClosed
		}
		return conn, nil
	}
}

func TestAnErrorOfTheListenerIsThatOfAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := failing{make(pipes), make(chan error, 1)}
		l := receiver(t, proxyproto.Options{}).Listener(inner)
		passing := errors.New("too many open files")
		inner.errs <- passing
		if _, err := l.Accept(); !errors.Is(err, passing) {
			t.Errorf("got %v", err)
		}
		near, far := net.Pipe()
		inner.pipes <- endOf{far, "127.0.0.1:1"}
		go func() { _, _ = near.Write(append(header(asserted), "hello\n"...)) }()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
			t.Errorf("read %q, %v", line, err)
		}
		_ = l.Close()
		_ = conn.Close()
	})
}

func TestMoreConnectionsThanMayBePendingWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := make(pipes)
		l := receiver(t, proxyproto.Options{}).Listener(inner)
		var taken atomic.Int64
		enough, fed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(fed)
			for range 300 {
				near, far := net.Pipe()
				defer func() { _, _ = near.Close(), far.Close() }()
				select {
				case inner <- endOf{far, "127.0.0.1:1"}:
					taken.Add(1)
				case <-enough:
					return
				}
			}
		}()
		synctest.Wait() // until nobody takes one any more
		if n := taken.Load(); n != 256 {
			t.Errorf("%d connections without a header were accepted", n)
		}
		close(enough)
		<-fed // ahead of Close, which ends inner
		_ = l.Close()
	})
}
