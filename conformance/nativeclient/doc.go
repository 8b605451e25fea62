// Package nativeclient has the tests of native-client-conformance.md: the typed
// client calls the reference worker that exists for that purpose, over standard
// input and output, a Unix socket, raw TCP, HTTP and TLS, and the same contract
// served by this module, so that the two servers agree. It exports nothing.
//
// The tests need a Python with vgi-rpc, which conformance/setup-python.sh makes
// in .cache/python; VGI_PYTHON_BIN names another interpreter. Without one they
// fail in CI and are skipped elsewhere.
package nativeclient
