//go:build unix

package vgirpc

import "syscall"

// terminate asks a worker process to end.
const terminate = syscall.SIGTERM
