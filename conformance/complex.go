package conformance

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func hostContainers(s *vgirpc.Server) {
	echo(s, EchoEnum, func(p StatusParams) Status { return p.Status })
	echo(s, EchoStatusList, func(p StatusesParams) []Status { return p.Statuses })
	echo(s, EchoList, func(p ListParams) []string { return p.Values })
	echo(s, EchoDict, func(p DictParams) vgirpc.Pairs[string, int64] { return p.Mapping })
	echo(s, EchoNestedList, func(p MatrixParams) [][]int64 { return p.Matrix })
	echo(s, EchoDictString, func(p DictStringParams) string { return p.Value })
	echo(s, EchoPoint, func(p PointParams[Point]) Point { return p.Point })
	echo(s, EchoOptionalPoint, func(p PointParams[*Point]) *Point { return p.Point })
	echo(s, EchoBoundingBox, func(p BoxParams) BoundingBox { return p.Box })
	echoData(s, EchoAllTypes)
	echoData(s, EchoWideTypes)
	echoData(s, EchoContainerWideTypes)
	echoData(s, EchoDeepNested)
	echoData(s, EchoEmbeddedArrow)
	vgirpc.HandleUnary(s, PackNestedContainers, packNestedContainers)
}

// packNestedContainers puts what it was given into one value, the first status
// and point once more as optionals, beside a batch of its own.
func packNestedContainers(_ context.Context, p PackParams) (NestedContainers, error) {
	out := NestedContainers{
		Statuses:       p.Statuses,
		Points:         p.Points,
		StatusByName:   p.StatusByName,
		FrozenStatuses: map[Status]struct{}{},
		TaggedBatch:    taggedBatch(),
	}
	for _, status := range p.Statuses {
		out.FrozenStatuses[status] = struct{}{}
	}
	if len(p.Statuses) > 0 {
		out.TaggedStatus = &p.Statuses[0]
	}
	if len(p.Points) > 0 {
		out.TaggedPoint = &p.Points[0]
	}
	return out, nil
}

// taggedBatch is the batch {value: [1, 2]}. It lies in memory of the garbage
// collector, so that nobody has to release it.
func taggedBatch() arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil) //nolint:forcetypeassert // by the schema above
	return b.NewRecordBatch()
}
