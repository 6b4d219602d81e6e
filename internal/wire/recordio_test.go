package wire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
)

// collect reads to the end; the error is nil at a clean one.
func collect(r io.Reader, limit int) (all []string, err error) {
	rd := wire.NewReader(r, limit)
	for {
		rec, err := rd.ReadRecord()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			if _, again := rd.ReadRecord(); again != err {
				return all, errors.New("the error did not stay")
			}
			return all, err
		}
		all = append(all, string(rec))
	}
}

// counted notes each Write.
type counted struct {
	bytes.Buffer
	writes int
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestWriterWritesOncePerRecord(t *testing.T) {
	var out counted
	w := wire.NewWriter(&out)
	for _, s := range []string{"hello", "", "{}"} {
		if err := w.WriteRecord([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if out.writes != 3 || out.String() != "5\nhello0\n2\n{}" {
		t.Errorf("%d writes: %q", out.writes, out.String())
	}
}

func TestReaderSplitAnywhere(t *testing.T) {
	want := []string{"hello", "", strings.Repeat("x", 300), "\n1\n"}
	var stream []byte
	for _, s := range want {
		stream = wire.AppendRecord(stream, []byte(s))
	}
	bounds := map[int]bool{0: true}
	for n, i := 0, 0; i < len(want); i++ {
		n += len(wire.AppendRecord(nil, []byte(want[i])))
		bounds[n] = true
	}
	for cut := range len(stream) + 1 {
		got, err := collect(io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:])), 0)
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("split at %d: %q, %v", cut, got, err)
		}
		_, err = collect(bytes.NewReader(stream[:cut]), 0)
		if bounds[cut] != (err == nil) || (err != nil && !errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Fatalf("ends at %d: %v", cut, err)
		}
	}
	if got, err := collect(iotest.OneByteReader(bytes.NewReader(stream)), 0); err != nil || len(got) != len(want) {
		t.Errorf("byte by byte: %q, %v", got, err)
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		in   string
		kind fault.Kind
		says string
	}{
		{"\n", fault.Malformed, `byte '\n'`},
		{"-1\n", fault.Malformed, "byte '-'"},
		{"5 \nhello", fault.Malformed, "byte ' '"},
		{"0x5\nhello", fault.Malformed, "byte 'x'"},
		{"11\nhello world", fault.TooLarge, "the limit is 10"},
		{"99999999999999999999999\n", fault.TooLarge, "the limit is 10"},
		{"000000000000000000001\nx", fault.Malformed, "more than 20 digits"},
		{"5\nhel", fault.Malformed, "in a record of 5 bytes"},
		{"5", fault.Malformed, "in a record's length"},
	} {
		_, err := collect(strings.NewReader(c.in), 10)
		if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.in, err)
		}
	}
	broken := errors.New("broken")
	if _, err := collect(iotest.ErrReader(broken), 0); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("5\nhello0\n"))
	f.Add([]byte("64000000\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := collect(bytes.NewReader(data), 1<<20)
		var again []byte
		for _, s := range got {
			again = wire.AppendRecord(again, []byte(s))
		}
		// Leading zeros apart, what was read is what stood there.
		if err == nil && len(again) > len(data) {
			t.Errorf("%q gave %q", data, got)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","roles":["a",null]}}}`))
	f.Add([]byte(`{"accept":{"offer_ids":[{"value":"\u00e4"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"limits":{"cpus":{"value":"Infinity"}}}]}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) { roundTrip(t, data) })
}
