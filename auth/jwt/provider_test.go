package jwt_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/oidctest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const unknownKeyInterval = 200 * time.Millisecond

// service is a service that takes the tokens of a certified provider, over HTTP.
type service struct {
	t        *testing.T
	provider *oidctest.Provider
	url      string
	messages chan string // of the authenticator's log
}

// Handle passes a message of the log on.
func (s *service) Handle(_ context.Context, r slog.Record) error {
	s.messages <- r.Message
	return nil
}

// Enabled is for everything.
func (s *service) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs changes nothing.
func (s *service) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup changes nothing.
func (s *service) WithGroup(string) slog.Handler { return s }

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, provider: oidctest.Start(t, oidctest.Options{Lifetime: time.Hour}), messages: make(chan string, 1000)}
	a, err := jwt.New(t.Context(), jwt.Options{
		Issuers: []jwt.Issuer{{Name: s.provider.Issuer}}, Audiences: []string{oidctest.DefaultAudience}, AllowHTTP: true,
		PrincipalClaim: "client_id", UnknownKeyInterval: unknownKeyInterval, RefreshTimeout: time.Minute, Logger: slog.New(s),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	p := vgirpc.NewProtocol("test.Protected", "1.0.0")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(server, httpserver.Options{Auth: a})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// token is an access token of now, as a service gets it for itself.
func (s *service) token() string {
	s.t.Helper()
	c := clientcredentials.Config{
		ClientID: string(oidctest.Service), ClientSecret: oidctest.Service.Secret(), TokenURL: s.provider.Issuer + "/token",
		Scopes: []string{"api"}, AuthStyle: oauth2.AuthStyleInHeader,
	}
	token, err := c.Token(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return token.AccessToken
}

// ask opens a page with a token.
func (s *service) ask(token string) (status int, retryAfter string) {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/describe", nil)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

func (s *service) expect(what, token string, want int) {
	s.t.Helper()
	if status, _ := s.ask(token); status != want {
		s.t.Errorf("%s: status %d, want %d", what, status, want)
	}
}

// junk is a token with a key id that nobody has, and otherwise as it should be.
func (s *service) junk(key signer, i int) string {
	claims := golangjwt.MapClaims{
		"iss": s.provider.Issuer, "aud": oidctest.DefaultAudience, "sub": "eve", "client_id": "eve", "exp": time.Now().Add(time.Hour).Unix(),
	}
	token := golangjwt.NewWithClaims(key.method, claims)
	token.Header["kid"], token.Header["typ"] = "junk-"+strconv.Itoa(i), "at+jwt"
	text, err := token.SignedString(key.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func TestACertifiedProviderRotatesItsKeys(t *testing.T) {
	s := newService(t)
	old := s.token()
	s.expect("a token", old, 200)
	if parts := strings.Split(old, "."); len(parts) == 3 {
		s.expect("one without its signature", parts[0]+"."+parts[1]+".", 401)
	}
	s.provider.RotateKeys(t, true)
	s.expect("the first token after an orderly rotation", s.token(), 200)
	s.expect("the token from before it", old, 200)
	s.provider.RotateKeys(t, false)
	s.expect("the first token after a rotation at once", s.token(), 200)
	s.expect("a token whose key was taken away", old, 401)
}

func TestAStormOfUnknownKeysDoesNotDelayARotation(t *testing.T) {
	s := newService(t)
	s.expect("a token", s.token(), 200)
	before := s.provider.Requests(t, "/jwks")
	eve := newSigner(t, "", "RS256")
	const many = 300
	var junk []string
	for i := range many {
		junk = append(junk, s.junk(eve, i))
	}
	var storm sync.WaitGroup
	begun, start := make(chan struct{}, many), time.Now()
	for _, text := range junk {
		storm.Go(func() {
			begun <- struct{}{}
			s.expect("junk", text, 401)
		})
	}
	for range many / 2 {
		<-begun
	}
	s.provider.RotateKeys(t, false)
	s.expect("the first token after a rotation in the storm", s.token(), 200)
	storm.Wait()
	// Five at once, and then one for each interval; without a limit it were 300.
	most := 6 + int(time.Since(start)/unknownKeyInterval)
	if asked := s.provider.Requests(t, "/jwks") - before; asked > most {
		t.Errorf("the provider was asked for its keys %d times, want at most %d", asked, most)
	}
}

func TestAnOutageOfACertifiedProviderIsNoRefusal(t *testing.T) {
	for _, kind := range []string{oidctest.Unavailable, oidctest.Reset} {
		t.Run(kind, func(t *testing.T) {
			s := newService(t)
			known := s.token()
			s.expect("a token", known, 200)
			s.provider.RotateKeys(t, true)
			unknown := s.token()
			s.provider.Outage(t, kind)
			status, retryAfter := s.ask(unknown)
			if n, err := strconv.Atoi(retryAfter); status != http.StatusServiceUnavailable || err != nil || n < 1 {
				t.Errorf("a token whose key cannot be had: status %d, Retry-After %q", status, retryAfter)
			}
			s.expect("a token whose key is known", known, 200)
			s.provider.Recover(t)
			for said := range s.messages {
				if strings.Contains(said, "can be fetched again") {
					break
				}
			}
			s.expect("the token, when the outage is over", unknown, 200)
		})
	}
}
