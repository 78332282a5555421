# A registry with one image, for scripts/schemathesis.sh: enough of the distribution API that every answer about tags can be
# seen. What is deleted is back with the next question for the tags. It tells its port on its first line of output.
# SPDX-License-Identifier: Apache-2.0

import hashlib
import http.server
import json
import re

KIND = "application/vnd.oci.image.manifest.v1+json"
CONFIG = json.dumps({"created": "2026-04-22T20:30:52.283949Z"}).encode()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def manifest(image):
    config = {"digest": digest(CONFIG), "size": len(CONFIG)}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": [{"size": 1000}], "image": image}).encode()


IMAGES = {"v1": manifest("one"), "latest": manifest("one"), "v2": manifest("two")}


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body=b"", kind=KIND):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if kind == KIND and body:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        below = re.fullmatch(r"/v2/studio/arena/(tags|manifests|blobs)/([^?]*).*", self.path)
        if below is None:
            return self.answer(404)
        what, name = below.groups()
        if what == "tags":
            return self.answer(200, json.dumps({"tags": sorted(IMAGES)}).encode(), "application/json")
        if what == "blobs":
            return self.answer(200, CONFIG, "application/json")
        if self.command in ("DELETE", "PUT"):
            return self.answer(202 if self.command == "DELETE" else 201)
        found = next((image for tag, image in IMAGES.items() if name in (tag, digest(image))), None)
        return self.answer(404) if found is None else self.answer(200, found)

    do_GET = do_HEAD = do_PUT = do_DELETE = serve

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(server.server_address[1], flush=True)
server.serve_forever()
