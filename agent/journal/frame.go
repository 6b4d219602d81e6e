package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A frame is
//
//	mark     4 bytes  where a reader that lost its way picks it up again
//	head     4 bytes  CRC-32C of the next six bytes and the key
//	key      2 bytes  length
//	value    4 bytes  length, or gone
//	key, value
//	body     4 bytes  CRC-32C of key and value
//
// all numbers with the least significant byte first. Key and lengths have a checksum of
// their own, so that a damaged value can be laid at the door of its key.
const (
	markSize  = 4
	headSize  = markSize + 4 + 2 + 4
	tailSize  = 4
	maxKey    = 1024
	maxValue  = 64 << 20
	goneValue = 0xffffffff
)

var (
	fileMagic  = []byte("stoa agent journal 1\n")
	mark       = []byte{0xf5, 'S', 'J', 0xfb} // no valid UTF-8, so rare inside values
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func frameSize(key string, value []byte) int64 {
	return int64(headSize + len(key) + len(value) + tailSize)
}

func appendFrame(dst []byte, e Entry) []byte {
	n := uint32(len(e.Value))
	if e.Value == nil {
		n = goneValue
	}
	dst = append(dst, mark...)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Key)))
	dst = binary.LittleEndian.AppendUint32(dst, n)
	dst = append(dst, e.Key...)
	binary.LittleEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+4:], castagnoli))
	from := len(dst) - len(e.Key)
	dst = append(dst, e.Value...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// replay applies all readable frames to live. end is where the last readable frame
// ends. A torn last write is no loss: nobody was told of it. Damage before that is.
func replay(data []byte, live map[string][]byte) (losses []Loss, end int64) {
	damaged := map[string]string{} // key -> reason, until a newer frame heals it
	nameless := 0
	pos := 0
	if bytes.HasPrefix(data, fileMagic) {
		pos = len(fileMagic)
	} else {
		nameless++
	}
	end = int64(pos)
	lost := false // between frames since the last readable one
	for pos < len(data) {
		next := bytes.Index(data[pos:], mark)
		if next < 0 {
			break
		}
		if next > 0 {
			lost = true
		}
		pos += next
		e, size, headOK, bodyOK := readFrame(data[pos:])
		if !headOK {
			lost = true
			pos++
			continue
		}
		if lost { // something unreadable stood before a readable frame
			nameless++
			lost = false
		}
		if !bodyOK {
			if pos+size > len(data) {
				break // torn
			}
			damaged[e.Key] = "wrong checksum"
			delete(live, e.Key)
			pos += size
			if pos == len(data) {
				end = int64(pos)
			}
			continue
		}
		delete(damaged, e.Key)
		if e.Value == nil {
			delete(live, e.Key)
		} else {
			live[e.Key] = e.Value
		}
		pos += size
		end = int64(pos)
	}
	for key, why := range damaged {
		losses = append(losses, Loss{Key: key, Reason: why})
	}
	for range nameless {
		losses = append(losses, Loss{Reason: "unreadable bytes between records"})
	}
	return losses, end
}

// readFrame reads the frame at the start of b. size counts only when headOK.
func readFrame(b []byte) (e Entry, size int, headOK, bodyOK bool) {
	if len(b) < headSize {
		return Entry{}, 0, false, false
	}
	keyLen := int(binary.LittleEndian.Uint16(b[8:]))
	n := binary.LittleEndian.Uint32(b[10:])
	if keyLen > maxKey || (n > maxValue && n != goneValue) || len(b) < headSize+keyLen {
		return Entry{}, 0, false, false
	}
	if crc32.Checksum(b[8:headSize+keyLen], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return Entry{}, 0, false, false
	}
	valueLen := int(n)
	if n == goneValue {
		valueLen = 0
	}
	e.Key = string(b[headSize : headSize+keyLen])
	size = headSize + keyLen + valueLen + tailSize
	if len(b) < size {
		return e, size, true, false
	}
	body := b[headSize : size-tailSize]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[size-tailSize:]) {
		return e, size, true, false
	}
	if n != goneValue {
		e.Value = append([]byte{}, body[keyLen:]...)
	}
	return e, size, true, true
}
