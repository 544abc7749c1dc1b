//go:build !unix

package probe

// maxOpen is how many attempts may be open at once where no limit can be asked.
func maxOpen() int { return defaultInFlight / 4 }
