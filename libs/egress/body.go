package egress

import (
	"fmt"
	"io"
	"net/http"
)

// bounded keeps bodies of answers within bounds.
type bounded struct {
	*http.Transport
	most int64 // bytes; 0: any number
}

// RoundTrip makes one request.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.Transport.RoundTrip(req)
	if err == nil && b.most > 0 {
		res.Body = &body{res.Body, b.most, b.most}
	}
	return res, err
}

type body struct {
	io.ReadCloser
	left, most int64
}

// Read fails behind the last byte that is allowed.
func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLong()
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, b.tooLong()
	}
	return n, err
}

func (b *body) tooLong() error { return fmt.Errorf("the answer is longer than %d bytes", b.most) }
