// Package docs holds the documents to the code: its tests check every link, every command, every name and the generated
// pages of README.md, deploy/docs and .github. It has no code of its own: package reference writes the generated pages,
// command generate stores them.
package docs
