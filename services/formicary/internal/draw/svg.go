package draw

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"sort"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// The colours follow the reader's choice of light or dark.
const svgStyle = `<style>
svg{--ink:#1f2328;--soft:#59636e;--line:#818b98;--fill:#f6f8fa;--back:#ffffff;--fan:#0969da;--fork:#8250df;--ask:#9a6700;--bad:#cf222e}
@media (prefers-color-scheme:dark){svg{--ink:#f0f6fc;--soft:#9198a1;--line:#656c76;--fill:#151b23;--back:#0d1117;--fan:#4493f8;--fork:#ab7df8;--ask:#d29922;--bad:#f85149}}
text{font-family:ui-sans-serif,system-ui,sans-serif;font-size:13px;fill:var(--ink);text-anchor:middle}
.detail,.key{font-size:11px;fill:var(--soft)}
.key{paint-order:stroke;stroke:var(--back);stroke-width:4px}
.shape{fill:var(--fill);stroke:var(--line);stroke-width:1.5}
.always{stroke-dasharray:5 3}
.fan{stroke:var(--fan)}
.fork{stroke:var(--fork)}
.ask{stroke:var(--ask)}
.action{fill:none}
.note{stroke:var(--bad);fill:none}
.edge{fill:none;stroke:var(--line);stroke-width:1.5;marker-end:url(#tip)}
.data{stroke-dasharray:5 4}
.tip{fill:var(--line)}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>
`

