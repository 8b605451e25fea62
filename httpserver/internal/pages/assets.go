package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// hashAssets gives each asset a name with a hash of its content, and the pages
// the paths under which they load them.
func (p *Pages) hashAssets(prefix string) error {
	p.assets = map[string]document{}
	for _, a := range []struct {
		file, contentType string
		url               *string
	}{
		{"style.css", "text/css; charset=utf-8", &p.site.Asset.Style},
		{"script.js", "text/javascript; charset=utf-8", &p.site.Asset.Script},
		{"account.js", "text/javascript; charset=utf-8", &p.site.Asset.Account},
		{"icon.svg", "image/svg+xml", &p.site.Asset.Icon},
	} {
		body, err := files.ReadFile("assets/" + a.file)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(body)
		ext := path.Ext(a.file)
		name := strings.TrimSuffix(a.file, ext) + "." + hex.EncodeToString(digest[:8]) + ext
		p.assets[name] = newDocument(body, a.contentType, map[string]string{
			"Cache-Control": "public, max-age=31536000, immutable",
			// An SVG that is opened by itself is a document: it may do nothing.
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		})
		*a.url = prefix + "/_assets/" + name
	}
	return nil
}
