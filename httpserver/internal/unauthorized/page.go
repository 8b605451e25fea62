package unauthorized

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"

	"github.com/vgirpc/vgirpc-go/auth"
)

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}` +
	`code{background:#f0f0f0;padding:.1em .3em;border-radius:3px}` +
	`.note{border-left:4px solid #c77700;padding:.5rem 1rem;background:#fff7e8}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}code{background:#2b2b2b}.note{background:#2d2413}}`

// bareCSP lets a page do nothing but be read.
const bareCSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageCSP allows the package's own style on top, and no script.
var pageCSP = func() string {
	digest := sha256.Sum256([]byte(style))
	return bareCSP + "; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"
}()

var page = template.Must(template.New("401").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>401 Unauthorized</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>401 Unauthorized</h1>
<p>{{.Advice}}</p>
<p>Reason: <code>{{.View.Reason}}</code> &middot; {{.View.Detail}}</p>
{{with .View.Hint}}<p class="note">{{.}}</p>
{{end}}</body>
</html>
`))

// renderPage is the page when nobody brings another.
func renderPage(w io.Writer, v View) error {
	return page.Execute(w, struct {
		View   View
		Advice string
		Style  template.CSS
	}{v, advice(v.Reason), style})
}

// advice is what the reader can do (section 3).
func advice(reason auth.Reason) string {
	switch reason {
	case auth.MissingCredential:
		return "The request carried no credential. Send one."
	case auth.InvalidCredential:
		return "The credential was not accepted. Correct it, or obtain another."
	case auth.ExpiredCredential:
		return "The credential is outside its period of validity. Refresh it and try again."
	case auth.InsufficientScope:
		return "The caller is known, and is not permitted to use this service."
	case auth.ProxyRequired:
		return "The request did not come through the proxy that this service trusts. That is mostly for its operator to mend."
	default:
		return "The request was refused."
	}
}
