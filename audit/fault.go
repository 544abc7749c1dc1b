package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"postern.example/audit/record"
)

// Fault is one thing that is wrong with an inventory.
type Fault struct {
	File         string
	Line, Column int // from 1; 0 when the whole file is meant
	Text         string
}

// String returns "file:line:column: text" in one line of plain text.
func (f Fault) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", record.Clean(f.File), record.Clean(f.Text))
	}
	return fmt.Sprintf("%s:%d:%d: %s", record.Clean(f.File), f.Line, f.Column, record.Clean(f.Text))
}

// InventoryError holds every fault of an inventory, in the order of the file.
type InventoryError struct{ Faults []Fault }

// maxShown bounds the text of an InventoryError.
const maxShown = 50

// Error returns one line for each fault, the first fifty of them.
func (e *InventoryError) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i == maxShown {
			fmt.Fprintf(&b, "\nand %d more", len(e.Faults)-maxShown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.String())
	}
	return b.String()
}

func (e *InventoryError) sort() {
	slices.SortStableFunc(e.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// UsageError is an option that cannot be used.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }
