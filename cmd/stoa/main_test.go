package main

import (
	"os"
	"testing"
)

// asMain makes the test's binary the program itself, for tests of whole processes.
const asMain = "STOA_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}
