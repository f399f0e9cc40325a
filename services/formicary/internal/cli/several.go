package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// fileJob is one of the definitions of a file.
type fileJob struct {
	def     *jobspec.Definition
	text    string
	line    int // of the file, on which it begins
	jobType string
}

// readJobs reads the definitions of a file. Faults of all of them are told here, with the lines of the file.
func (a *app) readJobs(file string) ([]fileJob, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return a.jobsIn(file, text)
}

func (a *app) jobsIn(file, text string) ([]fileJob, error) {
	docs, err := documents(file, text)
	if err != nil {
		return nil, err
	}
	jobs := make([]fileJob, len(docs))
	bad := false
	for i, doc := range docs {
		def, problems, err := checkDocument(file, doc)
		if err != nil {
			return nil, err
		}
		jobs[i] = fileJob{text: string(doc.Text), line: doc.Line}
		if def == nil {
			bad = true
			a.printFaults(problems)
			continue
		}
		if twice := definedTwice(jobs[:i], def.JobType, file, doc.Line); twice != nil {
			bad = true
			line(a.Err, *twice)
		}
		jobs[i].def, jobs[i].jobType = def, def.JobType
	}
	if bad {
		return nil, &exit{code: exitUsage}
	}
	return jobs, nil
}

// definedTwice is what is wrong with a job that another one of its file is already; nil when none is.
func definedTwice(jobs []fileJob, jobType, file string, at int) *source.Problem {
	n := slices.IndexFunc(jobs, func(j fileJob) bool { return j.jobType == jobType })
	if n < 0 {
		return nil
	}
	return &source.Problem{
		File: file, Line: at, Column: 1, Code: source.CodeDuplicateKey, Field: jobType,
		Message: fmt.Sprintf("the job %s is defined in line %d already", jobType, jobs[n].line), Expected: "each job once: only one of them would be used",
	}
}

func (a *app) printFaults(problems source.Problems) {
	for _, p := range problems {
		if !p.Warning {
			line(a.Err, p)
		}
	}
}

// uploadAll stores the definitions of a file. None is stored before the server has found every one of them good.
func (a *app) uploadAll(ctx context.Context, cl *client, file string, jobs []fileJob) ([]*jobv1.CreateJobDefinitionResponse, error) {
	if len(jobs) > 1 {
		for _, j := range jobs {
			if _, err := cl.definitions.CreateJobDefinition(ctx, &jobv1.CreateJobDefinitionRequest{Yaml: j.text, FileName: file, ValidateOnly: true}); err != nil {
				printf(a.Err, "%s:%d: the job %s cannot be stored; lines below count from there\n", file, j.line, j.jobType)
				return nil, err
			}
		}
	}
	var all []*jobv1.CreateJobDefinitionResponse
	for i, j := range jobs {
		res, err := a.upload(ctx, cl, file, j.text)
		if err != nil {
			if i > 0 {
				printf(a.Err, "%d of %d definitions are stored, up to %s; the same command again stores the others\n", i, len(jobs), jobs[i-1].jobType)
			}
			return nil, err
		}
		all = append(all, res)
	}
	return all, nil
}

// apply stores the definitions of a file and tells what became of each.
func (a *app) apply(ctx context.Context, cl *client, file string) error {
	jobs, err := a.readJobs(file)
	if err != nil {
		return err
	}
	all, err := a.uploadAll(ctx, cl, file, jobs)
	if err != nil {
		return err
	}
	for i, res := range all {
		if i > 0 && a.output == "yaml" {
			line(a.Out, "---")
		}
		err := a.show(res, jobTypes([]*jobv1.JobDefinition{res.GetDefinition()}), func(w io.Writer) {
			what := "is stored already as version"
			if res.GetCreated() {
				what = "stored as version"
			}
			printf(w, "%s %s %s\n", res.GetDefinition().GetJobType(), what, versionText(res.GetDefinition()))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// jobIn returns the job of a text that a command is about: the first, or the one that is named. Where there are others it
// says which one that is.
func (a *app) jobIn(file, text, jobType string) (fileJob, error) {
	jobs, err := a.jobsIn(file, text)
	if err != nil {
		return fileJob{}, err
	}
	i, err := choose(file, jobs, jobType)
	if err != nil {
		return fileJob{}, err
	}
	if len(jobs) > 1 && jobType == "" {
		printf(a.Err, "%s defines %d jobs; this is the first, %s: --job-type chooses another\n", file, len(jobs), jobs[i].jobType)
	}
	return jobs[i], nil
}

const jobTypeHelp = "`job` of a file that defines several; the first unless given"

// choose returns the index of the job of a file that is to run: the first, or the one that is named.
func choose(file string, jobs []fileJob, jobType string) (int, error) {
	if jobType == "" {
		return 0, nil
	}
	i := slices.IndexFunc(jobs, func(j fileJob) bool { return j.jobType == jobType })
	if i < 0 {
		names := make([]string, len(jobs))
		for i, j := range jobs {
			names[i] = j.jobType
		}
		return 0, usageError(fmt.Errorf("%s defines no job %s, but %s", file, jobType, strings.Join(names, ", ")))
	}
	return i, nil
}
