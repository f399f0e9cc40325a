package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb/cluster"
)

// TestAnyPathHoldsACluster: whatever a directory is called, the server starts in it and is found.
func TestAnyPathHoldsACluster(t *testing.T) {
	for name, sub := range map[string]string{
		"all that means something somewhere": `a b\c,d'e"f%20g$h;i[j]*k=l:é世`,
		"long":                               strings.Repeat("long/", 40),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(filepath.Dir(shortDir(t)), sub)
			if err := os.MkdirAll(dir, 0o711); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second start finds what the first made
				c := start(t, dir)
				conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Close(t.Context())
				socket := strings.Fields(c.DSN("postgres"))[0]
				if err := c.Stop(context.Background()); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(strings.TrimPrefix(socket, "host=")); err == nil {
					t.Errorf("%s is left", socket)
				}
			}
		})
	}
}

func TestPathThatNobodyCanPrintIsRefused(t *testing.T) {
	for _, name := range []string{"a\nb", "a\x1bb", "a\xffb"} {
		_, err := cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(filepath.Dir(shortDir(t)), name), Throwaway: true})
		if err == nil || !strings.Contains(err.Error(), "choose another directory") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
