package webhook_test

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
)

// The header webhook-signature has one signature for each secret, newest first.
func ExampleSign() {
	secrets := []webhook.Secret{webhook.Secret("0123456789abcdef01234567"), webhook.Secret("89abcdef0123456789abcdef")}
	at := time.Unix(1_773_489_600, 0)
	fmt.Println(webhook.Sign(secrets[:1], "dlv_06eaih8afco4kfkf2nc8j8cvio", at, []byte(`{"message":"You used 40.05 of 50.00 EUR."}`)))
	fmt.Println(len(webhook.Sign(secrets, "dlv_06eaih8afco4kfkf2nc8j8cvio", at, nil)), "characters for two secrets")
	// Output:
	// v1,jjJncsnwqaqpmaizEf3hJscGbk333lVBmUhZa4uZUpw=
	// 95 characters for two secrets
}
