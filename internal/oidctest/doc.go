// Package oidctest starts a certified OpenID provider (oidc-provider) for tests,
// and does what a person does with it: signs in, agrees, enters a device's code.
//
// setup.sh installs the provider. Where it is absent a test is skipped for a
// contributor, and fails in the gate, which sets CI.
package oidctest
