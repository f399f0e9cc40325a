// Package notify reads who hears of a job: channels with recipients, and URLs that are called.
package notify
