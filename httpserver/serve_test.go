package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver"
)

var silent = slog.New(slog.DiscardHandler)

// soon is a timeout that a test waits for.
const soon = 50 * time.Millisecond

// notSoon is one that a test waits for as well, where something must succeed within it
// on a slow machine.
const notSoon = 2 * time.Second

// serve serves h on a free port of the loopback interface until the test ends.
func serve(t *testing.T, h http.Handler, opts httpserver.ServeOptions) (s *httpserver.Server, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, h, opts), l.Addr().String()
}

func serveOn(t *testing.T, l net.Listener, h http.Handler, opts httpserver.ServeOptions) *httpserver.Server {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = silent
	}
	s, err := httpserver.NewServer(h, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// client returns a client with connections of its own.
func client(t *testing.T, change func(*http.Transport)) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	if change != nil {
		change(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func onlyH2C(tr *http.Transport) {
	tr.Protocols.SetHTTP1(false)
	tr.Protocols.SetUnencryptedHTTP2(true)
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get returns the body of an answer.
func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	res, err := c.Do(request(t, http.MethodGet, url, nil))
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func TestWhoeverStandsStillIsCutOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts httpserver.ServeOptions
		sent string
	}{
		{"a client that says nothing", httpserver.ServeOptions{ReadHeaderTimeout: soon}, ""},
		{"a header that never ends", httpserver.ServeOptions{ReadHeaderTimeout: soon}, "POST / HTTP/1.1\r\nHost: x\r\nA: "},
		{"a body of known length", httpserver.ServeOptions{ProgressTimeout: soon}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"},
		{"a body that never begins", httpserver.ServeOptions{ProgressTimeout: soon}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"},
		{"a chunked body", httpserver.ServeOptions{ProgressTimeout: soon}, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
		{"a body that the handler does not want", httpserver.ServeOptions{ProgressTimeout: soon}, "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"},
		{"a connection between requests", httpserver.ServeOptions{IdleTimeout: soon}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/refused" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if _, err := io.ReadAll(r.Body); r.ContentLength != 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("reading the body: %v, want that the deadline is over", err)
				}
			}), tt.opts)
			c := dial(t, address)
			if _, err := io.WriteString(c, tt.sent); err != nil {
				t.Fatal(err)
			}
			// To the end of the connection, which is a reset where something came too late.
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
		})
	}

	t.Run("a client that takes no more of an answer", func(t *testing.T) {
		failed := make(chan error, 1)
		_, address := serve(t, endless(failed), httpserver.ServeOptions{ProgressTimeout: soon})
		c := dial(t, address)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing the answer: %v, want that the deadline is over", err)
		}
	})

	t.Run("an HTTP/2 upload", func(t *testing.T) {
		failed := make(chan error, 1)
		_, address := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			failed <- err
		}), httpserver.ServeOptions{ProgressTimeout: soon})
		body, feed := io.Pipe()
		defer func() { _ = feed.Close() }()
		go func() {
			if res, err := client(t, onlyH2C).Do(request(t, http.MethodPost, "http://"+address, body)); err == nil {
				_ = res.Body.Close()
			}
		}()
		_, _ = feed.Write([]byte("half")) // on a slow machine the server has given up before
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading the body: %v, want that the deadline is over", err)
		}
	})

	t.Run("an HTTP/2 stream whose answer nobody takes, and its connection goes on", func(t *testing.T) {
		failed := make(chan error, 1)
		mux := http.NewServeMux()
		mux.Handle("/endless", endless(failed))
		mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
		_, address := serve(t, mux, httpserver.ServeOptions{ProgressTimeout: notSoon})
		c := client(t, onlyH2C)
		res, err := c.Do(request(t, http.MethodGet, "http://"+address+"/endless", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if err := <-failed; err == nil {
			t.Error("writing the answer went on")
		}
		if got, err := get(t, c, "http://"+address+"/short"); got != "here" || err != nil {
			t.Errorf("the next request gets %q, %v", got, err)
		}
	})
}

// endless is a handler that writes until it cannot.
func endless(failed chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 3<<20)
		for {
			if _, err := w.Write(piece); err != nil {
				failed <- err
				return
			}
		}
	}
}

// pipes is a listener of in-memory connections: time is that of the bubble.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) client(t *testing.T, change func(*http.Transport)) *http.Client {
	t.Helper()
	return client(t, func(tr *http.Transport) {
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return p.dial() }
		if change != nil {
			change(tr)
		}
	})
}

// slowBody is a body that comes in pieces with pauses.
type slowBody struct {
	pieces int
	pause  time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.pieces == 0 {
		return 0, io.EOF
	}
	b.pieces--
	time.Sleep(b.pause)
	return copy(p, "x"), nil
}

