// Package pages renders what a server shows to people: a landing page, a page
// that describes every hosted protocol from the server's own contracts (as
// vgi_rpc.Reflection.v1 tells machines, WIRE_PROTOCOL section 14), and the pages
// of 404 and 401. On request the description has a form for each unary method,
// from which it can be called with JSON.
//
// Pages are rendered once, when they are made, and served from memory. Nothing
// on them comes from elsewhere: style, script and icon are embedded and have
// names with a hash of their content. There is no inline style or script, and a
// Content-Security-Policy that allows none; the script writes what it receives
// as text, never as markup.
//
// The package makes no calls, and decides neither who may see a page nor
// whether a request is refused.
package pages
