package sso

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// Provider is one of OpenID Connect.
type Provider struct {
	// Name stands in paths, and as how somebody logged in.
	Name string `json:"name"`
	// Title is what the page of logins calls it; the name unless given.
	Title string `json:"title"`
	// Issuer is the address of the provider, as its tokens say it.
	Issuer string `json:"issuer"`
	// ClientID is what the gateway is called there; Secret is for clients that have one, SecretFile names a file that holds it.
	ClientID   string `json:"client_id"`
	Secret     string `json:"client_secret"`
	SecretFile string `json:"client_secret_file"`
	// Scopes beyond openid; profile and email unless given. They only name people.
	Scopes []string `json:"scopes"`
	// Org is where whoever logs in here for the first time becomes a member, with Role. Empty: only who is invited may.
	Org  string `json:"org"`
	Role string `json:"role"`
}

// names of providers. They stand beside the other ways to log in.
var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	taken    = []string{"password", "bootstrap", "invitation", "device", "browser"} //nolint:gochecknoglobals // constants
)

// Read reads providers from a file, if it is not empty, and from the environment, which says more of those in the file or names others:
//
//	FORMICARY_OIDC_PROVIDERS = corp,partner
//	FORMICARY_OIDC_CORP_ISSUER, _CLIENT_ID, _CLIENT_SECRET, _CLIENT_SECRET_FILE, _SCOPES, _ORG, _ROLE, _TITLE
func Read(file string, getenv func(string) string) ([]Provider, error) {
	var all []Provider
	if file != "" {
		var err error
		if all, err = readFile(file); err != nil {
			return nil, err
		}
	}
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	for name := range strings.SplitSeq(getenv("FORMICARY_OIDC_PROVIDERS"), ",") {
		name = strings.TrimSpace(name)
		if name != "" && !slices.ContainsFunc(all, func(p Provider) bool { return p.Name == name }) {
			all = append(all, Provider{Name: name})
		}
	}
	for i := range all {
		all[i].environment(getenv)
		if err := all[i].readSecret(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readFile(file string) ([]Provider, error) {
	raw, err := os.ReadFile(file) // #nosec G304 -- whoever starts the gateway names it
	if err != nil {
		return nil, fmt.Errorf("read the providers of logins: %w", err)
	}
	var doc struct {
		Providers []Provider `json:"providers"`
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read the providers of logins in %s: %w", file, err)
	}
	if slices.ContainsFunc(doc.Providers, func(p Provider) bool { return p.Secret != "" }) {
		info, err := os.Stat(file)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = errors.New("it holds a client_secret and others may read it: chmod 600 it, or name a client_secret_file")
		}
		if err != nil {
			return nil, fmt.Errorf("read the providers of logins in %s: %w", file, err)
		}
	}
	return doc.Providers, nil
}

func (p *Provider) environment(getenv func(string) string) {
	prefix := "FORMICARY_OIDC_" + strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")) + "_"
	for key, to := range map[string]*string{
		"ISSUER": &p.Issuer, "CLIENT_ID": &p.ClientID, "CLIENT_SECRET": &p.Secret, "CLIENT_SECRET_FILE": &p.SecretFile, "ORG": &p.Org, "ROLE": &p.Role, "TITLE": &p.Title,
	} {
		if v := getenv(prefix + key); v != "" {
			*to = v
		}
	}
	if v := getenv(prefix + "SCOPES"); v != "" {
		p.Scopes = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	}
}

func (p *Provider) readSecret() error {
	if p.SecretFile == "" {
		return nil
	}
	raw, err := os.ReadFile(p.SecretFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("provider %s: there is no client_secret_file %s", p.Name, p.SecretFile)
	}
	if err != nil {
		return fmt.Errorf("provider %s: read client_secret_file: %w", p.Name, err)
	}
	p.Secret = strings.TrimSpace(string(raw))
	return nil
}

// Validate reports all faults of providers at once.
func Validate(all []Provider) error {
	var faults []error
	seen := map[string]bool{}
	for _, p := range all {
		for _, what := range p.faults() {
			faults = append(faults, fmt.Errorf("provider %q: %s", p.Name, what))
		}
		if seen[p.Name] {
			faults = append(faults, fmt.Errorf("provider %q: it is there twice", p.Name))
		}
		seen[p.Name] = true
	}
	return errors.Join(faults...)
}

func (p Provider) faults() (faults []string) {
	if !nameForm.MatchString(p.Name) || slices.Contains(taken, p.Name) {
		faults = append(faults, "want a name of at most 31 of a-z, 0-9 and -, beginning with a letter, that is none of "+strings.Join(taken, ", "))
	}
	u, err := egress.URL(p.Issuer)
	switch {
	case err != nil:
		faults = append(faults, "issuer: "+err.Error())
	case u.Scheme != "https" && !gate.LoopbackHost(u.Host):
		faults = append(faults, "issuer: want https, so that nobody between can say who people are")
	}
	if p.ClientID == "" {
		faults = append(faults, "client_id: missing")
	}
	if (p.Org == "") != (p.Role == "") {
		faults = append(faults, "org and role: want both, or none of them where only invited people may come in")
	}
	if p.Org != "" && identity.CheckOrgID(p.Org) != nil {
		faults = append(faults, "org: it is no id of an organisation")
	}
	if p.Role != "" && !slices.Contains(identity.OrgRoles, p.Role) {
		faults = append(faults, "role: want one of "+strings.Join(identity.OrgRoles, ", "))
	}
	return faults
}
