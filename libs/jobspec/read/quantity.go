package read

import (
	"math"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// Bounds of limits.
const (
	maxCPUMillis   = 1_000_000
	maxMemoryBytes = 1 << 46
)

// CPU reads processors, such as 2, 0.5 or 500m, in thousandths.
func (r *Reader) CPU(n *source.Node) int64 {
	text, ok := r.Text(n)
	if !ok || text == "" {
		return 0
	}
	number, unit := text, 1000.0
	if head, isMilli := strings.CutSuffix(text, "m"); isMilli {
		number, unit = head, 1
	}
	f, err := strconv.ParseFloat(number, 64)
	if millis := math.Round(f * unit); err == nil && millis >= 1 && millis <= maxCPUMillis {
		return int64(millis)
	}
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no number of processors", "such as 2, 0.5 or 500m")
	return 0
}

// Memory reads an amount of memory, such as 512Mi, 1G or plain bytes.
func (r *Reader) Memory(n *source.Node) int64 {
	text, ok := r.Text(n)
	if !ok || text == "" {
		return 0
	}
	number := strings.TrimRight(text, "KMGTkmgtibB ")
	var unit float64
	asContainers := false
	switch text[len(number):] {
	case "":
		unit = 1
	case "k", "K":
		unit = 1e3
	case "M":
		unit = 1e6
	case "G":
		unit = 1e9
	case "T":
		unit = 1e12
	case "Ki":
		unit = 1 << 10
	case "Mi":
		unit = 1 << 20
	case "Gi":
		unit = 1 << 30
	case "Ti":
		unit = 1 << 40
	default:
		unit = containerUnit(text[len(number):])
		asContainers = true
	}
	f, err := strconv.ParseFloat(number, 64)
	if bytes := math.Round(f * unit); err == nil && bytes >= 1 && bytes <= maxMemoryBytes {
		if asContainers {
			r.ReadAs(n, r.Show(n)+" is read with units of 1024, as tools of containers do", "a unit such as Mi or Gi")
		}
		return int64(bytes)
	}
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no amount of memory", "bytes with a unit, such as 512Mi or 1G")
	return 0
}

// containerUnit is the unit of an amount of memory as tools of containers write it: k, m, g and t in any case with a b
// after it, all of them powers of 1024. It returns 0 for any other text.
func containerUnit(unit string) float64 {
	switch strings.ToLower(strings.TrimSpace(unit)) {
	case "b":
		return 1
	case "kb", "kib":
		return 1 << 10
	case "m", "mb", "mi", "mib":
		return 1 << 20
	case "g", "gb", "gi", "gib":
		return 1 << 30
	case "t", "tb", "ti", "tib":
		return 1 << 40
	}
	return 0
}
