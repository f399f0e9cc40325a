package rpc

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
)

// ReasonTooLarge is the reason of the error for a message that is larger than it may be.
const ReasonTooLarge = "REQUEST_TOO_LARGE"

// tooLarge makes a fault of the request out of what gRPC calls an exhausted resource, at the server that receives a message
// or at the client that is to send it: sent again it is as large. The same is said of answers, so the size that is named
// must be that of the request.
func tooLarge(err error, req any) error {
	if errs.CodeOf(err) != errs.CodeExhausted || errs.Reason(err) != "" {
		return err
	}
	m, ok := req.(proto.Message)
	_, sizes, said := strings.Cut(err.Error(), " message larger than max (")
	var size, most int
	if n, _ := fmt.Sscanf(sizes, "%d vs. %d)", &size, &most); !ok || !said || n != 2 || proto.Size(m) != size {
		return err
	}
	return errs.Invalid(ReasonTooLarge, "the message has %d bytes, at most %d are taken", size, most)
}