func TestWhoeverMovesMayTakeLong(t *testing.T) {
	const timeout = 30 * time.Second // as by default
	for _, version := range []struct {
		name   string
		change func(*http.Transport)
	}{{"HTTP/1.1", nil}, {"HTTP/2.0", onlyH2C}} {
		for _, tt := range []struct {
			name    string
			body    func() io.Reader
			handler http.HandlerFunc
		}{
			{
				"a handler without a body", func() io.Reader { return nil },
				func(w http.ResponseWriter, r *http.Request) { linger(w, r, 10*timeout) },
			},
			{
				"a handler that has read the body", func() io.Reader { return strings.NewReader("body") },
				func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadAll(r.Body)
					linger(w, r, 10*timeout)
				},
			},
			{
				"an upload", func() io.Reader { return &slowBody{10, timeout / 2} },
				func(w http.ResponseWriter, r *http.Request) {
					if body, err := io.ReadAll(r.Body); len(body) != 10 || err != nil {
						t.Errorf("read %q, %v", body, err)
					}
					linger(w, r, 2*timeout)
				},
			},
			{
				"an answer in pieces", func() io.Reader { return nil },
				func(w http.ResponseWriter, _ *http.Request) {
					for range 4 {
						time.Sleep(2 * timeout)
						if _, err := w.Write(make([]byte, 5<<10)); err != nil {
							t.Errorf("writing: %v", err)
						}
						if err := http.NewResponseController(w).Flush(); err != nil {
							t.Errorf("flushing: %v", err)
						}
					}
				},
			},
		} {
			t.Run(tt.name+" over "+version.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newPipes()
					serveOn(t, l, tt.handler, httpserver.ServeOptions{})
					c := l.client(t, version.change)
					for range 2 {
						res, err := c.Do(request(t, http.MethodPost, "http://x/", tt.body()))
						if err != nil {
							t.Fatal(err)
						}
						_, err = io.Copy(io.Discard, res.Body)
						if _ = res.Body.Close(); err != nil || res.StatusCode != http.StatusOK || res.Proto != version.name {
							t.Errorf("%s %s, %v", res.Proto, res.Status, err)
						}
						time.Sleep(timeout) // the connection waits, too
					}
				})
			})
		}
	}
}

// linger answers after a while, unless the request is over by then.
func linger(w http.ResponseWriter, r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
		http.Error(w, "cut off", http.StatusInternalServerError)
	}
}

func TestVersionsOfHTTP(t *testing.T) {
	proto := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	for _, tt := range []struct {
		name    string
		opts    httpserver.ServeOptions
		change  func(*http.Transport)
		want    string
		refused bool
	}{
		{"HTTP/1.1", httpserver.ServeOptions{}, nil, "HTTP/1.1", false},
		{"HTTP/2 to a server known to speak it", httpserver.ServeOptions{}, onlyH2C, "HTTP/2.0", false},
		{"HTTP/2 where it is turned off", httpserver.ServeOptions{NoH2C: true}, onlyH2C, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, address := serve(t, proto, tt.opts)
			got, err := get(t, client(t, tt.change), "http://"+address)
			if got != tt.want || (err != nil) != tt.refused {
				t.Errorf("answer %q, %v", got, err)
			}
		})
	}
}

func TestLimitsOfConnections(t *testing.T) {
	t.Run("a header too large is refused", func(t *testing.T) {
		_, address := serve(t, http.NotFoundHandler(), httpserver.ServeOptions{})
		r := request(t, http.MethodGet, "http://"+address, nil)
		r.Header.Set("A", strings.Repeat("a", 80<<10))
		res, err := client(t, nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _ = res.Body.Close(); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %s", res.Status)
		}
	})

	t.Run("connections beyond MaxConns wait for one to close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			serveOn(t, l, http.NotFoundHandler(), httpserver.ServeOptions{MaxConns: 1})
			first, err := l.dial()
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan net.Conn, 1)
			go func() {
				c, err := l.dial()
				if err != nil {
					t.Error(err)
				}
				accepted <- c
			}()
			synctest.Wait()
			if len(accepted) > 0 {
				t.Error("the second one was accepted at once")
			}
			_ = first.Close()
			_ = (<-accepted).Close()
		})
	})
}

// drained is a handler that keeps a diary.
type drained struct {
	http.HandlerFunc
	mu    sync.Mutex
	diary []string
}

func (d *drained) note(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.diary = append(d.diary, event)
}

func (d *drained) Drain() { d.note("drain") }

func (d *drained) Shutdown(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.note("sessions closed")
	return nil
}

