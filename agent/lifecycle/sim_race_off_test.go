//go:build !race

package lifecycle_test

// raceDetector: everything takes ten times as long.
const raceDetector = false
