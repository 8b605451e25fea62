//go:build !unix

package vgirpc

import "os"

// terminate ends a worker process where it cannot be asked.
var terminate = os.Kill
