package definition

import (
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// VersionName is what a version of a job type is called.
type VersionName struct {
	ID         uuid.UUID
	Version    int
	SemVersion string
}

// Fixed says whether the text of the version can never change: it is a release of a public plugin, on which others build. A
// version before a release (1.2.0-dev) is not.
func (d *Definition) Fixed() bool {
	release, _, _ := strings.Cut(d.SemVersion, "+")
	return d.PublicPlugin && release != "" && !strings.Contains(release, "-")
}

// number reads a version that is a plain number; 0 is none.
func number(version string) int {
	n, err := strconv.ParseInt(version, 10, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

// choose returns the version that wanted means: a number, the newest of a sem_version, or the highest in a range such as
// ^1.2. Versions before a release are in a range only when it names one. ranged says that a newer version may change the
// choice. names are in the order of their numbers.
func choose(jobType string, names []VersionName, wanted string) (chosen VersionName, ranged bool, err error) {
	missing := errs.NotFound(reasonVersion, "job type %s has no version %s", jobType, wanted)
	if n := number(wanted); n > 0 {
		i := slices.IndexFunc(names, func(v VersionName) bool { return v.Version == n })
		if i >= 0 {
			return names[i], false, nil
		}
	}
	for _, v := range slices.Backward(names) {
		if v.SemVersion == wanted {
			return v, true, nil
		}
	}
	fits := matcher(wanted)
	if fits == nil {
		return VersionName{}, false, errs.NotFound(reasonVersion, "%q is neither a version of job type %s nor a range of versions", wanted, jobType)
	}
	var best *semver.Version
	for _, name := range names {
		v, err := semver.NewVersion(name.SemVersion)
		if err != nil || !fits(v) || best != nil && v.LessThan(best) {
			continue
		}
		best, chosen = v, name
	}
	if best == nil {
		return VersionName{}, true, missing
	}
	return chosen, true, nil
}

// matcher tells which versions a text means; nil when it means none.
func matcher(wanted string) func(*semver.Version) bool {
	if exact, err := semver.NewVersion(wanted); err == nil {
		return exact.Equal
	}
	if constraint, err := semver.NewConstraint(wanted); err == nil {
		return constraint.Check
	}
	return nil
}
