// Package deploy holds what a worker is run with: a container file, manifests for
// Kubernetes, units for systemd, rules and a dashboard for Prometheus and Grafana,
// and the tests that hold each of them to what it is for. README.md says where to
// begin. There is nothing to import.
package deploy
