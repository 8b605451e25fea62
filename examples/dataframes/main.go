// Dataframes is a worker for people with dataframes: a table source, and a
// function over a column. The callers beside it are in Python.
//
//	go build -o dataframes ./examples/dataframes
//	python examples/dataframes/dataframes.py ./dataframes
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

var (
	weather = vgirpc.NewProtocol("example.Weather.v1", "1.0.0")
	// readings is the table: one batch for each station.
	readings = vgirpc.NewProducer[ReadingsParams, Reading](weather, "readings")
	// windChill is the function: a batch of temperatures in, one of what they
	// feel like out.
	windChill = vgirpc.NewExchange[WindChillParams, Celsius, Felt](weather, "wind_chill")
)

// ReadingsParams are the parameters of readings.
type ReadingsParams struct {
	Stations int64 `vgi:"stations"`
	Days     int64 `vgi:"days"`
}

// Reading is a row of the table.
type Reading struct {
	Station string      `vgi:"station"`
	Day     vgirpc.Date `vgi:"day"`
	Celsius float64     `vgi:"celsius"`
}

// WindChillParams are the parameters of wind_chill.
type WindChillParams struct {
	WindKMH float64 `vgi:"wind_kmh"`
}

// Celsius is a row of its input.
type Celsius struct {
	Celsius float64 `vgi:"celsius"`
}

// Felt is a row of its output.
type Felt struct {
	FeelsLike float64 `vgi:"feels_like"`
}

func main() {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, weather)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleProducer(server, readings, openReadings)
	vgirpc.HandleExchange(server, windChill, openWindChill)
	worker.Main(server)
}

func openReadings(_ context.Context, p ReadingsParams) (*table, error) {
	if p.Stations < 0 || p.Days < 0 || p.Days > 366 {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "stations and days are %d and %d: want 0 or more, and at most 366 days", p.Stations, p.Days)
	}
	return &table{Stations: p.Stations, Days: p.Days}, nil
}

// table is an open stream of readings.
type table struct{ At, Stations, Days int64 }

// Produce sends the next station's readings.
func (t *table) Produce(_ context.Context, out *vgirpc.Emitter[Reading]) error {
	if t.At == t.Stations {
		return io.EOF
	}
	t.At++
	rows := make([]Reading, t.Days)
	for i := range rows {
		rows[i] = Reading{
			Station: fmt.Sprintf("S%02d", t.At),
			Day:     vgirpc.NewDate(2026, time.January, i+1),
			Celsius: float64(t.At) - 5*math.Cos(2*math.Pi*float64(i)/365),
		}
	}
	return out.EmitRows(rows)
}

func openWindChill(_ context.Context, p WindChillParams) (*chill, error) {
	return &chill{Factor: math.Pow(max(p.WindKMH, 4.8), 0.16)}, nil
}

// chill is an open stream of wind_chill.
type chill struct{ Factor float64 }

// Exchange answers a batch of temperatures.
func (c *chill) Exchange(_ context.Context, in []Celsius, out *vgirpc.Emitter[Felt]) error {
	rows := make([]Felt, len(in))
	for i, t := range in {
		rows[i].FeelsLike = 13.12 + 0.6215*t.Celsius + (0.3965*t.Celsius-11.37)*c.Factor
	}
	return out.EmitRows(rows)
}
