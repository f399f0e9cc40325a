// Package join lets an ant into a colony by a token, and keeps the certificate that it got for it.
package join

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

const (
	server   = "resource-manager"
	patience = 30 * time.Second
	pause    = time.Second
	look     = time.Minute // how often it is looked whether the certificate is to be renewed
)

// Ant is one that joins.
type Ant struct {
	ID string
	// Dir is the ant's own directory. The certificate lies below it.
	Dir string
	// Token to join with. One that was spent by this ant before is passed over. Empty: it has joined before, or does not.
	Token string
	// Address at which resource-manager answers ants.
	Address string
	Log     *slog.Logger
}

func (a Ant) identity() string { return filepath.Join(a.Dir, "identity") }

// spent holds the hash of the token that the certificate was got for.
func (a Ant) spent() string { return filepath.Join(a.identity(), "token.sha256") }

// Open returns the identity of an ant that has joined, after it has with a token that is new; nil when it has not and has no
// token.
func (a Ant) Open(ctx context.Context) (*pki.Files, error) {
	if a.Token != "" {
		sum := sha256.Sum256([]byte(a.Token))
		hash := hex.EncodeToString(sum[:])
		if was, err := os.ReadFile(a.spent()); err != nil || strings.TrimSpace(string(was)) != hash {
			if err := a.join(ctx, hash); err != nil {
				return nil, fmt.Errorf("join as ant %s: %w", a.ID, err)
			}
		}
	}
	if _, err := os.Stat(a.identity()); errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // it has not joined
	}
	files, err := pki.OpenDir(a.identity(), a.Log)
	if err != nil {
		return nil, fmt.Errorf("the certificate of ant %s cannot be used, join with a new token: %w", a.ID, err)
	}
	if got, want := files.Source().Name, (pki.Name{Kind: pki.Ant, ID: a.ID}); got != want {
		return nil, fmt.Errorf("%s holds the certificate of %s, want %s: give each ant a directory of its own", a.identity(), got, want)
	}
	return files, nil
}

func (a Ant) join(ctx context.Context, hash string) error {
	roots, err := pki.JoinRoots(a.Token)
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		return err
	}
	conn, err := rpc.Dial(a.Address, rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(nil, roots, server) }))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	res, err := a.ask(ctx, antv1.NewJoinServiceClient(conn), &antv1.JoinRequest{AntId: a.ID, Token: a.Token, Csr: csr})
	if err != nil {
		return err
	}
	if err := a.keep(key, res.GetCertificate(), res.GetAuthorities()); err != nil {
		return err
	}
	if err := os.WriteFile(a.spent(), []byte(hash+"\n"), 0o600); err != nil {
		return fmt.Errorf("remember that the token is spent: %w", err)
	}
	a.Log.Info("joined the colony", "ant", a.ID, "certificate", a.identity())
	return nil
}

// ask asks again for a while what cannot be answered now. A token whose answer was lost is spent.
func (a Ant) ask(ctx context.Context, desk antv1.JoinServiceClient, r *antv1.JoinRequest) (*antv1.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		res, err := desk.Join(ctx, r)
		if c := errs.CodeOf(err); err == nil || c != errs.CodeUnavailable && c != errs.CodeExhausted {
			return res, err
		}
		a.Log.Warn("not let in yet", "ant", a.ID, "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func (a Ant) keep(key ed25519.PrivateKey, certificate []byte, authorities [][]byte) error {
	id, trusted, err := pki.Received(pki.Name{Kind: pki.Ant, ID: a.ID}, key, certificate, authorities)
	if err != nil {
		return err
	}
	return pki.WriteFiles(a.identity(), id, trusted...)
}

// Renew keeps the certificate in files fresh until ctx ends: from half of its life on it is replaced, with the same key, so that
// what lies in the directory is a pair at any time.
func (a Ant) Renew(ctx context.Context, files *pki.Files, conn grpc.ClientConnInterface) error {
	desk := antv1.NewJoinServiceClient(conn)
	return run.Loop(ctx, a.Log, "certificate", look, run.NewSignal(), func(ctx context.Context) error {
		id := files.Source()
		if time.Now().Before(half(id.Cert)) {
			return nil
		}
		csr, err := pki.Request(id.Key)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		res, err := desk.Renew(ctx, &antv1.RenewRequest{AntId: a.ID, Csr: csr})
		if errs.Reason(err) == "RENEW_EARLY" { // its clock goes otherwise than the colony's
			return nil
		}
		if err != nil {
			return fmt.Errorf("renew the certificate of ant %s, which ends at %s: %w", a.ID, id.Cert.NotAfter, err)
		}
		return a.keep(id.Key, res.GetCertificate(), res.GetAuthorities())
	})
}

// half is when half of the life of a certificate is over.
func half(cert *x509.Certificate) time.Time {
	from := pki.IssuedAt(cert)
	return from.Add(cert.NotAfter.Sub(from) / 2)
}
