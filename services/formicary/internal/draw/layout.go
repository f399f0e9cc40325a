package draw

import "sort"

// Sizes of a drawing in pixels.
const (
	nodeHeight  = 44.0
	actionSize  = 28.0
	layerGap    = 60.0
	loopWidth   = 16.0 // of an edge to itself
	nodeGap     = 24.0
	pointWidth  = 12.0
	margin      = 20.0
	letterWidth = 7.4
	sweeps      = 6
	// maxPoints bounds the points that long edges are led around nodes by.
	maxPoints = 20_000
)

// place is a node, or a point that a long edge goes through.
type place struct {
	node          int // -1 of a point
	layer         int
	x             float64 // its middle
	width         float64
	before, after []int
}

// layout puts the nodes of a drawing on layers, so that edges lead downwards: the layer of a node is the longest way to
// it; nodes of a layer are ordered by the average place of their neighbours (Sugiyama's method).
type layout struct {
	d      *drawing
	places []place
	layers [][]int
	// ways are the places that each edge goes through; nil for an edge to itself.
	ways          [][]int
	width, height float64
}

func newLayout(d *drawing) *layout {
	l := &layout{d: d, places: make([]place, len(d.nodes)), ways: make([][]int, len(d.edges))}
	for i, n := range d.nodes {
		letters := max(len([]rune(shortened(n.name))), len([]rune(shortened(n.detail))))
		width := max(float64(letters)*letterWidth+32, 72)
		if n.figure == figureFork || n.figure == figureApproval {
			width += 32
		}
		l.places[i] = place{node: i, width: width}
	}
	l.rank()
	l.points()
	l.order()
	l.coordinates()
	return l
}

// rank gives each node its layer. An edge that would close a cycle is drawn upwards.
func (l *layout) rank() {
	n := len(l.d.nodes)
	next := make([][]int, n)
	incoming := make([]int, n)
	for _, e := range l.d.edges {
		if e.from != e.to {
			next[e.from] = append(next[e.from], e.to)
			incoming[e.to]++
		}
	}
	done := make([]bool, n)
	var queue []int
	for i := range n {
		if incoming[i] == 0 {
			queue = append(queue, i)
		}
	}
	last := 0
	for stuck := 0; ; {
		for len(queue) > 0 {
			i := queue[0]
			queue = queue[1:]
			done[i] = true
			last = max(last, l.places[i].layer)
			for _, to := range next[i] {
				if done[to] {
					continue
				}
				l.places[to].layer = max(l.places[to].layer, l.places[i].layer+1)
				if incoming[to]--; incoming[to] == 0 {
					queue = append(queue, to)
				}
			}
		}
		for stuck < n && done[stuck] {
			stuck++
		}
		if stuck == n {
			break
		}
		incoming[stuck] = 0
		queue = append(queue, stuck)
	}
	l.sink(next, last)
}

// sink puts what comes last at the bottom: clean-up that nothing leads to, and notes.
func (l *layout) sink(next [][]int, last int) {
	hasIncoming := make([]bool, len(l.d.nodes))
	for _, e := range l.d.edges {
		if e.from != e.to {
			hasIncoming[e.to] = true
		}
	}
	for i, n := range l.d.nodes {
		trailing := n.figure == figureCleanup && !hasIncoming[i] && len(next[i]) == 0
		if (trailing || n.figure == figureNote) && len(l.d.nodes) > 1 {
			l.places[i].layer = last + 1
		}
	}
}

// points leads edges over several layers through a point on each.
func (l *layout) points() {
	points := 0
	for at, e := range l.d.edges {
		if e.from == e.to {
			continue
		}
		way := []int{e.from}
		from, to := l.places[e.from].layer, l.places[e.to].layer
		if long := to - from - 1; long > 0 && points+long <= maxPoints {
			points += long
			for layer := from + 1; layer < to; layer++ {
				l.places = append(l.places, place{node: -1, layer: layer, width: pointWidth})
				way = append(way, len(l.places)-1)
			}
		}
		way = append(way, e.to)
		l.ways[at] = way
		for k := range len(way) - 1 {
			l.places[way[k]].after = append(l.places[way[k]].after, way[k+1])
			l.places[way[k+1]].before = append(l.places[way[k+1]].before, way[k])
		}
	}
	for i := range l.places {
		for len(l.layers) <= l.places[i].layer {
			l.layers = append(l.layers, nil)
		}
		l.layers[l.places[i].layer] = append(l.layers[l.places[i].layer], i)
	}
}

