//go:build linux

package main

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoServer is the service as generated code would have it.
type echoServer interface {
	Echo(ctx context.Context, in *wrapperspb.DoubleValue) (*wrapperspb.DoubleValue, error)
}

type grpcEcho struct{ s serving }

// Echo returns what it is given.
func (e grpcEcho) Echo(_ context.Context, in *wrapperspb.DoubleValue) (*wrapperspb.DoubleValue, error) { //nolint:unparam // as generated code asks for
	e.s.pause()
	return wrapperspb.Double(in.GetValue()), nil
}

// echoService does what protoc-gen-go-grpc would write.
func echoService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*echoServer)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				in := new(wrapperspb.DoubleValue)
				if err := decode(in); err != nil {
					return nil, err
				}
				if intercept == nil {
					return srv.(echoServer).Echo(ctx, in)
				}
				info := &grpc.UnaryServerInfo{Server: srv, FullMethod: echoPath}
				return intercept(ctx, in, info, func(ctx context.Context, req any) (any, error) {
					return srv.(echoServer).Echo(ctx, req.(*wrapperspb.DoubleValue))
				})
			},
		}},
	}
}

func serveGRPC(ctx context.Context, s serving) error {
	g := grpc.NewServer()
	g.RegisterService(echoService(), grpcEcho{s})
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	return g.Serve(s.listener)
}

// grpcTarget is a server's address as grpc-go wants it.
func grpcTarget(d dialing) string {
	if d.network == "unix" {
		return "unix://" + d.address
	}
	return "passthrough:///" + d.address
}

func dialGRPC(_ context.Context, d dialing) (*session, error) {
	cc, err := grpc.NewClient(grpcTarget(d), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &session{
		call: func(ctx context.Context, v float64) (float64, error) {
			out := new(wrapperspb.DoubleValue)
			err := cc.Invoke(ctx, echoPath, wrapperspb.Double(v), out, grpc.StaticMethod())
			return out.GetValue(), err
		},
		close: cc.Close,
	}, nil
}

const (
	// A window that holds many batches, and buffers that hold one.
	tunedWindow = 64 << 20
	tunedBuffer = 2 << 20
)

// flightServer streams blocks.
type flightServer struct{ flight.BaseFlightServer }

// DoGet sends as many blocks as the ticket has bytes.
func (*flightServer) DoGet(ticket *flight.Ticket, out flight.FlightService_DoGetServer) error {
	rec := block()
	w := flight.NewRecordWriter(out, ipc.WithSchema(rec.Schema()))
	for range len(ticket.GetTicket()) {
		if err := w.Write(rec); err != nil {
			return err
		}
	}
	return w.Close()
}

func serveFlight(tuned bool) func(context.Context, serving) error {
	return func(ctx context.Context, s serving) error {
		var opts []grpc.ServerOption
		if tuned {
			opts = []grpc.ServerOption{
				grpc.InitialWindowSize(tunedWindow), grpc.InitialConnWindowSize(tunedWindow),
				grpc.ReadBufferSize(tunedBuffer), grpc.WriteBufferSize(tunedBuffer),
			}
		}
		g := grpc.NewServer(opts...)
		flight.RegisterFlightServiceServer(g, new(flightServer))
		stop := context.AfterFunc(ctx, g.Stop)
		defer stop()
		return g.Serve(s.listener)
	}
}

func dialFlight(tuned bool) func(context.Context, dialing) (*session, error) {
	return func(_ context.Context, d dialing) (*session, error) {
		opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if tuned {
			opts = append(opts,
				grpc.WithInitialWindowSize(tunedWindow), grpc.WithInitialConnWindowSize(tunedWindow),
				grpc.WithReadBufferSize(tunedBuffer), grpc.WithWriteBufferSize(tunedBuffer))
		}
		c, err := flight.NewClientWithMiddleware(grpcTarget(d), nil, nil, opts...)
		if err != nil {
			return nil, err
		}
		return &session{stream: flightStream(c), close: c.Close}, nil
	}
}

func flightStream(c flight.Client) func(context.Context, int, func()) error {
	return func(ctx context.Context, batches int, got func()) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		in, err := c.DoGet(ctx, &flight.Ticket{Ticket: make([]byte, batches)})
		if err != nil {
			return err
		}
		r, err := flight.NewRecordReader(in)
		if err != nil {
			return err
		}
		defer r.Release()
		for r.Next() {
			if err := look(r.RecordBatch()); err != nil {
				return err
			}
			got()
		}
		if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}
}
