package main

import (
	"os"

	"postern.example/audit/record"
	"postern.example/audit/report"
)

// WriteOutput plans the report at path and writes run to it. around stands in for
// what makes a file last, and is given the real thing.
func WriteOutput(path string, run record.Run, around func(f *os.File, real func(*os.File) error) error) error {
	o, err := planOutput(path, "")
	if err != nil {
		return err
	}
	real := o.sync
	o.sync = func(f *os.File) error { return around(f, real) }
	return o.write(run, report.Options{})
}

// Main is the program, for tests that run it as one.
func Main() { main() }

// Run is the program up to its exit code.
var Run = run
