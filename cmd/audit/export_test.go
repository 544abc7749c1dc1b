package main

// Main is the program, for tests that run it as one.
func Main() { main() }

// Run is the program up to its exit code.
var Run = run
