// Package catalog shows event types as resources: the built-in ones, and what follows from the declaration of a tenant's own:
// entity, tokens, and an example.
package catalog
