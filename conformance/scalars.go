package conformance

import (
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func hostScalars(s *vgirpc.Server) {
	echoValue(s, EchoString)
	echoValue(s, EchoInt)
	echoValue(s, EchoFloat)
	echoValue(s, EchoBool)
	echoValue(s, EchoInt8)
	echoValue(s, EchoInt16)
	echoValue(s, EchoInt32)
	echoValue(s, EchoUint8)
	echoValue(s, EchoUint16)
	echoValue(s, EchoUint32)
	echoValue(s, EchoUint64)
	echoValue(s, EchoFloat32)
	echoValue(s, EchoDate)
	echoValue(s, EchoTime)
	echoValue(s, EchoDuration)
	echoValue(s, EchoUTC)
	echoValue(s, EchoFixedBinary)
	echo(s, EchoTimestamp, func(p LocalTimeParams) time.Time { return p.Value })
	echo(s, EchoBytes, func(p BytesParams) []byte { return p.Data })
	echo(s, EchoDecimal, func(p DecimalParams) vgirpc.Decimal { return p.Value })
	echo(s, EchoLargeString, func(p LargeStringParams) string { return p.Value })
	echo(s, EchoLargeBinary, func(p LargeBinaryParams) []byte { return p.Value })

	echo(s, VoidNoop, func(vgirpc.None) vgirpc.None { return vgirpc.None{} })
	echo(s, VoidWithParam, func(Value[int64]) vgirpc.None { return vgirpc.None{} })

	echoValue(s, EchoOptionalString)
	echoValue(s, EchoOptionalInt)
	echoValue(s, EchoAnnotatedOptionalInt)
	echoValue(s, EchoOuterOptionalNonNullInt)
}
