package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
)

// Sign makes the signature of Standard Webhooks: for each secret "v1," and the HMAC-SHA256 over id, timestamp and body, in
// base64; separated by spaces. It is empty where there is no secret.
func Sign(secrets []Secret, id string, at time.Time, body []byte) string {
	if len(secrets) == 0 {
		return ""
	}
	head := make([]byte, 0, 64)
	head = append(head, id...)
	head = append(head, '.')
	head = strconv.AppendInt(head, at.Unix(), 10)
	head = append(head, '.')

	const each = len("v1, ") + (sha256.Size+2)/3*4
	out := make([]byte, 0, each*len(secrets))
	var sum [sha256.Size]byte
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write(head)
		mac.Write(body)
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, "v1,"...)
		out = base64.StdEncoding.AppendEncode(out, mac.Sum(sum[:0]))
	}
	return string(out)
}

// SignTransatel makes the signature of profile transatel: the HMAC-SHA256 over the body in lower-case hexadecimal. Its key
// is a secret as it is shown, "whsec_" included. There is room for one signature, so during a rotation it is made with the
// older secret, which the receiver knows for certain. It is empty where there is no secret.
func SignTransatel(secrets []Secret, body []byte) string {
	if len(secrets) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(secrets[len(secrets)-1].text()))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
