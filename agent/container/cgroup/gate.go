package cgroup

// gate bounds how many threads ask the kernel to make, change or remove groups. It does
// that one after the other in any case; more threads would only wait, and Go keeps every
// thread that ever did.
var gate = make(chan struct{}, 4)

// inTurn calls f, which changes groups. f must not call it again.
func inTurn(f func() error) error {
	gate <- struct{}{}
	defer func() { <-gate }()
	return f()
}
