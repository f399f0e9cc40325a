module github.com/formicary/formicary/libs

go 1.26
