//go:build race

package ledgersim

// raceDetector: everything takes ten times as long.
const raceDetector = true
