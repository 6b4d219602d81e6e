//go:build !race

package core_test

// raceDetector is off.
const raceDetector = false
