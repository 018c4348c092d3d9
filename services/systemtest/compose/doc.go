// Package compose tests docker-compose.yml as compose itself reads it: what it names exists, nothing of it is reached from
// other machines, no secret stands in it, and each rule is seen to fail on a file that breaks it. The program beside it,
// `make test-compose`, runs the product's containers.
package compose
