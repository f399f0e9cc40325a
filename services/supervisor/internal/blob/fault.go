package blob

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
)

// failure is an error of the store in words that anybody may read: whoever has the address that was asked for can read or
// write the object, and where objects are is nobody's business. What it was can still be told by errors.Is and As.
type failure struct {
	words string
	cause error
}

func (f *failure) Error() string { return f.words }
func (f *failure) Unwrap() error { return f.cause }

// fault names an object by the last part of its key, which is the id of its artifact, cache or attempt.
func fault(doing, key string, err error) error {
	words := plain(err)
	if key != "" {
		words = strings.ReplaceAll(words, key, path.Base(key))
	}
	return &failure{fmt.Sprintf("%s the object %s: %s", doing, path.Base(key), words), err}
}

// plain is the text of an error without an address; minio repeats it in the inner one.
func plain(err error) string {
	asked, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err.Error()
	}
	return strings.ReplaceAll(asked.Err.Error(), asked.URL, "the object store")
}

// object is one that is read, which fails like all else here.
type object struct {
	*minio.Object
	key string
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = fault("read", o.key, err)
	}
	return n, err
}
