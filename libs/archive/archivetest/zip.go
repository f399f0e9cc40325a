package archivetest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// zipped is an entry of a zip file, as its central directory has it.
type zipped struct {
	name   string
	mode   uint32 // of Unix
	body   string
	method uint16
	packed int64
	raw    int64
	crc    uint32
	at     int64 // of its local header
}

func stored(name, body string) zipped {
	return zipped{
		name: name, mode: 0o100644, body: body, packed: int64(len(body)), raw: int64(len(body)), crc: crc32.ChecksumIEEE([]byte(body)),
	}
}

// local is the header before its bytes.
func (z zipped) local() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x04034b50)
	b = z.common(b)
	return append(b, z.name...)
}

func (z zipped) common(b []byte) []byte {
	for _, n := range []uint16{20, 0x800, z.method, 0, 0x5a21} {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	for _, n := range []uint32{z.crc, uint32(min(z.packed, 1<<32-1)), uint32(min(z.raw, 1<<32-1))} { // #nosec G115 -- bounded
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(z.name)))       // #nosec G115 -- short
	return binary.LittleEndian.AppendUint16(b, uint16(len(z.extra()))) // #nosec G115 -- short
}

// extra holds lengths that are too large for the header.
func (z zipped) extra() []byte {
	if z.raw < 1<<32-1 {
		return nil
	}
	b := binary.LittleEndian.AppendUint16(nil, 1)
	b = binary.LittleEndian.AppendUint16(b, 8)
	return binary.LittleEndian.AppendUint64(b, uint64(z.raw)) // #nosec G115 -- positive
}

// central is its entry of the directory.
func (z zipped) central() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02014b50)
	b = binary.LittleEndian.AppendUint16(b, 3<<8|20) // of Unix
	b = z.common(b)
	for range 3 {
		b = binary.LittleEndian.AppendUint16(b, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, z.mode<<16)
	b = binary.LittleEndian.AppendUint32(b, uint32(z.at)) // #nosec G115 -- short
	return slices.Concat(b, []byte(z.name), z.extra())
}

// tail ends a zip file that says to have n entries.
func tail(n, directory, at int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x06054b50)
	for _, v := range []uint16{0, 0, uint16(n), uint16(n)} { // #nosec G115 -- it wraps in such files
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(directory)) // #nosec G115 -- shorter
	b = binary.LittleEndian.AppendUint32(b, uint32(at))        // #nosec G115 -- shorter
	return binary.LittleEndian.AppendUint16(b, 0)
}

// zipOf makes a zip file; change may let the directory lie.
func zipOf(change func(z *zipped), entries ...zipped) Data {
	var b, directory bytes.Buffer
	for i, z := range entries {
		z.at = int64(b.Len())
		b.Write(z.local())
		b.Write(z.extra())
		b.WriteString(z.body)
		if change != nil {
			change(&z)
		}
		entries[i] = z
		directory.Write(z.central())
	}
	at := int64(b.Len())
	b.Write(directory.Bytes())
	b.Write(tail(int64(len(entries)), int64(directory.Len()), at))
	return Data{once(b.Bytes())}
}

// manyZipped has n entries that are all the same bytes.
func manyZipped(n int64) Data {
	body := stored("one", "").local()
	names := func(i int64) []byte { return stored(fmt.Sprintf("%08d", i), "").central() }
	return Data{once(body), each(n, names), once(tail(n, n*int64(len(names(0))), int64(len(body))))}
}

// zippedZeros has a file of n MiB of zeros.
func zippedZeros(n int64) (Data, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("make a zip file: %w", err)
	}
	_, _ = w.Write(make([]byte, mib))
	if err := w.Flush(); err != nil { // ends at a byte, so that it can be repeated
		return nil, fmt.Errorf("make a zip file: %w", err)
	}
	unit := bytes.Clone(b.Bytes())
	last := []byte{1, 0, 0, 0xff, 0xff} // an empty block that is the last
	z := zipped{name: "zeros", mode: 0o100644, method: 8, packed: n*int64(len(unit)) + int64(len(last)), raw: n * mib}
	front := slices.Concat(z.local(), z.extra())
	directory := z.central()
	at := int64(len(front)) + z.packed
	return Data{once(front), repeated(unit, n), once(last), once(directory), once(tail(1, int64(len(directory)), at))}, nil
}
