package vgitest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// faultCall is one use of a client, of some kind.
type faultCall struct {
	name string
	// run makes the call and returns what came of it. After a failure it goes
	// on as a careful caller does, and tells again how that went.
	run func(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error)
	// want is what comes of it where nothing goes wrong.
	want string
	// whole says that it cannot come of less than all that the server sends.
	whole bool
	// grace says that the call, after its end, gives the server time to end a
	// stream: too long to try outside of a bubble.
	grace bool
}

// faultCalls are the kinds of call.
func faultCalls() []faultCall {
	return []faultCall{
		{name: "a unary call", run: callAdd, want: "3.5", whole: true},
		{name: "a unary call with a log", run: callEcho, want: "hello", whole: true},
		{name: "a call that the server refuses", run: callFail, want: "NOT_FOUND missing"},
		{name: "a producer", run: callCount, want: "[1] [2] [3]", whole: true},
		{name: "a producer with a header", run: callHeaded, want: "2 so many: [1] [2]", whole: true},
		{name: "an exchange", run: callSum, want: "3 7"},
		{name: "an exchange that is cancelled", run: callCancel, want: "3, cancelled"},
		{name: "a producer that is cancelled before its first turn", run: callCancelUnread, want: "cancelled"},
		{name: "a producer that is closed before its first turn", run: callCloseUnread, want: "closed"},
		{name: "an exchange in halves that is cancelled in between", run: callHalves, want: "3, cancelled"},
		{name: "a producer that is left early", run: callLeave, want: "[1], left", grace: true},
		{name: "an exchange whose context ends between two turns", run: callEnded, want: "3, CANCELLED", grace: true},
		{name: "a stream that the server refuses", run: callRefusedStream, want: "INVALID_ARGUMENT "},
		{name: "a header that the server refuses", run: callRefusedHeader, want: "UNKNOWN "},
	}
}

// refusal is what a refusal looks like in the result of a call; other errors
// stay errors.
func refusal(err error) (string, error) {
	if !vgirpc.IsRemote(err) || vgirpc.CodeOf(err) == vgirpc.Unavailable {
		return "", err
	}
	e, _ := errorOf(err)
	return string(e.Code) + " " + e.Kind, nil
}

func callAdd(ctx context.Context, c *Contract, client *vgirpc.Client, _ func(error)) (string, error) {
	sum, err := c.Add.Call(ctx, client, AddParams{1.5, 2})
	return fmt.Sprint(sum), err
}

func callEcho(ctx context.Context, c *Contract, client *vgirpc.Client, _ func(error)) (string, error) {
	return c.Echo.Call(ctx, client, TextParams{"hello"})
}

func callFail(ctx context.Context, c *Contract, client *vgirpc.Client, _ func(error)) (string, error) {
	_, err := c.Fail.Call(ctx, client, TextParams{"thing"})
	return refusal(err)
}

func callCount(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Count.Open(ctx, client, CountParams{3})
	if err != nil {
		return "", err
	}
	return readAll(stream, again)
}

func callHeaded(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, head, err := c.Headed.OpenHeader(ctx, client, CountParams{2})
	if err != nil {
		return "", err
	}
	rows, err := readAll(stream, again)
	return fmt.Sprintf("%d %s: %s", head.Total, head.Note, rows), err
}

// enoughBatches ends a stream that a fault has made endless.
const enoughBatches = 100

// readAll reads a stream and closes it.
func readAll(stream *vgirpc.ProducerStream[Number], again func(error)) (string, error) {
	text, batches := "", 0
	for rows, err := range stream.All() {
		if err != nil {
			again(stream.Cancel())
			again(stream.Close())
			return text, err
		}
		if text != "" {
			text += " "
		}
		numbers := make([]int64, len(rows))
		for i, r := range rows {
			numbers[i] = r.Value
		}
		text += fmt.Sprint(numbers)
		if batches++; batches == enoughBatches {
			break
		}
	}
	return text, stream.Close()
}

func callSum(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
	if err != nil {
		return "", err
	}
	first, err := stream.Exchange(ctx, Number{1}, Number{2})
	if err == nil {
		var second []Number
		if second, err = stream.Exchange(ctx, Number{4}); err == nil {
			err = stream.Close()
			return joinNumbers(first, second), err
		}
	}
	again(stream.Close())
	again(stream.Cancel())
	return "", err
}

func joinNumbers(batches ...[]Number) string {
	text := ""
	for _, rows := range batches {
		for _, r := range rows {
			if text != "" {
				text += " "
			}
			text += strconv.FormatInt(r.Value, 10)
		}
	}
	return text
}

func callCancel(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
	if err != nil {
		return "", err
	}
	out, err := stream.Exchange(ctx, Number{1}, Number{2})
	if err == nil {
		err = stream.Cancel()
	}
	again(stream.Cancel())
	again(stream.Close())
	return joinNumbers(out) + ", cancelled", err
}

func callHalves(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
	if err != nil {
		return "", err
	}
	var out []Number
	if err = stream.Send(ctx, Number{1}, Number{2}); err == nil {
		if out, err = stream.Recv(ctx); err == nil {
			if err = stream.Send(ctx, Number{4}); err == nil {
				err = stream.Cancel()
			}
		}
	}
	again(stream.Cancel())
	again(stream.Close())
	return joinNumbers(out) + ", cancelled", err
}

// callLeave leaves a loop over a stream, which is not told of errors after that.
func callLeave(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Count.Open(ctx, client, CountParams{3})
	if err != nil {
		return "", err
	}
	text := ""
	for rows, err := range stream.All() {
		if err != nil {
			again(stream.Close())
			return "", err
		}
		text = "[" + joinNumbers(rows) + "], left"
		break
	}
	again(stream.Close())
	return text, nil
}

// callEnded uses a stream when the context of the call has ended, which leaves
// the connection as it is.
func callEnded(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
	if err != nil {
		return "", err
	}
	out, err := stream.Exchange(ctx, Number{1}, Number{2})
	if err != nil {
		again(stream.Close())
		return "", err
	}
	cancel()
	_, err = stream.Exchange(ctx, Number{4})
	again(stream.Close())
	if vgirpc.CodeOf(err) != vgirpc.Cancelled {
		return "", fmt.Errorf("an exchange after the end of its context: %w", err)
	}
	return joinNumbers(out) + ", CANCELLED", nil
}

func callCancelUnread(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Count.Open(ctx, client, CountParams{3})
	if err != nil {
		return "", err
	}
	err = stream.Cancel()
	again(stream.Close())
	return "cancelled", err
}

func callCloseUnread(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Count.Open(ctx, client, CountParams{3})
	if err != nil {
		return "", err
	}
	err = stream.Close()
	again(stream.Cancel())
	return "closed", err
}

func callRefusedStream(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, err := c.Count.Open(ctx, client, CountParams{-1})
	if err != nil {
		return refusal(err)
	}
	if _, err = readAll(stream, again); err == nil {
		return "not refused", nil
	}
	return refusal(err)
}

func callRefusedHeader(ctx context.Context, c *Contract, client *vgirpc.Client, again func(error)) (string, error) {
	stream, _, err := c.Headed.OpenHeader(ctx, client, CountParams{-1})
	if err == nil {
		again(stream.Close())
		return "not refused", nil
	}
	return refusal(err)
}
