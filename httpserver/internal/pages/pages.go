package pages

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

//go:embed assets templates
var files embed.FS

// CSP is the Content-Security-Policy of every page, also of what
// [Pages.Unauthorized] renders.
const CSP = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Options configure [New]. Only Server is required.
type Options struct {
	// Server is what is described. New seals it.
	Server *vgirpc.Server
	// Prefix is the path below which the server is mounted: "" or "/vgi".
	Prefix string
	// RepositoryURL is linked from the pages: an http or https URL, or "" for no
	// link.
	RepositoryURL string
	// Title heads the pages; the first protocol's name when empty.
	Title string
	// TryIt puts a form on the description of each unary method, which posts JSON
	// to {prefix}/{protocol}/{method}?format=json.
	TryIt bool
	// SignOutURL signs a browser out. With it the pages show who is signed in;
	// "" for none.
	SignOutURL string
	// Version is the version of the runtime or build, shown at the foot; "" for
	// none.
	Version string
}

// Pages are the rendered pages of one server. They are immutable; the methods
// with the shape of [http.HandlerFunc] may be used by many goroutines at once.
type Pages struct {
	landing, describe, notFound document
	assets                      map[string]document // by name
	templates                   *template.Template
	site                        site
}

// document is a body with the headers that it goes out with. The values are
// shared by all responses.
type document struct {
	body   []byte
	header map[string][]string
}

// site is what all pages show.
type site struct {
	Title, Version, ServerID, RepositoryURL string
	LandingURL, DescribeURL, SignOutURL     string
	Asset                                   struct{ Style, Script, Account, Icon string }
}

// New renders the pages. It fails when the server cannot be sealed (a method has
// no handler), and for a prefix or URL that cannot be linked.
func New(opts Options) (*Pages, error) {
	p := &Pages{}
	if err := p.introduce(opts); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	if err := p.hashAssets(opts.Prefix); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	var err error
	if p.templates, err = template.ParseFS(files, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	protocols, err := describeAll(opts)
	if err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	views := []struct {
		to       *document
		template string
		data     any
	}{
		{&p.landing, "landing", landingView{p.site, p.site.Title + " · vgi-rpc", protocols}},
		{&p.describe, "describe", describeView{p.site, p.site.Title + " API reference · vgi-rpc", protocols, opts.TryIt}},
		{&p.notFound, "notice", noticeView{
			site: p.site, PageTitle: "404 Not Found", Heading: "404 Not Found",
			Text: "There is no such page here. Calls are POST requests to {prefix}/{protocol}/{method}.",
		}},
	}
	for _, v := range views {
		var body bytes.Buffer
		if err := p.templates.ExecuteTemplate(&body, v.template, v.data); err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
		*v.to = newDocument(body.Bytes(), "text/html; charset=utf-8", map[string]string{
			"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		})
	}
	return p, nil
}

// introduce checks the options and fills in what all pages show.
func (p *Pages) introduce(opts Options) error {
	if opts.Server == nil {
		return errors.New("a server is required")
	}
	if err := opts.Server.Seal(); err != nil {
		return err
	}
	if opts.Prefix != "" && (path.Clean(opts.Prefix) != opts.Prefix || !strings.HasPrefix(opts.Prefix, "/") || opts.Prefix == "/") {
		return fmt.Errorf(`prefix %q: want "" or a path such as "/vgi"`, opts.Prefix)
	}
	if opts.RepositoryURL != "" {
		u, err := url.Parse(opts.RepositoryURL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			return fmt.Errorf("repository URL %q: want http:// or https://", opts.RepositoryURL)
		}
	}
	p.site = site{
		Title: opts.Title, Version: opts.Version, ServerID: opts.Server.ID(), RepositoryURL: opts.RepositoryURL,
		LandingURL: opts.Prefix, DescribeURL: opts.Prefix + "/describe", SignOutURL: opts.SignOutURL,
	}
	if p.site.Title == "" {
		p.site.Title = opts.Server.Protocols()[0].Name()
	}
	if p.site.LandingURL == "" {
		p.site.LandingURL = "/"
	}
	return nil
}

type landingView struct {
	site

	PageTitle string
	Protocols []protocolView
}

type describeView struct {
	site

	PageTitle string
	Protocols []protocolView
	TryIt     bool
}

type noticeView struct {
	site

	PageTitle, Heading, Text string
	Reason, Detail, Hint     string
}

func newDocument(body []byte, contentType string, header map[string]string) document {
	d := document{body, map[string][]string{
		"Content-Type": {contentType}, "Content-Length": {strconv.Itoa(len(body))}, "X-Content-Type-Options": {"nosniff"},
	}}
	for name, value := range header {
		d.header[name] = []string{value}
	}
	return d
}

// serve writes d. net/http leaves the body out of an answer to HEAD.
func (d *document) serve(w http.ResponseWriter, status int) {
	h := w.Header()
	maps.Copy(h, d.header)
	w.WriteHeader(status)
	_, _ = w.Write(d.body) // a reader who has gone needs no page
}

// Landing serves the page at {prefix}.
func (p *Pages) Landing(w http.ResponseWriter, _ *http.Request) { p.landing.serve(w, http.StatusOK) }

// Describe serves the page at {prefix}/describe.
func (p *Pages) Describe(w http.ResponseWriter, _ *http.Request) { p.describe.serve(w, http.StatusOK) }

// Asset serves what the pages load, at {prefix}/_assets/{name}. An asset may be
// cached for ever: its name changes with its content.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request) {
	asset, ok := p.assets[path.Base(r.URL.Path)]
	if !ok {
		plainNotFound.serve(w, http.StatusNotFound)
		return
	}
	asset.serve(w, http.StatusOK)
}

// NotFound answers 404: with a page where the request accepts HTML, else with
// a line of JSON.
func (p *Pages) NotFound(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if !AcceptsHTML(r) {
		plainNotFound.serve(w, http.StatusNotFound)
		return
	}
	p.notFound.serve(w, http.StatusNotFound)
}

var plainNotFound = newDocument([]byte(`{"error":"not_found"}`+"\n"), "application/json", map[string]string{"Cache-Control": "no-store"})

// AcceptsHTML reports whether a request names text/html among what it accepts,
// as browsers do and clients of the protocol do not.
func AcceptsHTML(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}

// Unauthorized renders the page of a 401 (unauthorized-spec section 4): reason
// is its code, detail a sentence, proxyHint the note about a proxy or "". Status
// and headers are the caller's, the policy [CSP] among them.
func (p *Pages) Unauthorized(w io.Writer, reason, detail, proxyHint string) error {
	err := p.templates.ExecuteTemplate(w, "notice", noticeView{
		site: p.site, PageTitle: "401 Unauthorized", Heading: "401 Unauthorized",
		Text: "This service wants to know who is calling.", Reason: reason, Detail: detail, Hint: proxyHint,
	})
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	return nil
}
