package archivetest

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Lie is an archive of our own form whose index lies.
type Lie struct {
	Name string
	Data []byte
}

// lie is what an index says; package archive describes it.
type lie struct {
	frames     [][2]uint64 // compressed, raw
	frameCount uint64      // that it names beside them
	entries    []lieEntry
	entryCount uint64
	raw        []byte // instead of all that
	tarLen     uint64
	packedLen  uint64
	indexLen   uint64 // that its footer names beside its own
}

type lieEntry struct {
	kind         byte
	size, gap    uint64
	name, target string
}

// Lies are indexes that lie about sizes, positions, frames and names, each behind one honest frame.
func Lies() ([]Lie, error) {
	body, err := zstandard(make([]byte, 4096))
	if err != nil {
		return nil, err
	}
	n := uint64(len(body))
	honest := func(change func(x *lie)) lie {
		x := lie{frames: [][2]uint64{{n, 4096}}, entries: []lieEntry{{kind: 'f', size: 10, gap: 512, name: "f"}}, tarLen: 4096, packedLen: n}
		change(&x)
		return x
	}
	entry := func(e lieEntry) func(x *lie) { return func(x *lie) { x.entries = []lieEntry{e} } }
	var list []Lie
	for name, x := range map[string]lie{
		"a size beyond the stream":       honest(entry(lieEntry{kind: 'f', size: 1 << 40, gap: 512, name: "f"})),
		"a size that wraps":              honest(entry(lieEntry{kind: 'f', size: 1<<64 - 1, gap: 512, name: "f"})),
		"a position beyond the stream":   honest(entry(lieEntry{kind: 'f', size: 10, gap: 1 << 40, name: "f"})),
		"a position that wraps":          honest(entry(lieEntry{kind: 'f', size: 10, gap: 1<<64 - 1, name: "f"})),
		"a name that leads out":          honest(entry(lieEntry{kind: 'f', size: 10, gap: 512, name: "../f"})),
		"a link that leads out":          honest(entry(lieEntry{kind: 'l', gap: 512, name: "f", target: "../../x"})),
		"a device":                       honest(entry(lieEntry{kind: 'c', gap: 512, name: "f"})),
		"a name of 100,000 bytes":        honest(entry(lieEntry{kind: 'f', size: 10, gap: 512, name: strings.Repeat("x/", 50_000)})),
		"more entries than it has":       honest(func(x *lie) { x.entryCount = 1 << 40 }),
		"more frames than it has":        honest(func(x *lie) { x.frameCount = 1 << 40 }),
		"frames of another length":       honest(func(x *lie) { x.frames[0][1] = 8192 }),
		"a frame of nothing":             honest(func(x *lie) { x.frames = append(x.frames, [2]uint64{0, 0}) }),
		"a stream beyond the limits":     honest(func(x *lie) { x.tarLen = 1 << 50 }),
		"frames beyond the object":       honest(func(x *lie) { x.packedLen = 1 << 40 }),
		"a length of its own that wraps": honest(func(x *lie) { x.indexLen = 1<<63 - 1 }),
		"ninety million frames":          honest(func(x *lie) { x.raw = slices.Concat(binary.AppendUvarint(nil, 90_000_000), make([]byte, 181_000_000)) }),
		"200 MB of zeros":                honest(func(x *lie) { x.raw = make([]byte, 200<<20) }),
	} {
		sealed, err := x.seal()
		if err != nil {
			return nil, err
		}
		list = append(list, Lie{name, slices.Concat(body, sealed)})
	}
	return list, nil
}

func (x *lie) content() []byte {
	if x.raw != nil {
		return x.raw
	}
	b := binary.AppendUvarint(nil, uint64(len(x.frames))+x.frameCount)
	for _, f := range x.frames {
		b = binary.AppendUvarint(binary.AppendUvarint(b, f[0]), f[1])
	}
	b = binary.AppendUvarint(b, uint64(len(x.entries))+x.entryCount)
	for _, e := range x.entries {
		b = binary.AppendVarint(binary.AppendUvarint(append(b, e.kind), 0o644), 0)
		b = binary.AppendUvarint(binary.AppendUvarint(b, e.size), e.gap)
		b = append(binary.AppendUvarint(b, uint64(len(e.name))), e.name...)
		if e.kind == 'l' {
			b = append(binary.AppendUvarint(b, uint64(len(e.target))), e.target...)
		}
	}
	return b
}

func (x *lie) seal() ([]byte, error) {
	raw := x.content()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(mib))
	if err != nil {
		return nil, err
	}
	defer func() { _ = encoder.Close() }()
	packed := encoder.EncodeAll(raw, nil)
	b := binary.LittleEndian.AppendUint32(nil, 0x184D2A50)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packed)+48)) // #nosec G115 -- short
	b = append(b, packed...)
	for _, n := range []uint64{uint64(len(packed)) + x.indexLen, uint64(len(raw)), x.tarLen, x.packedLen} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(packed, crc32.MakeTable(crc32.Castagnoli)))
	b = binary.LittleEndian.AppendUint32(b, 1)
	return binary.LittleEndian.AppendUint64(b, 0x0158444e49434d46), nil
}
