# Reads each message of a Maildir by Python's own parser, checks its DKIM signature by dkimpy, and prints a line of JSON for it.
# Arguments: the Maildir, and a file of JSON with the answers of DNS: names without the last dot, to texts.
import email
import email.header
import email.policy
import email.utils
import json
import mailbox
import sys

import dkim

maildir, answers = sys.argv[1:]
with open(answers) as f:
    texts = json.load(f)


def dnsfunc(name, timeout=5):
    text = texts.get(name.decode().rstrip("."))
    return text.encode() if text else None


def body(message, kind):
    part = message.get_body(preferencelist=(kind,))
    return part.get_content() if part is not None else ""


# Encoded words by the function of old: in addresses the parser leaves the blanks between two of them (before Python 3.13).
def decoded(text):
    return str(email.header.make_header(email.header.decode_header(text.replace("\r\n", "").replace("\n", "")))).strip()


def address(text):
    name, at = email.utils.parseaddr(text)
    return f"{decoded(name)} <{at}>"


def signed(raw):
    try:
        return dkim.verify(raw, dnsfunc=dnsfunc)
    except dkim.DKIMException as e:
        return type(e).__name__


for entry in mailbox.Maildir(maildir, factory=None).values():
    raw = entry.as_bytes()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    # As they are in the file; in UTF-8 where an address needs it.
    header = {name: text.encode("ascii", "surrogateescape").decode() for name, text in message.raw_items()}
    print(json.dumps({
        "from": address(header["From"]),
        "to": address(header["To"]),
        "subject": decoded(header["Subject"]),
        "message_id": str(message["Message-ID"]),
        "auto_submitted": str(message["Auto-Submitted"]),
        "defects": [repr(d) for d in message.defects],
        "text": body(message, "plain"),
        "html": body(message, "html"),
        "signature": message["DKIM-Signature"] is not None,
        "valid": signed(raw),
        "second_from": signed(b"From: somebody@else.example\r\n" + raw),
        "added_link": signed(b"List-Unsubscribe: <https://else.example/>\r\n" + raw),
        "other_body": signed(raw.replace(b"Spent", b"spent")),
    }))
