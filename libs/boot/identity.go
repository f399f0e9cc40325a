package boot

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
)

// tlsFiles name the files of a process's own certificate.
type tlsFiles struct{ cert, key, ca string }

func (f *tlsFiles) flags(fs *flag.FlagSet, getenv func(string) string) {
	fs.StringVar(&f.cert, "tls-cert", getenv("FORMICARY_TLS_CERT"), "`FILE` with the certificate of this process in PEM, whose SAN names it: URI spiffe://formicary/service/NAME and DNS NAME")
	fs.StringVar(&f.key, "tls-key", getenv("FORMICARY_TLS_KEY"), "`FILE` with its Ed25519 key in PEM (PKCS 8), mode 0600")
	fs.StringVar(&f.ca, "tls-ca", getenv("FORMICARY_TLS_CA"), "`FILE` with the certificates of the authorities that the process trusts; all three are read again when they change")
}

// identity is who a process is, and whom it trusts.
type identity struct {
	source pki.Source
	roots  pki.Roots
	issuer *passport.Issuer
}

// options of a connection to a service.
func (i *identity) options(service string) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(i.issuer),
		rpc.WithTLS(func() *tls.Config { return pki.ClientTLS(i.source, i.roots, service) }),
	}
}

// identify finds the certificate of a part of the colony: in files, else from the authority that the colony keeps itself.
func identify(name pki.Name, files tlsFiles, col colony.Colony, rules access.Rules, log *slog.Logger) (*identity, error) {
	i := &identity{}
	switch {
	case files != tlsFiles{}:
		if files.cert == "" || files.key == "" || files.ca == "" {
			return nil, errors.New("of --tls-cert, --tls-key and --tls-ca some are missing: give all three")
		}
		f, err := pki.OpenFiles(files.cert, files.key, files.ca, log)
		if err != nil {
			return nil, err
		}
		if got := f.Source().Name; got != name {
			return nil, fmt.Errorf("%s is the certificate of %s, want that of %s", files.cert, got, name)
		}
		i.source, i.roots = f.Source, f.Roots
	case col.Authority != "":
		authority, err := pki.OpenAuthority(col.Authority)
		if err != nil {
			return nil, err
		}
		if i.source, err = authority.Renewing(name, pki.ServiceLife); err != nil {
			return nil, err
		}
		i.roots = authority.Roots
	default:
		return nil, errors.New("nobody says who this process is: give it a certificate with --tls-cert, --tls-key and --tls-ca, or name a colony file of `formicary up --expose`")
	}
	i.issuer = passport.NewIssuer(i.source, rules)
	return i, nil
}

// Identify gives the process the name under which it calls others, until which it can neither call nor be called.
func (p *Process) Identify(name pki.Name) (err error) {
	p.id, err = identify(name, p.tls, p.Colony, p.rules, p.Log)
	return err
}

// IdentifyBy is Identify by files that the process keeps itself.
func (p *Process) IdentifyBy(f *pki.Files) {
	p.id = &identity{source: f.Source, roots: f.Roots, issuer: passport.NewIssuer(f.Source, p.rules)}
}

// identified is Identify for a service, which is called what the process is called.
func (p *Process) identified() error {
	if p.id != nil {
		return nil
	}
	return p.Identify(pki.Name{Kind: pki.Service, ID: p.Name})
}

// Identity returns the identity of the process and the roots of its colony.
func (p *Process) Identity() (pki.Source, pki.Roots, error) {
	if err := p.identified(); err != nil {
		return nil, nil, err
	}
	return p.id.source, p.id.roots, nil
}

// AsAnt opens the connections of another ant: a bridge speaks for each of its workers under the worker's own name. Only the
// colony's authority gives those out, so the process must have it.
func (p *Process) AsAnt(id string) (resourceManager, supervisor grpc.ClientConnInterface, done func(), err error) {
	if p.Colony.Authority == "" {
		return nil, nil, nil, errors.New("workers connect where the colony's authority is: name a colony file of `formicary up --expose`")
	}
	as, err := identify(pki.Name{Kind: pki.Ant, ID: id}, tlsFiles{}, p.Colony, p.rules, p.Log)
	if err != nil {
		return nil, nil, nil, err
	}
	conns := make([]*grpc.ClientConn, 0, 2)
	done = func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	for _, service := range colony.ForAnts() {
		addr, err := p.Colony.Ant(service)
		if err == nil {
			var conn *grpc.ClientConn
			if conn, err = rpc.Dial(addr, as.options(service)...); err == nil {
				conns = append(conns, conn)
			}
		}
		if err != nil {
			done()
			return nil, nil, nil, err
		}
	}
	return conns[0], conns[1], done, nil
}
