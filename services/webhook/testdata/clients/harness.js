// Verifies each line of standard input by verify(), which stands before this, and prints "valid" or "refused".
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let valid = true;
  try {
    verify(request.secret, request.headers, Buffer.from(request.body, "base64"));
  } catch (e) {
    if (e.name !== "WebhookVerificationError") throw e;
    valid = false;
  }
  console.log(valid ? "valid" : "refused");
}
