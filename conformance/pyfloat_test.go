package conformance

import (
	"math"
	"testing"
)

func TestFloatsAreWrittenAsPythonWritesThem(t *testing.T) {
	for _, tt := range []struct {
		value float64
		want  string
	}{
		{0, "0.0"},
		{math.Copysign(0, -1), "-0.0"},
		{1, "1.0"},
		{1.5, "1.5"},
		{-2.25, "-2.25"},
		{0.1, "0.1"},
		{100, "100.0"},
		{123456789.123, "123456789.123"},
		{1e15, "1000000000000000.0"},
		{9999999999999998, "9999999999999998.0"},
		{1e16, "1e+16"},
		{1.5e16, "1.5e+16"},
		{123456789012345680, "1.2345678901234568e+17"},
		{1e22, "1e+22"},
		{1e23, "1e+23"},
		{0.001, "0.001"},
		{0.0001, "0.0001"},
		{0.00012345, "0.00012345"},
		{0.00001, "1e-05"},
		{-1.5e-5, "-1.5e-05"},
		{5e-324, "5e-324"},
		{2.2250738585072014e-308, "2.2250738585072014e-308"},
		{math.MaxFloat64, "1.7976931348623157e+308"},
		{1.0 / 3, "0.3333333333333333"},
		{math.Pi, "3.141592653589793"},
		{math.NaN(), "nan"},
		{math.Inf(1), "inf"},
		{math.Inf(-1), "-inf"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := pythonFloat(tt.value); got != tt.want {
				t.Errorf("%g is written as %s, want %s", tt.value, got, tt.want)
			}
		})
	}
}
