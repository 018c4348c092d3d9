"""The usual handler: what it is sent goes back as it is."""

import json
import sys

from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.route("/hook", methods=["POST", "PUT"])
def hook():
    return json.loads(request.data)


server = make_server("127.0.0.1", 0, app)
print(server.port, flush=True)
sys.stdin.close()
server.serve_forever()
