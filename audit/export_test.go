package audit

import "postern.example/audit/probe"

// WithDial returns o with every attempt made by d.
func WithDial(o Options, d probe.Dial) Options {
	o.dial = d
	return o
}