// SVG draws the plan as a picture. It holds no script and refers to nothing outside of it.
func SVG(p *plan.Plan) []byte {
	d := of(p)
	l := newLayout(d)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img">`+"\n",
		number(l.width), number(l.height), number(l.width), number(l.height))
	fmt.Fprintf(&b, "<title>%s</title>\n", xmlText(shortened(p.JobType)))
	b.WriteString(svgStyle)
	for i := range d.edges {
		l.svgEdge(&b, i)
	}
	for i := range d.nodes {
		l.svgNode(&b, i)
	}
	l.svgKeys(&b)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func xmlText(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

// heightOf is the height of a node's figure, which stands in the middle of its layer.
func heightOf(n *drawnNode) float64 {
	if n.figure == figureAction {
		return actionSize
	}
	return nodeHeight
}

func (l *layout) svgEdge(b *bytes.Buffer, at int) {
	e := &l.d.edges[at]
	class := "edge"
	if e.data {
		class += " data"
	}
	fmt.Fprintf(b, `<path class="%s" d="%s"/>`+"\n", class, l.path(at))
}

// path leads an edge from the bottom of one node through its points to the top of the other.
func (l *layout) path(at int) string {
	e, way := &l.d.edges[at], l.ways[at]
	if way == nil {
		p := &l.places[e.from]
		x, y := p.x+p.width/2, l.y(p.layer)+nodeHeight/2
		return fmt.Sprintf("M%s %s c18 -10 18 20 1 12", number(x-1), number(y-6))
	}
	var b strings.Builder
	x, y := l.places[way[0]].x, l.bottom(way[0])
	fmt.Fprintf(&b, "M%s %s", number(x), number(y))
	for k := 1; k < len(way); k++ {
		p := &l.places[way[k]]
		toX, toY := p.x, l.y(p.layer)
		if p.node >= 0 {
			toY += (nodeHeight - heightOf(&l.d.nodes[p.node])) / 2
		}
		middle := (y + toY) / 2
		fmt.Fprintf(&b, "C%s %s %s %s %s %s", number(x), number(middle), number(toX), number(middle), number(toX), number(toY))
		x, y = toX, toY
		if p.node < 0 {
			y += nodeHeight
			fmt.Fprintf(&b, "V%s", number(y))
		}
	}
	return b.String()
}

func (l *layout) bottom(i int) float64 {
	p := &l.places[i]
	return l.y(p.layer) + (nodeHeight+heightOf(&l.d.nodes[p.node]))/2
}

// key is the label of an edge. Those below one layer stand on up to three lines, so that they do not cover each other.
type key struct {
	text        string
	layer       int
	x, y, reach float64 // its middle, and half of its width
	besides     bool    // an edge to itself: the text stands right of it
}

const (
	keyLetter = 7.4
	keyLines  = 3
)

func (l *layout) keys() []key {
	var out []key
	for at := range l.d.edges {
		e, way := &l.d.edges[at], l.ways[at]
		if e.label == "" {
			continue
		}
		p := &l.places[e.from]
		k := key{text: shortened(e.label), layer: p.layer, x: p.x + p.width/2 + loopWidth, y: l.y(p.layer) + nodeHeight/2 + 4, besides: way == nil}
		if way != nil {
			to := &l.places[way[1]]
			k.x, k.y = (p.x+to.x)/2, l.bottom(e.from)+layerGap/2-8
		}
		k.reach = float64(len([]rune(k.text)))*keyLetter/2 + 4
		out = append(out, k)
	}
	sort.SliceStable(out, func(i, j int) bool {
		return out[i].layer < out[j].layer || out[i].layer == out[j].layer && out[i].x < out[j].x
	})
	var ends [keyLines]float64
	layer := -1
	for i := range out {
		k := &out[i]
		if k.besides {
			continue
		}
		if k.layer != layer {
			layer, ends = k.layer, [keyLines]float64{}
		}
		line := 0
		for n := range ends {
			if ends[n] < ends[line] {
				line = n
			}
			if ends[n] <= k.x-k.reach {
				line = n
				break
			}
		}
		ends[line] = k.x + k.reach
		k.y += float64(line) * 12
	}
	return out
}

// svgKeys writes the keys of routes at the middle of the first part of their edges.
func (l *layout) svgKeys(b *bytes.Buffer) {
	for _, k := range l.keys() {
		anchor := ""
		if k.besides {
			anchor = ` style="text-anchor:start"`
		}
		fmt.Fprintf(b, `<text class="key" x="%s" y="%s"%s>%s</text>`+"\n", number(k.x), number(k.y), anchor, xmlText(k.text))
	}
}

func (l *layout) svgNode(b *bytes.Buffer, i int) {
	n, p := &l.d.nodes[i], &l.places[i]
	height := heightOf(n)
	left, top := p.x-p.width/2, l.y(p.layer)+(nodeHeight-height)/2
	fmt.Fprintf(b, "<g><title>%s</title>", xmlText(longLabel(n)))
	b.WriteString(svgShape(n.figure, left, top, p.width, height))
	middle := top + height/2
	if n.detail == "" {
		fmt.Fprintf(b, `<text x="%s" y="%s">%s</text></g>`+"\n", number(p.x), number(middle+4), xmlText(shortened(n.name)))
		return
	}
	fmt.Fprintf(b, `<text x="%s" y="%s">%s</text>`, number(p.x), number(middle-3), xmlText(shortened(n.name)))
	fmt.Fprintf(b, `<text class="detail" x="%s" y="%s">%s</text></g>`+"\n", number(p.x), number(middle+13), xmlText(shortened(n.detail)))
}

// longLabel is what shows when the pointer rests on a node.
func longLabel(n *drawnNode) string {
	if n.detail == "" {
		return n.name
	}
	return n.name + ": " + n.detail
}

func svgShape(f figure, left, top, width, height float64) string {
	box := func(class string, x, y, radius float64) string {
		return fmt.Sprintf(`<rect class="shape%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, class, number(x), number(y), number(width), number(height), number(radius))
	}
	points := func(class string, corners ...float64) string {
		var b strings.Builder
		for i := 0; i+1 < len(corners); i += 2 {
			fmt.Fprintf(&b, "%s,%s ", number(left+corners[i]), number(top+corners[i+1]))
		}
		return fmt.Sprintf(`<polygon class="shape%s" points="%s"/>`, class, strings.TrimSuffix(b.String(), " "))
	}
	const slant = 14
	switch f {
	case figureCleanup:
		return box(" always", left, top, 6)
	case figureFanOut:
		return box(" fan", left+4, top-4, 6) + box(" fan", left, top, 6)
	case figureFork:
		return points(" fork", slant, 0, width-slant, 0, width, height/2, width-slant, height, slant, height, 0, height/2)
	case figureApproval:
		return points(" ask", width/2, -8, width, height/2, width/2, height+8, 0, height/2)
	case figureAction:
		return box(" action", left, top, height/2)
	case figureNote:
		return box(" note", left, top, 0)
	case figureTask:
	}
	return box("", left, top, 6)
}
