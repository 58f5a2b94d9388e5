//go:build !faultpoints

package exec

// pass is where a process can be made to die, in a program that was built with the tag
// faultpoints, for tests: see faultpoint.go. This one does nothing.
func (e *Executor) pass(string, *prepared) {}
