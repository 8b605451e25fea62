// Package gateways holds configurations of HTTP gateways (nginx, HAProxy, Envoy,
// Caddy) for replicas of a worker, and the tests that run each of them as it
// stands. README.md says what every setting is for. There is nothing to import.
package gateways
