package recording

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// Classes of errors, which a recording names with payloads or without.
const (
	classCancelled = "cancelled" // by the client, or by the end of the recorder
	classTimeout   = "timeout"
	classResolve   = "resolve"
	classRefused   = "refused"
	classReset     = "reset"
	classTLS       = "tls"
	classEnd       = "end"      // in the middle of something
	classNetwork   = "network"  // any other
	classProtocol  = "protocol" // the peer said what makes no sense
)

func classes() []string {
	return []string{
		classCancelled, classTimeout, classResolve, classRefused, classReset, classTLS, classEnd, classNetwork, classProtocol,
	}
}

// classOf is the class of an error of a connection.
func classOf(err error) string {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	if is(context.Canceled, net.ErrClosed) {
		return classCancelled
	}
	network, isNetwork := errors.AsType[net.Error](err)
	if isNetwork && network.Timeout() {
		return classTimeout
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return classResolve
	}
	switch {
	case is(syscall.ECONNREFUSED):
		return classRefused
	case is(syscall.ECONNRESET, syscall.EPIPE):
		return classReset
	case isTLS(err):
		return classTLS
	case is(io.EOF, io.ErrUnexpectedEOF):
		return classEnd
	case isNetwork, isSystem(err):
		return classNetwork
	}
	return classProtocol
}

func isSystem(err error) bool {
	_, ok := errors.AsType[syscall.Errno](err)
	return ok
}

func isTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	_, unproven := errors.AsType[*tls.CertificateVerificationError](err)
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && (op.Op == "remote error" || op.Op == "local error") // as crypto/tls calls its alerts
	return header || unproven || alert
}
