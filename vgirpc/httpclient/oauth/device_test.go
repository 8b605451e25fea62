package oauth_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

func TestADeviceCodeIsPolledForAsTheIssuerSays(t *testing.T) {
	const s = time.Second
	answers := func(a ...func(url.Values) (int, any)) []func(url.Values) (int, any) { return a }
	pending := refuses(400, "authorization_pending")
	for _, tt := range []struct {
		name   string
		device map[string]any // changes of the answer
		tokens []func(url.Values) (int, any)
		pauses []time.Duration
		want   string // the token, or the error's code
	}{
		{"at once", nil, answers(gives("tok")), []time.Duration{5 * s}, "tok"},
		{"pending", map[string]any{"interval": 2}, answers(pending, pending, gives("tok")), []time.Duration{2 * s, 2 * s, 2 * s}, "tok"},
		{"no interval is five seconds", map[string]any{"interval": nil}, answers(pending, gives("tok")), []time.Duration{5 * s, 5 * s}, "tok"},
		{"slow_down adds five seconds for good", nil, answers(refuses(400, "slow_down"), pending, gives("tok")), []time.Duration{5 * s, 10 * s, 10 * s}, "tok"},
		{"429 does as well", nil, answers(fails(429), gives("tok")), []time.Duration{5 * s, 10 * s}, "tok"},
		{"three failures are bridged", nil, answers(fails(503), fails(-1), fails(500), gives("tok")), []time.Duration{5 * s, 5 * s, 5 * s, 5 * s}, "tok"},
		{
			"and three more after an answer", nil, answers(fails(503), fails(503), fails(503), pending, fails(503), gives("tok")),
			[]time.Duration{5 * s, 5 * s, 5 * s, 5 * s, 5 * s, 5 * s},
			"tok",
		},
		{"the fourth is not", nil, answers(fails(503)), []time.Duration{5 * s, 5 * s, 5 * s, 5 * s}, "UNAVAILABLE"},
		{"expired_token", nil, answers(refuses(400, "expired_token")), []time.Duration{5 * s}, "DEADLINE_EXCEEDED"},
		{"access_denied", nil, answers(refuses(400, "access_denied")), []time.Duration{5 * s}, "PERMISSION_DENIED"},
		{"another error", nil, answers(refuses(400, "unauthorized_client")), []time.Duration{5 * s}, "UNAUTHENTICATED"},
		{"the code's end", map[string]any{"expires_in": 12}, answers(pending), []time.Duration{5 * s, 5 * s}, "DEADLINE_EXCEEDED"},
		{"numbers in strings", map[string]any{"expires_in": "12", "interval": "1"}, answers(gives("tok", "expires_in", "60")), []time.Duration{s}, "tok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.tokens = tt.tokens
				maps.Copy(i.device, tt.device)
				c := newClient(t, i, oauth.Options{ShowCode: ignored})
				start := time.Now()
				err := c.Login(t.Context())
				got := string(vgirpc.CodeOf(err))
				if err == nil {
					got, err = c.Token(t.Context())
				}
				if got != tt.want {
					t.Errorf("got %q and %v, want %q", got, err, tt.want)
				}
				noSecrets(t, errText(err), "dev-code-secret")
				if diff := cmp.Diff(tt.pauses, i.pauses("idp.example/token", start)); diff != "" {
					t.Errorf("pauses: %s", diff)
				}
			})
		})
	}
}

func TestACodeIsShownOnlyWhereItCanBeTrusted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes map[string]any
		want    string // in the error; "" is none
	}{
		{"as it is", nil, ""},
		{"the URI under its old name", map[string]any{"verification_uri": nil, "verification_url": issuerURL + "/old"}, ""},
		{"no URI", map[string]any{"verification_uri": nil}, "without a device code"},
		{"no user code", map[string]any{"user_code": ""}, "without a device code"},
		{"a user code that steers the terminal", map[string]any{"user_code": "\x1b[2J"}, "without a device code"},
		{"a URI without https", map[string]any{"verification_uri": "http://idp.example/activate"}, "want https"},
		{"a URI that runs code", map[string]any{"verification_uri_complete": "javascript:alert(1)"}, "no URL of http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				maps.Copy(i.device, tt.changes)
				i.tokens = append(i.tokens, gives("tok"))
				var code oauth.DeviceCode
				err := newClient(t, i, oauth.Options{ShowCode: shown(&code)}).Login(t.Context())
				if tt.want == "" {
					if err != nil || code.UserCode != "ABCD-EFGH" || code.Server != "Numbers" || !strings.HasPrefix(code.URL, issuerURL) {
						t.Errorf("got %+v and %v", code, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), tt.want) || code.UserCode != "" {
					t.Errorf("got %v, and %+v was shown", err, code)
				}
			})
		})
	}
}

func TestTheClientIsTheOneThatTheServerMeans(t *testing.T) {
	for _, tt := range []struct {
		name     string
		resource map[string]any
		opts     oauth.Options
		want     []string // client and secret of the device code, the poll, and the refresh with its host
	}{
		{
			"the device client with its own secret",
			map[string]any{"client_secret": "s1", "device_code_client_id": "dev", "device_code_client_secret": "s2"},
			oauth.Options{},
			[]string{"dev s2", "dev s2", "dev s2 idp.example/token"},
		},
		{
			"the device client has no secret of the other",
			map[string]any{"client_secret": "s1", "device_code_client_id": "dev"},
			oauth.Options{},
			[]string{"dev ", "dev ", "dev  idp.example/token"},
		},
		{"the ordinary client", map[string]any{"client_secret": "s1"}, oauth.Options{}, []string{"web s1", "web s1", "web s1 idp.example/token"}},
		{
			"the challenge's client last",
			map[string]any{"client_id": nil},
			oauth.Options{},
			[]string{"challenged ", "challenged ", "challenged  idp.example/token"},
		},
		{
			"the options' client first",
			map[string]any{"client_secret": "s1"},
			oauth.Options{ClientID: "mine", ClientSecret: "s3"},
			[]string{"mine s3", "mine s3", "mine s3 idp.example/token"},
		},
		{
			"the server's token endpoint refreshes, and gets no secret",
			map[string]any{"device_code_client_id": "dev", "device_code_client_secret": "s2", "token_endpoint": serverURL + "/_oauth/token"},
			oauth.Options{},
			[]string{"dev s2", "dev s2", "dev  api.example/vgi/_oauth/token"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				maps.Copy(i.resource, tt.resource)
				i.tokens = append(i.tokens, gives("one", "refresh_token", "r"), gives("two"))
				tt.opts.ShowCode = ignored
				c := newClient(t, i, tt.opts)
				i.take("one")
				if status, body, err := call(t.Context(), i, c); status != 200 || !strings.Contains(body, "payload") {
					t.Fatalf("status %d, body %q: %v", status, body, err)
				}
				time.Sleep(time.Hour) // of the test's own clock
				i.take("two")
				if status, _, err := call(t.Context(), i, c); status != 200 {
					t.Fatalf("status %d: %v", status, err)
				}
				var got []string
				for _, form := range i.forms {
					got = append(got, form.Get("client_id")+" "+form.Get("client_secret"))
				}
				got[2] += " " + i.paths[len(i.paths)-2]
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestALoginForWhichNobodyWaitsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, refuses(400, "authorization_pending"))
		c := newClient(t, i, oauth.Options{ShowCode: ignored})
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		if err := c.Login(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute) // of the test's own clock
		if n := i.count("idp.example/token"); n != 2 {
			t.Errorf("%d polls", n)
		}
	})
}
