// Package browsertest runs scripts against servers in Chromium. It is for tests
// alone; it does not know package testing, so that whoever looks at what the
// module links need not tell it apart.
//
// A script is a module for Node. harness.mjs is what scripts share: the browser,
// steps, and what a page must never do.
package browsertest
