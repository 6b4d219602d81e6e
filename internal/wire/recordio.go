package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/stoa-project/stoa/internal/fault"
)

const (
	// DefaultMaxRecord is the largest record a Reader takes unless told otherwise.
	DefaultMaxRecord = 64 << 20
	// maxLengthDigits holds any 64-bit length.
	maxLengthDigits = 20
	// recordStep is how much is read, and so allocated, ahead of what has arrived.
	recordStep = 64 << 10
	// recordKeep is the largest buffer kept between two records.
	recordKeep = 1 << 20
)

// AppendRecord appends one RecordIO frame: the payload's length in decimal, a line
// feed, the payload, and nothing after it (mesos-agent.md 0.2). mesos-go refuses
// frames over 4 MiB, so events with lists are to be split by their sender.
func AppendRecord(dst, payload []byte) []byte {
	return append(AppendRecordHead(dst, len(payload)), payload...)
}

// AppendRecordHead appends what comes before a payload of so many bytes, for those who
// write a long one in pieces.
func AppendRecordHead(dst []byte, length int) []byte {
	return append(strconv.AppendInt(dst, int64(length), 10), '\n')
}

// Writer frames records onto a stream, one Write per record. It is not safe for
// concurrent use. It does not flush: that is the caller's, who knows when.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter frames onto w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// WriteRecord writes one frame. The payload may be reused afterwards.
func (w *Writer) WriteRecord(payload []byte) error {
	w.buf = AppendRecord(w.buf[:0], payload)
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if cap(w.buf) > recordKeep {
		w.buf = nil
	}
	return err
}

// Reader takes records off a stream. It is not safe for concurrent use.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
	err error
}

// NewReader reads frames from r, each of at most max bytes of payload; max 0 stands
// for DefaultMaxRecord.
func NewReader(r io.Reader, max int) *Reader {
	if max <= 0 {
		max = DefaultMaxRecord
	}
	br, ok := r.(*bufio.Reader)
	if !ok {
		br = bufio.NewReader(r)
	}
	return &Reader{r: br, max: max}
}

// ReadRecord gives the next record; the slice is valid until the next call. Memory
// grows with the bytes that arrived, not with the length that was announced.
//
// Errors: io.EOF exactly, at the end of the stream between two records;
// fault.Malformed wrapping io.ErrUnexpectedEOF, when it ends inside one;
// fault.Malformed for a length that is no decimal number; fault.TooLarge for a
// record over the limit; otherwise what the stream said. After an error every
// further call gives the same error.
func (r *Reader) ReadRecord() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	size, err := r.readLength()
	if err != nil {
		r.err = err
		return nil, err
	}
	if cap(r.buf) > recordKeep && size <= recordKeep {
		r.buf = nil
	}
	buf := r.buf[:0]
	for len(buf) < size {
		step := min(size-len(buf), max(recordStep, len(buf)))
		have := len(buf)
		buf = append(buf, make([]byte, step)...)
		if _, err := io.ReadFull(r.r, buf[have:]); err != nil {
			r.err = r.cut(err, "in a record of "+strconv.Itoa(size)+" bytes")
			return nil, r.err
		}
	}
	r.buf = buf
	return buf, nil
}

// readLength reads the decimal length and its line feed.
func (r *Reader) readLength() (int, error) {
	size, digits := 0, 0
	for {
		c, err := r.r.ReadByte()
		if err != nil {
			if digits == 0 && err == io.EOF {
				return 0, io.EOF
			}
			return 0, r.cut(err, "in a record's length")
		}
		switch {
		case c == '\n' && digits > 0:
			return size, nil
		case c < '0' || c > '9':
			return 0, fault.New("read record", fault.Malformed, "length",
				fmt.Errorf("byte %q where a decimal digit or the line feed after it belongs", c))
		}
		digits++
		if digits > maxLengthDigits {
			return 0, fault.New("read record", fault.Malformed, "length", errors.New("more than 20 digits"))
		}
		size = size*10 + int(c-'0')
		if size > r.max {
			return 0, fault.New("read record", fault.TooLarge, "length",
				fmt.Errorf("record of %d bytes or more, the limit is %d", size, r.max))
		}
	}
}

// cut explains an end of stream at a place where none may be.
func (r *Reader) cut(err error, where string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault.New("read record", fault.Malformed, "stream ended "+where, io.ErrUnexpectedEOF)
	}
	return fault.New("read record", fault.Other, where, err)
}
