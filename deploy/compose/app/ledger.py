# A service that knows nothing of TLS, identities and policy.
from http.server import BaseHTTPRequestHandler, HTTPServer


class Ledger(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"42\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", 8080), Ledger).serve_forever()
