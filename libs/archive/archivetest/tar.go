package archivetest

import (
	"fmt"
	"slices"
	"strings"
)

const blockSize = 512

// member of a tar stream. It is written as it is, which archive/tar would refuse.
type member struct {
	kind   byte
	name   string
	target string
	body   string
	mode   int64
}

// header is one block.
func header(kind byte, name, target string, mode, size int64) []byte {
	b := make([]byte, blockSize)
	copy(b[:100], name)
	copy(b[100:], fmt.Sprintf("%07o", mode))
	copy(b[108:], "0000000\x000000000\x00")
	copy(b[124:], number(size))
	copy(b[136:], "07346545000\x00")
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[157:257], target)
	copy(b[257:], "ustar  \x00")
	return sealed(b)
}

// number is one of 12 bytes, in octal when that fits.
func number(n int64) []byte {
	if n < 1<<33 {
		return fmt.Appendf(nil, "%011o\x00", n)
	}
	b := make([]byte, 12)
	b[0] = 0x80
	for i := 11; n > 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return b
}

func sealed(b []byte) []byte {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func padded(s string) []byte {
	return append([]byte(s), make([]byte, (blockSize-len(s)%blockSize)%blockSize)...)
}

// bytes of a member, long names in front of it as GNU tar has them.
func (m member) bytes() []byte {
	var b []byte
	if len(m.name) > 100 {
		b = slices.Concat(header('L', "././@LongLink", "", 0o644, int64(len(m.name))), padded(m.name))
	}
	if m.mode == 0 {
		m.mode = 0o644
	}
	return slices.Concat(b, header(m.kind, m.name, m.target, m.mode, int64(len(m.body))), padded(m.body))
}

// pax is a member whose name stands in a record before it.
func pax(record, value string, m member) []byte {
	line := record + "=" + value + "\n"
	n := len(line) + 2
	for len(fmt.Sprint(n))+1+len(line) != n {
		n++
	}
	return slices.Concat(member{kind: 'x', name: "pax", body: fmt.Sprintf("%d %s", n, line)}.bytes(), m.bytes())
}

// sparse is a file of a length of which nothing is there.
func sparse(name string, length int64) []byte {
	b := header('S', name, "", 0o644, 0)
	copy(b[386:], number(length))
	copy(b[398:], number(0))
	copy(b[483:], number(length))
	return sealed(b)
}

func tarOf(members ...member) Data {
	d := make(Data, 0, len(members)+1)
	for _, m := range members {
		d = append(d, once(m.bytes()))
	}
	return append(d, end)
}

var end = once(make([]byte, 2*blockSize)) //nolint:gochecknoglobals // a constant

func file(name string) member { return member{kind: '0', name: name, body: "hostile"} }

func link(name, target string) member {
	return member{kind: '2', name: name, target: target, mode: 0o777}
}

func hard(name, target string) member { return member{kind: '1', name: name, target: target} }

// numbered are n files with a name of a length; %s in it is the number.
func numbered(n int64, name string) piece {
	return each(n, func(i int64) []byte {
		m := file(strings.Replace(name, "%s", fmt.Sprintf("%08d", i), 1))
		m.body = ""
		return m.bytes()
	})
}
