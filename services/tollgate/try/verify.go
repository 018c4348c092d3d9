package try

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tolerance is how old or how new a signature may be: an old request that is sent again is refused.
const tolerance = 5 * time.Minute

// verify checks a request by Standard Webhooks: the signature is the base64 of HMAC-SHA256 over "id.timestamp.body", keyed
// by what follows "whsec_". The header has one signature for each valid secret; one that is right is enough.
func verify(secret string, header http.Header, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	id, timestamp := header.Get(headerID), header.Get(headerTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return fmt.Errorf("%s or %s is missing", headerID, headerTimestamp)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("%s is %s away", headerTimestamp, age.Abs())
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := mac.Sum(nil)
	for signature := range strings.FieldsSeq(header.Get(headerSignature)) {
		version, encoded, _ := strings.Cut(signature, ",")
		got, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1" && err == nil && hmac.Equal(got, expected) {
			return nil
		}
	}
	return fmt.Errorf("no signature of %s is right", headerSignature)
}
