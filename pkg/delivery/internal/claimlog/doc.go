// Package claimlog is Kafka as the owner of a claimed partition uses it.
package claimlog
