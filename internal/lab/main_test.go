package lab_test

import (
	"os"
	"testing"

	"github.com/stoa-project/stoa/internal/lab"
)

func TestMain(m *testing.M) {
	code := m.Run()
	lab.Clean()
	os.Exit(code)
}
