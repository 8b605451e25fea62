package oauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
)

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}` +
	`.note{border-left:4px solid #c77700;padding:.5rem 1rem;background:#fff7e8;overflow-wrap:anywhere}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#9cf}.note{background:#2d2413}}`

// csp allows the package's own style, and nothing else.
var csp = func() string {
	digest := sha256.Sum256([]byte(style))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(digest[:]) + "'"
}()

// notice is what a page says. Retry is a path of the service.
type notice struct {
	Heading, Text, Detail string
	Retry, Again          string
}

var page = template.Must(template.New("notice").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Notice.Heading}}</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>{{.Notice.Heading}}</h1>
<p>{{.Notice.Text}}</p>
{{with .Notice.Detail}}<p class="note">{{.}}</p>
{{end}}{{with .Notice.Retry}}<p><a href="{{.}}">{{$.Notice.Again}}</a></p>
{{end}}</body>
</html>
`))

// fail answers with a page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, n notice) {
	if n.Heading == "" {
		n.Heading = "Authentication Error"
	}
	if n.Again == "" {
		n.Again = "Try again"
	}
	var body bytes.Buffer
	if err := page.Execute(&body, struct {
		Notice notice
		Style  template.CSS
	}{n, style}); err != nil {
		s.log.ErrorContext(r.Context(), "a page cannot be rendered", "error", err)
		http.Error(w, n.Text, status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Content-Security-Policy", csp)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the peer may be gone
}
