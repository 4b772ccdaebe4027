"""Counts its visitors in a database that it connects to, by name, for each of them."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2


class Visit(BaseHTTPRequestHandler):
    """`GET /` is one more visit, `GET /count` tells how many there were."""

    def do_GET(self) -> None:
        """Answer with a number."""
        connection = psycopg2.connect(os.environ["DATABASE"])
        try:
            with connection, connection.cursor() as cursor:
                if self.path == "/":
                    cursor.execute("INSERT INTO visits DEFAULT VALUES")
                cursor.execute("SELECT count(*) FROM visits")
                answer = str(cursor.fetchone()[0]).encode()
        finally:
            connection.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


ThreadingHTTPServer(("", 8000), Visit).serve_forever()
