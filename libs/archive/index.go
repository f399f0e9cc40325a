package archive

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Type of an entry.
type Type byte

// The types.
const (
	File      Type = 'f'
	Directory Type = 'd'
	Link      Type = 'l' // symbolic
)

// Entry is one file, directory or symbolic link of an archive.
type Entry struct {
	Name    string // clean, below the root
	Type    Type
	Mode    uint32 // permission bits
	ModTime time.Time
	Size    int64
	Target  string // of a link
	pos     int64  // of its data in the tar stream
}

const (
	footerLen    = 48
	skippable    = 0x184D2A50
	skipHeadLen  = 8
	version      = 1
	magic        = 0x0158444e49434d46 // "FMCINDX\x01"
	maxIndex     = 256 << 20
	leastEntry   = 6 // bytes
	typicalIndex = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a constant table

// index is what the writer collects.
type index struct {
	entries []byte
	count   int
	end     int64 // of the data of the last entry
}

func (x *index) add(e Entry) {
	x.entries = append(x.entries, byte(e.Type))
	b := binary.AppendUvarint(x.entries, uint64(e.Mode))
	b = binary.AppendVarint(b, e.ModTime.Unix())
	b = binary.AppendUvarint(b, uint64(e.Size))      // #nosec G115 -- never negative
	b = binary.AppendUvarint(b, uint64(e.pos-x.end)) // #nosec G115 -- they follow each other
	b = appendText(b, e.Name)
	if e.Type == Link {
		b = appendText(b, e.Target)
	}
	x.entries, x.end = b, e.pos+e.Size
	x.count++
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// seal returns the skippable frame.
func (x *index) seal(list []frame, tarLen, packedLen int64, encoder *zstd.Encoder) ([]byte, error) {
	raw := binary.AppendUvarint(make([]byte, 0, len(x.entries)+8*len(list)+16), uint64(len(list)))
	for _, f := range list {
		raw = binary.AppendUvarint(raw, uint64(f.packed)) // #nosec G115 -- a length
		raw = binary.AppendUvarint(raw, uint64(f.raw))    // #nosec G115 -- a length
	}
	raw = append(binary.AppendUvarint(raw, uint64(x.count)), x.entries...) // #nosec G115 -- a count
	if len(raw) > maxIndex {
		return nil, fmt.Errorf("%w: the names of its files are too long in all", ErrLimit)
	}
	b := encoder.EncodeAll(raw, make([]byte, skipHeadLen, len(raw)/2+skipHeadLen+footerLen))
	packed := b[skipHeadLen:]
	binary.LittleEndian.PutUint32(b, skippable)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(packed)+footerLen)) // #nosec G115 -- less than maxIndex
	sum := crc32.Checksum(packed, castagnoli)
	for _, n := range []int64{int64(len(packed)), int64(len(raw)), tarLen, packedLen} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n)) // #nosec G115 -- lengths
	}
	b = binary.LittleEndian.AppendUint32(b, sum)
	b = binary.LittleEndian.AppendUint32(b, version)
	return binary.LittleEndian.AppendUint64(b, magic), nil
}

// footer says where the index is.
type footer struct {
	packed, raw, tarLen, packedLen int64
	sum                            uint32
}

// readFooter reads the last bytes of an archive of a size. What it returns fits the size.
func readFooter(b []byte, size int64) (f footer, err error) {
	if len(b) != footerLen || binary.LittleEndian.Uint64(b[40:]) != magic {
		return f, fmt.Errorf("%w: it has no index at its end", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[36:]); v != version {
		return f, fmt.Errorf("%w: its index has version %d, this program reads %d", ErrDamaged, v, version)
	}
	for i, n := range []*int64{&f.packed, &f.raw, &f.tarLen, &f.packedLen} {
		u := binary.LittleEndian.Uint64(b[8*i:])
		if u > math.MaxInt64/4 {
			return f, fmt.Errorf("%w: its index names impossible lengths", ErrDamaged)
		}
		*n = int64(u)
	}
	f.sum = binary.LittleEndian.Uint32(b[32:])
	if f.raw > maxIndex || f.packed > maxIndex || f.packedLen+skipHeadLen+f.packed+footerLen != size {
		return f, fmt.Errorf("%w: its index has not the length that it names", ErrDamaged)
	}
	return f, nil
}

// unpack returns the content of a compressed index.
func (f footer) unpack(packed []byte) ([]byte, error) {
	if crc32.Checksum(packed, castagnoli) != f.sum {
		return nil, fmt.Errorf("%w: its index is not what was written", ErrDamaged)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(f.raw, frameSize)))) // #nosec G115 -- at most maxIndex
	if err != nil {
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	defer decoder.Close()
	raw, err := decoder.DecodeAll(packed, nil)
	if err != nil || int64(len(raw)) != f.raw {
		return nil, fmt.Errorf("%w: its index cannot be read", ErrDamaged)
	}
	return raw, nil
}

// cursor reads the content of an index. The first fault stays.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uint() int64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > math.MaxInt64/4 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return int64(v)
}

func (c *cursor) int() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(n int64) []byte {
	if n > int64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

// readFrames reads the list of frames; it must make up the whole.
func (c *cursor) readFrames(f footer) ([]frame, error) {
	n := c.uint()
	if n > int64(len(c.b))/2 || n > f.tarLen/cutFrom+1 { // all but the last are at least so long
		return nil, fmt.Errorf("%w: its index names more frames than it has", ErrDamaged)
	}
	list := make([]frame, n)
	var packed, raw int64
	for i := range list {
		list[i] = frame{c.uint(), c.uint()}
		if list[i].raw > 8*frameSize || list[i].packed > 16*frameSize {
			c.bad = true
			break
		}
		packed, raw = packed+list[i].packed, raw+list[i].raw
	}
	if c.bad || packed != f.packedLen || raw != f.tarLen {
		return nil, fmt.Errorf("%w: its frames are not those of its index", ErrDamaged)
	}
	return list, nil
}

// entry reads the next one; what comes before it ends at a place of the tar stream.
func (c *cursor) entry(end int64) Entry {
	kind := c.bytes(1)
	e := Entry{Mode: uint32(c.uint()) & 0o777, ModTime: time.Unix(c.int(), 0), Size: c.uint()} // #nosec G115 -- masked
	e.pos = end + c.uint()
	e.Name = string(c.bytes(c.uint()))
	if c.bad {
		return Entry{}
	}
	if e.Type = Type(kind[0]); e.Type == Link {
		e.Target = string(c.bytes(c.uint()))
	}
	return e
}

// check says what is wrong with an entry of a stream of that length.
func (e *Entry) check(end, tarLen int64) error {
	if e.pos < end || e.Size > tarLen || e.pos > tarLen-e.Size {
		return fmt.Errorf("%w: %.100q is not where its index says", ErrDamaged, e.Name)
	}
	if clean, err := local(e.Name); err != nil || clean != e.Name {
		return fmt.Errorf("%w: its index holds the name %.100q", ErrUnsafe, e.Name)
	}
	switch e.Type {
	case File:
	case Directory, Link:
		if e.Size != 0 || e.Type == Link && !Inside(e.Name, e.Target) {
			return fmt.Errorf("%w: its index holds %.100q, which leads out of it", ErrUnsafe, e.Name)
		}
	default:
		return fmt.Errorf("%w: its index holds %.100q of an unknown type", ErrUnsafe, e.Name)
	}
	return nil
}
