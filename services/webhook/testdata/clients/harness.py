# Verifies each line of standard input by verify(), which stands before this, and prints "valid" or "refused".
import base64
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    try:
        valid = verify(request["secret"], request["headers"], base64.b64decode(request["body"])) is not False
    except Exception as e:
        if type(e).__name__ != "WebhookVerificationError":
            raise
        valid = False
    print("valid" if valid else "refused", flush=True)