func (d *drained) check(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, d.diary); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestShutdown(t *testing.T) {
	for _, version := range []struct {
		name   string
		change func(*http.Transport)
	}{{"HTTP/1.1", nil}, {"HTTP/2", onlyH2C}} {
		t.Run("lets a call finish, and closes sessions after it, over "+version.name, func(t *testing.T) {
			entered, finish := make(chan struct{}), make(chan struct{})
			var d *drained
			d = &drained{HandlerFunc: func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-finish
				d.note("answered")
				_, _ = io.WriteString(w, "done")
			}}
			s, address := serve(t, d, httpserver.ServeOptions{})
			answer := make(chan string, 1)
			go func() {
				body, err := get(t, client(t, version.change), "http://"+address)
				answer <- fmt.Sprint(body, err)
			}()
			<-entered
			ended := make(chan error, 2)
			for range 2 {
				go func() { ended <- s.Shutdown(context.Background()) }()
			}
			waitRefused(t, address)
			close(finish)
			if got := <-answer; got != "done<nil>" {
				t.Errorf("answer %s", got)
			}
			for range 2 {
				if err := <-ended; err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			}
			if err := s.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown, a third time: %v", err)
			}
			d.check(t, "drain", "answered", "sessions closed")
		})

		t.Run("cuts calls off when its context ends, and closes sessions even so, over "+version.name, func(t *testing.T) {
			entered := make(chan struct{})
			d := &drained{HandlerFunc: func(_ http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
			}}
			s, address := serve(t, d, httpserver.ServeOptions{})
			answer := make(chan error, 1)
			go func() {
				_, err := get(t, client(t, version.change), "http://"+address)
				answer <- err
			}()
			<-entered
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown: %v", err)
			}
			if err := <-answer; err == nil {
				t.Error("the call was answered")
			}
			d.check(t, "drain", "sessions closed")
		})
	}

	t.Run("takes requests during the DrainDelay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var d *drained
			d = &drained{HandlerFunc: func(http.ResponseWriter, *http.Request) { d.note("answered") }}
			l := newPipes()
			s := serveOn(t, l, d, httpserver.ServeOptions{DrainDelay: time.Minute})
			ended := make(chan error, 1)
			go func() { ended <- s.Shutdown(context.Background()) }()
			time.Sleep(59 * time.Second)
			c := l.client(t, nil)
			if _, err := get(t, c, "http://x"); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
			if _, err := get(t, c, "http://x"); err == nil {
				t.Error("a request was answered after the delay")
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			d.check(t, "drain", "answered", "sessions closed")
		})
	})
}

// waitRefused returns when nobody accepts connections any more.
func waitRefused(t *testing.T, address string) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		// The server closes what it accepted and was not used.
		_, _ = bufio.NewReader(c).ReadByte()
		_ = c.Close()
	}
}

func TestTheContextOfServe(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	entered := make(chan any)
	d := &drained{HandlerFunc: func(_ http.ResponseWriter, r *http.Request) {
		entered <- r.Context().Value(key{})
		<-r.Context().Done()
	}}
	s, err := httpserver.NewServer(d, httpserver.ServeOptions{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	go func() { _, _ = get(t, client(t, nil), "http://"+l.Addr().String()) }()
	if got := <-entered; got != "value" {
		t.Errorf("a request's context has %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	d.check(t, "sessions closed")
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	s, err := httpserver.NewServer(http.NotFoundHandler(), httpserver.ServeOptions{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	l := newPipes()
	_ = l.Close()
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		want string
		opts httpserver.ServeOptions
	}{
		{"ReadHeaderTimeout", httpserver.ServeOptions{ReadHeaderTimeout: -1}},
		{"MaxHeaderBytes", httpserver.ServeOptions{MaxHeaderBytes: -1}},
		{"DrainDelay", httpserver.ServeOptions{DrainDelay: -1}},
		{"SessionGrace", httpserver.ServeOptions{SessionGrace: -1}},
		{"want both", httpserver.ServeOptions{TLS: &httpserver.TLSOptions{CertFile: "x"}}},
		{"no such file", httpserver.ServeOptions{TLS: &httpserver.TLSOptions{CertFile: "/nowhere", KeyFile: "/nowhere"}}},
		{"ReloadInterval", httpserver.ServeOptions{TLS: &httpserver.TLSOptions{CertFile: "x", KeyFile: "x", ReloadInterval: -1}}},
		{"ClientCAFile", httpserver.ServeOptions{TLS: &httpserver.TLSOptions{CertFile: "x", KeyFile: "x", ClientCertOptional: true}}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if _, err := httpserver.NewServer(http.NotFoundHandler(), tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}
