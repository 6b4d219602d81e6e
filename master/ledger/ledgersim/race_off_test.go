//go:build !race

package ledgersim

// raceDetector is off.
const raceDetector = false
