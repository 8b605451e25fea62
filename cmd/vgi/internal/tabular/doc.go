// Package tabular reads and writes rows in the formats of the command line:
// Arrow IPC, JSON lines, JSON, CSV and a table for people.
package tabular
