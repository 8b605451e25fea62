package oidctest

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A Person has a browser with cookies, and does what the provider's pages ask
// for. It keeps its session between calls. Only for a provider without
// [Options.Pages].
type Person struct {
	provider *Provider
	client   *http.Client
}

// NewPerson returns a person who has not signed in yet.
func (p *Provider) NewPerson(tb testing.TB) *Person {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	person := &Person{provider: p}
	person.client = &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if "http://"+req.URL.Host != p.Issuer {
			return http.ErrUseLastResponse // it leaves the provider
		}
		if len(via) > 20 {
			return errors.New("redirected in circles")
		}
		return nil
	}}
	return person
}

// Authorize opens an authorization URL, signs in and agrees, and returns where
// the provider sends the browser then: the redirect URI with a code and a state,
// or with an error.
func (p *Person) Authorize(tb testing.TB, authorizationURL string) (redirect string) {
	tb.Helper()
	got := p.do(tb, http.MethodGet, authorizationURL, nil)
	if got.redirect == "" {
		tb.Fatalf("the provider did not redirect: status %d: %s", got.status, text(got.body))
	}
	return got.redirect
}

// Visit opens an authorization URL as Authorize does, and follows the browser to
// the redirect URI. It returns the page's status and body.
func (p *Person) Visit(tb testing.TB, authorizationURL string) (status int, body string) {
	tb.Helper()
	got := p.do(tb, http.MethodGet, p.Authorize(tb, authorizationURL), nil)
	return got.status, got.body
}

var (
	form  = regexp.MustCompile(`<form[^>]*action="([^"]+)"`)
	input = regexp.MustCompile(`(?s)<input\b[^>]*>`)
	attr  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	tags  = regexp.MustCompile(`(?s)<(style|script)[^>]*>.*?</(style|script)>|<[^>]+>|\s+`)
)

// EnterCode opens the verification URI of a device with the code in it
// (verification_uri_complete), confirms the code, signs in and agrees, or denies
// when [Provider.Deny] says so. It returns the text of the last page.
func (p *Person) EnterCode(tb testing.TB, verificationURI string) (said string) {
	tb.Helper()
	got := p.do(tb, http.MethodGet, verificationURI, nil)
	confirmed := false
	for range 5 {
		action := form.FindStringSubmatch(got.body)
		if action == nil || confirmed {
			return text(got.body) // a form after the confirmation is for another try
		}
		confirmed = strings.Contains(got.body, `name="confirm"`)
		fields := url.Values{}
		for _, tag := range input.FindAllString(got.body, -1) {
			attrs := map[string]string{}
			for _, m := range attr.FindAllStringSubmatch(tag, -1) {
				attrs[m[1]] = html.UnescapeString(m[2])
			}
			fields.Set(attrs["name"], attrs["value"])
		}
		to, err := got.at.Parse(html.UnescapeString(action[1]))
		if err != nil {
			tb.Fatal(err)
		}
		got = p.do(tb, http.MethodPost, to.String(), fields)
	}
	tb.Fatalf("the provider asks without an end: %s", text(got.body))
	return ""
}

// A page is what the browser sees.
type page struct {
	at             *url.URL
	status         int
	body, redirect string
}

func (p *Person) do(tb testing.TB, method, to string, fields url.Values) page {
	tb.Helper()
	// A page may still be on its way when the test is done with it.
	ctx := context.WithoutCancel(tb.Context())
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(fields.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if fields != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return page{at: resp.Request.URL, status: resp.StatusCode, body: string(body), redirect: resp.Header.Get("Location")}
}

// text is what a page says.
func text(body string) string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(body, " ")), " ")
}
