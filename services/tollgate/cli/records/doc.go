// Package records has the commands that read the topics of an installation: events, rejections, and attempts to deliver.
package records
