package operators

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// Pages are compressed one by one, each without regard to the others, and put together
// to one gzip stream: all blocks of a page, then an empty last block, the checksum and the
// length of the whole (RFC 1952).

// deflater compresses pages.
type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

// page appends the compressed blocks of a page, none of them a last one.
func (d *deflater) page(into, plain []byte) ([]byte, error) {
	d.out.Reset()
	if d.w == nil {
		w, err := flate.NewWriter(&d.out, flate.BestSpeed)
		if err != nil {
			return nil, err
		}
		d.w = w
	} else {
		d.w.Reset(&d.out)
	}
	if _, err := d.w.Write(plain); err != nil {
		return nil, err
	}
	if err := d.w.Flush(); err != nil { // ends with an empty block, on a whole byte
		return nil, err
	}
	return append(into, d.out.Bytes()...), nil
}

// gzipHead begins the stream: deflate, no name, no time, fastest level, any system.
var gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

// gzipSum is the checksum and length of what was added.
type gzipSum struct {
	crc  uint32
	size uint32 // modulo 2^32, as the format has it
}

func (s *gzipSum) add(plain []byte) {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, plain)
	s.size += uint32(len(plain))
}

// tail ends the stream: an empty last block with fixed codes, checksum, length.
func (s *gzipSum) tail() []byte {
	out := []byte{0x03, 0x00}
	out = binary.LittleEndian.AppendUint32(out, s.crc)
	return binary.LittleEndian.AppendUint32(out, s.size)
}
