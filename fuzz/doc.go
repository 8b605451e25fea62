// Package fuzz holds the fuzz targets that cross packages: streams of bytes
// against limits, the flat path against arrow-go's, and the dispatcher as a
// program of turns. Targets that concern one package alone live there.
//
// There is nothing to import: everything is in the tests. The seeds run with
// every go test; make fuzz searches further.
package fuzz
