package channel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
)

// TopicLegal are the characters of the name of a topic.
const TopicLegal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// maxTopic is Kafka's.
const maxTopic = 249

var errTopic = errors.New(`must be 1 to 249 letters, digits, ".", "-" and "_", the first a letter or a digit`)

// CheckTopic is why a text is no name of a topic of a tenant. Kafka's own begin with "_".
func CheckTopic(name string) error {
	if name == "" || len(name) > maxTopic || strings.Trim(name, TopicLegal) != "" || strings.Contains("._-", name[:1]) {
		return errTopic
	}
	return nil
}

// TopicUnder reports whether a topic begins with one of a tenant's prefixes.
func TopicUnder(topic string, prefixes []string) bool {
	for _, p := range prefixes {
		if p != "" && len(topic) > len(p) && strings.HasPrefix(topic, p) {
			return true
		}
	}
	return false
}

// OwnTopic reports whether a topic is one of the installation whose topics have that prefix: what is published there would come
// back, or be taken for what a service has written.
func OwnTopic(topic, prefix string) bool { return strings.HasPrefix(topic, prefix+".") }

// CheckTopicPrefix is why the names of a tenant's topics may not begin with a text; prefix is that of the installation's own.
func CheckTopicPrefix(p, prefix string) error {
	switch {
	case CheckTopic(p) != nil || !strings.Contains(".-_", p[len(p)-1:]):
		return errTopicPrefix
	case strings.HasPrefix(p, prefix+".") || strings.HasPrefix(prefix+".", p):
		return fmt.Errorf("must not hold topics of Tollgate, which begin with %q", prefix+".")
	}
	return nil
}

var errTopicPrefix = errors.New(`must be letters, digits, ".", "-" and "_", the first a letter or a digit, the last ".", "-" or "_", such as "acme."`)

// ValidateTopicPrefixes adds what is wrong with the prefixes of a tenant's topics; prefix is that of the installation's own.
func ValidateTopicPrefixes(prefixes []string, prefix, field string, f *fault.Violations) {
	seen := map[string]bool{}
	for i, p := range prefixes {
		field := fmt.Sprintf("%s[%d]", field, i)
		if err := CheckTopicPrefix(p, prefix); err != nil {
			f.AddErr(field, err)
		} else if seen[p] {
			f.Add(field, "%q is there twice", p)
		}
		seen[p] = true
	}
}
