package smtpd

import "fmt"

// WorkFor describes what is hashed when name wants to authenticate.
func (u *Users) WorkFor(name string) string {
	h, _ := u.workFor(name)
	if h.bcrypt != nil {
		return "bcrypt " + string(h.bcrypt[4:6])
	}
	return fmt.Sprintf("argon2id %d %d %d", h.argon.memory, h.argon.passes, h.argon.lanes)
}

// Occupy takes every place where a password can be hashed, and returns how to
// free one.
func (u *Users) Occupy() (free func()) {
	for range cap(u.slots) {
		u.slots <- struct{}{}
	}
	return func() { <-u.slots }
}
