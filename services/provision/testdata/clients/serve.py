

# What follows serves the example of the page on a free port.
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, app)
print(server.port, flush=True)
server.serve_forever()
