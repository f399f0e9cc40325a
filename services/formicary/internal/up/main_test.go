package up

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) {
	testkit.Main(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}
