package record

import (
	"errors"
	"fmt"
	"strings"
)

// A rule's record stands under its subject, the rule's code and a key that the rule chooses. Neither subjects nor codes
// have the separator in them.

const ruleSeparator = "\x00"

// Bounds of the names of a rule's record, in bytes.
const (
	MaxRuleCode = 256
	MaxRuleKey  = 1 << 10
)

// RuleSubject is the name, among those of subjects, of a rule's record.
func RuleSubject(subject, code, key string) (string, error) {
	switch {
	case strings.Contains(subject, ruleSeparator):
		return "", errors.New("the subject of a rule has a zero byte")
	case code == "" || len(code) > MaxRuleCode || strings.Contains(code, ruleSeparator):
		return "", fmt.Errorf("code %.300q of a rule is empty, above %d bytes or has a zero byte", code, MaxRuleCode)
	case len(key) > MaxRuleKey:
		return "", fmt.Errorf("key of rule %s takes %d bytes, at most %d", code, len(key), MaxRuleKey)
	}
	return subject + ruleSeparator + code + ruleSeparator + key, nil
}

// RulePrefix is what the keys of all records of a subject's rules begin with.
func RulePrefix(subject string) string { return Prefix + subject + ruleSeparator }

// SplitRule takes apart what RuleSubject has joined; code is "" for a subject's own record.
func SplitRule(name string) (subject, code, key string) {
	subject, rest, ok := strings.Cut(name, ruleSeparator)
	if ok {
		code, key, _ = strings.Cut(rest, ruleSeparator)
	}
	return subject, code, key
}

// IsRule reports whether the key of a record is a rule's.
func IsRule(key string) bool { return strings.Contains(key, ruleSeparator) }

// MaxRuleHeader is more than a rule's record takes beside its name and its body, a segment of ids that is written
// with it included.
const MaxRuleHeader = 2200
