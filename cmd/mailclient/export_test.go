package main

// Run is run, for the tests of the command, which live outside the package.
var Run = run