// order sorts the layers by their neighbours, downwards and upwards in turn.
func (l *layout) order() {
	position := make([]float64, len(l.places))
	number := func(layer []int) {
		for k, i := range layer {
			position[i] = float64(k)
		}
	}
	for _, layer := range l.layers {
		number(layer)
	}
	center := make([]float64, len(l.places))
	arrange := func(layer []int, neighbours func(i int) []int) {
		for _, i := range layer {
			center[i] = position[i]
			if near := neighbours(i); len(near) > 0 {
				sum := 0.0
				for _, j := range near {
					sum += position[j]
				}
				center[i] = sum / float64(len(near))
			}
		}
		sort.SliceStable(layer, func(a, b int) bool { return center[layer[a]] < center[layer[b]] })
		number(layer)
	}
	for sweep := range sweeps {
		if sweep%2 == 0 {
			for k := 1; k < len(l.layers); k++ {
				arrange(l.layers[k], func(i int) []int { return l.places[i].before })
			}
			continue
		}
		for k := len(l.layers) - 2; k >= 0; k-- {
			arrange(l.layers[k], func(i int) []int { return l.places[i].after })
		}
	}
}

// coordinates puts each place below the middle of its neighbours as far as its own layer leaves room.
func (l *layout) coordinates() {
	for _, layer := range l.layers {
		x := 0.0
		for _, i := range layer {
			l.places[i].x = x + l.places[i].width/2
			x += l.places[i].width + nodeGap
		}
	}
	for sweep := range sweeps {
		for k := range l.layers {
			layer := l.layers[k]
			if sweep%2 == 1 {
				layer = l.layers[len(l.layers)-1-k]
			}
			l.relax(layer, sweep%2 == 0)
		}
	}
	least, most := 0.0, 0.0
	for i := range l.places {
		p := &l.places[i]
		if i == 0 || p.x-p.width/2 < least {
			least = p.x - p.width/2
		}
		if i == 0 || p.x+p.width/2 > most {
			most = p.x + p.width/2
		}
	}
	for i := range l.d.edges {
		if e := &l.d.edges[i]; e.from == e.to {
			p := &l.places[e.from]
			most = max(most, p.x+p.width/2+loopWidth+float64(len([]rune(shortened(e.label))))*keyLetter)
		}
	}
	for i := range l.places {
		l.places[i].x += margin - least
	}
	l.width = most - least + 2*margin
	l.height = float64(len(l.layers))*(nodeHeight+layerGap) - layerGap + 2*margin
}

// relax moves the places of a layer towards their neighbours and keeps their order and distance.
func (l *layout) relax(layer []int, down bool) {
	if len(layer) == 0 {
		return
	}
	wish := make([]float64, len(layer))
	for k, i := range layer {
		wish[k] = l.places[i].x
		near := l.places[i].before
		if !down {
			near = l.places[i].after
		}
		if len(near) == 0 {
			continue
		}
		sum := 0.0
		for _, j := range near {
			sum += l.places[j].x
		}
		wish[k] = sum / float64(len(near))
	}
	distance := func(k int) float64 {
		return (l.places[layer[k-1]].width+l.places[layer[k]].width)/2 + nodeGap
	}
	left := make([]float64, len(layer))
	right := make([]float64, len(layer))
	for k := range layer {
		left[k] = wish[k]
		if k > 0 {
			left[k] = max(left[k], left[k-1]+distance(k))
		}
	}
	for k := len(layer) - 1; k >= 0; k-- {
		right[k] = wish[k]
		if k+1 < len(layer) {
			right[k] = min(right[k], right[k+1]-distance(k+1))
		}
	}
	for k, i := range layer { // both keep the distances, and so does what lies between them
		l.places[i].x = (left[k] + right[k]) / 2
	}
}

// y is the top of a layer.
func (l *layout) y(layer int) float64 { return margin + float64(layer)*(nodeHeight+layerGap) }
